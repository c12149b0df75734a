"""Nebula anchors: distances, assignment, usage, initializers, revival. Pure functions on `[K, D]`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from nvc_jax.errors import UserError

_COORDINATES = 16
"""Coordinates added up in one pass: XLA turns this many into one vectorized loop on a CPU."""

SMALL_PROBLEM = 2**16
"""Largest N·K·D whose gradient is made of differences, exact however far apart vectors lie."""

_BLOCK_VALUES = 2**22
"""Largest `rows·K` that `assign` holds at once."""


@jax.custom_jvp
@jax.jit
def _distances(x: jax.Array, anchors: jax.Array) -> jax.Array:
    """Squared distances by differences, without an array of size N·K·D."""
    chunks = -(-x.shape[1] // _COORDINATES)

    def by_coordinate(vectors: jax.Array) -> jax.Array:
        missing = chunks * _COORDINATES - vectors.shape[1]
        padded = jnp.pad(vectors, ((0, 0), (0, missing)))
        return padded.T.reshape(chunks, _COORDINATES, vectors.shape[0])

    def add(total: jax.Array, chunk: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        for rows, columns in zip(*chunk, strict=True):
            difference = rows[:, None] - columns[None, :]
            total = total + difference * difference
        return total, None

    zeros = jnp.zeros_like(x[:, :1]) + jnp.zeros_like(anchors[None, :, 0])
    return jax.lax.scan(add, zeros, (by_coordinate(x), by_coordinate(anchors)))[0]


@_distances.defjvp
def _distances_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    """`2·(x − a)·(dx − da)`, multiplied out so that the gradient is made of matrix products.

    Products of differences would bring the N·K·D array back, which only small inputs can afford.
    For others vectors are centered first: a common offset cancels before it can cost digits.
    """
    (x, anchors), (dx, danchors) = primals, tangents
    if x.size * anchors.shape[0] <= SMALL_PROBLEM:
        differences = (x[:, None] - anchors[None]) * (dx[:, None] - danchors[None])
        return _distances(x, anchors), 2.0 * jnp.sum(differences, axis=-1)
    center = jax.lax.stop_gradient(jnp.mean(anchors, axis=0, keepdims=True))
    centered, centers = x - center, anchors - center
    product = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    own = jnp.sum(centered * dx, axis=1)[:, None] + jnp.sum(centers * danchors, axis=1)[None, :]
    crossed = product(dx, centers.T) + product(centered, danchors.T)
    return _distances(x, anchors), 2.0 * (own - crossed)


def map_rows(function: Callable[..., jax.Array], rows: int, *arrays: jax.Array) -> jax.Array:
    """Applies a function of arrays `[N, ...]` that works row by row, `rows` rows at a time.

    Blocks follow one another, and are computed again for a gradient, so that only one block's
    intermediate arrays exist at a time; with N ≤ `rows` it is the plain call.
    """
    size = arrays[0].shape[0]
    if size <= rows:
        return function(*arrays)
    # The last block is filled up with the first rows; what they give is cut off again.
    index = jnp.arange(-(-size // rows) * rows, dtype=jnp.int32).reshape(-1, rows) % size
    blocks = jax.checkpoint(lambda block: function(*(array[block] for array in arrays)))
    return jax.lax.collapse(jax.lax.map(blocks, index), 0, 2)[:size]


def _vectors(x: ArrayLike, anchors: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Both as float32; refuses what is not `[N, D]` and `[K, D]`."""
    x, anchors = jnp.asarray(x, jnp.float32), jnp.asarray(anchors, jnp.float32)
    if x.ndim != 2 or anchors.ndim != 2 or x.shape[1] != anchors.shape[1] or not anchors.size:
        raise UserError(
            f"Distances need vectors [N, D] and anchors [K, D] with K, D > 0, got {x.shape} and "
            f"{anchors.shape}: give both two axes, the second of the same size."
        )
    return x, anchors


def squared_distances(x: ArrayLike, anchors: ArrayLike) -> jax.Array:
    """Squared Euclidean distance of every vector to every anchor.

    `d²[n, k] = Σ_d (x[n, d] − anchors[k, d])²`, by differences and not by the expanded square, so
    that nothing cancels at large offsets. Time O(N·K·D), memory O((N + K)·D + N·K), also for the
    gradient.

    Args:
      x: `[N, D]`, any real dtype; computed in float32.
      anchors: `[K, D]`.

    Returns:
      float32 `[N, K]`, never negative.

    Raises:
      UserError: for other shapes.
    """
    return _distances(*_vectors(x, anchors))


@jax.jit
def _assign(x: jax.Array, anchors: jax.Array) -> jax.Array:
    """Nearest anchors of many rows, in blocks, so that no array of size N·K exists."""

    def nearest(rows: jax.Array) -> jax.Array:
        return jnp.argmin(_distances(rows, anchors), axis=-1).astype(jnp.int32)

    return map_rows(nearest, max(_BLOCK_VALUES // anchors.shape[0], 1), x)


def assign(x: ArrayLike, anchors: ArrayLike) -> jax.Array:
    """Index of the nearest anchor, `argmin_k d²(x, A_k)`; ties go to the lowest index.

    Args:
      x: `[N, D]`, any real dtype; computed in float32.
      anchors: `[K, D]`.

    Returns:
      int32 `[N]`, without a gradient.

    Raises:
      UserError: for other shapes.
    """
    return _assign(*jax.lax.stop_gradient(_vectors(x, anchors)))


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


def balanced_assign(
    x: ArrayLike,
    anchors: ArrayLike,
    *,
    min_share: float = 1.0,
    max_share: float = 1.0,
    temperature: float = 1.0,
    num_iterations: int = 8,
) -> jax.Array:
    """Assignment to anchors whose shares of the batch are kept near `1/K`.

    Adds an offset `v_k` to `−d²/temperature` and moves it, as Sinkhorn's algorithm does, until the
    soft shares lie in `[min_share, max_share] / K`; then takes the largest.

    Args:
      x: `[N, D]`, the whole batch.
      anchors: `[K, D]`.
      min_share: smallest share, in units of `1/K`.
      max_share: largest share, in units of `1/K`.
      temperature: softness of the shares.
      num_iterations: number of updates of the offsets.

    Returns:
      int32 `[N]`.

    Reference: Cuturi, "Sinkhorn Distances", NeurIPS 2013; Caron et al. (SwAV), NeurIPS 2020.
    """
    logits = -squared_distances(x, anchors) / temperature
    num_anchors = logits.shape[1]

    def update(_: int, offset: jax.Array) -> jax.Array:
        share = jnp.mean(jax.nn.softmax(logits + offset[None], axis=1), axis=0) * num_anchors
        return offset + jnp.log(jnp.clip(share, min_share, max_share) / jnp.maximum(share, 1e-8))

    offset = jax.lax.fori_loop(0, num_iterations, update, jnp.zeros(num_anchors, jnp.float32))
    return jnp.argmax(logits + offset[None], axis=1).astype(jnp.int32)


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
      num_anchors: K.
      mask: bool `[N]`; examples to leave out are False.

    Returns:
      The usage.
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
      num_anchors: K.
      seed: of the restarts.
      num_restarts: the best of so many starts is taken.

    Returns:
      float32 `[K, D]`; no two coincide, also where the data has fewer than K distinct rows.

    Raises:
      UserError: for empty or non-finite data.

    Reference: `sklearn.cluster.KMeans`.
    """
    from sklearn.cluster import KMeans  # slow to import, needed once a run
    from threadpoolctl import threadpool_limits

    data = _check_data(data)
    distinct = min(num_anchors, len(np.unique(data, axis=0)))
    with threadpool_limits(1, user_api="openmp"):  # the order of sums depends on threads
        fitted = KMeans(distinct, n_init=num_restarts, random_state=seed).fit(data)
    return _separate(fitted.cluster_centers_, data, num_anchors, seed)


def kmeans_plus_plus(data: np.ndarray, num_anchors: int, seed: int) -> np.ndarray:
    """Anchors from k-means++ seeding (host side): examples drawn in proportion to D².

    Args:
      data: `[N, D]`, finite.
      num_anchors: K.
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
    living = jnp.where(dead[None, :], jnp.inf, squared_distances(candidates, anchors))

    def place(nearest: jax.Array, k: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        # Without a living anchor every candidate is as good as the next.
        weight = jnp.where(usable, jnp.where(jnp.isinf(nearest), 1.0, nearest), 0.0)
        move = dead[k] & jnp.any(weight > 0)
        chosen = jax.random.categorical(jax.random.fold_in(rng, k), jnp.log(weight))
        new = jnp.where(move, candidates[chosen], anchors[k])
        distance = squared_distances(candidates, new[None])[:, 0]
        return jnp.where(move, jnp.minimum(nearest, distance), nearest), (new, move)

    indices = jnp.arange(anchors.shape[0], dtype=jnp.int32)
    _, (anchors, revived) = jax.lax.scan(place, jnp.min(living, axis=1), indices)

    def clear(path: Any, leaf: Any) -> Any:
        name = getattr(path[-1], "key", getattr(path[-1], "name", None)) if path else None
        if name != "anchors" or jnp.shape(leaf) != anchors.shape:
            return leaf
        return jnp.where(revived[:, None], jnp.zeros_like(leaf), leaf)

    return anchors, jax.tree_util.tree_map_with_path(clear, opt_state), revived
