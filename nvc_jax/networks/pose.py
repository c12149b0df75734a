"""Encoder from an image to features of all of it, and the head from a code to joints."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nvc_jax.geometry.joints import NUM_JOINTS
from nvc_jax.networks.layers import (
    BLOCKS,
    CHANNELS,
    DECODER_HIDDEN,
    HIDDEN,
    LAYER_OPTIONS,
    MLP,
    PATCH,
    Dense,
    Networks,
    module_options,
    shrink_factor,
)
from nvc_jax.networks.planes import ImageEncoder

POSE_NETWORKS: Networks = {"patch2d": (CHANNELS, BLOCKS, HIDDEN, DECODER_HIDDEN, *LAYER_OPTIONS)}


class PoseEncoder(nn.Module):
    """Stages of `ImageEncoder`, then dense layers.

    Attributes:
      stages: from an image to a flat map of features.
      dense: from there to features.
    """

    stages: ImageEncoder
    dense: MLP

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps `[B, S, S, C]` to `[B, F]`."""
        return self.dense(self.stages(x, train)[0], train)


class JointHead(nn.Module):
    """Dense layers from a code to joints.

    Attributes:
      hidden: from the code to numbers.
    """

    hidden: MLP
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, code: jax.Array, train: bool) -> jax.Array:
        """Maps `[B, D]` to float32 `[B, 21, 3]`."""
        x = Dense(3 * NUM_JOINTS, dtype=self.dtype)(self.hidden(code, train))
        return x.astype(jnp.float32).reshape(-1, NUM_JOINTS, 3)


def make_pose_network(
    options: Any, side: int, axis_name: str | None
) -> tuple[PoseEncoder, JointHead]:
    """Makes encoder and head.

    With `channels` (64, 128, 256, 512), 2 `blocks` and `batch_norm` the encoder has the convolutions of a
    ResNet-18 but the first, in whose place squares of 4 × 4 pixels are folded into channels.

    Args:
      options: `config.model`, with the options of `POSE_NETWORKS`; `hidden` are the encoder's dense layers.
      side: S of the images.
      axis_name: mapped axis whose devices share the statistics of batch normalization.

    Returns:
      (encoder: `[B, S, S, C]` → `[B, F]`, head: code → float32 `[B, 21, 3]`).

    Raises:
      UserError: if there are no stages, or the images cannot be halved so often.
    """
    shrink_factor(options, (side, side), PATCH)
    shared = module_options(options, axis_name)
    stages = ImageEncoder(tuple(options.channels), options.blocks, **shared)
    return (
        PoseEncoder(stages, MLP(tuple(options.hidden), **shared)),
        JointHead(MLP(tuple(options.decoder_hidden), **shared), shared["dtype"]),
    )
