"""Squeeze-expand ("fire") networks."""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from nvc_jax.networks.layers import NormRelu, halved_sizes, upsample


class Fire(nn.Module):
    """A 1×1 convolution to few channels, then 1×1 and 3×3 convolutions side by side.

    Attributes:
      width: channels of the output, half of them from each kind of expansion; the squeeze has an
        eighth, as in the reference.
      batch_norm: normalize before each relu.
      dtype: of the computation; parameters are float32.
      axis_name: mapped axis that the global batch is split over; None for one device.

    Reference:
      Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model
      size", 2016, arXiv 1602.07360.
    """

    width: int
    batch_norm: bool = False
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, F]` to `[B, H, W, width]` of `dtype`."""

        def conv(x: jax.Array, width: int, size: int, name: str) -> jax.Array:
            x = nn.Conv(
                width, (size, size), use_bias=not self.batch_norm, dtype=self.dtype, name=name
            )(x)
            return NormRelu(self.batch_norm, self.dtype, self.axis_name)(x, train=train)

        squeezed = conv(x, max(self.width // 8, 1), 1, "squeeze")
        narrow = conv(squeezed, self.width // 2, 1, "expand_1x1")
        wide = conv(squeezed, self.width - self.width // 2, 3, "expand_3x3")
        return jnp.concatenate([narrow, wide], axis=-1)


class FireEncoder(nn.Module):
    """A 3×3 convolution, then fire modules, each followed by max pooling that halves the image.

    Attributes:
      widths: channels of the fire modules, each at least 2; the first convolution has the first.
      batch_norm: normalize before each relu.
      dtype: of the computation; parameters are float32.
      axis_name: mapped axis that the global batch is split over; None for one device.
    """

    widths: Sequence[int] = (32, 64, 128)
    batch_norm: bool = False
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, C]` to features `[B, F]` of `dtype`, the last layer flattened."""
        x = nn.Conv(self.widths[0], (3, 3), use_bias=not self.batch_norm, dtype=self.dtype)(image)
        x = NormRelu(self.batch_norm, self.dtype, self.axis_name)(x, train=train)
        for width in self.widths:
            x = Fire(width, self.batch_norm, self.dtype, self.axis_name)(x, train=train)
            x = nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
        return x.reshape(x.shape[0], -1)


class FireDecoder(nn.Module):
    """The encoder's mirror image: upsampling and fire modules, then one 3×3 convolution.

    Attributes:
      image_shape: (H, W, C) of the output.
      widths: channels of the encoder's fire modules, in the encoder's order.
      batch_norm: normalize before each relu.
      dtype: of the computation; parameters are float32.
      axis_name: mapped axis that the global batch is split over; None for one device.
    """

    image_shape: tuple[int, int, int]
    widths: Sequence[int] = (32, 64, 128)
    batch_norm: bool = False
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, code: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, F]` to values without activation, float32 `[B, H, W, C]`."""
        height, width, channels = self.image_shape
        *sizes, smallest = halved_sizes((height, width), len(self.widths))

        features = smallest[0] * smallest[1] * self.widths[-1]
        x = nn.Dense(features, use_bias=not self.batch_norm, dtype=self.dtype)(code)
        x = x.reshape(x.shape[0], *smallest, self.widths[-1])
        x = NormRelu(self.batch_norm, self.dtype, self.axis_name)(x, train=train)
        for size, fire_width in zip(reversed(sizes), reversed(self.widths), strict=True):
            x = upsample(x, size)
            x = Fire(fire_width, self.batch_norm, self.dtype, self.axis_name)(x, train=train)
        return nn.Conv(channels, (3, 3), dtype=self.dtype)(x).astype(jnp.float32)
