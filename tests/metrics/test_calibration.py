"""The calibration error against values by hand and sums bin by bin."""

import numpy as np

from nvc_jax.metrics.calibration import expected_calibration_error
from tests.refusals import refused


def test_by_hand():
    # Bin of 0.55: mean 0.55, all right; bin of 0.95 and 1: mean 0.975, half right.
    confidence, right = [0.55, 0.55, 0.95, 1.0], [True, True, False, True]
    expected = 0.5 * abs(0.55 - 1.0) + 0.5 * abs(0.975 - 0.5)
    np.testing.assert_allclose(expected_calibration_error(confidence, right), expected)
    assert expected_calibration_error([1.0], [False]) == 1.0
    assert expected_calibration_error([0.0], [False]) == 0.0


def test_equals_a_sum_over_bins():
    rng = np.random.default_rng(0)
    confidence = rng.random(500)
    right = rng.random(500) < confidence**2
    total = 0.0
    for low in range(10):
        inside = (confidence >= low / 10) & (confidence < (low + 1) / 10)
        total += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    np.testing.assert_allclose(expected_calibration_error(confidence, right), total)


def test_right_probabilities_have_next_to_no_error():
    rng = np.random.default_rng(1)
    confidence = rng.random(100_000)
    assert expected_calibration_error(confidence, rng.random(100_000) < confidence) < 0.01


def test_nothing_to_measure_is_refused():
    for confidence, right in (([], []), ([0.5], [True, False])):
        refused("N ≥ 1", expected_calibration_error, confidence, right)
