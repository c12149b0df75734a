"""Assignment, usage, initializers and revival of anchors."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads
from sklearn.cluster import KMeans

from nvc_jax.core.errors import UserError
from nvc_jax.model import anchors
from tests.numeric import (
    blocks_of,
    jitted,
    normal,
    numpy_distances,
    temporary_bytes,
    value_and_gradient,
)


def test_assign_takes_the_nearest_and_the_lowest_of_ties():
    a = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 0.0]], np.float32)
    x = np.array([[1.0, 5.0], [1.1, 0.0], [-3.0, 0.0]], np.float32)
    nearest = anchors.assign(x, a)
    assert nearest.dtype == jnp.int32
    np.testing.assert_array_equal(nearest, [0, 1, 0])
    on_each_device = jax.pmap(anchors.assign)(np.stack([x] * 8), np.stack([a] * 8))
    np.testing.assert_array_equal(on_each_device, [[0, 1, 0]] * 8)


def test_assign_under_vmap():
    x, a = normal(0, 4, 5, 3), normal(1, 4, 2, 3)
    expected = [numpy_distances(*pair).argmin(1) for pair in zip(x, a)]
    np.testing.assert_array_equal(jitted(jax.vmap(anchors.assign), x, a), expected)


def test_assign_in_float32_whatever_comes_in():
    np.testing.assert_array_equal(anchors.assign([[100.25]], [[100.0], [100.4]]), [1])
    # 257 and 258 are one number in bfloat16 arithmetic.
    x = jnp.array([[256.0]], jnp.bfloat16)
    np.testing.assert_array_equal(anchors.assign(x, np.array([[258], [257]], np.int64)), [1])


def test_assign_in_blocks():
    x, a = normal(0, 5_001, 2), normal(1, 1_000, 2)
    found = np.asarray(anchors.assign(x, a))
    distances = numpy_distances(x, a)
    best = distances.min(1)
    np.testing.assert_allclose(distances[np.arange(len(x)), found], best, rtol=1e-4, atol=1e-9)
    assert np.mean(found == distances.argmin(1)) > 0.999


@pytest.mark.parametrize("name", ["assign", "balanced_assign", "revive"])
def test_memory_for_a_large_batch(name):
    x, a = np.zeros((65_536, 64), np.float32), np.zeros((1_024, 64), np.float32)
    if name == "revive":
        used = temporary_bytes(revive, a, a[:, 0], x, np.int32(0))
    else:
        used = temporary_bytes(getattr(anchors, name), x, a)
    assert used < 2**25  # an eighth of one array [N, K]


def test_soft_assign_values():
    x, a = [[0.0, 0.0]], [[1.0, 0.0], [0.0, 2.0]]
    found = np.asarray(jax.jit(lambda: anchors.soft_assign(x, a, 3.0))())
    weights = np.exp([-1 / 3, -4 / 3])
    np.testing.assert_allclose(found, [weights / weights.sum()], rtol=1e-6)
    assert found[0, 0] > found[0, 1]


def soft_squares(x, a, temperature):
    soft = anchors.soft_assign(x, a, temperature)
    return jnp.sum(jnp.square(soft)), soft


soft_step = value_and_gradient(soft_squares, (0, 1))


@pytest.mark.parametrize("temperature", [1e-30, 1e-3, 1e30])
def test_soft_assign_is_finite_at_extreme_temperatures(temperature):
    x, a = normal(0, 4, 3) + 1e4, normal(1, 5, 3) - 1e4
    x[0] = a[2]
    (_, soft), gradients = soft_step(x, a, temperature)
    soft = np.asarray(soft)
    np.testing.assert_allclose(soft.sum(1), 1, rtol=1e-5)
    assert soft[0, 2] == soft[0].max()
    chex.assert_tree_all_finite(gradients)


def test_soft_assign_gradient():
    check_grads(
        jax.jit(lambda x, a: anchors.soft_assign(x, a, 2.0)),
        (normal(0, 3, 2), normal(1, 4, 2)),
        order=1,
        modes=["rev"],
        rtol=1e-2,
        atol=1e-2,
    )


usage = jax.jit(anchors.usage, static_argnums=1)


@pytest.mark.parametrize(
    ("counts", "perplexity", "dead", "share"),
    [
        ([7, 2, 1, 0], 2.2296, 1, 0.7),
        ([5, 5, 0, 0], 2.0, 2, 0.5),
        ([10, 0, 0, 0], 1.0, 3, 1.0),
        ([3, 3, 3, 3], 4.0, 0, 0.25),
    ],
)
def test_usage(counts, perplexity, dead, share):
    assignment = np.repeat(np.arange(4), counts)
    found = usage(assignment, 4)
    np.testing.assert_array_equal(found.counts, counts)
    np.testing.assert_allclose(found.perplexity, perplexity, atol=1e-4)
    np.testing.assert_allclose(found.max_share, share, rtol=1e-6)
    assert (int(found.num_dead), int(found.num_used)) == (dead, 4 - dead)


def test_usage_leaves_out_masked_and_foreign_ids():
    mask = np.array([True, True, False, True, True])
    found = usage(np.array([0, 2, 1, -1, 7]), 3, mask)
    np.testing.assert_array_equal(found.counts, [1, 0, 1])
    empty = usage(np.zeros(0, np.int32), 3)
    assert (float(empty.perplexity), float(empty.max_share), int(empty.num_dead)) == (0, 0, 3)


min_anchor_distance = jax.jit(anchors.min_anchor_distance)


def test_min_anchor_distance():
    for table, expected in (
        ([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]], 1.0),
        ([[1.0], [1.0]], 0.0),
        ([[1.0]], np.inf),
    ):
        assert min_anchor_distance(np.array(table)) == expected


def test_normal_initializer():
    a = jax.jit(lambda: anchors.normal(2.0)(jax.random.key(0), (400, 10), jnp.float32))()
    assert a.shape == (400, 10) and a.dtype == jnp.float32
    np.testing.assert_allclose(np.std(a), 2.0, rtol=0.05)


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (7, 2), (10, 32), (30, 10)])
def test_spread_initializer_keeps_anchors_apart(shape):
    init = jax.jit(lambda seed: anchors.spread(1.5)(jax.random.key(seed), shape, jnp.float32))
    a = init(3)
    assert a.shape == shape and a.dtype == jnp.float32
    assert min_anchor_distance(a) > 1.49
    np.testing.assert_array_equal(a, init(3))
    if shape[0] > 1:
        assert not np.array_equal(a, init(4))


def clusters(num_clusters=4, dim=3, per_cluster=30):
    centers = 10 * normal(5, num_clusters, dim)
    return np.repeat(centers, per_cluster, 0) + 0.1 * normal(6, num_clusters * per_cluster, dim)


def test_kmeans_equals_scikit_learn():
    data = clusters()
    found = anchors.kmeans(data, 4, seed=1)
    reference = KMeans(4, n_init=10, random_state=1).fit(data)
    assert found.dtype == np.float32
    np.testing.assert_allclose(
        np.min(numpy_distances(data, found), 1).sum(), reference.inertia_, rtol=1e-4
    )
    np.testing.assert_array_equal(found, anchors.kmeans(data, 4, seed=1))


def test_kmeans_plus_plus_takes_examples_of_every_cluster():
    data = clusters()
    found = anchors.kmeans_plus_plus(data, 4, seed=0)
    np.testing.assert_allclose(np.min(numpy_distances(found, data), 1), 0, atol=1e-9)
    assert set(np.argmin(numpy_distances(data[::30], found), 1)) == {0, 1, 2, 3}
    np.testing.assert_array_equal(found, anchors.kmeans_plus_plus(data, 4, seed=0))


@pytest.mark.parametrize("offset", [0.0, 1e5])
@pytest.mark.parametrize("initialize", [anchors.kmeans, anchors.kmeans_plus_plus])
def test_data_with_few_distinct_rows_gives_distinct_anchors(initialize, offset):
    data = np.repeat(np.array([[0.0, 0.0], [1.0, 0.0]]) + offset, 10, axis=0)
    found = initialize(data, 5, 0)
    assert found.shape == (5, 2)
    assert min_anchor_distance(found) > 0
    assert len(np.unique(initialize(data[:1], 3, 0), axis=0)) == 3


def test_initialization_refuses_bad_data():
    for data in (np.zeros((0, 2)), np.zeros(3), np.array([[0.0, np.nan]])):
        with pytest.raises(UserError, match="finite vectors"):
            anchors.kmeans(data, 2, 0)


@jax.jit
def optimizer_state(a):
    params = {"bottleneck": {"anchors": a}, "dense": {"kernel": jnp.ones_like(a)}}
    optimizer = optax.adam(0.1)
    with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer counts
        return optimizer.update(jax.tree.map(jnp.cos, params), optimizer.init(params), params)[1]


@jax.jit
def revive(a, counts, candidates, seed, state=None, **options):
    return anchors.revive(a, counts, candidates, jax.random.key(seed), state, **options)


def test_revive_moves_dead_anchors_and_their_moments_alone():
    a, candidates = normal(0, 4, 3), normal(1, 20, 3) + 5
    state = jax.device_get(optimizer_state(a))
    found = revive(a, np.array([3, 0, 7, 0]), candidates, 0, state)
    moved, new_state, revived = jax.device_get(found)
    np.testing.assert_array_equal(revived, [False, True, False, True])
    np.testing.assert_array_equal(moved[[0, 2]], a[[0, 2]])
    rows = {tuple(row) for row in candidates}
    new = [tuple(moved[k]) for k in (1, 3)]
    assert set(new) <= rows and new[0] != new[1]
    expected = jax.tree.map(np.copy, state)
    for moments in (expected[0].mu, expected[0].nu):
        moments["bottleneck"]["anchors"][revived] = 0.0
    chex.assert_trees_all_equal(new_state, expected)
    assert new_state[0].mu["bottleneck"]["anchors"][0, 0] != 0


def test_revive_prefers_what_is_far_from_living_anchors():
    a = np.array([[0.0, 0.0], [9.0, 9.0]])
    candidates = np.concatenate([0.01 * normal(0, 50, 2), [[5.0, 5.0]]])
    for seed in range(5):
        moved, state, _ = revive(a, np.array([9, 0]), candidates, seed)
        np.testing.assert_array_equal(moved, [[0.0, 0.0], [5.0, 5.0]])
        assert state is None


def test_revive_without_dead_anchors_changes_nothing():
    a = normal(0, 3, 2)
    state = optimizer_state(a)
    found = revive(a, np.array([1, 2, 1]), normal(1, 5, 2), 0, state)
    chex.assert_trees_all_equal(found, (a, state, np.zeros(3, bool)))


def test_revive_never_puts_two_anchors_in_one_place():
    candidates = np.array([[1.0, 0.0]] * 4 + [[2.0, 0.0]] * 4 + [[np.nan, 0.0], [np.inf, 0.0]])
    found = revive(np.zeros((5, 2)), np.zeros(5), candidates, 1)
    moved, _, revived = jax.device_get(found)
    assert int(revived.sum()) == 2  # two distinct finite places are left, and all five are dead
    assert {tuple(row) for row in moved[revived]} == {(1.0, 0.0), (2.0, 0.0)}
    chex.assert_tree_all_finite(moved)


def test_revive_in_blocks_equals_the_plain_form():
    inputs = normal(0, 6, 3), np.array([1, 0, 0, 2, 0, 1]), normal(1, 50, 3), 2
    plain = revive(*inputs)
    with blocks_of(8):
        chex.assert_trees_all_equal(revive(*inputs), plain)


def test_revive_takes_the_limit_of_counts():
    inputs = np.zeros((2, 1)), np.array([5, 20]), np.array([[3.0]]), 0
    np.testing.assert_array_equal(revive(*inputs, min_count=10)[0], [[3.0], [0.0]])
