"""The triplet terms: examples of one cluster near, those of another far. Never a B³ array."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from nvc_jax.core.errors import UserError
from nvc_jax.model.distances import (
    SMALL_PROBLEM,
    extent,
    far_apart,
    map_rows,
    squared_distances,
    vectors_and_anchors,
)

_LARGEST_COUNT = 2**31 - 1


def _inputs(x: ArrayLike, labels: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Vectors `[B, D]` as float32 and labels `[B]`; refuses other shapes."""
    x, labels = jnp.asarray(x, jnp.float32), jnp.asarray(labels)
    if x.ndim != 2 or labels.shape != x.shape[:1]:
        raise UserError(
            f"Triplets need vectors [B, D] and one label for each, got {x.shape} and "
            f"{labels.shape}: give labels of shape [B]."
        )
    return x, labels


def _no_triplet() -> tuple[jax.Array, jax.Array]:
    """What a loss returns where its shapes allow no triplet."""
    return jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32)


def _same_label(rows: jax.Array, labels: jax.Array) -> jax.Array:
    """Whether examples share a label, bool `[R, B]`; every example does with itself."""
    return rows[:, None] == labels[None, :]


def _mean(total: jax.Array, count: jax.Array) -> jax.Array:
    """`total / count`, exactly 0 with zero gradient where there is nothing to count."""
    return jnp.where(count > 0, total / jnp.maximum(count, 1.0), 0.0)


def _count(labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Number of triplets (x, y of the same label, w of another): float32, and int32 saturated."""
    size = labels.shape[0]
    ordered = jnp.sort(labels)
    same = jnp.searchsorted(ordered, labels, "right") - jnp.searchsorted(ordered, labels, "left")
    pairs, others = same - 1, size - same
    count = jnp.sum(pairs.astype(jnp.float32) * others.astype(jnp.float32))
    # Exact modulo 2³²: right below 2³¹, negative up to 2³², and from there on the float tells.
    wrapped = jnp.sum(pairs * others, dtype=jnp.int32)
    too_many = (wrapped < 0) | (count > 1.5 * 2**31)
    return count, jnp.where(too_many, _LARGEST_COUNT, wrapped)


@jax.custom_jvp
def _ratio_sum(x: jax.Array, labels: jax.Array, alpha: jax.Array) -> jax.Array:
    """Sum of the ratios of all triplets, `Σ_x near_x·far_x`."""
    near, far = _near_and_far(x, labels, alpha)
    return jnp.sum(near * far)


def _near_and_far(x: jax.Array, labels: jax.Array, alpha: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`Σ_y d²(x, y)` over the same label and `Σ_w 1 / (d²(x, w) + α)` over others, `[B]` each."""

    def sums(rows: jax.Array, row_labels: jax.Array) -> jax.Array:
        squared = squared_distances(rows, x)
        same = _same_label(row_labels, labels)
        near = jnp.sum(jnp.where(same, squared, 0.0), axis=1)
        return jnp.stack([near, jnp.sum(_inverse(squared, same, alpha), axis=1)], axis=1)

    both = map_rows(sums, x.shape[0], x, labels)
    return both[:, 0], both[:, 1]


def _inverse(squared: jax.Array, same: jax.Array, alpha: jax.Array) -> jax.Array:
    """`1 / (d² + α)` for pairs of different labels, 0 for others."""
    return jnp.where(same, 0.0, 1.0 / jnp.where(same, 1.0, squared + alpha))


@_ratio_sum.defjvp
def _ratio_sum_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    """The gradient by pairs: automatic differentiation would visit (x, y) and (y, x) apart.

    With `g` the derivative for d²(x, y), the gradient for x is `2·Σ_y (g_xy + g_yx)·(x − y)`, where
    `g_xy` is `far_x` for the same label and `−near_x / (d² + α)²` for others. The sum is made of matrix
    products, but for few examples, and where groups lie far apart: of differences, which keep their digits.
    """
    x, labels, alpha = primals
    near, far = _near_and_far(x, labels, alpha)
    centered = x - jnp.mean(x, axis=0, keepdims=True)
    largest = extent(centered)
    small = x.size * x.shape[0] <= SMALL_PROBLEM

    def gradient(
        rows: jax.Array,
        own: jax.Array,
        row_labels: jax.Array,
        row_near: jax.Array,
        row_far: jax.Array,
    ) -> jax.Array:
        squared = squared_distances(rows, x)
        same = _same_label(row_labels, labels)
        inverse = _inverse(squared, same, alpha)
        pull = row_far[:, None] + far[None, :]
        push = (row_near[:, None] + near[None, :]) * inverse * inverse
        force = jnp.where(same, pull, -push)
        if small:
            return 2.0 * jnp.sum(force[:, :, None] * (rows[:, None] - x[None]), axis=1)

        def by_products() -> jax.Array:
            crossed = jnp.matmul(force, centered, precision=jax.lax.Precision.HIGHEST)
            return jnp.sum(force, axis=1, keepdims=True) * own - crossed

        def by_differences() -> jax.Array:
            def add(_: None, coordinate: tuple[jax.Array, jax.Array]) -> tuple[None, jax.Array]:
                difference = coordinate[0][:, None] - coordinate[1][None, :]
                return None, jnp.sum(force * difference, axis=1)

            return jax.lax.scan(add, None, (rows.T, x.T))[1].T

        is_far = far_apart(squared, largest)
        return 2.0 * jax.lax.cond(is_far, by_differences, by_products)

    slope = map_rows(gradient, x.shape[0], x, centered, labels, near, far)
    return jnp.sum(near * far), jnp.sum(slope * tangents[0])


def triplet_ratio(
    x: ArrayLike, labels: ArrayLike, alpha: ArrayLike = 1.0
) -> tuple[jax.Array, jax.Array]:
    """Ratio form: mean over triplets of `d²(x, y) / (d²(x, w) + α)`.

    Triplets are (x, y, w) with y ≠ x of the same label and w of another. Their sum separates,
    `Σ_x (Σ_y d²(x, y))·(Σ_w 1 / (d²(x, w) + α))`, so that it is exact in O(B²·D) time. From
    B = 1,025 on pairs are worked on in blocks: memory is O(B·D), also for the gradient.

    Args:
      x: `[B, D]`, any real dtype; computed in float32.
      labels: int `[B]`, usually the nearest anchors; any ids.
      alpha: greater than 0, in squared units of x; a constant, without a gradient.

    Returns:
      (float32 scalar, number of triplets int32, saturated at 2³¹ − 1). Exactly 0 with zero
      gradient without a triplet.

    Raises:
      UserError: for other shapes.

    Example:
      >>> loss, count = triplet_ratio([[0.0], [1.0], [3.0]], labels=[0, 0, 1])
      >>> round(float(loss), 3), int(count)  # mean of 1 / (9 + 1) and 1 / (4 + 1)
      (0.15, 2)

    Reference: the public code of Wang et al., TPAMI 2022.
    """
    x, labels = _inputs(x, labels)
    if not labels.size:
        return _no_triplet()
    count, num_triplets = _count(labels)
    alpha = jax.lax.stop_gradient(jnp.asarray(alpha, jnp.float32))
    return _mean(_ratio_sum(x, labels, alpha), count), num_triplets


def _root(squared: jax.Array, keep_squared: bool) -> jax.Array:
    """Distances from squared ones, with a zero gradient at 0; or the squared ones."""
    if keep_squared:
        return squared
    zero = squared == 0  # not "not above 0": NaN stays NaN, so that the step's guard sees it
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, squared)))


def triplet_hinge(
    x: ArrayLike,
    labels: ArrayLike,
    margin: ArrayLike = 1.0,
    mining: str = "hard",
    squared: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """Hinge form: mean of `max(0, d(x, y) − d(x, w) + margin)`.

    `mining="hard"` takes for every x the farthest y of its label and the nearest w of another, and
    averages over the x that have both; O(B²·D) time, and O(B·D) memory, because pairs are worked on
    in blocks. `mining="all"` averages over all triplets, satisfied ones included; O(B³) time and
    O(B²) memory, for batches of up to a few thousand.

    Args:
      x: `[B, D]`, any real dtype; computed in float32.
      labels: int `[B]`, any ids.
      margin: in units of the distance.
      mining: `hard` or `all`.
      squared: use d² in place of d.

    Returns:
      (float32 scalar, number of triplets averaged over, int32). Exactly 0 with zero gradient
      without a triplet.

    Raises:
      UserError: for another mining or other shapes.

    Reference: Schroff et al., "FaceNet", CVPR 2015; Hermans, Beyer, Leibe, "In Defense of the
    Triplet Loss", 2017 (batch hard, batch all).
    """
    x, labels = _inputs(x, labels)
    forms = {"hard": _hinge_hard, "all": _hinge_all}
    if mining not in forms:
        raise UserError(f"The triplet mining is {mining!r}: use 'hard' or 'all'.")
    if not labels.size:
        return _no_triplet()
    return forms[mining](x, labels, jnp.asarray(margin, jnp.float32), squared)


def _hinge_hard(
    x: jax.Array, labels: jax.Array, margin: jax.Array, squared: bool
) -> tuple[jax.Array, jax.Array]:
    """Batch hard: one triplet for every example that has one."""
    fixed = jax.lax.stop_gradient(x)

    def pick(rows: jax.Array, row_labels: jax.Array) -> jax.Array:
        distances = squared_distances(rows, fixed)
        same = _same_label(row_labels, labels)
        farthest = jnp.argmax(jnp.where(same, distances, -jnp.inf), axis=1)
        nearest = jnp.argmin(jnp.where(same, jnp.inf, distances), axis=1)
        size = jnp.sum(same, axis=1, dtype=jnp.int32)
        valid = (size > 1) & (size < labels.shape[0])
        return jnp.stack([farthest, nearest, valid.astype(farthest.dtype)], axis=1)

    picked = map_rows(pick, x.shape[0], fixed, labels)
    valid = picked[:, 2] > 0

    # The chosen distances once more, with gradient: they need no [B, B] array on the way back.
    def distance(chosen: jax.Array) -> jax.Array:
        return _root(jnp.sum(jnp.square(x - x[chosen]), axis=1), squared)

    excess = jax.nn.relu(distance(picked[:, 0]) - distance(picked[:, 1]) + margin)
    count = jnp.sum(valid, dtype=jnp.int32)
    return _mean(jnp.sum(jnp.where(valid, excess, 0.0)), count.astype(jnp.float32)), count


def _hinge_all(
    x: jax.Array, labels: jax.Array, margin: jax.Array, squared: bool
) -> tuple[jax.Array, jax.Array]:
    """Batch all: every triplet, the pairs of one example at a time.

    An active triplet adds `d(x, y) + margin − d(x, w)`, so the sum needs only to know how many of
    them each distance is part of.
    """
    distances = _root(squared_distances(x, x), squared)
    index = jnp.arange(x.shape[0], dtype=jnp.int32)
    ones = jnp.ones(x.shape[0], jnp.float32)

    def count_active(row: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        distance, label, i = row
        same = labels == label
        # What no triplet may have is moved where the hinge is 0, instead of masking B² pairs.
        positive = jnp.where(same & (index != i), distance + margin, -jnp.inf)
        negative = jnp.where(same, jnp.inf, distance)
        active = (positive[:, None] > negative[None, :]).astype(jnp.float32)
        return active @ ones, ones @ active

    inputs = (jax.lax.stop_gradient(distances), labels, index)
    as_positive, as_negative = jax.lax.map(count_active, inputs)
    total = jnp.sum(as_positive * (distances + margin) - as_negative * distances)
    count, num_triplets = _count(labels)
    return _mean(total, count), num_triplets


def triplet_anchor(
    x: ArrayLike, anchors: ArrayLike, assignment: ArrayLike, margin: ArrayLike = 1.0
) -> tuple[jax.Array, jax.Array]:
    """Anchor form: mean of `max(0, d²(x, A_k) − min_{j≠k} d²(x, A_j) + margin)`.

    Time O(B·K·D); many examples are worked on in blocks, without an array of size B·K.

    Args:
      x: `[B, D]`, any real dtype; computed in float32.
      anchors: `[K, D]`.
      assignment: int `[B]`, the k of every example.
      margin: in squared units of x.

    Returns:
      (float32 scalar, number of triplets int32: B, or 0 for K = 1). Exactly 0 with zero gradient
      for K = 1 and for B = 0.

    Raises:
      UserError: for other shapes.

    Example:
      >>> loss, count = triplet_anchor([[0.0]], anchors=[[2.0], [1.0]], assignment=[0])
      >>> float(loss), int(count)  # 4 - 1 + 1
      (4.0, 1)
    """
    x, assignment = _inputs(x, assignment)
    x, anchors = vectors_and_anchors(x, anchors)
    size, num_anchors = x.shape[0], anchors.shape[0]
    if num_anchors == 1 or size == 0:
        return _no_triplet()
    margin = jnp.asarray(margin, jnp.float32)

    def excess(rows: jax.Array, row_assignment: jax.Array) -> jax.Array:
        squared = squared_distances(rows, anchors)
        own = row_assignment[:, None] == jnp.arange(num_anchors, dtype=assignment.dtype)[None]
        near = jnp.sum(jnp.where(own, squared, 0.0), axis=1)
        far = jnp.min(jnp.where(own, jnp.inf, squared), axis=1)
        return jax.nn.relu(near - far + margin)

    excesses = map_rows(excess, num_anchors, x, assignment)
    return jnp.mean(excesses), jnp.asarray(size, jnp.int32)
