"""A temperature from neighbors: sure where they agree, unsure where they do not."""

import numpy as np
from scipy.special import log_softmax

from nvc_jax.estimator.calibration import fit_temperature, log_probabilities, neighbors_of

ANCHORS = np.array([[-3.0], [3.0]])


def codes(overlap, count=400, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, count)
    return (6.0 * label - 3.0 + overlap * rng.normal(size=count))[:, None]


def test_probabilities_are_a_softmax_of_squared_distances():
    found = log_probabilities([[0.0], [3.0]], ANCHORS, temperature=12.0)
    expected = log_softmax(-np.array([[9.0, 9.0], [36.0, 0.0]]) / 12.0, axis=1)
    np.testing.assert_allclose(found, expected)


def test_random_neighbors_make_everything_unsure():
    z = codes(1.0)
    random = np.random.default_rng(1).integers(0, len(z), (len(z), 5))
    unsure = np.exp(log_probabilities(z, ANCHORS, fit_temperature(z, ANCHORS, random))).max(axis=1)
    near = fit_temperature(z, ANCHORS, neighbors_of(z, 0))
    sure = np.exp(log_probabilities(z, ANCHORS, near)).max(axis=1)
    assert unsure.mean() < 0.6 < 0.98 < sure.mean()


def test_confidence_is_how_often_neighbors_agree():
    z = codes(3.0, count=2000)
    noisy = neighbors_of(z + np.random.default_rng(2).normal(size=z.shape), 0)
    found = np.exp(log_probabilities(z, ANCHORS, fit_temperature(z, ANCHORS, noisy)))
    cluster = found.argmax(axis=1)
    agreement = np.mean(cluster[noisy] == cluster[:, None])
    assert abs(found.max(axis=1).mean() - agreement) < 0.03 and agreement < 0.97


def test_nothing_to_tell_apart():
    assert fit_temperature(np.zeros((3, 1)), np.zeros((1, 1)), np.zeros((3, 1), int)) == 1.0
    assert fit_temperature(np.zeros((3, 1)), ANCHORS * 0, np.zeros((3, 1), int)) == 1.0
    assert neighbors_of(np.zeros((1, 2)), 0).tolist() == [[0]]
