"""The conditional nebula: a model whose anchors are the several answers that one input allows.

See `nvc_jax.model.mixture` for the mathematics.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from nvc_jax.core.options import Option
from nvc_jax.model.autoencoder import LatentModel, Outputs
from nvc_jax.model.bottleneck import Latent, bound_smoothly, example_keys
from nvc_jax.model.mixture import Prior, nearest_anchor, prior_mean, take_anchor

CONDITIONAL_OPTIONS = (
    Option(
        "model.conditional",
        False,
        "anchors are answers: a prior from what is seen, a posterior that sees the target",
    ),
    Option(
        "model.prior_shift",
        "anchor",
        "how what is seen moves and stretches the prior: each anchor by itself, all alike, or not at all",
        ("anchor", "shared", "none"),
    ),
    Option("model.prior_rank", 32, "of what the anchors' own shifts differ by", at_least=1),
    Option("model.tell_anchor", False, "the decoder is told the anchor beside the code"),
    Option(
        "anchors.choose_by",
        "code",
        "an example's anchor: that of the nearest code, or of the candidate with the best own answer",
        ("code", "error"),
    ),
    Option("anchors.candidates", 4, "nearest anchors whose answers are compared", at_least=1),
    Option(
        "anchors.choose_from",
        0.1,
        "where choosing by errors begins, counted from where anchors are set",
        at_least=0,
        time=True,
    ),
    Option(
        "loss.own_of_mean",
        0.0,
        "share of examples whose own answer is decoded from the prior's mean: the single answer",
        at_least=0,
        below=1,
    ),
    Option("eval.best_of", (1, 3, 5, 10), "numbers of answers that are measured", at_least=1),
    Option(
        "eval.draws", 100, "of the prior to choose answers from, and of the posterior", at_least=1
    ),
    Option("eval.shown_answers", 5, "in figures", at_least=1),
)
"""What every task reads whose target is more than its input."""


class ConditionalModel(nn.Module):
    """A model made conditional: the prior reads what its encoder sees, and its decoder gets that, too.

    The decoder gets the encoder's feature maps, where it adds them to its own, or else its features beside the code.

    Attributes:
      model: encoder of what is seen → bottleneck → decoder; the bottleneck is the posterior's.
      recognizer: encoder of the batch's `whole`, `(whole, train)` → features, or those and others.
      prior_shift: `anchor`, `shared` or `none`.
      prior_rank: of what the anchors' shifts differ by.
      tell_anchor: the decoder is told the anchor beside the code.
      own: decode the assigned anchor's own answer in training, too.
      own_of_mean: share of examples whose own answer is decoded from the prior's mean in its place.
    """

    model: LatentModel
    recognizer: nn.Module
    prior_shift: str = "anchor"
    prior_rank: int = 32
    tell_anchor: bool = False
    own: bool = True
    own_of_mean: float = 0.0

    def setup(self) -> None:
        """Declares the heads of the prior, which begin as the anchors, with equal weights."""
        bottleneck, zeros = self.model.bottleneck, nn.initializers.zeros
        count, dim = bottleneck.num_anchors, bottleneck.latent_dim
        self.weights = nn.Dense(count, kernel_init=zeros, dtype=jnp.float32)
        if self.prior_shift != "none":
            self.shared = nn.Dense(2 * dim, kernel_init=zeros, dtype=jnp.float32)
        if count > 1:
            self.logvar = self.param("logvar", zeros, (count, dim), jnp.float32)
        if self.prior_shift == "anchor" and count > 1:
            self.reduced = nn.Dense(self.prior_rank, dtype=jnp.float32)
            self.apart = nn.Dense(count * dim, kernel_init=zeros, dtype=jnp.float32)

    def __call__(
        self,
        batch: Mapping[str, jax.Array],
        *,
        train: bool,
        example_index: jax.Array | None = None,
        noise_scale: jax.Array | float = 1.0,
        assignment: jax.Array | None = None,
    ) -> Outputs:
        """In training decodes a draw of the posterior, and the own answer; else the most probable answer."""
        features, context = self.model.features(batch, train)
        prior = self._prior(features)
        latent = self._posterior(
            batch,
            features,
            prior,
            train,
            assignment,
            deterministic=not train,
            example_index=example_index,
            noise_scale=noise_scale,
        )
        if not train:
            latent = self._most_probable(prior)
            return Outputs(self._decode(latent.mean, latent.assignment, features, context), latent)

        def decode(code: jax.Array) -> Any:
            told = (latent.assignment, features, context)
            return self._decode(code, *told, train=True, example_index=example_index)

        output = decode(latent.sample)
        if not self.own:
            return Outputs(output, latent)
        code = take_anchor(prior.mean, latent.assignment)
        if self.own_of_mean > 0:
            keys = example_keys(self.make_rng("noise"), code.shape[0], example_index)
            chosen = jax.vmap(lambda key: jax.random.bernoulli(key, self.own_of_mean))(keys)
            code = jnp.where(chosen[:, None], prior_mean(prior), code)
        return Outputs(output, latent, decode(code))

    def encode(self, batch: Mapping[str, jax.Array]) -> Latent:
        """The most probable anchor of what is seen, and where it is."""
        return self._most_probable(self._prior(self.model.features(batch, False)[0]))

    def posterior(self, batch: Mapping[str, jax.Array]) -> Latent:
        """The deterministic posterior, which sees the target, with its `prior`."""
        features = self.model.features(batch, False)[0]
        prior = self._prior(features)
        return self._posterior(batch, features, prior, False, None, deterministic=True)

    def answers(self, batch: Mapping[str, jax.Array], code: jax.Array, index: jax.Array) -> Any:
        """Decodes several codes of every example.

        Args:
          batch: what is seen.
          code: `[B, n, D]`.
          index: int32 `[B, n]`, the anchor of each.

        Returns:
          Outputs `[B, n, …]`.
        """
        size, number = index.shape
        features, context = self.model.features(batch, False)

        def repeat(values: jax.Array) -> jax.Array:
            return jnp.repeat(values, number, axis=0)

        output = self._decode(
            code.reshape(size * number, -1),
            index.reshape(-1),
            repeat(features),
            jax.tree.map(repeat, context),
        )
        return jax.tree.map(lambda x: x.reshape(size, number, *x.shape[1:]), output)

    def _prior(self, features: jax.Array) -> Prior:
        """Features of what is seen → prior."""
        bottleneck = self.model.bottleneck
        anchors, features = bottleneck.anchors, features.astype(jnp.float32)
        shape = (features.shape[0], *anchors.shape)
        bounds = (bottleneck.logvar_min, bottleneck.logvar_max)
        shift = logvar = jnp.zeros((1, 1, 1))
        if self.prior_shift != "none":
            shift, logvar = jnp.split(self.shared(features)[:, None], 2, axis=-1)
        if self.prior_shift == "anchor" and shape[1] > 1:
            shift += self.apart(self.reduced(features)).reshape(shape)
        logvar = bound_smoothly(logvar, *bounds)
        if shape[1] > 1:
            logvar += bound_smoothly(self.logvar, *bounds)[None]
        return Prior(
            log_weight=jax.nn.log_softmax(self.weights(features), axis=-1),
            mean=jnp.broadcast_to(anchors[None] + shift, shape),
            logvar=jnp.broadcast_to(logvar, shape),
        )

    def _posterior(
        self,
        batch: Mapping[str, jax.Array],
        features: jax.Array,
        prior: Prior,
        train: bool,
        assignment: jax.Array | None,
        **options: Any,
    ) -> Latent:
        """The posterior; its anchor is the one of the least KL where none is assigned."""
        seen = self.recognizer(batch["whole"], train)
        seen = seen[0] if isinstance(seen, tuple) else seen
        both = jnp.concatenate([seen.astype(jnp.float32), features.astype(jnp.float32)], axis=-1)
        free = jnp.zeros(both.shape[0], jnp.int32)
        latent = self.model.bottleneck(both, assignment=free, **options)
        if assignment is None:
            assignment = nearest_anchor(latent.mean, latent.logvar, prior)
        return latent.replace(assignment=assignment, prior=prior)  # type: ignore[attr-defined]

    def _most_probable(self, prior: Prior) -> Latent:
        """The latent of what is seen alone."""
        index = jnp.argmax(prior.log_weight, axis=-1).astype(jnp.int32)
        mean = take_anchor(prior.mean, index)
        return Latent(
            mean=mean,
            logvar=take_anchor(prior.logvar, index),
            sample=mean,
            code=mean,
            assignment=index,
            soft_assignment=jnp.exp(prior.log_weight),
            anchors=self.model.bottleneck.anchors,
            prior=prior,
        )

    def _decode(
        self,
        code: jax.Array,
        index: jax.Array,
        features: jax.Array,
        context: Any,
        train: bool = False,
        example_index: jax.Array | None = None,
    ) -> Any:
        """Codes `[N, D]` of anchors `[N]`, and what is seen, → outputs."""
        told = [code]
        if context is None:  # otherwise the feature maps tell what is seen
            told.append(features.astype(jnp.float32))
        if self.tell_anchor:
            told.append(jax.nn.one_hot(index, self.model.bottleneck.num_anchors))
        return self.model.output(jnp.concatenate(told, axis=-1), context, train, example_index)


def relative_code(latent: Latent) -> jax.Array:
    """Means of posteriors less what is seen moved their anchor by, `[B, D]`: what anchors are set from."""
    assert latent.prior is not None
    own = take_anchor(latent.prior.mean, latent.assignment)
    return latent.mean - own + latent.anchors[latent.assignment]


def make_conditional(
    config: ml_collections.ConfigDict, model: LatentModel, recognizer: nn.Module
) -> nn.Module:
    """The model that a config describes: as it is, or conditional.

    Args:
      config: the whole config.
      model: of what is seen.
      recognizer: see `ConditionalModel`.
    """
    if not config.model.conditional:
        return model
    own = config.loss.own
    return ConditionalModel(
        model,
        recognizer,
        prior_shift=config.model.prior_shift,
        prior_rank=config.model.prior_rank,
        tell_anchor=config.model.tell_anchor,
        own=own.value != 0 or own.start != 0,
        own_of_mean=config.loss.own_of_mean,
    )
