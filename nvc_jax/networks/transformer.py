"""Pre-norm Transformer, encoder and decoder, with one table of embeddings for all of it."""

from __future__ import annotations

from typing import Any, ClassVar

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option
from nvc_jax.networks.attention import Dropout, KeyValue
from nvc_jax.networks.layers import LAYER_OPTIONS, Networks, module_options
from nvc_jax.networks.transformer_layers import DecoderLayer, EncoderLayer, LayerNorm

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
        """The logits of `hidden`, float32 `[B, T, V]`."""
        return self.logits(self.hidden(tokens, memory, memory_mask, keys))

    def hidden(
        self,
        tokens: jax.Array,
        memory: jax.Array,
        memory_mask: jax.Array,
        keys: jax.Array | None = None,
    ) -> jax.Array:
        """States before the output layer; that of a position depends on no later token.

        Args:
          tokens: int32 `[B, T]`: begin, then the target without its last token; padded behind.
          memory: `[B, M, W]`.
          memory_mask: bool `[B, M]`, False at what is not to be attended to.
          keys: JAX keys `[B]` of the dropout; None: none.

        Returns:
          float32 `[B, T, W]`.
        """
        length = tokens.shape[1]
        mask = jnp.tril(jnp.ones((1, 1, length, length), bool))
        memory_mask = memory_mask[:, None, None]
        x = self.first(self.embedding(tokens), keys)
        for layer in self.layers:
            x = layer(x, mask, memory, memory_mask, keys)
        return self.last(x)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """The output layer: `[..., W]` to float32 `[..., V]`."""
        return self.embedding.logits(hidden)

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
        return self.logits(self.last(x)[:, 0]), new


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
      options: `config.model`; `width`, `num_heads`, `feedforward`, `encoder_layers`,
        `decoder_layers`, `dropout`, `dtype` and `remat` are used.
      vocab_size: number of tokens.

    Raises:
      UserError: for an unknown dtype, or sizes that make no network.
    """
    sizes = ("width", "num_heads", "feedforward", "encoder_layers", "decoder_layers")
    for name in sizes:
        if options[name] < 1:
            raise UserError(f"model.{name} is {options[name]}: give 1 or more.")
    if options.width % 2 or options.width % options.num_heads:
        raise UserError(
            f"model.width is {options.width}: give an even number that model.num_heads = "
            f"{options.num_heads} divides."
        )
    if not 0 <= options.dropout < 1:
        raise UserError(f"model.dropout is {options.dropout}: give a number from 0 to below 1.")
    shared = module_options(options, None)
    return Transformer(
        vocab_size,
        dropout=options.dropout,
        dtype=shared["dtype"],
        remat=shared["remat"],
        **{name: options[name] for name in sizes},
    )
