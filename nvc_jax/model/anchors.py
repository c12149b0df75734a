"""Nebula anchors: distances, assignment, usage, initializers, revival. Pure functions on `[K, D]`."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from nvc_jax.core.errors import UserError
from nvc_jax.core.threads import one_thread
from nvc_jax.model.distances import map_rows, squared_distances, vectors_and_anchors
from nvc_jax.model.shares import balanced_assign, quotas

__all__ = [
    "Usage",
    "assign",
    "balanced_assign",
    "kmeans",
    "kmeans_plus_plus",
    "min_anchor_distance",
    "normal",
    "quotas",
    "revive",
    "soft_assign",
    "spread",
    "squared_distances",
    "usage",
]


@jax.jit
def _assign(x: jax.Array, anchors: jax.Array) -> jax.Array:
    """Nearest anchors of many rows, in blocks, so that no array of size N·K exists."""

    def nearest(rows: jax.Array) -> jax.Array:
        return jnp.argmin(squared_distances(rows, anchors), axis=-1).astype(jnp.int32)

    return map_rows(nearest, anchors.shape[0], x)


def assign(x: ArrayLike, anchors: ArrayLike) -> jax.Array:
    """Index of the nearest anchor, `argmin_k d²(x, A_k)`; ties go to the lowest index.

    Args:
      x: `[N, D]`, any real dtype; computed in float32.
      anchors: `[K, D]`.

    Returns:
      int32 `[N]`, without a gradient.

    Raises:
      UserError: for other shapes.

    Example:
      >>> assign([[0.2, 0.0], [0.9, 1.0]], anchors=[[0.0, 0.0], [1.0, 1.0]]).tolist()
      [0, 1]
    """
    return _assign(*jax.lax.stop_gradient(vectors_and_anchors(x, anchors)))


def soft_assign(x: ArrayLike, anchors: ArrayLike, temperature: ArrayLike = 1.0) -> jax.Array:
    """Soft assignment `softmax_k(−d²(x, A_k) / temperature)`: the nearest anchor weighs most.

    Args:
      x: `[N, D]`.
      anchors: `[K, D]`.
      temperature: greater than 0, in squared units of x.

    Returns:
      float32 `[N, K]`; rows sum to 1.
    """
    squared = squared_distances(x, anchors)
    # Softmax does not feel the shift, and without it a small temperature makes ∞ − ∞.
    excess = squared - jax.lax.stop_gradient(jnp.min(squared, axis=-1, keepdims=True))
    return jax.nn.softmax(-excess / jnp.asarray(temperature, jnp.float32), axis=-1)


def min_anchor_distance(anchors: ArrayLike) -> jax.Array:
    """Smallest distance between two anchors, float32 `[]`; infinite for one anchor."""
    squared = squared_distances(anchors, anchors)
    return jnp.sqrt(jnp.min(jnp.where(jnp.eye(squared.shape[0], dtype=bool), jnp.inf, squared)))


class Usage(NamedTuple):
    """How examples spread over anchors.

    Attributes:
      counts: float32 `[K]`, examples per anchor.
      perplexity: `exp(−Σ p·log p)` of the shares, from 1 (collapse) to K; 0 for no examples.
      num_used: int32, anchors with an example.
      num_dead: int32, anchors without.
      max_share: largest share, from 0 to 1.
    """

    counts: jax.Array
    perplexity: jax.Array
    num_used: jax.Array
    num_dead: jax.Array
    max_share: jax.Array


def usage(assignment: ArrayLike, num_anchors: int, mask: ArrayLike | None = None) -> Usage:
    """Counts how often each anchor is used.

    Args:
      assignment: int `[N]`; ids outside 0 … K − 1 count for nobody.
      num_anchors: `K`.
      mask: bool `[N]`; examples to leave out are False.

    Returns:
      The usage.

    Example:
      >>> found = usage([0, 0, 2, 2], num_anchors=3)
      >>> found.counts.tolist(), int(found.num_dead)
      ([2.0, 0.0, 2.0], 1)
    """
    assignment = jnp.asarray(assignment, jnp.int32)
    weight = (
        jnp.ones(assignment.shape, jnp.float32) if mask is None else jnp.asarray(mask, jnp.float32)
    )
    counts = jax.ops.segment_sum(weight, assignment, num_anchors)
    share = counts / jnp.maximum(jnp.sum(counts), 1.0)
    entropy = -jnp.sum(jnp.where(share > 0, share * jnp.log(jnp.where(share > 0, share, 1.0)), 0.0))
    num_used = jnp.sum(counts > 0).astype(jnp.int32)
    perplexity = jnp.where(num_used > 0, jnp.exp(entropy), 0.0)
    return Usage(counts, perplexity, num_used, num_anchors - num_used, jnp.max(share))


def normal(stddev: float = 1.0) -> jax.nn.initializers.Initializer:
    """Initializer that draws anchors from `N(0, stddev²)`."""
    return jax.nn.initializers.normal(stddev)


def spread(radius: float = 1.0) -> Callable[..., jax.Array]:
    """Initializer with well-separated anchors around a sphere.

    Directions are orthogonal, D at a time; each further set of D is drawn anew and lies one radius
    farther out, so that no two anchors coincide.

    Args:
      radius: distance of the first D anchors from the origin.

    Returns:
      An initializer `(rng, shape, dtype) → [K, D]`.
    """
    orthogonal = jax.nn.initializers.orthogonal()

    def init(rng: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        num_anchors, dim = shape
        num_sets = -(-num_anchors // dim)
        keys = jax.random.split(rng, num_sets)
        sets = [
            radius * (i + 1) * orthogonal(key, (dim, dim), jnp.float32)
            for i, key in enumerate(keys)
        ]
        return jnp.concatenate(sets)[:num_anchors].astype(dtype)

    return init


def _check_data(data: np.ndarray) -> np.ndarray:
    """Finite float32 data with at least one row."""
    data = np.asarray(data, np.float32)
    if data.ndim != 2 or not len(data) or not np.isfinite(data).all():
        raise UserError(
            f"Anchors can be set only from finite vectors [N, D] with N > 0, got shape {data.shape}"
            f"{'' if np.isfinite(data).all() else ' with values that are not finite'}."
        )
    return data


def _separate(centers: np.ndarray, data: np.ndarray, num_anchors: int, seed: int) -> np.ndarray:
    """Fills up to K centers and moves coinciding ones apart by a small jitter."""
    rng = np.random.default_rng(seed)
    missing = num_anchors - len(centers)
    if missing > 0:
        centers = np.concatenate([centers, data[rng.integers(len(data), size=missing)]])
    unit = max(float(data.std()), float(np.abs(data).max()) * 1e-3, 1e-3)
    _, first = np.unique(centers, axis=0, return_index=True)
    again = np.setdiff1d(np.arange(num_anchors), first)
    centers = centers.astype(np.float32)
    centers[again] += 0.01 * unit * rng.standard_normal((len(again), centers.shape[1]))
    return centers.astype(np.float32)


def kmeans(data: np.ndarray, num_anchors: int, seed: int, *, num_restarts: int = 10) -> np.ndarray:
    """Anchors from k-means on encoded data (host side).

    Args:
      data: `[N, D]`, finite.
      num_anchors: `K`.
      seed: of the restarts.
      num_restarts: the best of so many starts is taken.

    Returns:
      float32 `[K, D]`; no two coincide, also where the data has fewer than K distinct rows.

    Raises:
      UserError: for empty or non-finite data.

    Reference: `sklearn.cluster.KMeans`.
    """
    from sklearn.cluster import KMeans  # slow to import, needed once a run

    data = _check_data(data)
    distinct = min(num_anchors, len(np.unique(data, axis=0)))
    with one_thread():
        fitted = KMeans(distinct, n_init=num_restarts, random_state=seed).fit(data)
    return _separate(fitted.cluster_centers_, data, num_anchors, seed)


def kmeans_plus_plus(data: np.ndarray, num_anchors: int, seed: int) -> np.ndarray:
    """Anchors from k-means++ seeding (host side): examples drawn in proportion to D².

    Args:
      data: `[N, D]`, finite.
      num_anchors: `K`.
      seed: of the draws.

    Returns:
      float32 `[K, D]`; no two coincide.

    Raises:
      UserError: for empty or non-finite data.

    Reference: Arthur and Vassilvitskii, SODA 2007; `sklearn.cluster.kmeans_plusplus`.
    """
    from sklearn.cluster import kmeans_plusplus  # slow to import, needed once a run

    data = _check_data(data)
    distinct = min(num_anchors, len(np.unique(data, axis=0)))
    centers, _ = kmeans_plusplus(data, distinct, random_state=seed)
    return _separate(centers, data, num_anchors, seed)


def revive(
    anchors: jax.Array,
    counts: ArrayLike,
    candidates: jax.Array,
    rng: jax.Array,
    opt_state: Any = None,
    min_count: float = 1.0,
) -> tuple[jax.Array, Any, jax.Array]:
    """Moves dead anchors onto examples far from living ones and clears their moments.

    Dead anchors are placed in turn, each on a candidate drawn with probability proportional to its
    squared distance to the nearest anchor that is alive or already placed (k-means++), so that no
    two end up in one place. An anchor for which no such candidate is left stays where it is.

    Args:
      anchors: float32 `[K, D]`.
      counts: `[K]`, recent use; below `min_count` means dead.
      candidates: `[N, D]`, encoded examples; rows that are not finite are never taken.
      rng: JAX key.
      opt_state: optimizer state. Leaves whose path ends in `anchors` and that have the anchors'
        shape get zeros in the revived rows; everything else stays bit-equal.
      min_count: see `counts`.

    Returns:
      (anchors, opt_state, revived bool `[K]`).

    Reference: Arthur and Vassilvitskii, SODA 2007.
    """
    anchors = jnp.asarray(anchors, jnp.float32)
    candidates = jnp.asarray(candidates, jnp.float32)
    dead = jnp.asarray(counts, jnp.float32) < min_count
    usable = jnp.all(jnp.isfinite(candidates), axis=1)

    def to_living(rows: jax.Array) -> jax.Array:
        squared = squared_distances(rows, anchors)
        return jnp.min(jnp.where(dead[None, :], jnp.inf, squared), axis=1)

    def place(nearest: jax.Array, k: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        # Without a living anchor every candidate is as good as the next.
        weight = jnp.where(usable, jnp.where(jnp.isinf(nearest), 1.0, nearest), 0.0)
        move = dead[k] & jnp.any(weight > 0)
        chosen = jax.random.categorical(jax.random.fold_in(rng, k), jnp.log(weight))
        new = jnp.where(move, candidates[chosen], anchors[k])
        distance = squared_distances(candidates, new[None])[:, 0]
        return jnp.where(move, jnp.minimum(nearest, distance), nearest), (new, move)

    indices = jnp.arange(anchors.shape[0], dtype=jnp.int32)
    nearest = map_rows(to_living, anchors.shape[0], candidates)
    _, (placed, revived) = jax.lax.scan(place, nearest, indices)

    def clear(path: Any, leaf: Any) -> Any:
        name = getattr(path[-1], "key", getattr(path[-1], "name", None)) if path else None
        if name != "anchors" or jnp.shape(leaf) != placed.shape:
            return leaf
        return jnp.where(revived[:, None], jnp.zeros_like(leaf), leaf)

    return placed, jax.tree_util.tree_map_with_path(clear, opt_state), revived
