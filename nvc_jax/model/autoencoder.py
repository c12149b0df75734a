"""The model that tasks put together: encoder → NebulaBottleneck → decoder."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import ml_collections

from nvc_jax.core.options import Option
from nvc_jax.model.anchors import normal, spread
from nvc_jax.model.bottleneck import Latent, NebulaBottleneck, at_positions, example_keys

BOTTLENECK_OPTIONS = (
    Option("model.num_anchors", 10, "K", at_least=1),
    Option("model.latent_dim", 10, "D", at_least=1),
    Option("model.condition_on_assignment", False, "the decoder sees the soft assignment too"),
    Option("model.temperature", 1.0, "of the soft assignment", above=0),
    Option("model.logvar_min", -10.0, "lower bound of the log variance"),
    Option("model.logvar_max", 10.0, "upper bound of the log variance"),
    Option("model.logvar_init", 0.0, "where the log variance begins, about; small after a warm-up"),
)
"""What `make_bottleneck` reads beside `anchors.init`."""


@flax.struct.dataclass
class Outputs:
    """What a model returns: the decoder's `output`, and the `latent` it was decoded from.

    The output is an array `[B, ...]` or a structure of such arrays, as the task likes it. In training a
    conditional nebula may have another one, `own`: decoded from the assigned anchor itself.
    """

    output: Any
    latent: Latent
    own: Any = None


def make_bottleneck(config: ml_collections.ConfigDict) -> NebulaBottleneck:
    """Makes the bottleneck that a config describes."""
    options = config.model
    return NebulaBottleneck(
        num_anchors=options.num_anchors,
        latent_dim=options.latent_dim,
        temperature=options.temperature,
        condition_on_assignment=options.condition_on_assignment,
        logvar_min=options.logvar_min,
        logvar_max=options.logvar_max,
        logvar_init=options.logvar_init,
        anchor_init=spread() if config.anchors.init == "spread" else normal(),
    )


def draw_positions(keys: jax.Array, length: jax.Array, count: int) -> jax.Array:
    """Random positions of examples, each as likely as any other, with replacement.

    Args:
      keys: JAX keys `[B]`.
      length: int `[B]`, positions 0 … length − 1 are drawn from; 0 gives position 0.
      count: `P`.

    Returns:
      int32 `[B, P]`.
    """

    def draw(key: jax.Array, length: jax.Array) -> jax.Array:
        return jax.random.randint(key, (count,), 0, jnp.maximum(length, 1), jnp.int32)

    return jax.vmap(draw)(keys, length)


def content_keys(values: jax.Array) -> jax.Array:
    """Keys `[B]` that are functions of integers `[B, ...]`; trailing zeros change nothing."""
    rows = values.reshape(values.shape[0], -1).astype(jnp.uint32)
    odd = 2 * jnp.arange(rows.shape[1], dtype=jnp.uint32) + 1
    return example_keys(jax.random.key(0), rows.shape[0], jnp.sum(rows * odd[None], axis=1))


def make_latents(
    bottleneck: NebulaBottleneck,
    features: jax.Array,
    batch: Mapping[str, jax.Array],
    assignment: jax.Array | None = None,
    **options: Any,
) -> tuple[Latent, Latent]:
    """Latents for the decoder, and those that the terms of the loss see.

    They are the same, but where features are of several positions: then the terms see those of the
    batch's `position`.

    Args:
      bottleneck: features → latent.
      features: `[B, F]`, or `[B, T, F]`.
      batch: with `position`, int32 `[B, P]`, in the second case.
      assignment: int32 `[B]`, or `[B·P]`; None: the nearest anchors.
      **options: of the bottleneck.
    """
    position = batch.get("position")
    if position is None:
        latent = bottleneck(features, assignment=assignment, **options)
        return latent, latent
    latent = bottleneck(features, **options)
    return latent, at_positions(latent, position, assignment)


class LatentModel(nn.Module):
    """Encoder → NebulaBottleneck → decoder.

    An encoder may make features of several positions, `[B, T, F]`: the decoder gets the codes of all
    of them, and the terms of the loss see those of the batch's `position`, int32 `[B, P]`.

    Attributes:
      encoder: (input, train) → features `[B, F]`.
      bottleneck: features → latent.
      decoder: (code, train) → output.
      field: the batch's field that is encoded.
    """

    encoder: nn.Module
    bottleneck: NebulaBottleneck
    decoder: nn.Module
    field: str

    def __call__(
        self,
        batch: Mapping[str, jax.Array],
        *,
        train: bool,
        example_index: jax.Array | None = None,
        noise_scale: jax.Array | float = 1.0,
        assignment: jax.Array | None = None,
    ) -> Outputs:
        """Encodes, draws (in training) and decodes."""
        features, context = self.features(batch, train)
        latent, seen = make_latents(
            self.bottleneck,
            features,
            batch,
            assignment,
            deterministic=not train,
            example_index=example_index,
            noise_scale=noise_scale,
        )
        return Outputs(self.output(latent.code, context, train, example_index), seen)

    def encode(self, batch: Mapping[str, jax.Array]) -> Latent:
        """The deterministic latent, with evaluation statistics."""
        features, _ = self.features(batch, False)
        return make_latents(self.bottleneck, features, batch, deterministic=True)[1]

    def decode(self, sample: jax.Array) -> jax.Array:
        """The output for latent vectors `[N, D]` alone, such as anchors."""
        return self.output(self.bottleneck.code(sample), None, False, None)

    def features(self, batch: Mapping[str, jax.Array], train: bool) -> tuple[jax.Array, Any]:
        """Features for the bottleneck, and what else the decoder is given."""
        return self.encoder(batch[self.field], train), None

    def output(
        self, code: jax.Array, context: Any, train: bool, example_index: jax.Array | None
    ) -> jax.Array:
        """Decodes; `context` is None where there is nothing but the code."""
        del context, example_index
        return self.decoder(code, train)


class SkipModel(LatentModel):
    """A model whose encoder also returns feature maps that the decoder adds to its own.

    In training the maps are left out for a share of the examples, so that the decoder knows what to
    make of a code alone, such as that of an anchor.

    Attributes:
      skips: whether the decoder gets the maps; otherwise the code is all it has.
      skip_dropout: share of examples that are decoded from the code alone in training.
    """

    skips: bool = True
    skip_dropout: float = 0.0

    def features(self, batch: Mapping[str, jax.Array], train: bool) -> tuple[jax.Array, Any]:
        """Features for the bottleneck, and the encoder's feature maps."""
        features, maps = self.encoder(batch[self.field], train)
        return features, maps if self.skips else None

    def output(
        self, code: jax.Array, context: Any, train: bool, example_index: jax.Array | None
    ) -> jax.Array:
        """Decodes with the feature maps, where there are any."""
        if train and context and self.skip_dropout > 0:
            kept = self._kept(code.shape[0], example_index)
            context = [x * kept.reshape(-1, *(1,) * (x.ndim - 1)).astype(x.dtype) for x in context]
        return self.decoder(code, train, context)

    def _kept(self, size: int, example_index: jax.Array | None) -> jax.Array:
        """True for examples that keep their feature maps, bool `[B]`; a function of their index."""
        keys = example_keys(self.make_rng("noise"), size, example_index)
        return jax.vmap(lambda key: jax.random.bernoulli(key, 1.0 - self.skip_dropout))(keys)
