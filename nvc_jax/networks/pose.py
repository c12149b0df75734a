"""Encoder from an image to features of all of it, and heads to joints: from the code, or from the features beside it."""

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from nvc_jax.core.options import Option
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

CODE_POSE = Option(
    "loss.code_pose",
    1.0,
    "weight of the error of the pose that the code alone gives, beside that of the joints",
    at_least=0,
)
_OPTIONS = (CHANNELS, BLOCKS, HIDDEN, DECODER_HIDDEN, *LAYER_OPTIONS)
POSE_NETWORKS: Networks = {"patch2d": _OPTIONS, "direct2d": (*_OPTIONS, CODE_POSE)}
"""`patch2d`: the code is all that joints are made of. `direct2d`: they are made of the features that the code is made of."""


@flax.struct.dataclass
class Poses:
    """Joints of hands in units of 100 mm: the wrist about the crop's center, the others about the wrist.

    Attributes:
      joints: float32 `[B, 21, 3]`, by all that the network is given.
      of_code: float32 `[B, 21, 3]`, by the code alone.
    """

    joints: jax.Array
    of_code: jax.Array


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
    def __call__(self, code: jax.Array, train: bool, seen: jax.Array | None = None) -> Poses:
        """Maps `[B, D]` to joints; the features that are `seen` play no part."""
        del seen
        x = Dense(3 * NUM_JOINTS, dtype=self.dtype)(self.hidden(code, train))
        joints = x.astype(jnp.float32).reshape(-1, NUM_JOINTS, 3)
        return Poses(joints, joints)


class DirectHead(nn.Module):
    """Joints from the features of the image, beside the pose that the code alone gives.

    Attributes:
      pose: from the code to joints.
      direct: from the features to joints.
    """

    pose: JointHead
    direct: JointHead

    def __call__(self, code: jax.Array, train: bool, seen: jax.Array | None = None) -> Poses:
        """Maps `[B, D]`, and the encoder's features `[B, F]` or nothing, to joints."""
        of_code = self.pose(code, train).joints
        joints = of_code if seen is None else self.direct(seen, train).joints
        return Poses(joints, of_code)


def make_pose_network(
    options: Any, side: int, axis_name: str | None
) -> tuple[PoseEncoder, JointHead | DirectHead]:
    """Makes encoder and head.

    With `channels` (64, 128, 256, 512), 2 `blocks` and `batch_norm` the encoder has the convolutions of a
    ResNet-18 but the first, in whose place squares of 4 × 4 pixels are folded into channels.

    Args:
      options: `config.model`, with the options of `POSE_NETWORKS`; `hidden` are the encoder's dense layers.
      side: S of the images.
      axis_name: mapped axis whose devices share the statistics of batch normalization.

    Returns:
      (encoder: `[B, S, S, C]` → `[B, F]`, head: code, and perhaps the features → `Poses`).

    Raises:
      UserError: if there are no stages, or the images cannot be halved so often.
    """
    shrink_factor(options, (side, side), PATCH)
    shared = module_options(options, axis_name)
    stages = ImageEncoder(tuple(options.channels), options.blocks, **shared)
    encoder = PoseEncoder(stages, MLP(tuple(options.hidden), **shared))

    def head() -> JointHead:
        return JointHead(MLP(tuple(options.decoder_hidden), **shared), shared["dtype"])

    return encoder, head() if options.network == "patch2d" else DirectHead(head(), head())
