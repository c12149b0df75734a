"""Pre-norm Transformer: attention, layers, and encoder and decoder with one table of embeddings."""

from __future__ import annotations

import functools
import zlib
from typing import Any, ClassVar

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option
from nvc_jax.networks.layers import LAYER_OPTIONS, Dense, Networks, apply_stage

TRANSFORMER_NETWORKS: Networks = {
    "transformer": (
        Option("model.width", 128, "of the states", at_least=1),
        Option("model.num_heads", 4, "of the attention", at_least=1),
        Option("model.feedforward", 512, "width inside the feed-forward networks", at_least=1),
        Option("model.encoder_layers", 2, "number of them", at_least=1),
        Option("model.decoder_layers", 2, "number of them", at_least=1),
        Option("model.dropout", 0.1, "after the embedding and each branch", at_least=0, below=1),
        *LAYER_OPTIONS,
    )
}

PADDING = 0  # the token that fills rows up; it is never attended to
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


def positions(index: jax.Array, width: int) -> jax.Array:
    """Sinusoids that tell positions apart, with wavelengths from 2π to 20,000π.

    `sin(index·10000^(−2i/W))` for i = 0 … W/2 − 1, then the cosines.

    Args:
      index: integers `[T]`.
      width: W, even.

    Returns:
      float32 `[T, W]`.

    Reference: Vaswani et al., "Attention Is All You Need", 2017.
    """
    rate = 10_000.0 ** (-jnp.arange(0, width, 2, dtype=jnp.float32) / width)
    angle = index.astype(jnp.float32)[:, None] * rate[None]
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


class Embedding(nn.Module):
    """One table of vectors for source, target and output layer.

    Attributes:
      vocab_size: `V`.
      width: `W`.

    Reference: Press and Wolf, "Using the Output Embedding to Improve Language Models", 2017.
    """

    vocab_size: int
    width: int
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Declares the table."""
        initializer = nn.initializers.normal(self.width**-0.5)
        self.table = self.param("table", initializer, (self.vocab_size, self.width), jnp.float32)

    def __call__(self, tokens: jax.Array, first: jax.Array | int = 0) -> jax.Array:
        """Maps `[B, T]`, at positions from `first`, to `[B, T, W]`: √W · vector + position."""
        x = jnp.take(self.table, tokens, axis=0, mode="clip") * self.width**0.5
        index = first + jnp.arange(tokens.shape[1])
        return (x + positions(index, self.width)[None]).astype(self.dtype)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Maps `[..., W]` to float32 `[..., V]`."""
        table = self.table.astype(self.dtype)
        hidden = hidden.astype(self.dtype)
        return jnp.matmul(hidden, table.T, preferred_element_type=jnp.float32)


@flax.struct.dataclass
class Context:
    """What a decoder attends to in every step: of each layer keys and values, and the mask."""

    layers: list[KeyValue]
    mask: jax.Array


class _Stack(nn.Module):
    """What encoder and decoder share: dropout after the embedding, layers, a last normalization."""

    embedding: Embedding
    num_layers: int
    num_heads: int
    feedforward: int
    dropout: float
    dtype: Any
    remat: bool

    layer: ClassVar[type[nn.Module]]

    def setup(self) -> None:
        options: Any = (self.num_heads, self.feedforward, self.dropout, self.dtype, self.remat)
        self.first = Dropout(self.dropout)
        self.layers = [self.layer(self.embedding.width, *options) for _ in range(self.num_layers)]
        self.last = LayerNorm()


class TransformerEncoder(_Stack):
    """Tokens → states. Attributes: those of `Transformer`, and the embedding that it shares."""

    layer = EncoderLayer

    def __call__(
        self, tokens: jax.Array, keys: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Encodes sentences.

        Args:
          tokens: int32 `[B, S]`, padded with 0.
          keys: JAX keys `[B]` of the dropout; None: none.

        Returns:
          (states, float32 `[B, S, W]`; mask, bool `[B, S]`, False at padding, whose states mean
          nothing).
        """
        mask = tokens != PADDING
        x = self.first(self.embedding(tokens), keys)
        for layer in self.layers:
            x = layer(x, mask[:, None, None], keys)
        return self.last(x), mask


class TransformerDecoder(_Stack):
    """Tokens and a memory → logits of the next tokens. Attributes as those of the encoder."""

    layer = DecoderLayer

    def __call__(
        self,
        tokens: jax.Array,
        memory: jax.Array,
        memory_mask: jax.Array,
        keys: jax.Array | None = None,
    ) -> jax.Array:
        """Logits of what follows each position, which depend on no later token.

        Args:
          tokens: int32 `[B, T]`: begin, then the target without its last token; padded behind.
          memory: `[B, M, W]`.
          memory_mask: bool `[B, M]`, False at what is not to be attended to.
          keys: JAX keys `[B]` of the dropout; None: none.

        Returns:
          float32 `[B, T, V]`.
        """
        length = tokens.shape[1]
        mask = jnp.tril(jnp.ones((1, 1, length, length), bool))
        memory_mask = memory_mask[:, None, None]
        x = self.first(self.embedding(tokens), keys)
        for layer in self.layers:
            x = layer(x, mask, memory, memory_mask, keys)
        return self.embedding.logits(self.last(x))

    def start(
        self, memory: jax.Array, memory_mask: jax.Array, max_length: int
    ) -> tuple[Context, list[KeyValue]]:
        """Prepares decoding token by token.

        Args:
          memory: `[B, M, W]`.
          memory_mask: bool `[B, M]`.
          max_length: steps that the cache has room for.

        Returns:
          (context, which no step changes; cache: leaves `[B, H, max_length, W/H]`).
        """
        layers = [layer.memory_attention.project(memory) for layer in self.layers]
        cache = [layer.attention.start(memory.shape[0], max_length) for layer in self.layers]
        return Context(layers, memory_mask[:, None, None]), cache

    def step(
        self, context: Context, cache: list[KeyValue], tokens: jax.Array, index: jax.Array | int
    ) -> tuple[jax.Array, list[KeyValue]]:
        """Makes the logits of the next tokens as `__call__` does, with a cache of the last ones.

        Args:
          context: of B examples.
          cache: of N = B·k sequences, k neighbors for each example.
          tokens: int32 `[N]`, the tokens at position `index`.
          index: 0 for the first token.

        Returns:
          (logits, float32 `[N, V]`; the cache with this position).
        """
        x = self.embedding(tokens[:, None], index)
        new = []
        for layer, cached, memory in zip(self.layers, cache, context.layers, strict=True):
            x, cached = layer.step(x, cached, memory, context.mask, index)
            new.append(cached)
        return self.embedding.logits(self.last(x)[:, 0]), new


class Transformer(nn.Module):
    """Pre-norm Transformer: `encoder`, `decoder`, and the embedding that both of them use.

    Attributes:
      vocab_size: `V`.
      width: W, even.
      num_heads: H, divides W.
      feedforward: width inside the feed-forward networks.
      encoder_layers: number of layers of the encoder.
      decoder_layers: number of layers of the decoder.
      dropout: share of values that are zeroed after the embedding and after each branch.

    References: Vaswani et al., "Attention Is All You Need", 2017; Xiong et al., "On Layer
    Normalization in the Transformer Architecture", 2020.
    """

    vocab_size: int
    width: int = 512
    num_heads: int = 4
    feedforward: int = 1024
    encoder_layers: int = 6
    decoder_layers: int = 6
    dropout: float = 0.1
    dtype: Any = jnp.float32
    remat: bool = False

    def setup(self) -> None:
        """Declares the three parts."""
        self.embedding = Embedding(self.vocab_size, self.width, self.dtype)
        options: Any = (self.num_heads, self.feedforward, self.dropout, self.dtype, self.remat)
        self.encoder = TransformerEncoder(self.embedding, self.encoder_layers, *options)
        self.decoder = TransformerDecoder(self.embedding, self.decoder_layers, *options)

    def __call__(
        self, source: jax.Array, target: jax.Array, keys: jax.Array | None = None
    ) -> jax.Array:
        """Logits of the decoder, float32 `[B, T, V]`, for source `[B, S]` and its input `[B, T]`."""
        return self.decoder(target, *self.encoder(source, keys), keys)


def make_transformer(options: Any, vocab_size: int) -> Transformer:
    """Makes a Transformer.

    Args:
      options: `config.model`, with the options of `TRANSFORMER_NETWORKS`.
      vocab_size: number of tokens.

    Raises:
      UserError: if the heads do not divide the width.
    """
    names = ("width", "num_heads", "feedforward", "encoder_layers", "decoder_layers", "dropout")
    if options.width % 2 or options.width % options.num_heads:
        raise UserError(
            f"model.width is {options.width}: give an even number that model.num_heads = "
            f"{options.num_heads} divides."
        )
    return Transformer(
        vocab_size,
        dtype=jnp.dtype(options.dtype),
        **{name: options[name] for name in (*names, "remat")},
    )
