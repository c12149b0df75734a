"""Strided convolutions, and their mirror image for decoding."""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from nvc_jax.networks.layers import NormRelu, depth_to_space, halved_sizes


class ConvEncoder(nn.Module):
    """3×3 convolutions of stride 2 with relu; each halves the image, rounding up.

    Attributes:
      widths: channels after each convolution.
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
        x = image
        for width in self.widths:
            x = nn.Conv(width, (3, 3), strides=2, use_bias=not self.batch_norm, dtype=self.dtype)(x)
            x = NormRelu(self.batch_norm, self.dtype, self.axis_name)(x, train=train)
        return x.reshape(x.shape[0], -1)


class ConvDecoder(nn.Module):
    """The encoder's mirror image: each layer doubles the image.

    The doubling is a 3×3 convolution to four times the channels, laid out as 2×2 pixels: a
    transposed convolution whose kernels all overlap alike, so that they leave no checkerboard, and
    about twice as fast as `nn.ConvTranspose` on a CPU.

    Attributes:
      image_shape: (H, W, C) of the output.
      widths: channels of the encoder's layers, in the encoder's order.
      batch_norm: normalize before each relu.
      dtype: of the computation; parameters are float32.
      axis_name: mapped axis that the global batch is split over; None for one device.

    Reference:
      Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
      Convolutional Neural Network", CVPR 2016.
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
        outputs = (channels, *self.widths)

        x = nn.Dense(
            smallest[0] * smallest[1] * outputs[-1], use_bias=not self.batch_norm, dtype=self.dtype
        )(code)
        x = x.reshape(x.shape[0], *smallest, outputs[-1])
        for level in reversed(range(len(sizes))):
            x = NormRelu(self.batch_norm, self.dtype, self.axis_name)(x, train=train)
            use_bias = level == 0 or not self.batch_norm
            x = nn.Conv(4 * outputs[level], (3, 3), use_bias=use_bias, dtype=self.dtype)(x)
            x = depth_to_space(x, sizes[level])
        return x.astype(jnp.float32)
