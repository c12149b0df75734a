"""The model that tasks put together: encoder → NebulaBottleneck → decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import ml_collections

from nvc_jax.anchors import normal, spread
from nvc_jax.bottleneck import Latent, NebulaBottleneck, example_keys
from nvc_jax.tasks.base import Outputs


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


class LatentModel(nn.Module):
    """Encoder → NebulaBottleneck → decoder.

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
        latent = self.bottleneck(
            features,
            deterministic=not train,
            example_index=example_index,
            noise_scale=noise_scale,
            assignment=assignment,
        )
        output = self.output(latent.code, context, train, example_index)
        return Outputs(output=output, latent=latent)

    def encode(self, batch: Mapping[str, jax.Array]) -> Latent:
        """The deterministic latent, with evaluation statistics."""
        return self.bottleneck(self.features(batch, False)[0], deterministic=True)

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
