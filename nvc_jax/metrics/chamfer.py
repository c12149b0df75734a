"""Chamfer distance and F-score between point clouds, in memory that grows with N + M."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from nvc_jax.core.errors import UserError

_CANDIDATES = 16
"""Points compared in one pass: XLA turns this many into one vectorized loop on a CPU."""


def _checked(
    points: ArrayLike, mask: ArrayLike | None, name: str
) -> tuple[jax.Array, jax.Array | None]:
    """A cloud as float32, zero at points that are masked out, and its mask."""
    points = jnp.asarray(points, jnp.float32)
    if points.ndim != 3 or points.shape[1] == 0 or points.shape[2] != 3:
        raise UserError(
            f"The point clouds {name} have shape {points.shape}: give [B, N, 3] with at least one "
            "point each, and mask what is padding."
        )
    if mask is None:
        return points, None
    mask = jnp.asarray(mask)
    if mask.shape != points.shape[:2] or mask.dtype != jnp.bool_:
        raise UserError(
            f"The mask of the point clouds {name} is {mask.dtype} {mask.shape}: give bool "
            f"{points.shape[:2]}, True at points that count."
        )
    return jnp.where(mask[..., None], points, 0.0), mask


def _nearest(x: jax.Array, y: jax.Array) -> jax.Array:
    """Index of the nearest point of y for every point of x, int32 `[B, N]`; the lowest of equals.

    Keeps the nearest so far, and goes through y a few points at a time: no array of size N·M.
    """
    passes = -(-y.shape[1] // _CANDIDATES)
    missing = passes * _CANDIDATES - y.shape[1]
    candidates = jnp.pad(y, ((0, 0), (0, missing), (0, 0)), constant_values=jnp.inf)
    candidates = candidates.reshape(y.shape[0], passes, _CANDIDATES, 3).transpose(1, 2, 3, 0)
    starts = _CANDIDATES * jnp.arange(passes, dtype=jnp.int32)

    def compare(
        nearest: tuple[jax.Array, jax.Array], some: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        smallest, index = nearest
        for i, point in enumerate(some[0]):
            squared = sum(jnp.square(x[..., axis] - point[axis, :, None]) for axis in range(3))
            closer = squared < smallest
            smallest = jnp.where(closer, squared, smallest)
            index = jnp.where(closer, some[1] + i, index)
        return (smallest, index), None

    none = (jnp.full_like(x[..., 0], jnp.inf), jnp.zeros_like(x[..., 0], jnp.int32))
    return jax.lax.scan(compare, none, (candidates, starts))[0][1]


def nearest_squared_distances(
    x: ArrayLike,
    y: ArrayLike,
    x_mask: ArrayLike | None = None,
    y_mask: ArrayLike | None = None,
) -> jax.Array:
    """Squared distance of every point of x to the nearest point of y.

    `min_m ‖x[b, n] − y[b, m]‖²` over valid m, by differences, so that nothing cancels far from the
    origin. Only the nearest pair has a gradient; of several equally near, the one with the lowest
    index. Time O(B·N·M), memory O(B·(N + M)), also for the gradient.

    Args:
      x: `[B, N, 3]`, any real dtype; computed in float32.
      y: `[B, M, 3]`.
      x_mask: bool `[B, N]`, True at points that count; None: all. What other points hold, NaN too,
        changes neither values nor gradients.
      y_mask: bool `[B, M]`.

    Returns:
      float32 `[B, N]`, never negative; 0, with no gradient, at points that are masked out and
      where y has no valid point.

    Raises:
      UserError: for other shapes, or masks that are not bool.
    """
    (x, x_mask), (y, y_mask) = _checked(x, x_mask, "x"), _checked(y, y_mask, "y")
    if x.shape[0] != y.shape[0]:
        raise UserError(
            f"There are {x.shape[0]} point clouds x and {y.shape[0]} y: give one y for every x."
        )
    # A point at infinity is never the nearer one.
    others = y if y_mask is None else jnp.where(y_mask[..., None], y, jnp.inf)
    index = _nearest(jax.lax.stop_gradient(x), jax.lax.stop_gradient(others))
    pairs = jax.vmap(lambda points, rows: points[rows])(y, index)
    squared = jnp.sum(jnp.square(x - pairs), axis=-1)
    if x_mask is not None:
        squared = jnp.where(x_mask, squared, 0.0)
    if y_mask is not None:
        squared = jnp.where(jnp.any(y_mask, axis=1, keepdims=True), squared, 0.0)
    return squared


def _distance(squared: jax.Array) -> jax.Array:
    """Square root, with a gradient of 0 at 0."""
    zero = squared == 0
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, squared)))


def _mean(values: jax.Array, mask: ArrayLike | None) -> jax.Array:
    """Mean over the points that count, of values that are 0 at all others; 0 if none counts."""
    if mask is None:
        return jnp.mean(values, axis=1)
    return jnp.sum(values, axis=1) / jnp.maximum(jnp.sum(mask, axis=1, dtype=jnp.float32), 1.0)


CHAMFER: dict[str, tuple[Callable[[jax.Array], jax.Array], float]] = {
    "l1": (_distance, 0.5),
    "l2": (lambda squared: squared, 1.0),
}
"""By variant: what is averaged of the squared distances, and the factor of both directions."""


def chamfer_distance(
    x: ArrayLike,
    y: ArrayLike,
    *,
    variant: str,
    x_mask: ArrayLike | None = None,
    y_mask: ArrayLike | None = None,
) -> jax.Array:
    """Chamfer distance between point clouds, symmetric in x and y.

    With `d(x, Y) = min_{y ∈ Y} ‖x − y‖`:

    * `l1`: `½·(mean_x d(x, Y) + mean_y d(y, X))`, of distances: CD-L1 of PCN.
    * `l2`: `mean_x d(x, Y)² + mean_y d(y, X)²`, of squared distances: CD-L2 of Completion3D and
      GRNet, and what PyTorch3D computes.

    Args:
      x: `[B, N, 3]`, any real dtype and unit; computed in float32.
      y: `[B, M, 3]`.
      variant: `l1` or `l2`.
      x_mask: bool `[B, N]`, see `nearest_squared_distances`.
      y_mask: bool `[B, M]`.

    Returns:
      float32 `[B]`, never negative, in the unit of the points, for `l2` squared. The gradient of a
      distance of 0 is 0. An example of which one cloud has no valid point has the value 0 and no
      gradient.

    Raises:
      UserError: for an unknown variant, other shapes, or masks that are not bool.

    Example:
      >>> x, y = [[[0.0, 0.0, 0.0]]], [[[3.0, 4.0, 0.0]]]
      >>> chamfer_distance(x, y, variant="l1").tolist()
      [5.0]

    Reference: Yuan et al., "PCN: Point Completion Network", 2018; Tchapmi et al., "TopNet", 2019.
    """
    if variant not in CHAMFER:
        raise UserError(
            f"The variant of the Chamfer distance is {variant!r}: use one of {', '.join(CHAMFER)}."
        )
    measure, factor = CHAMFER[variant]
    forth = measure(nearest_squared_distances(x, y, x_mask, y_mask))
    back = measure(nearest_squared_distances(y, x, y_mask, x_mask))
    return factor * (_mean(forth, x_mask) + _mean(back, y_mask))


def f_score(
    x: ArrayLike,
    y: ArrayLike,
    *,
    threshold: float = 0.01,
    x_mask: ArrayLike | None = None,
    y_mask: ArrayLike | None = None,
) -> jax.Array:
    """F-score between point clouds at a distance, symmetric in x and y.

    `2·P·R / (P + R)`, where the precision P is the share of points of x nearer than the threshold
    to a point of y, and the recall R the share of points of y nearer than it to a point of x.

    Args:
      x: predicted points `[B, N, 3]`, any real dtype and unit; computed in float32.
      y: true points `[B, M, 3]`.
      threshold: greater than 0, of distances that are not squared, in the unit of the points.
      x_mask: bool `[B, N]`, see `nearest_squared_distances`.
      y_mask: bool `[B, M]`.

    Returns:
      float32 `[B]` from 0 to 1; 0 where both shares are 0, or a cloud has no valid point.

    Raises:
      UserError: for other shapes, or masks that are not bool.

    Reference: Tatarchenko et al., "What Do Single-view 3D Reconstruction Networks Learn?", 2019.
    """
    shares = []
    for first, second, mask, other in ((x, y, x_mask, y_mask), (y, x, y_mask, x_mask)):
        near = _distance(nearest_squared_distances(first, second, mask, other)) < threshold
        if mask is not None:
            near = near & mask
        shares.append(_mean(near.astype(jnp.float32), mask))
    precision, recall = shares
    total = precision + recall
    return 2.0 * precision * recall / jnp.where(total > 0, total, 1.0)
