"""Every term of the Nebula Variational Coding loss, and their weighted sum. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from nvc_jax.anchors import squared_distances
from nvc_jax.triplets import triplet_anchor, triplet_hinge, triplet_ratio

if TYPE_CHECKING:
    from nvc_jax.bottleneck import Latent

__all__ = [
    "TERMS",
    "anchor_kl",
    "cluster_masses",
    "gravity",
    "nvc_loss",
    "pull",
    "triplet_anchor",
    "triplet_hinge",
    "triplet_ratio",
]

TERMS = ("reconstruction", "kl", "triplet", "gravity", "pull")
_SOFTENING = 1e-6
_MAX_EXPONENT = 80.0


def anchor_kl(
    mean: ArrayLike, logvar: ArrayLike, centers: ArrayLike, scale: ArrayLike = 1.0
) -> jax.Array:
    """KL divergence of the posterior from the Gaussian around its anchor, summed over D.

    `½ Σ_d [(e^logvar + (mean − center)²) / s² − 1 − logvar + 2·log s]`; a center of 0 and s = 1
    give the KL of a plain variational autoencoder.

    Args:
      mean: `[B, D]`.
      logvar: `[B, D]`; its exponential is capped at e⁸⁰ to stay finite.
      centers: `[B, D]`, each example's anchor.
      scale: s, standard deviation around an anchor, greater than 0.

    Returns:
      float32 `[B]`, never negative but for rounding.

    Reference: Kingma and Welling, 2014, appendix B, with a shifted and scaled prior.
    """
    mean, logvar = jnp.asarray(mean, jnp.float32), jnp.asarray(logvar, jnp.float32)
    centers, scale = jnp.asarray(centers, jnp.float32), jnp.asarray(scale, jnp.float32)
    variance = jnp.exp(jnp.minimum(logvar, _MAX_EXPONENT))
    ratio = (variance + jnp.square(mean - centers)) / jnp.square(scale)
    return 0.5 * jnp.sum(ratio - 1.0 - logvar + 2.0 * jnp.log(scale), axis=-1)


def cluster_masses(
    sample: ArrayLike, anchors: ArrayLike, assignment: ArrayLike, reduction: str = "sum"
) -> jax.Array:
    """Mass of every anchor, `M_k = 1 + Σ ‖sample − A_k‖²` over the examples assigned to it.

    Args:
      sample: `[B, D]`.
      anchors: `[K, D]`.
      assignment: int `[B]`.
      reduction: `sum` as in the paper, or `mean` over the cluster's examples.

    Returns:
      float32 `[K]`, at least 1.

    Raises:
      ValueError: for another reduction.
    """
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction is {reduction!r}: use 'sum' or 'mean'.")
    sample, anchors = jnp.asarray(sample, jnp.float32), jnp.asarray(anchors, jnp.float32)
    assignment = jnp.asarray(assignment)
    squared = jnp.sum(jnp.square(sample - anchors[assignment]), axis=-1)
    total = jnp.zeros(anchors.shape[0]).at[assignment].add(squared)
    if reduction == "mean":
        count = jnp.zeros(anchors.shape[0]).at[assignment].add(1.0)
        total = total / jnp.maximum(count, 1.0)
    return 1.0 + total


def gravity(
    anchors: ArrayLike,
    masses: ArrayLike,
    form: str = "bounded",
    radius: float = 1.0,
    reduction: str = "sum",
) -> jax.Array:
    """Gravity between anchors over unordered pairs: keeps them from clustering among themselves.

    `paper`: `Σ_{i<j} M_i·M_j·(−log ‖A_i − A_j‖²)`, the paper's nebula loss, unbounded below.
    `bounded`: `Σ_{i<j} M_i·M_j·max(0, −log(‖A_i − A_j‖² / r²))`, with constant masses: 0, with zero
    gradient, from a distance of r on.

    Distances are softened by 1e-6. Two anchors that coincide exactly are told apart by a fixed
    offset of 1e-3 that depends on the pair, so that the gradient can separate them.

    Args:
      anchors: `[K, D]`.
      masses: `[K]`, not negative; a pair with a mass of 0 adds exactly 0.
      form: `bounded` or `paper`.
      radius: r, for the bounded form.
      reduction: `sum` or `mean` over the K(K − 1)/2 pairs.

    Returns:
      float32 scalar; 0 for K = 1.

    Raises:
      ValueError: for another form or reduction.

    Reference: Wang et al., TPAMI 2022, the nebula loss; the bounded form is this library's.
    """
    if form not in ("bounded", "paper") or reduction not in ("sum", "mean"):
        raise ValueError(
            f"form and reduction are {form!r} and {reduction!r}: use 'bounded' or 'paper', and "
            "'sum' or 'mean'."
        )
    anchors, masses = jnp.asarray(anchors, jnp.float32), jnp.asarray(masses, jnp.float32)
    first, second = np.triu_indices(anchors.shape[0], k=1)
    if not len(first):
        return jnp.sum(anchors) * 0.0
    difference = anchors[first] - anchors[second]
    coincide = jnp.all(difference == 0, axis=1, keepdims=True)
    # Alternating signs by pair: any fixed direction will do, as long as pairs do not share one.
    pattern = np.cos(np.outer(1 + np.arange(len(first)), 1 + np.arange(anchors.shape[1])))
    offset = 1e-3 * pattern / np.maximum(np.linalg.norm(pattern, axis=1, keepdims=True), 1e-6)
    difference = difference + jnp.where(coincide, jnp.asarray(offset, jnp.float32), 0.0)
    squared = jnp.sum(jnp.square(difference), axis=1) + _SOFTENING
    if form == "bounded":
        masses = jax.lax.stop_gradient(masses)
        energy = jax.nn.relu(-jnp.log(squared / radius**2))
    else:
        energy = -jnp.log(squared)
    pairs = masses[first] * masses[second] * energy
    return jnp.sum(pairs) if reduction == "sum" else jnp.mean(pairs)


def pull(sample: ArrayLike, anchors: ArrayLike) -> jax.Array:
    """Squared distance to the nearest anchor, `min_j ‖sample − A_j‖²`.

    Args:
      sample: `[B, D]`.
      anchors: `[K, D]`.

    Returns:
      float32 `[B]`.

    Reference: the public code of Wang et al., TPAMI 2022.
    """
    return jnp.min(squared_distances(sample, anchors), axis=-1)


def nvc_loss(
    reconstruction: ArrayLike,
    latent: Latent,
    anchors: ArrayLike,
    weights: Mapping[str, ArrayLike],
    *,
    pair_latent: Latent | None = None,
    terms: Sequence[str] = TERMS,
    anchor_scale: float = 1.0,
    triplet_form: str = "ratio",
    triplet_alpha: float = 1.0,
    triplet_margin: float = 1.0,
    triplet_mining: str = "hard",
    triplet_squared: bool = False,
    gravity_form: str = "bounded",
    gravity_radius: float = 1.0,
    gravity_reduction: str = "sum",
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of Nebula Variational Coding, `Σ weight·term`.

    Reconstruction, KL and pull are means over the batch; triplet and gravity are one value for the
    batch. A weight of exactly 0 leaves its term out of total and gradient; the raw value is still
    returned.

    Args:
      reconstruction: `[B]`, the task's error of every example.
      latent: the bottleneck's output.
      anchors: `[K, D]`.
      weights: weight by term name; a name left out weighs 0, `reconstruction` 1.
      pair_latent: latent of the global batch where `latent` is one device's share, for the terms
        that compare examples; None: `latent`.
      terms: names of the terms to compute, from `TERMS`.
      anchor_scale: see `anchor_kl`.
      triplet_form: `ratio`, `hinge` or `anchor`.
      triplet_alpha: see `triplet_ratio`.
      triplet_margin: see `triplet_hinge` and `triplet_anchor`.
      triplet_mining: see `triplet_hinge`.
      triplet_squared: see `triplet_hinge`.
      gravity_form: `bounded` (masses averaged over clusters) or `paper`.
      gravity_radius: see `gravity`.
      gravity_reduction: see `gravity`.

    Returns:
      (total, raw terms by name and `num_triplets`), scalars.

    Raises:
      ValueError: for an unknown form or term.
    """
    unknown = (set(terms) | set(weights)) - set(TERMS)
    if unknown or triplet_form not in ("ratio", "hinge", "anchor"):
        raise ValueError(
            f"Unknown loss terms {sorted(unknown)} or triplet_form {triplet_form!r}: terms are "
            f"{', '.join(TERMS)}; forms are ratio, hinge and anchor."
        )
    anchors = jnp.asarray(anchors, jnp.float32)
    pairs = latent if pair_latent is None else pair_latent
    raw: dict[str, jax.Array] = {}
    num_triplets = jnp.zeros((), jnp.int32)
    if "reconstruction" in terms:
        raw["reconstruction"] = jnp.mean(jnp.asarray(reconstruction, jnp.float32))
    if "kl" in terms:
        centers = anchors[latent.assignment]
        raw["kl"] = jnp.mean(anchor_kl(latent.mean, latent.logvar, centers, anchor_scale))
    if "triplet" in terms:
        if triplet_form == "ratio":
            found = triplet_ratio(pairs.mean, pairs.assignment, triplet_alpha)
        elif triplet_form == "hinge":
            found = triplet_hinge(
                pairs.mean, pairs.assignment, triplet_margin, triplet_mining, triplet_squared
            )
        else:
            found = triplet_anchor(pairs.mean, anchors, pairs.assignment, triplet_margin)
        raw["triplet"], num_triplets = found
    if "gravity" in terms:
        averaged = "mean" if gravity_form == "bounded" else "sum"
        masses = cluster_masses(pairs.sample, anchors, pairs.assignment, averaged)
        raw["gravity"] = gravity(anchors, masses, gravity_form, gravity_radius, gravity_reduction)
    if "pull" in terms:
        raw["pull"] = jnp.mean(pull(latent.sample, anchors))
    total = jnp.zeros(())
    for name, value in raw.items():
        weight = jnp.asarray(weights.get(name, float(name == "reconstruction")), jnp.float32)
        # where on both sides: neither the value nor the gradient of a left-out term can enter.
        kept = jnp.where(weight != 0, value, 0.0)
        total = total + weight * kept
    return total, {**raw, "num_triplets": num_triplets}
