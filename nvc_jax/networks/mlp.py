"""Multilayer perceptrons on flattened images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from nvc_jax.networks.layers import NormRelu


class MLPEncoder(nn.Module):
    """Dense layers with relu, from pixels to features.

    Attributes:
      widths: of the layers, in order.
      batch_norm: normalize before each relu.
      dtype: of the computation; parameters are float32.
      axis_name: mapped axis that the global batch is split over; None for one device.
    """

    widths: Sequence[int] = (512, 256, 128)
    batch_norm: bool = False
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, C]` to features `[B, widths[-1]]` of `dtype`."""
        x = image.reshape(image.shape[0], -1)
        for width in self.widths:
            x = nn.Dense(width, use_bias=not self.batch_norm, dtype=self.dtype)(x)
            x = NormRelu(self.batch_norm, self.dtype, self.axis_name)(x, train=train)
        return x


class MLPDecoder(nn.Module):
    """The encoder's mirror image: the same widths in reverse, then one dense layer to the pixels.

    Attributes:
      image_shape: (H, W, C) of the output.
      widths: of the encoder's layers, in the encoder's order.
      batch_norm: normalize before each relu.
      dtype: of the computation; parameters are float32.
      axis_name: mapped axis that the global batch is split over; None for one device.
    """

    image_shape: tuple[int, int, int]
    widths: Sequence[int] = (512, 256, 128)
    batch_norm: bool = False
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, code: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, F]` to values without activation, float32 `[B, H, W, C]`."""
        x = code
        for width in reversed(self.widths):
            x = nn.Dense(width, use_bias=not self.batch_norm, dtype=self.dtype)(x)
            x = NormRelu(self.batch_norm, self.dtype, self.axis_name)(x, train=train)
        x = nn.Dense(math.prod(self.image_shape), dtype=self.dtype)(x)
        return x.astype(jnp.float32).reshape(x.shape[0], *self.image_shape)
