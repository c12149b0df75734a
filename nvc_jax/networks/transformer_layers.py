"""Layers of a pre-norm Transformer: of its encoder, of its decoder, and what both consist of."""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from nvc_jax.networks.attention import CrossAttention, Dropout, KeyValue, SelfAttention
from nvc_jax.networks.layers import Dense, apply_stage


class LayerNorm(nn.LayerNorm):
    """`nn.LayerNorm` in float32 of what comes in any precision."""

    @nn.compact
    def __call__(self, x: jax.Array, *, mask: jax.Array | None = None) -> jax.Array:
        """Maps `[..., W]` to float32 of the same shape."""
        return super().__call__(x.astype(jnp.float32), mask=mask)


class _FeedForward(nn.Module):
    """Two dense layers with ReLU between them, for every position."""

    hidden: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, T, W]` to the same shape."""
        layer = functools.partial(
            Dense, dtype=self.dtype, kernel_init=nn.initializers.xavier_uniform()
        )
        hidden = nn.relu(layer(self.hidden)(x))
        return layer(x.shape[-1])(hidden)


class _Layer(nn.Module):
    """What layers of encoder and decoder share: sizes, and branches beside the residual path."""

    width: int
    num_heads: int
    feedforward: int
    dropout: float
    dtype: Any
    remat: bool

    branches: ClassVar[int]  # attentions and the feed-forward network

    def setup(self) -> None:
        self.norms = [LayerNorm() for _ in range(self.branches)]
        self.dropouts = [Dropout(self.dropout) for _ in range(self.branches)]
        self.attention = SelfAttention(self.width, self.num_heads, self.dtype)
        self.dense = _FeedForward(self.feedforward, self.dtype)


class EncoderLayer(_Layer):
    """Self-attention, then a feed-forward network, each normalized before and added to its input."""

    branches = 2

    def __call__(self, x: jax.Array, mask: jax.Array, keys: jax.Array | None) -> jax.Array:
        """Maps `[B, S, W]` to the same shape; the mask broadcasts to `[B, H, S, S]`."""
        return apply_stage(EncoderLayer._layer, self, (x, mask, keys))

    def _layer(self, inputs: tuple[jax.Array, jax.Array, jax.Array | None]) -> jax.Array:
        x, mask, keys = inputs
        x = x + self.dropouts[0](self.attention(self.norms[0](x), mask), keys)
        return x + self.dropouts[1](self.dense(self.norms[1](x)), keys)


class DecoderLayer(_Layer):
    """As `EncoderLayer`, with attention to the memory between the two."""

    branches = 3

    def setup(self) -> None:
        """Declares the attention to the memory beside what all layers have."""
        super().setup()
        self.memory_attention = CrossAttention(self.width, self.num_heads, self.dtype)

    def __call__(
        self,
        x: jax.Array,
        mask: jax.Array,
        memory: jax.Array,
        memory_mask: jax.Array,
        keys: jax.Array | None,
    ) -> jax.Array:
        """Maps `[B, T, W]` to the same shape; masks broadcast to `[B, H, T, T]` and `[B, H, T, M]`."""
        return apply_stage(DecoderLayer._layer, self, (x, mask, memory, memory_mask, keys))

    def _layer(self, inputs: tuple[Any, ...]) -> jax.Array:
        x, mask, memory, memory_mask, keys = inputs
        x = x + self.dropouts[0](self.attention(self.norms[0](x), mask), keys)
        seen = self.memory_attention.project(memory)
        return self._after_attention(x, seen, memory_mask, keys)

    def _after_attention(
        self, x: jax.Array, memory: KeyValue, mask: jax.Array, keys: jax.Array | None
    ) -> jax.Array:
        x = x + self.dropouts[1](self.memory_attention(self.norms[1](x), memory, mask), keys)
        return x + self.dropouts[2](self.dense(self.norms[2](x)), keys)

    def step(
        self,
        x: jax.Array,
        cache: KeyValue,
        memory: KeyValue,
        memory_mask: jax.Array,
        index: jax.Array | int,
    ) -> tuple[jax.Array, KeyValue]:
        """Maps position `index` of N sequences, `[N, 1, W]`, to (the same shape, the new cache).

        The N = B·k sequences attend to B memories, k neighbors to each: for the attention they are
        k queries.
        """
        seen, cache = self.attention.step(self.norms[0](x), cache, index)
        x = (x + seen).reshape(memory.key.shape[0], -1, self.width)
        x = self._after_attention(x, memory, memory_mask, None)
        return x.reshape(-1, 1, self.width), cache
