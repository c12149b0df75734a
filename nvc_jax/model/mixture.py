"""Anchors as hypotheses: a mixture of Gaussians as the prior that an input gives. Pure functions.

`x` is what is seen and `y` the whole. The prior `p(k, z | x) = π_k(x) · N(z; A_k + f_k(x), σ_k(x)²)` says which
anchors are possible and where they are; the posterior `q(z | x, y)` sees the target, in training alone;
the decoder is `p(y | z, x)`. With one anchor this is the conditional variational autoencoder, with nothing
seen a nebula of learned shares.

Reference: Sohn, Lee and Yan, "Learning Structured Output Representation using Deep Conditional Generative
Models", NeurIPS 2015.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from nvc_jax.core.errors import UserError


@flax.struct.dataclass
class Prior:
    """Which anchors an input allows, and where; float32.

    Attributes:
      log_weight: `log π_k(x)`, `[B, K]`.
      mean: `A_k + f_k(x)`, `[B, K, D]`.
      logvar: `log σ_k(x)²`, `[B, K, D]`.
    """

    log_weight: jax.Array
    mean: jax.Array
    logvar: jax.Array


def take_anchor(values: jax.Array, index: jax.Array) -> jax.Array:
    """Of values `[B, K, …]` those of one anchor an example, `[B, …]`, or of n, `[B, n, …]`."""
    one = index.ndim == 1
    index = index[:, None] if one else index
    index = index.reshape(*index.shape, *(1,) * (values.ndim - 2))
    found = jnp.take_along_axis(values, index, axis=1)
    return found[:, 0] if one else found


def prior_kl(mean: ArrayLike, logvar: ArrayLike, prior: Prior) -> jax.Array:
    """KL divergence of posteriors from the Gaussian of every anchor.

    `½ Σ_d [(e^logvar + (mean − μ_k)²) / σ_k² − 1 − logvar + log σ_k²]`.

    Args:
      mean: `[B, D]`.
      logvar: `[B, D]`.
      prior: of the same examples.

    Returns:
      float32 `[B, K]`, never negative but for rounding.

    Raises:
      UserError: for shapes that do not fit.

    Example:
      >>> zero = jnp.zeros((1, 1, 1))
      >>> prior_kl([[3.0]], [[0.0]], Prior(zero[0], zero, zero)).tolist()
      [[4.5]]
    """
    mean, logvar = jnp.asarray(mean, jnp.float32), jnp.asarray(logvar, jnp.float32)
    if mean.shape != logvar.shape or prior.mean.shape[::2] != mean.shape:
        raise UserError(
            f"The KL needs mean and logvar [B, D] and a prior [B, K, D], got {mean.shape}, "
            f"{logvar.shape} and {prior.mean.shape}: give all of the same examples."
        )
    difference = mean[:, None] - prior.mean
    ratio = (jnp.exp(logvar)[:, None] + jnp.square(difference)) * jnp.exp(-prior.logvar)
    return 0.5 * jnp.sum(ratio - 1.0 - logvar[:, None] + prior.logvar, axis=-1)


def mixture_kl(kl: jax.Array, log_weight: jax.Array) -> jax.Array:
    """Bound of the KL divergence of posteriors from the mixture.

    `−log Σ_k π_k · exp(−KL_k)`: the least of `Σ_k r_k · (KL_k − log π_k + log r_k)` over
    responsibilities r, which is at least the divergence, and equals it for one anchor.

    Args:
      kl: what `prior_kl` gave, `[B, K]`.
      log_weight: `[B, K]`.

    Returns:
      float32 `[B]`.

    Example:
      >>> kl, weight = jnp.array([[0.0, 50.0]]), jnp.array([[0.5, 0.5]])
      >>> round(float(mixture_kl(kl, jnp.log(weight))[0]), 4)  # log 2
      0.6931

    Reference: Hershey and Olsen, "Approximating the Kullback Leibler divergence between Gaussian mixture
    models", ICASSP 2007, equation 20 for a single Gaussian.
    """
    return -jax.nn.logsumexp(log_weight - kl, axis=-1)


def responsibilities(kl: jax.Array, log_weight: jax.Array) -> jax.Array:
    """`r_k ∝ π_k · exp(−KL_k)`, the best ones of the bound `mixture_kl`, float32 `[B, K]`."""
    return jax.nn.softmax(log_weight - kl, axis=-1)


def assigned_kl(
    mean: jax.Array, logvar: jax.Array, prior: Prior, assignment: jax.Array
) -> jax.Array:
    """`KL_k − log π_k` of the assigned anchor: a bound as `mixture_kl`, and never below it.

    Args:
      mean: of the posteriors, `[B, D]`.
      logvar: `[B, D]`.
      prior: of the same examples.
      assignment: int32 `[B]`.

    Returns:
      float32 `[B]`, for the time of one anchor.
    """
    own = jax.tree.map(lambda values: take_anchor(values, assignment[:, None]), prior)
    return (prior_kl(mean, logvar, own) - own.log_weight)[:, 0]


def prior_mean(prior: Prior) -> jax.Array:
    """The mean of the mixture, `Σ_k π_k · μ_k`, `[B, D]`."""
    return jnp.einsum("bk,bkd->bd", jnp.exp(prior.log_weight), prior.mean)


def mixture_log_density(z: jax.Array, prior: Prior) -> jax.Array:
    """`log Σ_k π_k · N(z; μ_k, σ_k²)` of vectors `[B, n, D]`, float32 `[B, n]`."""
    difference = z[:, :, None] - prior.mean[:, None]
    logvar = prior.logvar[:, None]
    exponent = jnp.square(difference) * jnp.exp(-logvar) + logvar + jnp.log(2 * jnp.pi)
    return jax.nn.logsumexp(prior.log_weight[:, None] - 0.5 * jnp.sum(exponent, axis=-1), axis=-1)


def importance_log_likelihood(log_weights: jax.Array) -> jax.Array:
    """`log (1/S) Σ_s p(y | z_s, x) · p(z_s | x) / q(z_s | x, y)` from the S logarithms, `[B, S]` → `[B]`.

    Reference: Burda, Grosse and Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016, section 5.
    """
    return jax.nn.logsumexp(log_weights, axis=-1) - jnp.log(log_weights.shape[-1])


def nearest_anchor(mean: jax.Array, logvar: jax.Array, prior: Prior) -> jax.Array:
    """The anchor of the least KL, int32 `[B]`, without a gradient; ties go to the lowest index."""
    kl = jax.lax.stop_gradient(prior_kl(mean, logvar, prior))
    return jnp.argmin(kl, axis=-1).astype(jnp.int32)


def prior_draws(prior: Prior, noise: ArrayLike, place: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Draws from the mixture of every example.

    Args:
      prior: of B examples.
      noise: standard normal, `[S, D]`, the same for all examples.
      place: from 0 to 1, `[S]`: where in the cumulated weights the anchor of each draw lies.

    Returns:
      (codes `[B, S, D]`, anchors int32 `[B, S]`).
    """
    noise, place = jnp.asarray(noise), jnp.asarray(place)
    ends = jnp.cumsum(jnp.exp(prior.log_weight), axis=-1)
    index = jnp.sum(place[None, :, None] > ends[:, None, :-1], axis=-1).astype(jnp.int32)
    mean, logvar = take_anchor(prior.mean, index), take_anchor(prior.logvar, index)
    return mean + jnp.exp(0.5 * logvar) * noise[None], index
