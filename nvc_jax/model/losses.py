"""Every term of the Nebula Variational Coding loss, as a function and as an object, and their sum."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option
from nvc_jax.model.distances import map_rows, squared_distances, vectors_and_anchors
from nvc_jax.model.mixture import Prior, assigned_kl, mixture_kl, prior_kl, take_anchor
from nvc_jax.model.triplets import triplet_anchor, triplet_hinge, triplet_ratio

if TYPE_CHECKING:
    from nvc_jax.model.bottleneck import Latent

__all__ = [
    "TERMS",
    "Term",
    "TermInputs",
    "anchor_kl",
    "cluster_masses",
    "gravity",
    "nvc_loss",
    "pull",
    "triplet_anchor",
    "triplet_hinge",
    "triplet_ratio",
]

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


class TermInputs(NamedTuple):
    """What a term sees of a batch; float32 but for the assignment.

    All but the reconstruction are of this device's examples, B = b, or of the global batch where the
    term compares examples.

    Attributes:
      reconstruction: `[b]`, the task's error of every example of this device.
      mean: `[B, D]`.
      logvar: `[B, D]`.
      sample: `[B, D]`.
      assignment: int32 `[B]`.
      anchors: `[K, D]`.
      prior: of a conditional nebula, what the inputs say of the anchors.
      own: `[b]`, of a conditional nebula, the error of the assigned anchor's own answer.
    """

    reconstruction: jax.Array
    mean: jax.Array
    logvar: jax.Array
    sample: jax.Array
    assignment: jax.Array
    anchors: jax.Array
    prior: Prior | None = None
    own: jax.Array | None = None

    def entering(self, weight: jax.Array) -> TermInputs:
        """The inputs of a term with this weight: no gradient comes back where it is 0."""

        def enter(array: jax.Array) -> jax.Array:
            return jnp.where(weight != 0, array, jax.lax.stop_gradient(array))

        floats = {k: v for k, v in self._asdict().items() if k != "assignment"}
        floats = jax.tree.map(enter, floats)
        return self._replace(**floats)


def term_inputs(
    reconstruction: ArrayLike, latent: Latent, anchors: ArrayLike, own: jax.Array | None = None
) -> TermInputs:
    """Inputs of float32, whatever the arrays were."""
    return TermInputs(
        reconstruction=jnp.asarray(reconstruction, jnp.float32),
        mean=jnp.asarray(latent.mean, jnp.float32),
        logvar=jnp.asarray(latent.logvar, jnp.float32),
        sample=jnp.asarray(latent.sample, jnp.float32),
        assignment=jnp.asarray(latent.assignment),
        anchors=jnp.asarray(anchors, jnp.float32),
        prior=latent.prior,
        own=own,
    )


@dataclass(frozen=True)
class Term:
    """A term of the loss.

    Attributes:
      name: as in `loss.NAME.value`, the metric `NAME`, and the weights of `nvc_loss`.
      formula: what it computes, in a line.
      function: (`TermInputs`, a keyword for every option) → scalar, or `[B]`, which is averaged; or
        that and further metrics by name, scalars.
      options: its options, `loss.KEYWORD`.
      weight: its weight where none is given; a term of weight 0 is not computed.
      pairs: it compares examples: it sees those of the global batch.
      in_warmup: it counts before the anchors are set, too.

    Example:
      >>> TERMS["scale"] = Term(
      ...     "scale",
      ...     "mean squared length of the means",
      ...     lambda inputs, scale_power: jnp.sum(inputs.mean**scale_power, axis=1),
      ...     options=(Option("loss.scale_power", 2, "of the lengths", at_least=1),),
      ... )
      >>> del TERMS["scale"]
    """

    name: str
    formula: str
    function: Callable[..., Any]
    options: tuple[Option, ...] = ()
    weight: float = 0.0
    pairs: bool = False
    in_warmup: bool = False

    @property
    def all_options(self) -> tuple[Option, ...]:
        """The schedule of its weight, and its own."""
        group = f"loss.{self.name}"
        forms = ("constant", "linear", "cosine", "cyclic")
        begin = "where it leaves start, counted from where anchors are set"
        return (
            Option(
                f"{group}.schedule", "constant", "how the weight gets from start to value", forms
            ),
            Option(f"{group}.start", 0.0, "weight at first"),
            Option(f"{group}.value", self.weight, f"weight in the end of {self.formula}"),
            Option(f"{group}.begin", 0.0, begin, at_least=0, time=True),
            Option(f"{group}.duration", 0.0, "how long it takes", at_least=0, time=True),
            *self.options,
        )

    def keywords(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Its function's keywords: values given by the options' last names, else their defaults."""
        names = {option.name.removeprefix("loss."): option.default for option in self.options}
        return {name: given.get(name, default) for name, default in names.items()}


def _reconstruction_term(inputs: TermInputs) -> jax.Array:
    """The task's own error."""
    return inputs.reconstruction


def _kl_term(inputs: TermInputs, anchor_scale: float, prior_kl_of: str) -> jax.Array:
    """See `anchor_kl`; of a conditional nebula `assigned_kl` or `mixture_kl`."""
    if inputs.prior is not None:
        prior, own = inputs.prior, inputs.assignment
        if prior_kl_of == "mixture":
            return mixture_kl(prior_kl(inputs.mean, inputs.logvar, prior), prior.log_weight)
        return assigned_kl(inputs.mean, inputs.logvar, prior, own)
    centers = inputs.anchors[inputs.assignment]
    return anchor_kl(inputs.mean, inputs.logvar, centers, anchor_scale)


def _triplet_term(
    inputs: TermInputs,
    triplet_form: str,
    triplet_alpha: float,
    triplet_margin: float,
    triplet_mining: str,
    triplet_squared: bool,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """See `triplet_ratio`, `triplet_hinge` and `triplet_anchor`."""
    mean, labels = inputs.mean, inputs.assignment
    if triplet_form == "ratio":
        loss, count = triplet_ratio(mean, labels, triplet_alpha)
    elif triplet_form == "hinge":
        loss, count = triplet_hinge(mean, labels, triplet_margin, triplet_mining, triplet_squared)
    else:
        loss, count = triplet_anchor(mean, inputs.anchors, labels, triplet_margin)
    return loss, {"num_triplets": count}


def _gravity_term(
    inputs: TermInputs, gravity_form: str, gravity_radius: float, gravity_reduction: str
) -> jax.Array:
    """See `gravity`; masses are averaged over clusters in the bounded form."""
    averaged = "mean" if gravity_form == "bounded" else "sum"
    masses = cluster_masses(inputs.sample, inputs.anchors, inputs.assignment, averaged)
    return gravity(inputs.anchors, masses, gravity_form, gravity_radius, gravity_reduction)


def _own_term(inputs: TermInputs) -> jax.Array:
    """The error of the assigned anchor's own answer, and what choosing that anchor costs."""
    if inputs.prior is None or inputs.own is None:
        raise UserError(
            "loss.own is of a conditional nebula: set model.conditional=true, or loss.own.value=0."
        )
    return inputs.own - take_anchor(inputs.prior.log_weight, inputs.assignment)


def _pull_term(inputs: TermInputs) -> jax.Array:
    """See `pull`."""
    return pull(inputs.sample, inputs.anchors)


TERMS: dict[str, Term] = {
    term.name: term
    for term in (
        Term(
            "reconstruction", "the task's own error", _reconstruction_term,
            weight=1.0, in_warmup=True,
        ),
        Term(
            "kl", "KL( N(mean, e^logvar) ‖ N(A_k, s²I) )", _kl_term,
            (
                Option("loss.anchor_scale", 1.0, "s, the standard deviation around an anchor", above=0),
                Option(
                    "loss.prior_kl_of", "assigned",
                    "of a conditional nebula: from the assigned anchor, or from the mixture",
                    ("assigned", "mixture"),
                ),
            ),
            weight=1.0,
        ),
        Term(
            "triplet", "examples of one anchor near, those of another far", _triplet_term,
            (
                Option("loss.triplet_form", "anchor", "which triplet loss", ("ratio", "hinge", "anchor")),
                Option("loss.triplet_alpha", 1.0, "of the ratio", above=0),
                Option("loss.triplet_margin", 1.0, "of hinge and anchor", at_least=0),
                Option("loss.triplet_mining", "hard", "of the hinge", ("hard", "all")),
                Option("loss.triplet_squared", False, "the hinge compares squared distances"),
            ),
            weight=1.0, pairs=True,
        ),
        Term(
            "gravity", "Σ_{i<j} M_i·M_j·(-log ‖A_i - A_j‖²), or bounded", _gravity_term,
            (
                Option("loss.gravity_form", "bounded", "paper is unbounded below", ("bounded", "paper")),
                Option("loss.gravity_radius", 1.0, "where bounded gravity ends", above=0),
                Option("loss.gravity_reduction", "sum", "over pairs of anchors", ("sum", "mean")),
            ),
            pairs=True,
        ),
        Term("pull", "min_j ‖sample - A_j‖²", _pull_term),
        Term("own", "error of the assigned anchor's own answer - log π_k", _own_term),
    )
}  # fmt: skip
"""Every term by name, also those that `--import` adds: their options are part of every config."""


def weighted_sum(
    terms: Iterable[tuple[Term, Mapping[str, Any]]],
    weights: Mapping[str, ArrayLike],
    own: TermInputs,
    pairs: TermInputs,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss `Σ weight·term`.

    A weight of exactly 0 leaves its term out of total and gradient, also one that is not finite; the
    raw value is still returned.

    Args:
      terms: each with its function's keywords.
      weights: weight of each by name.
      own: of this device's examples.
      pairs: of the global batch.

    Returns:
      (total, raw terms and their further metrics by name), scalars.
    """
    total, raw = jnp.zeros((), jnp.float32), dict[str, jax.Array]()
    for term, keywords in terms:
        weight = jnp.asarray(weights[term.name], jnp.float32)
        found = term.function((pairs if term.pairs else own).entering(weight), **keywords)
        values, metrics = found if isinstance(found, tuple) else (found, {})
        raw |= {term.name: jnp.mean(jnp.asarray(values, jnp.float32)), **metrics}
        total += weight * jnp.where(weight != 0, raw[term.name], 0.0)  # 0·∞ would not be 0
    return total, raw


def nvc_loss(
    reconstruction: ArrayLike,
    latent: Latent,
    anchors: ArrayLike,
    weights: Mapping[str, ArrayLike],
    *,
    pair_latent: Latent | None = None,
    **options: Any,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of Nebula Variational Coding, `Σ weight·term`, for a training loop of your own.

    Reconstruction, KL and pull are means over the batch; triplet and gravity are one value for the
    batch. A weight of exactly 0 leaves its term out of total and gradient; the raw value is still
    returned. Memory is O(B·D + K²), also for the gradient, because large batches are worked on in
    blocks; only the hinge with `triplet_mining="all"` needs O(B²), and O(B³) time.

    Args:
      reconstruction: `[B]`, the task's error of every example.
      latent: the bottleneck's output.
      anchors: `[K, D]`.
      weights: weight by term name, see `TERMS`; a term that is left out is not computed, but the
        reconstruction, which weighs 1.
      pair_latent: latent of the global batch where `latent` is one device's share, for the terms
        that compare examples; None: `latent`.
      **options: of the terms, such as `triplet_form="ratio"`; those of `loss.` in a config, with the
        same defaults.

    Returns:
      (total, raw terms by name, and `num_triplets` with the triplet term), scalars.

    Raises:
      UserError: for an unknown term or option, or a value that an option does not allow.

    Example:
      >>> from nvc_jax import Latent
      >>> zero, anchors = jnp.zeros((1, 2)), jnp.array([[3.0, 4.0]])
      >>> index, share = jnp.zeros(1, jnp.int32), jnp.ones((1, 1))
      >>> latent = Latent(zero, zero, zero, zero, index, share, anchors)
      >>> total, raw = nvc_loss([2.0], latent, anchors, {"kl": 0.5})
      >>> float(raw["kl"]), float(total)  # 2 + 0.5·12.5
      (12.5, 8.25)
    """
    weights = {"reconstruction": 1.0, **weights}
    known = {
        option.name.removeprefix("loss."): option
        for term in TERMS.values()
        for option in term.options
    }
    for kind, given, allowed in [
        ("term", set(weights), set(TERMS)),
        ("option", set(options), set(known)),
    ]:
        for name in given - allowed:
            raise UserError(
                f"The loss has no {kind} {name!r}: use one of {', '.join(sorted(allowed))}."
            )
    for name, value in options.items():
        known[name].check(value)
    own = term_inputs(reconstruction, latent, anchors)
    pairs = own if pair_latent is None else term_inputs(reconstruction, pair_latent, anchors)
    terms = [(term, term.keywords(options)) for term in TERMS.values() if term.name in weights]
    return weighted_sum(terms, weights, own, pairs)
