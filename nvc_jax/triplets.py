"""The triplet terms: examples of one cluster near, those of another far. Never a B³ array."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from nvc_jax.anchors import squared_distances

_BLOCK_ROWS = 512


def _pair_distances(rows: jax.Array, x: jax.Array) -> jax.Array:
    """Squared distances `[R, B]` of centered vectors, by one matrix product, never negative."""
    squared = (
        jnp.sum(rows * rows, axis=1)[:, None]
        + jnp.sum(x * x, axis=1)[None, :]
        - 2.0 * jnp.matmul(rows, x.T, precision=jax.lax.Precision.HIGHEST)
    )
    return jnp.where(squared > 0, squared, 0.0)


def _center(x: ArrayLike) -> jax.Array:
    """float32 vectors with their mean taken off, which distances do not feel."""
    x = jnp.asarray(x, jnp.float32)
    return x - jax.lax.stop_gradient(jnp.mean(x, axis=0, keepdims=True))


def _masks(labels: jax.Array, index: jax.Array) -> tuple[jax.Array, jax.Array]:
    """For the rows at `index`: other examples of the same label, and those of another."""
    same = labels[index][:, None] == labels[None, :]
    itself = index[:, None] == jnp.arange(labels.shape[0], dtype=index.dtype)[None, :]
    return same & ~itself, ~same


def _mean(total: jax.Array, count: jax.Array) -> jax.Array:
    """`total / count`, exactly 0 with zero gradient where there is nothing to count."""
    return jnp.where(count > 0, total, 0.0) / jnp.maximum(count, 1).astype(jnp.float32)


def _count(labels: jax.Array) -> jax.Array:
    """Number of triplets (x, y of the same label, w of another), float32: it may pass 2³¹."""
    same = jnp.sum(labels[:, None] == labels[None, :], axis=1).astype(jnp.float32)
    return jnp.sum((same - 1.0) * (labels.shape[0] - same))


def _to_int(count: jax.Array) -> jax.Array:
    """A count as int32, saturated."""
    return jnp.minimum(count, 2.0**31 - 128).astype(jnp.int32)


def triplet_ratio(
    x: ArrayLike, labels: ArrayLike, alpha: ArrayLike = 1.0
) -> tuple[jax.Array, jax.Array]:
    """Ratio form: mean over triplets of `d²(x, y) / (d²(x, w) + α)`.

    The sum over triplets separates, `Σ_x (Σ_y d²(x, y))·(Σ_w 1 / (d²(x, w) + α))`, so that it is
    exact in O(B²·D) time; rows are worked on in blocks, so memory is O(B) times a block.

    Args:
      x: `[B, D]`.
      labels: int `[B]`, usually the nearest anchors.
      alpha: greater than 0.

    Returns:
      (float32 scalar, number of triplets int32). Exactly 0 with zero gradient without a triplet.

    Reference: the public code of Wang et al., TPAMI 2022.
    """
    x, labels = _center(x), jnp.asarray(labels)
    index = jnp.arange(x.shape[0], dtype=jnp.int32)

    def rows_sum(rows: jax.Array) -> jax.Array:
        squared = _pair_distances(x[rows], x)
        same, other = _masks(labels, rows)
        near = jnp.sum(jnp.where(same, squared, 0.0), axis=1)
        far = jnp.sum(jnp.where(other, 1.0 / (squared + alpha), 0.0), axis=1)
        return near * far

    if x.shape[0] <= _BLOCK_ROWS:
        per_row = rows_sum(index)
    else:
        one_row = jax.checkpoint(lambda i: rows_sum(i[None])[0])
        per_row = jax.lax.map(one_row, index, batch_size=_BLOCK_ROWS)
    count = _count(labels)
    return _mean(jnp.sum(per_row), count), _to_int(count)


def _distances(rows: jax.Array, x: jax.Array, squared: bool) -> jax.Array:
    """Distances or squared ones; the root has a zero gradient at distance 0."""
    values = _pair_distances(rows, x)
    if squared:
        return values
    positive = values > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, values, 1.0)), 0.0)


def triplet_hinge(
    x: ArrayLike,
    labels: ArrayLike,
    margin: ArrayLike = 1.0,
    mining: str = "hard",
    squared: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """Hinge form: mean of `max(0, d(x, y) − d(x, w) + margin)`.

    `mining="hard"` takes for every x the farthest y of its label and the nearest w of another, and
    averages over the x that have both. `mining="all"` averages over all triplets, satisfied ones
    included; its time is O(B³), its memory O(B²).

    Args:
      x: `[B, D]`.
      labels: int `[B]`.
      margin: in units of the distance.
      mining: `hard` or `all`.
      squared: use d² in place of d.

    Returns:
      (float32 scalar, number of triplets averaged over, int32).

    Raises:
      ValueError: for another mining.

    Reference: Hermans, Beyer, Leibe, "In Defense of the Triplet Loss", 2017.
    """
    if mining not in ("hard", "all"):
        raise ValueError(f"mining is {mining!r}: use 'hard' or 'all'.")
    x, labels = _center(x), jnp.asarray(labels)
    index = jnp.arange(x.shape[0], dtype=jnp.int32)
    if mining == "hard":
        distances = _distances(x, x, squared)
        same, other = _masks(labels, index)
        valid = jnp.any(same, axis=1) & jnp.any(other, axis=1)
        far = jnp.max(jnp.where(same, distances, -jnp.inf), axis=1, initial=-jnp.inf)
        near = jnp.min(jnp.where(other, distances, jnp.inf), axis=1, initial=jnp.inf)
        excess = jnp.where(valid, far, 0.0) - jnp.where(valid, near, 0.0) + margin
        count = jnp.sum(valid).astype(jnp.float32)
        return _mean(jnp.sum(jnp.where(valid, jax.nn.relu(excess), 0.0)), count), _to_int(count)

    @jax.checkpoint
    def row_sum(i: jax.Array) -> jax.Array:
        distances = _distances(x[i][None], x, squared)[0]
        same, other = (mask[0] for mask in _masks(labels, i[None]))
        excess = jax.nn.relu(distances[:, None] - distances[None, :] + margin)
        return jnp.sum(jnp.where(same[:, None] & other[None, :], excess, 0.0))

    count = _count(labels)
    return _mean(jnp.sum(jax.lax.map(row_sum, index)), count), _to_int(count)


def triplet_anchor(
    x: ArrayLike, anchors: ArrayLike, assignment: ArrayLike, margin: ArrayLike = 1.0
) -> tuple[jax.Array, jax.Array]:
    """Anchor form: mean of `max(0, d²(x, A_k) − min_{j≠k} d²(x, A_j) + margin)`.

    Args:
      x: `[B, D]`.
      anchors: `[K, D]`.
      assignment: int `[B]`, the k of every example.
      margin: in squared units of x.

    Returns:
      (float32 scalar, number of triplets int32: B, or 0 for K = 1).
    """
    squared = squared_distances(x, anchors)
    size, num_anchors = squared.shape
    if num_anchors == 1 or size == 0:
        return jnp.sum(squared) * 0.0, jnp.zeros((), jnp.int32)
    own = jnp.arange(num_anchors, dtype=jnp.int32)[None] == jnp.asarray(assignment)[:, None]
    near = jnp.sum(jnp.where(own, squared, 0.0), axis=1)
    far = jnp.min(jnp.where(own, jnp.inf, squared), axis=1)
    return jnp.mean(jax.nn.relu(near - far + margin)), jnp.asarray(size, jnp.int32)
