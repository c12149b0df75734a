"""Squared distances between vectors, and work on many rows in blocks of bounded memory."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from nvc_jax.core.errors import UserError

_COORDINATES = 16
"""Coordinates added up in one pass: XLA turns this many into one vectorized loop on a CPU."""

SMALL_PROBLEM = 2**16
"""Largest N·K·D whose gradient is always made of differences, exact however far apart vectors lie."""

FAR_APART = 30.0
"""From this ratio of the extent of all vectors to the distance of near ones on, larger problems' are too."""

BLOCK_VALUES = 2**20
"""Values of an array that work in blocks makes at once, 4 MiB: larger ones leave the cache."""

SMALLEST_BLOCK = 64
"""Rows of a block at least, so that what is done once a block, for all columns, costs little."""


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


def _change_by_differences(
    x: jax.Array, anchors: jax.Array, dx: jax.Array, danchors: jax.Array
) -> jax.Array:
    """`(x − a)·(dx − da)` without an array of size N·K·D, also where it is transposed."""

    @jax.checkpoint  # differences are made again on the way back, those of one coordinate at a time
    def add(total: jax.Array, coordinate: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        rows, columns, drows, dcolumns = coordinate
        difference = rows[:, None] - columns[None, :]
        return total + difference * (drows[:, None] - dcolumns[None, :]), None

    zeros = jnp.zeros_like(x[:, :1]) + jnp.zeros_like(anchors[None, :, 0])
    return jax.lax.scan(add, zeros, (x.T, anchors.T, dx.T, danchors.T))[0]


@_distances.defjvp
def _distances_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    """`2·(x − a)·(dx − da)`, multiplied out so that the gradient is made of matrix products.

    Products of differences would bring the N·K·D array back, which only small inputs can afford.
    For others vectors are centered first: a common offset cancels before it can cost digits. Where
    groups lie so far apart that the products would, differences are added up one coordinate after another.
    """
    (x, anchors), (dx, danchors) = primals, tangents
    if x.size * anchors.shape[0] <= SMALL_PROBLEM:
        differences = (x[:, None] - anchors[None]) * (dx[:, None] - danchors[None])
        return _distances(x, anchors), 2.0 * jnp.sum(differences, axis=-1)
    center = jax.lax.stop_gradient(jnp.mean(anchors, axis=0, keepdims=True))
    centered, centers = x - center, anchors - center
    product = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)

    def by_products(dx: jax.Array, danchors: jax.Array) -> jax.Array:
        own = jnp.sum(centered * dx, axis=1)[:, None] + jnp.sum(centers * danchors, axis=1)[None, :]
        return own - product(dx, centers.T) - product(centered, danchors.T)

    squared = _distances(x, anchors)
    by_differences = functools.partial(_change_by_differences, x, anchors)
    is_far = far_apart(squared, jnp.maximum(extent(centered), extent(centers)))
    return squared, 2.0 * jax.lax.cond(is_far, by_differences, by_products, dx, danchors)


def extent(centered: jax.Array) -> jax.Array:
    """Largest squared length of vectors about a center."""
    return jnp.max(jnp.sum(jnp.square(centered), axis=1), initial=0.0)


def far_apart(squared: jax.Array, largest: jax.Array) -> jax.Array:
    """Whether vectors lie so far apart that products cost the digits of the near ones' differences.

    Args:
      squared: squared distances `[N, K]`.
      largest: their `extent`.

    Returns:
      bool scalar.
    """
    others = jnp.where(squared > 0, squared, jnp.inf)
    nearest = jnp.min(others, axis=1)
    known = jnp.isfinite(nearest)
    count = jnp.sum(known, dtype=jnp.float32)
    mean = jnp.sum(jnp.where(known, nearest, 0.0)) / jnp.maximum(count, 1.0)
    return jax.lax.stop_gradient(largest > FAR_APART**2 * mean)


def vectors_and_anchors(x: ArrayLike, anchors: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Both as float32.

    Args:
      x: `[N, D]`, any real dtype.
      anchors: `[K, D]`, K and D greater than 0.

    Returns:
      Both, float32.

    Raises:
      UserError: for other shapes.
    """
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

    Example:
      >>> squared_distances([[0.0, 0.0]], [[3.0, 4.0], [1.0, 0.0]]).tolist()
      [[25.0, 1.0]]
    """
    return _distances(*vectors_and_anchors(x, anchors))


def block_rows(columns: int) -> int:
    """Rows of a block in which every row holds so many values."""
    return max(BLOCK_VALUES // columns, SMALLEST_BLOCK)


def _split(
    columns: int, arrays: tuple[jax.Array, ...]
) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
    """Arrays `[N, ...]` as blocks `[blocks, rows, ...]`, and the rows that are left."""
    rows = block_rows(columns)
    whole = arrays[0].shape[0] // rows * rows
    blocks = tuple(array[:whole].reshape(-1, rows, *array.shape[1:]) for array in arrays)
    return blocks, tuple(array[whole:] for array in arrays)


def map_rows(function: Callable[..., jax.Array], columns: int, *arrays: jax.Array) -> jax.Array:
    """Applies a function that works row by row, in blocks of rows where there are many.

    Blocks follow one another, and are computed again for a gradient, so that only one block's
    intermediate arrays exist at a time. What fits into one block is the plain call.

    Args:
      function: of arrays `[rows, ...]`, to an array with as many rows, each made of the same row of
        the arguments alone.
      columns: values that the function holds for a row, such as K for distances to anchors.
      *arrays: `[N, ...]` each.

    Returns:
      `function(*arrays)`, `[N, ...]`.
    """
    if arrays[0].shape[0] <= block_rows(columns):
        return function(*arrays)
    blocks, rest = _split(columns, arrays)
    function = jax.checkpoint(function)
    mapped = jax.lax.map(lambda block: function(*block), blocks)
    return jnp.concatenate([jax.lax.collapse(mapped, 0, 2), function(*rest)])


def sum_rows(function: Callable[..., jax.Array], columns: int, *arrays: jax.Array) -> jax.Array:
    """Adds up what a function gives for the rows, in blocks as `map_rows` does.

    Args:
      function: see `map_rows`.
      columns: see `map_rows`.
      *arrays: `[N, ...]` each.

    Returns:
      `Σ_n function(*arrays)[n]`, without the axis of rows.
    """
    return _reduce_rows(lambda *rows: jnp.sum(function(*rows), axis=0), jnp.add, columns, arrays)


def logsumexp_rows(
    function: Callable[..., jax.Array], columns: int, *arrays: jax.Array
) -> jax.Array:
    """`log Σ_n exp function(*arrays)[n]`, in blocks as `map_rows` does; see `sum_rows`."""

    def reduce(*rows: jax.Array) -> jax.Array:
        return jax.nn.logsumexp(function(*rows), axis=0)

    return _reduce_rows(reduce, jnp.logaddexp, columns, arrays)


def _reduce_rows(
    reduce: Callable[..., jax.Array],
    combine: Callable[[jax.Array, jax.Array], jax.Array],
    columns: int,
    arrays: tuple[jax.Array, ...],
) -> jax.Array:
    """What is left of all rows, combined from what is left of each block."""
    if arrays[0].shape[0] <= block_rows(columns):
        return reduce(*arrays)
    blocks, rest = _split(columns, arrays)

    @jax.checkpoint
    def of_block(block: tuple[jax.Array, ...]) -> jax.Array:
        return reduce(*block)

    def add(total: jax.Array, block: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        return combine(total, of_block(block)), None

    first, others = (tuple(array[part] for array in blocks) for part in (0, slice(1, None)))
    total = jax.lax.scan(add, of_block(first), others)[0]
    return combine(total, reduce(*rest)) if rest[0].shape[0] else total
