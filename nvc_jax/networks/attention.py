"""Attention with several heads, its cache for decoding, and dropout that is keyed by example."""

from __future__ import annotations

import zlib
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

_MASKED = float(np.finfo(np.float32).min)  # finite: a row with nothing to attend to has no NaN


def attend(query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array) -> jax.Array:
    """Means of the values, weighted by how well their keys fit the query, head by head.

    `softmax(q·kᵀ/√D)·v` over what the mask lets through; where that is nothing, the plain mean.

    Args:
      query: `[B, H, T, D]`.
      key: `[B, H, M, D]`.
      value: `[B, H, M, D]`.
      mask: bool, broadcasts to `[B, H, T, M]`; True where a query may look.

    Returns:
      `[B, H, T, D]`, of the values' dtype; the weights are computed in float32.

    Reference: Vaswani et al., "Attention Is All You Need", 2017.
    """
    scores = jnp.einsum("bhtd,bhmd->bhtm", query, key, preferred_element_type=jnp.float32)
    scores = jnp.where(mask, scores * query.shape[-1] ** -0.5, _MASKED)
    weights = jax.nn.softmax(scores, axis=-1).astype(value.dtype)
    return jnp.einsum("bhtm,bhmd->bhtd", weights, value)


@flax.struct.dataclass
class KeyValue:
    """What can be attended to: `key` and `value`, both `[B, H, M, D]`."""

    key: jax.Array
    value: jax.Array

    def insert(self, new: KeyValue, index: jax.Array | int) -> KeyValue:
        """Puts a `new` one with M = 1 at a position."""
        replace = jax.lax.dynamic_update_slice_in_dim
        return jax.tree.map(lambda old, x: replace(old, x, index, axis=2), self, new)


class _Attention(nn.Module):
    """What both kinds of attention share: sizes, projections without biases, joining the heads."""

    width: int
    num_heads: int
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.output = self.projection(1)

    def projection(self, count: int) -> nn.Dense:
        """`count` projections in one product, each with the variance of a square Xavier kernel."""
        initializer = nn.initializers.lecun_uniform()
        features = count * self.width
        return nn.Dense(features, use_bias=False, dtype=self.dtype, kernel_init=initializer)

    def heads(self, x: jax.Array, count: int) -> list[jax.Array]:
        """Takes `[B, T, count·W]` apart into `count` arrays `[B, H, T, W/H]`.

        With the heads before the positions, products of matrices are twice as fast on a CPU.
        """
        shape = (*x.shape[:2], self.num_heads, self.width // self.num_heads)
        parts = jnp.split(x, count, axis=-1)
        return [part.reshape(shape).transpose(0, 2, 1, 3) for part in parts]

    def look(self, query: jax.Array, seen: KeyValue, mask: jax.Array) -> jax.Array:
        """Attends and mixes the heads: `[B, H, T, W/H]` to `[B, T, W]`."""
        x = attend(query, seen.key, seen.value, mask).transpose(0, 2, 1, 3)
        return self.output(x.reshape(*x.shape[:2], self.width))


class SelfAttention(_Attention):
    """Positions of a sequence attend to one another."""

    def setup(self) -> None:
        """Declares one projection for queries, keys and values, and that of the output."""
        super().setup()
        self.inputs = self.projection(3)

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Maps `[B, T, W]` to the same shape; the mask broadcasts to `[B, H, T, T]`."""
        query, key, value = self.heads(self.inputs(x), 3)
        return self.look(query, KeyValue(key, value), mask)

    def start(self, size: int, length: int) -> KeyValue:
        """An empty cache for `size` sequences of up to `length` positions."""
        shape = (size, self.num_heads, length, self.width // self.num_heads)
        return KeyValue(jnp.zeros(shape, self.dtype), jnp.zeros(shape, self.dtype))

    def step(
        self, x: jax.Array, cache: KeyValue, index: jax.Array | int
    ) -> tuple[jax.Array, KeyValue]:
        """Maps position `index`, `[B, 1, W]`, which sees itself and the cached ones before it."""
        query, key, value = self.heads(self.inputs(x), 3)
        cache = cache.insert(KeyValue(key, value), index)
        mask = jnp.arange(cache.key.shape[2]) <= index
        return self.look(query, cache, mask[None, None, None]), cache


class CrossAttention(_Attention):
    """Positions of a sequence attend to a memory."""

    def setup(self) -> None:
        """Declares the projections of queries, of the memory, and of the output."""
        super().setup()
        self.query = self.projection(1)
        self.memory = self.projection(2)

    def project(self, memory: jax.Array) -> KeyValue:
        """Keys and values of a memory `[B, M, W]`; they are the same in every step of decoding."""
        return KeyValue(*self.heads(self.memory(memory), 2))

    def __call__(self, x: jax.Array, memory: KeyValue, mask: jax.Array) -> jax.Array:
        """Maps `[B, T, W]` to the same shape; the mask broadcasts to `[B, H, T, M]`."""
        return self.look(self.heads(self.query(x), 1)[0], memory, mask)


class Dropout(nn.Module):
    """Zeros a share `rate` of the values and scales up the others, with a key for every example.

    Masks are a function of the example's key and of the place of this module in the network, so
    that they do not depend on how a batch is split over devices.
    """

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, keys: jax.Array | None) -> jax.Array:
        """Maps `[B, ...]` to the same shape; `keys`: JAX keys `[B]`, None leaves x as it is."""
        if keys is None or self.rate == 0:
            return x
        place = np.uint32(zlib.crc32("/".join(self.path).encode()))
        keys = jax.vmap(jax.random.fold_in, (0, None))(keys, place)
        draw = jax.vmap(lambda key: jax.random.bernoulli(key, 1.0 - self.rate, x.shape[1:]))
        return jnp.where(draw(keys), x / (1.0 - self.rate), jnp.zeros((), x.dtype))
