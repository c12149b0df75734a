"""Assignment to anchors in given shares: optimal transport of a batch onto its anchors."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from nvc_jax.core.errors import UserError
from nvc_jax.model.distances import (
    block_rows,
    logsumexp_rows,
    map_rows,
    squared_distances,
    sum_rows,
    vectors_and_anchors,
)

_TINY = 1e-30
"""Smallest mean squared distance that scores are divided by."""


def quotas(shares: ArrayLike, count: int) -> jax.Array:
    """Whole numbers of examples for shares, by largest remainders.

    Args:
      shares: float `[K]`, not negative, not all 0; scaled to a sum of 1.
      count: N, number of examples.

    Returns:
      int32 `[K]` with sum N, each within 1 of `N·share`; ties go to the lowest index.

    Example:
      >>> quotas([0.5, 0.25, 0.25], 5).tolist()
      [3, 1, 1]
    """
    shares = jnp.asarray(shares, jnp.float32)
    exact = shares / jnp.sum(shares) * count
    whole = jnp.floor(exact)
    missing = count - jnp.sum(whole).astype(jnp.int32)
    # A sum of shares is rounded, too: what is missing may be more than K, or less than 0.
    order = jnp.argsort(whole - exact, stable=True)
    rank = jnp.zeros_like(order).at[order].set(jnp.arange(order.size, dtype=order.dtype))
    return whole.astype(jnp.int32) + (rank < missing).astype(jnp.int32)


class _Search(NamedTuple):
    """Prices on their way to the shares asked for."""

    price: jax.Array
    log_share: jax.Array
    scale: jax.Array
    rounds: jax.Array


class _Assigned(NamedTuple):
    """An assignment on its way to its quotas."""

    assignment: jax.Array
    counts: jax.Array
    rounds: jax.Array


def balanced_assign(
    x: ArrayLike,
    anchors: ArrayLike,
    shares: ArrayLike | None = None,
    *,
    softness: float = 0.3,
    tolerance: float = 0.02,
    max_rounds: int = 50,
) -> jax.Array:
    """Assignment in given shares that keeps examples near their anchors.

    Looks for prices `v_k` at which the soft shares of `softmax_k(−(d²(x, A_k) + v_k) / t)` are those
    asked for, by Sinkhorn's algorithm in the domain of logarithms, at the batch's own scale: t falls
    to the softness times the mean squared distance to the nearest anchor. Each example then takes
    the cheapest anchor, and those that one anchor has too many of move on, the ones that lose least first,
    until every anchor has its number of examples.

    Many examples are worked on in blocks, without an array of size N·K, for the price of computing
    distances anew in every round.

    Args:
      x: `[N, D]`, the whole batch.
      anchors: `[K, D]`.
      shares: `[K]`, not negative, scaled to a sum of 1; None: equal ones.
      softness: of the shares, relative to the batch's scale; small values are nearer to the
        assignment of least total d² and take more rounds.
      tolerance: largest error of a soft share, in units of `1/K`, that ends the search.
      max_rounds: ends it, too.

    Returns:
      int32 `[N]`, without a gradient: each anchor has `N·share` examples, rounded up or down.

    Raises:
      UserError: for other shapes.

    Example:
      >>> x, anchors = [[0.0], [0.1], [0.2], [0.3]], [[0.0], [1.0]]
      >>> balanced_assign(x, anchors).tolist()
      [0, 0, 1, 1]
      >>> balanced_assign(x, anchors, shares=[0.75, 0.25]).tolist()
      [0, 0, 0, 1]

    Reference: Cuturi, "Sinkhorn Distances", NeurIPS 2013; Caron et al. (SwAV), NeurIPS 2020.
    """
    x, anchors = jax.lax.stop_gradient(vectors_and_anchors(x, anchors))
    target = _target(shares, x.shape[0], anchors.shape[0])

    def to_anchors(rows: jax.Array) -> jax.Array:
        return squared_distances(rows, anchors)

    # The distances of a large batch are too many to keep: every round computes them again.
    keep = x.shape[0] <= block_rows(anchors.shape[0])
    data, squared = (to_anchors(x), lambda rows: rows) if keep else (x, to_anchors)
    return _share_out(squared, data, target, softness, tolerance, max_rounds)


def balanced_assign_by_cost(
    cost: ArrayLike,
    shares: ArrayLike | None = None,
    *,
    softness: float = 0.3,
    tolerance: float = 0.02,
    max_rounds: int = 50,
) -> jax.Array:
    """`balanced_assign` for costs of any kind in place of squared distances.

    Args:
      cost: finite `[N, K]`, not negative but for rounding, of the whole batch.
      shares: see `balanced_assign`, as the other options.
      softness: see there.
      tolerance: see there.
      max_rounds: see there.

    Returns:
      int32 `[N]`, without a gradient.

    Raises:
      UserError: for shares that do not fit.

    Example:
      >>> balanced_assign_by_cost([[0.0, 5.0], [0.0, 1.0]]).tolist()
      [0, 1]
    """
    cost = jax.lax.stop_gradient(jnp.asarray(cost, jnp.float32))
    target = _target(shares, *cost.shape)
    return _share_out(lambda rows: rows, cost, target, softness, tolerance, max_rounds)


def _target(shares: ArrayLike | None, size: int, num_anchors: int) -> jax.Array:
    """Examples for each anchor, int32 `[K]`."""
    shares = jnp.ones(num_anchors) if shares is None else jnp.asarray(shares, jnp.float32)
    if shares.shape != (num_anchors,):
        raise UserError(
            f"Assignment needs one share for each of the {num_anchors} anchors, got shares of "
            f"shape {shares.shape}: give shares [K]."
        )
    return quotas(jax.lax.stop_gradient(shares), size)


def _share_out(
    squared: Callable[[jax.Array], jax.Array],
    data: jax.Array,
    target: jax.Array,
    softness: float,
    tolerance: float,
    max_rounds: int,
) -> jax.Array:
    """The assignment with the numbers `target` `[K]` of the examples whose costs `squared(data)` are."""
    size, num_anchors = data.shape[0], target.shape[0]

    def excess(rows: jax.Array) -> jax.Array:
        distance = squared(rows)
        return distance - jnp.min(distance, axis=1, keepdims=True)

    def mean(measure: Callable[..., jax.Array]) -> jax.Array:
        return sum_rows(lambda rows: measure(squared(rows), axis=1), num_anchors, data) / size

    end = jnp.maximum(softness * mean(jnp.min), _TINY)
    begin = jnp.maximum(mean(jnp.max), end)
    price = _sinkhorn(
        excess, data, target / size, (begin, end), tolerance / num_anchors, max_rounds
    )

    def costs(rows: jax.Array) -> jax.Array:
        return excess(rows) + price[None]

    def best(rows: jax.Array) -> jax.Array:
        return jnp.argmin(costs(rows), axis=1).astype(jnp.int32)

    return _rounded(costs, data, map_rows(best, num_anchors, data), target)


def _sinkhorn(
    excess: Callable[[jax.Array], jax.Array],
    data: jax.Array,
    share: jax.Array,
    scales: tuple[jax.Array, jax.Array],
    tolerance: float,
    max_rounds: int,
) -> jax.Array:
    """Prices of the anchors, `[K]` in units of d², at which their soft shares are the given ones.

    From round to round the scale falls from the first to the last one: prices move by a few scales
    in a round, so that large gaps are bridged first.
    """
    num_anchors, (begin, end) = share.shape[0], scales
    wanted = jnp.log(share)  # −∞ for a share of 0, which nobody is assigned to

    def log_shares(price: jax.Array, scale: jax.Array) -> jax.Array:
        def log_soft(rows: jax.Array) -> jax.Array:
            return jax.nn.log_softmax(-(excess(rows) + price[None]) / scale, axis=1)

        return logsumexp_rows(log_soft, num_anchors, data) - jnp.log(data.shape[0])

    def unfinished(at: _Search) -> jax.Array:
        error = jnp.max(jnp.abs(jnp.exp(at.log_share) - share))
        return (at.rounds < max_rounds) & ((at.scale > end) | (error > tolerance))

    def update(at: _Search) -> _Search:
        price = at.price + at.scale * (at.log_share - wanted)
        price, scale = jnp.where(share > 0, price, jnp.inf), jnp.maximum(at.scale / 2, end)
        return _Search(price, log_shares(price, scale), scale, at.rounds + 1)

    free = jnp.where(share > 0, 0.0, jnp.inf)
    start = _Search(free, log_shares(free, begin), begin, jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(unfinished, update, start).price


def _rounded(
    costs: Callable[[jax.Array], jax.Array],
    data: jax.Array,
    assignment: jax.Array,
    target: jax.Array,
) -> jax.Array:
    """Moves examples from anchors with too many to others, those that lose least first."""
    size, num_anchors = assignment.shape[0], target.shape[0]

    def count(assignment: jax.Array) -> jax.Array:
        return jnp.zeros_like(target).at[assignment].add(1)

    def choose(is_open: jax.Array, rows: jax.Array, own: jax.Array) -> jax.Array:
        """What the best move costs, and where it goes, `[rows, 2]`."""
        cost = costs(rows)
        there = jnp.where(is_open[None], cost, jnp.inf)
        loss = jnp.min(there, axis=1) - jnp.take_along_axis(cost, own[:, None], axis=1)[:, 0]
        return jnp.stack([loss, jnp.argmin(there, axis=1).astype(jnp.float32)], axis=1)

    def move(at: _Assigned) -> _Assigned:
        assignment, counts, rounds = at
        found = map_rows(partial(choose, counts < target), num_anchors, data, assignment)
        loss, goal = found[:, 0], found[:, 1].astype(jnp.int32)
        leaves = _first(assignment, loss, counts - target, jnp.ones(size, bool))
        arrives = _first(goal, loss, target - counts, leaves)
        assignment = jnp.where(arrives, goal, assignment)
        return _Assigned(assignment, count(assignment), rounds + 1)

    def unfinished(at: _Assigned) -> jax.Array:
        # Each round moves one example at least: the bound is only there for scores that are NaN.
        return jnp.any(at.counts > target) & (at.rounds < size)

    start = _Assigned(assignment, count(assignment), jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(unfinished, move, start).assignment


def _first(
    group: jax.Array, loss: jax.Array, limit: jax.Array, taking_part: jax.Array
) -> jax.Array:
    """Whether a row is among the `limit` rows of least loss of its group, bool `[N]`."""
    order = jnp.lexsort((loss, group, ~taking_part))
    ordered = jnp.where(taking_part, group, limit.shape[0])[order]
    index = jnp.arange(order.shape[0], dtype=jnp.int32)
    start = jnp.searchsorted(ordered, ordered, side="left").astype(jnp.int32)
    rank = jnp.zeros_like(index).at[order].set(index - start)
    return taking_part & (rank < limit[group])
