"""Layers that several networks share."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


class NormRelu(nn.Module):
    """Optional batch normalization, then relu.

    Attributes:
      batch_norm: whether to normalize. Statistics are those of the global batch in training, and
        running averages otherwise.
      dtype: of the computation.
      axis_name: mapped axis that the global batch is split over; None for one device.
    """

    batch_norm: bool = False
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, ..., F]` to the same shape."""
        if self.batch_norm:
            x = nn.BatchNorm(
                use_running_average=not train,
                momentum=0.9,
                dtype=self.dtype,
                axis_name=self.axis_name,
            )(x)
        return nn.relu(x)


def halved_sizes(size: tuple[int, int], num_levels: int) -> list[tuple[int, int]]:
    """Sizes (height, width) before and after each of `num_levels` halvings that round up."""
    sizes = [size]
    for _ in range(num_levels):
        height, width = sizes[-1]
        sizes.append((-(-height // 2), -(-width // 2)))
    return sizes


def upsample(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Doubles `[B, h, w, F]` by repeating pixels, and crops to `size`: undoes one halving."""
    height, width = size
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)[:, :height, :width]


def depth_to_space(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Lays out `[B, h, w, 4·F]` as `[B, 2h, 2w, F]`, and crops to `size`: undoes one halving."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, 2, 2, channels // 4).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, 2 * height, 2 * width, channels // 4)[:, : size[0], : size[1]]
