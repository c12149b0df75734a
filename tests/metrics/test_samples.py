"""Distances of drawn examples from real ones, against SciPy, values by hand, and loops."""

import numpy as np
import pytest
import scipy.linalg

from nvc_jax.metrics.samples import frechet_distance, two_sample_accuracy
from tests.refusals import refused


def normal(count, features, seed, scale=1.0, shift=0.0):
    return shift + scale * np.random.default_rng(seed).normal(size=(count, features))


def test_frechet_distance_by_hand_in_one_dimension():
    # Means 1 and 4, standard deviations √2 and 3√2 (n − 1): 9 + (3√2 − √2)² = 17.
    np.testing.assert_allclose(frechet_distance([[0], [2]], [[1], [7]]), 17.0)


def test_frechet_distance_equals_that_by_a_matrix_root():
    mix = np.random.default_rng(2).normal(size=(4, 4))
    x, y = normal(50, 4, 0), normal(60, 4, 1, 2.0, 0.3) @ mix
    one, two = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(one @ two).real
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(one + two - 2 * root)
    np.testing.assert_allclose(frechet_distance(x, y), expected, rtol=1e-9)
    np.testing.assert_allclose(frechet_distance(y, x), expected, rtol=1e-9)


def test_frechet_distance_of_the_same_and_of_a_feature_that_is_constant():
    x = np.concatenate([normal(20, 2, 0), np.full((20, 1), 3.0)], axis=1)
    assert frechet_distance(x, x) < 1e-9
    np.testing.assert_allclose(frechet_distance(x, x + np.array([0, 0, 2])), 4.0, rtol=1e-6)


def test_two_sample_accuracy_by_a_loop():
    x, y = normal(15, 2, 0), normal(25, 2, 1, shift=1.0)
    both, side = np.concatenate([x, y]), np.repeat([0, 1], [15, 25])
    right = []
    for i in range(40):
        away = np.square(both - both[i]).sum(1)
        away[i] = np.inf
        right.append(side[away.argmin()] == side[i])
    expected = (np.mean(right[:15]) + np.mean(right[15:])) / 2
    assert two_sample_accuracy(x, y) == pytest.approx(expected)


def test_two_sample_accuracy_tells_the_same_from_the_distant_and_the_copied():
    x = normal(400, 3, 0)
    assert abs(two_sample_accuracy(x, normal(400, 3, 1)) - 0.5) < 0.06
    assert two_sample_accuracy(x, x + 100) == 1.0
    assert two_sample_accuracy(x, x + 1e-9) == 0.0


def test_shapes_that_do_not_fit_are_refused():
    for x, y in (
        (np.zeros((3, 2)), np.zeros((3, 1))),
        (np.zeros((1, 2)), np.zeros((3, 2))),
        ([1.0], [2.0]),
    ):
        for measure in (frechet_distance, two_sample_accuracy):
            assert "got" in refused(None, measure, x, y)
