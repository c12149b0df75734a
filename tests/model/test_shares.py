"""Assignment in given shares: how many each anchor gets, and how near examples stay."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from nvc_jax.core.errors import UserError
from nvc_jax.model import anchors
from tests.numeric import blocks_of, normal, numpy_distances

assign = jax.jit(anchors.balanced_assign, static_argnames=("softness", "max_rounds"))
SQUARE = np.array([[0, 0], [6, 0], [0, 6], [6, 6]], np.float32)


def groups(counts, centers, spread, seed=0):
    rng = np.random.default_rng(seed)
    rows = np.repeat(np.asarray(centers, np.float64), counts, axis=0)
    return (rows + spread * rng.standard_normal(rows.shape)).astype(np.float32)


def least_cost(x, a, counts):
    """Least total d² with these counts, by the Hungarian algorithm on places of anchors."""
    places = np.repeat(numpy_distances(x, a), counts, axis=1)
    rows, columns = linear_sum_assignment(places)
    return places[rows, columns].sum()


@pytest.mark.parametrize(
    ("shares", "count", "expected"),
    [
        ([1, 1, 1], 9, [3, 3, 3]),
        ([0.5, 0.25, 0.25], 5, [3, 1, 1]),  # the first of equal remainders
        ([7, 1, 1, 1], 512, [359, 51, 51, 51]),  # of 358.4 and thrice 51.2
        ([0.5, 0.0, 0.5], 3, [2, 0, 1]),
        ([1, 1, 1], 1, [1, 0, 0]),
    ],
)
def test_quotas_by_hand(shares, count, expected):
    np.testing.assert_array_equal(anchors.quotas(shares, count), expected)


def test_quotas_are_within_one_of_the_shares():
    shares = np.random.default_rng(0).dirichlet(np.ones(1000), 3).astype(np.float32)
    for row, count in zip(shares, (7, 4096, 100_000)):
        found = np.asarray(anchors.quotas(row, count))
        assert found.sum() == count and found.dtype == np.int32
        assert np.abs(found - row.astype(np.float64) * count).max() <= 1.01


CASES = {
    "alike": (normal(0, 256, 10), normal(1, 30, 10), None),
    "70, 10, 10 and 10 %": (groups([358, 51, 51, 52], SQUARE, 0.5), SQUARE, None),
    "so they are": (groups([358, 51, 51, 52], SQUARE, 0.5), SQUARE, [7, 1, 1, 1]),
    "all at one of three": (0.1 * normal(0, 60, 2), SQUARE[:3], None),
    "eight places at 15, four of them taken": (
        groups([64] * 3 + [320], [[0, 0], [45, 0], [75, 0], [105, 0]], 0.1),
        np.stack([15.0 * np.arange(8), np.zeros(8)], 1).astype(np.float32),
        None,
    ),
    "nobody for the last": (normal(0, 100, 3), normal(1, 4, 3), [0.7, 0.2, 0.1, 0]),
    "large and far off": (1e4 + 100 * normal(0, 128, 4), 1e4 + 100 * normal(1, 5, 4), None),
    "small": (1e-4 * normal(0, 128, 4), 1e-4 * normal(1, 5, 4), None),
    "fewer than anchors": (normal(0, 3, 2), normal(1, 5, 2), None),
    "one anchor": (normal(0, 7, 2), normal(1, 1, 2), None),
}


@pytest.mark.parametrize("case", CASES)
def test_shares_are_met_at_little_more_than_least_cost(case):
    x, a, shares = CASES[case]
    found = assign(x, a, shares)
    assert found.dtype == jnp.int32
    counts = np.bincount(found, minlength=len(a))
    np.testing.assert_array_equal(counts, anchors.quotas(shares or np.ones(len(a)), len(x)))
    cost = numpy_distances(x, a)[np.arange(len(x)), found].sum()
    assert cost <= 1.02 * least_cost(x, a, counts)


def test_examples_in_one_place_and_rows_that_are_not_finite_come_to_an_end():
    same = assign(np.zeros((10, 2), np.float32), np.zeros((3, 2), np.float32))
    np.testing.assert_array_equal(np.bincount(same), [4, 3, 3])
    x = normal(0, 10, 2)
    x[3] = np.nan
    assert set(np.asarray(assign(x, normal(1, 3, 2)))) <= {0, 1, 2}


@pytest.mark.parametrize("rows", [9, 10, 31])
def test_blocks_give_the_same(rows):
    x, a = normal(0, 40, 3), normal(1, 5, 3)
    with blocks_of(rows):
        found = jax.jit(partial(anchors.balanced_assign, shares=[5, 1, 1, 1, 2]))(x, a)
    np.testing.assert_array_equal(found, assign(x, a, [5, 1, 1, 1, 2]))


def test_no_gradient_comes_back():
    def total(x, a):
        return jnp.sum(a[anchors.balanced_assign(x, a)] * 0.0 + x[:3].sum())

    x, a = normal(0, 6, 2), normal(1, 3, 2)
    assert np.isfinite(jax.jit(jax.grad(total))(x, a)).all()


def test_a_smaller_softness_is_nearer_to_least_cost():
    x, a, _ = CASES["alike"]
    rows = np.arange(len(x))
    costs = [numpy_distances(x, a)[rows, assign(x, a, softness=s)].sum() for s in (10.0, 1.0, 0.1)]
    assert costs == sorted(costs, reverse=True)


def test_other_shapes_are_refused():
    with pytest.raises(UserError, match=r"\(2, 3\)"):
        anchors.balanced_assign(np.zeros((2, 3)), np.zeros((2, 2)))
    with pytest.raises(UserError, match="one share for each of the 2 anchors"):
        anchors.balanced_assign(np.zeros((2, 2)), np.zeros((2, 2)), [1.0, 2.0, 3.0])
