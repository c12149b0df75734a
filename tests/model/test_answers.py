"""Fewer answers that stand for many."""

import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.model.answers import reduce_answers


def cost(answers, weight, centers):
    squared = ((answers[:, None] - centers[None]) ** 2).sum(-1).min(1)
    return float((weight * squared).sum() / weight.sum())


def test_one_is_the_weighted_mean():
    center, weight = reduce_answers(
        jnp.asarray([[0.0, 1.0], [4.0, 1.0]]), jnp.asarray([3.0, 1.0]), 1
    )
    np.testing.assert_allclose(center, [[1.0, 1.0]])
    np.testing.assert_allclose(weight, [1.0])


def test_groups_are_found_heaviest_first():
    rng = np.random.default_rng(0)
    middle = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    group = np.repeat([0, 1, 2], [5, 9, 2])
    answers = (middle[group] + 0.1 * rng.normal(size=(16, 2))).astype(np.float32)
    center, weight = reduce_answers(jnp.asarray(answers), jnp.ones(16), 3)
    np.testing.assert_allclose(weight, np.array([9, 5, 2]) / 16, rtol=1e-6)
    np.testing.assert_allclose(center, middle[[1, 0, 2]], atol=0.2)


def test_cost_is_about_that_of_scikit_learn():
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(1)
    answers = rng.normal(size=(60, 5)).astype(np.float32)
    weight = rng.uniform(size=60).astype(np.float32)
    center, _ = reduce_answers(jnp.asarray(answers), jnp.asarray(weight), 6)
    best = KMeans(6, n_init=20, random_state=0).fit(answers, sample_weight=weight)
    expected = cost(answers, weight, best.cluster_centers_)
    assert cost(answers, weight, np.asarray(center)) <= 1.15 * expected


@pytest.mark.parametrize("weight", [[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
def test_alike_or_weightless_answers_are_finite(weight):
    center, share = reduce_answers(jnp.ones((3, 2)), jnp.asarray(weight), 3)
    np.testing.assert_array_equal(center, np.ones((3, 2)))
    assert np.isfinite(share).all()
