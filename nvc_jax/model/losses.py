"""Every term of the Nebula Variational Coding loss, and their weighted sum. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option
from nvc_jax.model.distances import map_rows, squared_distances, vectors_and_anchors
from nvc_jax.model.triplets import triplet_anchor, triplet_hinge, triplet_ratio

if TYPE_CHECKING:
    from nvc_jax.model.bottleneck import Latent

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


def _weight_options(term: str, value: float) -> tuple[Option, ...]:
    """The schedule of a term's weight."""
    return (
        Option(
            f"loss.{term}.schedule",
            "constant",
            "how the weight gets from start to value",
            ("constant", "linear", "cosine", "cyclic"),
        ),
        Option(f"loss.{term}.start", 0.0, "weight at first"),
        Option(f"loss.{term}.value", value, "weight in the end"),
        Option(
            f"loss.{term}.begin",
            0.0,
            "where it leaves start, counted from where anchors are set",
            at_least=0,
            time=True,
        ),
        Option(f"loss.{term}.duration", 0.0, "how long it takes", at_least=0, time=True),
    )


TERM_OPTIONS = (
    *_weight_options("reconstruction", 1.0),
    *_weight_options("kl", 1.0),
    *_weight_options("triplet", 1.0),
    *_weight_options("gravity", 0.0),
    *_weight_options("pull", 0.0),
    Option("loss.anchor_scale", 1.0, "s, the standard deviation around an anchor", above=0),
    Option("loss.triplet_form", "anchor", "which triplet loss", ("ratio", "hinge", "anchor")),
    Option("loss.triplet_alpha", 1.0, "of the ratio", above=0),
    Option("loss.triplet_margin", 1.0, "of hinge and anchor", at_least=0),
    Option("loss.triplet_mining", "hard", "of the hinge", ("hard", "all")),
    Option("loss.triplet_squared", False, "the hinge compares squared distances"),
    Option("loss.gravity_form", "bounded", "paper is unbounded below", ("bounded", "paper")),
    Option("loss.gravity_radius", 1.0, "where bounded gravity ends", above=0),
    Option("loss.gravity_reduction", "sum", "over pairs of anchors", ("sum", "mean")),
)

_SOFTENING = 1e-6
"""Added to squared distances between anchors; bounds their logarithm and its gradient."""

_TIE_BREAK = 5e-4
"""Size of the gradient that parts two anchors in one place, small beside any other."""

_MAX_EXPONENT = 80.0
"""Largest logvar whose exponential is taken: e⁸⁰ can still be summed in float32."""


def anchor_kl(
    mean: ArrayLike, logvar: ArrayLike, centers: ArrayLike, scale: ArrayLike = 1.0
) -> jax.Array:
    """KL divergence of the posterior from the Gaussian around its anchor, summed over D.

    `½ Σ_d [(e^logvar + (mean − center)²) / s² − 1 − logvar + 2·log s]`; a center of 0 and s = 1
    give the KL of a plain variational autoencoder.

    Args:
      mean: `[B, D]`, any real dtype; computed in float32.
      logvar: `[B, D]`; above 80 its exponential, and the slope of it, stay at e⁸⁰: finite, and
        still pointing down.
      centers: `[B, D]`, each example's anchor.
      scale: s, standard deviation around an anchor, greater than 0.

    Returns:
      float32 `[B]`, never negative but for rounding.

    Raises:
      UserError: for shapes that are not all alike.

    Example:
      >>> anchor_kl(mean=[[3.0, 4.0]], logvar=[[0.0, 0.0]], centers=[[0.0, 0.0]]).tolist()
      [12.5]

    Reference: Kingma and Welling, 2014, appendix B, with a shifted and scaled prior.
    """
    mean, logvar = jnp.asarray(mean, jnp.float32), jnp.asarray(logvar, jnp.float32)
    centers, scale = jnp.asarray(centers, jnp.float32), jnp.asarray(scale, jnp.float32)
    if not mean.shape == logvar.shape == centers.shape:
        raise UserError(
            f"The KL needs mean, logvar and centers of one shape [B, D], got {mean.shape}, "
            f"{logvar.shape} and {centers.shape}: give every example its own center."
        )
    # The limit only moves the value: cutting off the gradient would let logvar grow for ever.
    excess = jax.lax.stop_gradient(jax.nn.relu(logvar - _MAX_EXPONENT))
    variance = jnp.exp(logvar - excess)
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
      UserError: for another reduction.
    """
    if reduction not in ("sum", "mean"):
        raise UserError(f"The reduction of masses is {reduction!r}: use 'sum' or 'mean'.")
    sample, anchors = jnp.asarray(sample, jnp.float32), jnp.asarray(anchors, jnp.float32)
    assignment = jnp.asarray(assignment)
    squared = jnp.sum(jnp.square(sample - anchors[assignment]), axis=-1)
    total = jax.ops.segment_sum(squared, assignment, anchors.shape[0])
    if reduction == "mean":
        count = jax.ops.segment_sum(jnp.ones_like(squared), assignment, anchors.shape[0])
        total = total / jnp.maximum(count, 1.0)
    return 1.0 + total


def _tie_break(anchors: jax.Array) -> jax.Array:
    """Exactly 0 for every pair, `[K, K]`, with a gradient that parts the pair if it is lowered.

    It stands for `−(A_i − A_j)·(v_i − v_j)` with a fixed vector v for every index, no two alike.
    """
    num_anchors, dim = anchors.shape
    fixed = np.cos(np.outer(1 + np.arange(num_anchors), 1 + np.arange(dim))).astype(np.float32)
    nothing = anchors - jax.lax.stop_gradient(anchors)
    products = jnp.matmul(nothing, fixed.T)
    own = jnp.diagonal(products)
    return products + products.T - own[:, None] - own[None, :]


def gravity(
    anchors: ArrayLike,
    masses: ArrayLike,
    form: str = "bounded",
    radius: float = 1.0,
    reduction: str = "sum",
) -> jax.Array:
    """Gravity between anchors over unordered pairs: keeps them from clustering among themselves.

    * `paper`: `Σ_{i<j} M_i·M_j·(−log ‖A_i − A_j‖²)`, the paper's nebula loss, unbounded below.
    * `bounded`: `Σ_{i<j} M_i·M_j·max(0, −log(‖A_i − A_j‖² / r²))`, with constant masses: 0, with
      zero gradient, from a distance of r on.

    1e-6 is added to squared distances. Two anchors in one place thus have a finite value, but no
    direction to part in: they get a fixed one by their indices, with a gradient of at most
    1e-3·M_i·M_j a coordinate.

    Args:
      anchors: `[K, D]`.
      masses: `[K]`, not negative; a pair with a mass of 0 adds exactly 0.
      form: `bounded` or `paper`.
      radius: r, for the bounded form.
      reduction: `sum` or `mean` over the K(K − 1)/2 pairs.

    Returns:
      float32 scalar; 0 for K = 1.

    Raises:
      UserError: for another form or reduction, or masses that do not fit.

    Example:
      >>> near = gravity(anchors=[[0.0], [0.5]], masses=[1.0, 1.0])  # -log 0.25
      >>> far = gravity(anchors=[[0.0], [2.0]], masses=[1.0, 1.0])
      >>> round(float(near), 2), float(far)
      (1.39, 0.0)

    Reference: Wang et al., TPAMI 2022, the nebula loss; the bounded form is this library's.
    """
    if form not in ("bounded", "paper") or reduction not in ("sum", "mean"):
        raise UserError(
            f"Gravity's form and reduction are {form!r} and {reduction!r}: use 'bounded' or "
            "'paper', and 'sum' or 'mean'."
        )
    anchors, masses = jnp.asarray(anchors, jnp.float32), jnp.asarray(masses, jnp.float32)
    num_anchors = anchors.shape[0]
    if masses.shape != (num_anchors,):
        raise UserError(
            f"Gravity needs one mass for each of the {num_anchors} anchors, got {masses.shape}: "
            "give masses of shape [K]."
        )
    pairs = np.triu(np.ones((num_anchors, num_anchors), bool), k=1)
    # 1 before the logarithm, not 0 after it: a gradient of the diagonal would be infinite times 0.
    squared = jnp.where(pairs, squared_distances(anchors, anchors), 1.0)
    energy = -jnp.log(squared + _SOFTENING)
    energy = energy + jnp.where(squared == 0, _TIE_BREAK * _tie_break(anchors), 0.0)
    if form == "bounded":
        masses = jax.lax.stop_gradient(masses)
        energy = jax.nn.relu(energy + 2.0 * jnp.log(jnp.asarray(radius, jnp.float32)))
    total = jnp.sum(jnp.where(pairs, masses[:, None] * masses[None, :] * energy, 0.0))
    return total / max(int(pairs.sum()), 1) if reduction == "mean" else total


def pull(sample: ArrayLike, anchors: ArrayLike) -> jax.Array:
    """Squared distance to the nearest anchor, `min_j ‖sample − A_j‖²`.

    Many examples are worked on in blocks, without an array of size B·K, also for the gradient.

    Args:
      sample: `[B, D]`.
      anchors: `[K, D]`.

    Returns:
      float32 `[B]`.

    Raises:
      UserError: for other shapes.

    Example:
      >>> pull([[0.0], [5.0]], anchors=[[1.0], [3.0]]).tolist()
      [1.0, 4.0]

    Reference: the public code of Wang et al., TPAMI 2022.
    """
    sample, anchors = vectors_and_anchors(sample, anchors)

    def nearest(rows: jax.Array) -> jax.Array:
        return jnp.min(squared_distances(rows, anchors), axis=-1)

    return map_rows(nearest, anchors.shape[0], sample)


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
    returned. Memory is O(B·D + K²), also for the gradient, because large batches are worked on in
    blocks; only the hinge with `triplet_mining="all"` needs O(B²), and O(B³) time.

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
      UserError: for an unknown form or term.

    Example:
      >>> from nvc_jax import Latent
      >>> zero, anchors = jnp.zeros((1, 2)), jnp.array([[3.0, 4.0]])
      >>> index, share = jnp.zeros(1, jnp.int32), jnp.ones((1, 1))
      >>> latent = Latent(zero, zero, zero, zero, index, share, anchors)
      >>> terms = ("reconstruction", "kl")
      >>> total, raw = nvc_loss([2.0], latent, anchors, {"kl": 0.5}, terms=terms)
      >>> float(raw["kl"]), float(total)  # 2 + 0.5·12.5
      (12.5, 8.25)
    """
    unknown = (set(terms) | set(weights)) - set(TERMS)
    if unknown or triplet_form not in ("ratio", "hinge", "anchor"):
        raise UserError(
            f"Unknown loss terms {sorted(unknown)} or triplet_form {triplet_form!r}: terms are "
            f"{', '.join(TERMS)}; forms are ratio, hinge and anchor."
        )
    weight = {
        name: jnp.asarray(weights.get(name, float(name == "reconstruction")), jnp.float32)
        for name in terms
    }

    def entering(name: str, array: ArrayLike) -> jax.Array:
        """The array as the term sees it; no gradient comes back from a term that weighs 0."""
        array = jnp.asarray(array, jnp.float32)
        return jnp.where(weight[name] != 0, array, jax.lax.stop_gradient(array))

    pairs = latent if pair_latent is None else pair_latent
    raw: dict[str, jax.Array] = {}
    num_triplets = jnp.zeros((), jnp.int32)
    if "reconstruction" in terms:
        raw["reconstruction"] = jnp.mean(entering("reconstruction", reconstruction))
    if "kl" in terms:
        mean, logvar = entering("kl", latent.mean), entering("kl", latent.logvar)
        centers = entering("kl", anchors)[latent.assignment]
        raw["kl"] = jnp.mean(anchor_kl(mean, logvar, centers, anchor_scale))
    if "triplet" in terms:
        mean = entering("triplet", pairs.mean)
        if triplet_form == "ratio":
            found = triplet_ratio(mean, pairs.assignment, triplet_alpha)
        elif triplet_form == "hinge":
            found = triplet_hinge(
                mean, pairs.assignment, triplet_margin, triplet_mining, triplet_squared
            )
        else:
            centers = entering("triplet", anchors)
            found = triplet_anchor(mean, centers, pairs.assignment, triplet_margin)
        raw["triplet"], num_triplets = found
    if "gravity" in terms:
        averaged = "mean" if gravity_form == "bounded" else "sum"
        centers, sample = entering("gravity", anchors), entering("gravity", pairs.sample)
        masses = cluster_masses(sample, centers, pairs.assignment, averaged)
        raw["gravity"] = gravity(centers, masses, gravity_form, gravity_radius, gravity_reduction)
    if "pull" in terms:
        raw["pull"] = jnp.mean(pull(entering("pull", latent.sample), entering("pull", anchors)))
    # A weight of 0 leaves a term out even where it is not finite, and 0·∞ would not be 0.
    weighted = [
        weight[name] * jnp.where(weight[name] != 0, value, 0.0) for name, value in raw.items()
    ]
    return sum(weighted, jnp.zeros((), jnp.float32)), {**raw, "num_triplets": num_triplets}
