"""Image encoders and decoders: MLP, strided convolution, and SqueezeNet's fire module."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nvc_jax.networks.layers import (
    HIDDEN,
    LAYER_OPTIONS,
    MLP,
    Block,
    Conv,
    ConvTranspose,
    Dense,
    Network,
    Networks,
    apply_stage,
    check_widths,
    inherited,
    module_options,
)

IMAGE_NETWORKS: Networks = dict.fromkeys(("mlp", "conv", "fire"), (HIDDEN, *LAYER_OPTIONS))
STAGE_CHANNELS = (32, 64)  # of the convolutional kinds


class Fire(nn.Module):
    """Squeeze-expand module: 1 × 1 squeeze, then 1 × 1 and 3 × 3 expand side by side.

    Reference: Iandola et al., "SqueezeNet", 2016.
    """

    channels: int
    strides: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, H / strides, W / strides, channels]`."""
        squeezed = nn.relu(Conv(max(self.channels // 4, 1), (1, 1), dtype=self.dtype)(x))
        half = self.channels // 2
        strides = (self.strides, self.strides)
        parts = [
            Conv(half, (1, 1), strides, dtype=self.dtype)(squeezed),
            Conv(self.channels - half, (3, 3), strides, dtype=self.dtype)(squeezed),
        ]
        return jnp.concatenate(parts, axis=-1)


class ConvEncoder(Network):
    """Halves the image once a stage, then flattens into one dense layer."""

    features: int
    fire: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, features]`."""
        x = x.astype(self.dtype)
        for channels in STAGE_CHANNELS:
            x = apply_stage(ConvEncoder._halve, self, x, channels, train)
        return MLP((self.features,), **inherited(self))(x, train)

    def _halve(self, x: jax.Array, channels: int, train: bool) -> jax.Array:
        if self.fire:
            x = Fire(channels, strides=2, dtype=self.dtype)(x)
        else:
            x = Conv(channels, (3, 3), (2, 2), dtype=self.dtype)(x)
        return Block(**inherited(self))(x, train)


class ConvDecoder(Network):
    """Mirror of `ConvEncoder`: dense, then doubling stages, cropped to the image's size."""

    image_shape: tuple[int, int, int]
    features: int
    fire: bool = False

    @nn.compact
    def __call__(self, code: jax.Array, train: bool) -> jax.Array:
        """Maps `[B, D]` to `[B, H, W, C]`, without an activation."""
        channels = STAGE_CHANNELS[::-1]
        height, width, depth = self.image_shape
        factor = 2 ** len(channels)
        low = (math.ceil(height / factor), math.ceil(width / factor))
        widths = (self.features, low[0] * low[1] * channels[0])
        x = MLP(widths, **inherited(self))(code, train)
        x = x.reshape(-1, *low, channels[0])
        for count in (*channels[1:], channels[-1]):
            x = apply_stage(ConvDecoder._double, self, x, count, train)
        x = Conv(depth, (3, 3), dtype=self.dtype)(x)
        return x[:, :height, :width].astype(jnp.float32)

    def _double(self, x: jax.Array, channels: int, train: bool) -> jax.Array:
        if self.fire:
            x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
            x = Fire(channels, dtype=self.dtype)(x)
        else:
            x = ConvTranspose(channels, (3, 3), (2, 2), dtype=self.dtype)(x)
        return Block(**inherited(self))(x, train)


class MLPDecoder(Network):
    """Dense layers from the code to pixels, without an activation at the end."""

    image_shape: tuple[int, int, int]
    hidden: tuple[int, ...]

    @nn.compact
    def __call__(self, code: jax.Array, train: bool) -> jax.Array:
        """Maps `[B, D]` to `[B, H, W, C]`."""
        x = MLP(self.hidden, **inherited(self))(code, train)
        x = Dense(math.prod(self.image_shape), dtype=self.dtype)(x)
        return x.reshape(-1, *self.image_shape).astype(jnp.float32)


def make_autoencoder(
    options: Any, image_shape: tuple[int, int, int], axis_name: str | None
) -> tuple[nn.Module, nn.Module]:
    """Makes encoder and decoder of one kind.

    Args:
      options: `config.model`; `network`, `hidden`, `batch_norm`, `dtype` and `remat` are used. The
        convolutional kinds have stages of their own and use `hidden[-1]` for the dense layer.
      image_shape: (H, W, C), any size.
      axis_name: mapped axis whose devices share the statistics of batch normalization.

    Returns:
      (encoder: image → `[B, F]`, decoder: code → `[B, H, W, C]` logits or values, float32).

    Raises:
      UserError: if there are no widths.
    """
    check_widths(options, "hidden")
    shared, hidden = module_options(options, axis_name), tuple(options.hidden)
    if options.network == "mlp":
        return MLP(hidden, **shared), MLPDecoder(image_shape, hidden[::-1], **shared)
    shared["fire"] = options.network == "fire"
    return ConvEncoder(hidden[-1], **shared), ConvDecoder(image_shape, hidden[-1], **shared)
