"""Counts, such as those of genes in cells: a Poisson or negative binomial of the example's size."""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jax.typing import ArrayLike

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option
from nvc_jax.model.autoencoder import LatentModel, make_bottleneck
from nvc_jax.networks.images import MLPDecoder
from nvc_jax.networks.layers import HIDDEN, LAYER_OPTIONS, MLP, module_options
from nvc_jax.tasks.augment import ASSIGN_FROM
from nvc_jax.tasks.base import Outputs, Task

LIKELIHOODS = ("negative_binomial", "poisson")
MAX_LOG_DISPERSION = 7.0
"""Beyond it a distribution is a Poisson but for a thousandth, and float32 loses its logarithms."""


def negative_binomial(
    counts: ArrayLike, log_mean: ArrayLike, log_dispersion: ArrayLike | None
) -> jax.Array:
    """Negative log-likelihood of counts.

    `−log NB(x; μ, θ) = logΓ(x + 1) + logΓ(θ) − logΓ(x + θ) + (x + θ)·log(θ + μ) − θ·log θ − x·log μ`,
    of variance `μ + μ²/θ`; the limit θ → ∞ is the Poisson, `μ − x·log μ + logΓ(x + 1)`.

    Args:
      counts: `[...]`, not negative.
      log_mean: `log μ`, `[...]`, finite.
      log_dispersion: `log θ`, broadcast against it, taken as at most 7; None: the Poisson.

    Returns:
      float32 `[...]`, not negative for whole counts.

    Example:
      >>> round(float(negative_binomial(0.0, log_mean=0.0, log_dispersion=None)), 3)
      1.0
      >>> round(float(negative_binomial(0.0, log_mean=0.0, log_dispersion=0.0)), 3)  # log 2
      0.693

    Reference: Lopez et al., "Deep generative modeling for single-cell transcriptomics" (scVI), Nature
    Methods 2018; `scipy.stats.nbinom` with n = θ and p = θ / (θ + μ).
    """
    x, log_mean = jnp.asarray(counts, jnp.float32), jnp.asarray(log_mean, jnp.float32)
    if log_dispersion is None:
        return jnp.exp(log_mean) - x * log_mean + gammaln(x + 1)
    log_theta = jnp.minimum(jnp.asarray(log_dispersion, jnp.float32), MAX_LOG_DISPERSION)
    theta = jnp.exp(log_theta)
    # log(θ + μ) − log θ and log(θ + μ) − log μ without a difference of large numbers.
    over_theta = jax.nn.softplus(log_mean - log_theta)
    over_mean = jax.nn.softplus(log_theta - log_mean)
    chosen = gammaln(x + 1) + gammaln(theta) - gammaln(x + theta)
    return chosen + theta * over_theta + x * over_mean


def log_normalized(counts: jax.Array, total: float) -> jax.Array:
    """`log(1 + total·x / Σx)`: what is left when an example's size is taken out; 0 without counts.

    Args:
      counts: `[B, F]`, not negative.
      total: sum that every example is scaled to.

    Returns:
      float32 `[B, F]`.
    """
    size = jnp.sum(counts, axis=1, keepdims=True)
    return jnp.log1p(counts / jnp.maximum(size, 1.0) * total)


class CountDecoder(nn.Module):
    """Logits of the features' frequencies, and a dispersion of every feature.

    Attributes:
      decoder: (code, train) → logits `[B, F]`.
      width: F.
    """

    decoder: nn.Module
    width: int

    @nn.compact
    def __call__(self, code: jax.Array, train: bool) -> dict[str, jax.Array]:
        """`logits` `[B, F]` and `log_dispersion` `[B, F]`, the same for every example."""
        logits = self.decoder(code, train)
        dispersion = self.param("log_dispersion", nn.initializers.zeros, (self.width,), jnp.float32)
        return {
            "logits": logits,
            "log_dispersion": jnp.broadcast_to(dispersion[None], logits.shape),
        }


class CountTask(Task):
    """Reconstruction of counts by their likelihood, given an example's sum.

    The encoder sees `log(1 + total·x / Σx)`. The decoder gives the features' frequencies, whose product
    with the sum is the mean of a negative binomial, or Poisson, of every feature. In training a share
    `augment.drop` of the features, drawn anew at every step, is 0 in what is encoded.

    Reference: Lopez et al. (scVI), Nature Methods 2018, with the sum as observed size.
    """

    options = (
        Option("loss.likelihood", "negative_binomial", "or poisson", LIKELIHOODS),
        Option(
            "loss.total",
            10_000.0,
            "sum that examples are scaled to, to be encoded or shown",
            above=0,
        ),
        Option(
            "augment.drop", 0.0, "share of features that are not encoded", at_least=0, at_most=1
        ),
        ASSIGN_FROM,
    )
    fields: ClassVar = {"counts": ("[F]", "float32")}
    networks: ClassVar = {"mlp": (HIDDEN, *LAYER_OPTIONS)}

    def make_model(self, axis_name: str | None) -> nn.Module:
        """See `Task`; dense layers."""
        options = self.config.model
        hidden, shared = tuple(options.hidden), module_options(options, axis_name)
        shape: Any = self.batch_spec["counts"].shape
        decoder = CountDecoder(MLPDecoder(shape, hidden[::-1], **shared), shape[0])
        return LatentModel(
            MLP(hidden, **shared), make_bottleneck(self.config), decoder, field="features"
        )

    def check_values(self, batch: Mapping[str, np.ndarray]) -> None:
        """See `Task`; counts are not negative."""
        least = np.min(batch["counts"], initial=0.0)
        if least < 0:
            raise UserError(
                f"Counts are not negative, got {least:g}: give them as they were counted."
            )

    def prepare(
        self, batch: dict[str, jax.Array], keys: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """See `Task`."""
        clean = log_normalized(batch["counts"], self.config.loss.total)
        prepared: dict[str, Any] = {**batch, "features": clean}
        share = self.config.augment.drop
        if keys is None or not share:
            return prepared
        kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - share, clean.shape[1:]))(keys)
        prepared["features"] = jnp.where(kept, clean, 0.0)
        if self.config.augment.assign_from == "clean":
            prepared["clean"] = {"features": clean}
        return prepared

    def reconstruction(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> jax.Array:
        """Negative log-likelihood, summed over features, `[B]`."""
        counts, output = batch["counts"], outputs.output
        # An example without counts says nothing: any mean that is small enough fits it.
        size = jnp.maximum(jnp.sum(counts, axis=1, keepdims=True), 1.0)
        log_mean = jax.nn.log_softmax(output["logits"], axis=1) + jnp.log(size)
        poisson = self.config.loss.likelihood == "poisson"
        dispersion = None if poisson else output["log_dispersion"]
        return jnp.sum(negative_binomial(counts, log_mean, dispersion), axis=1)

    def finish(self, output: Any) -> jax.Array:
        """Means of the counts of an example with the sum `loss.total`."""
        return self.config.loss.total * jax.nn.softmax(output["logits"], axis=1)

    def features(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """What is encoded."""
        return np.asarray(log_normalized(jnp.asarray(batch["counts"]), self.config.loss.total))
