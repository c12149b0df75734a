"""Measures of several answers, by hand."""

import numpy as np
import pytest

from nvc_jax.metrics.hypotheses import best_of, prior_calibration, summarize_answers


def test_best_of_by_hand():
    errors = np.array([[4.0, 2.0, 3.0], [1.0, 5.0, 0.0]])
    assert [best_of(errors, n) for n in (1, 2, 3, 9)] == [2.5, 1.5, 1.0, 1.0]


def test_calibration_by_hand():
    """Half of the answers of probability 0.6 are best: 0.1 too many; and 0.1 too few of 0.4."""
    weight = np.array([[0.6, 0.4], [0.6, 0.4]])
    assert prior_calibration(weight, np.array([0, 1])) == pytest.approx(0.2)
    assert prior_calibration(np.eye(3), np.arange(3)) == 0.0
    assert prior_calibration(np.eye(3), np.array([1, 2, 0])) == 2.0


def test_drawn_by_their_weights_answers_are_calibrated():
    rng = np.random.default_rng(0)
    weight = rng.dirichlet(np.ones(5), 20_000)
    best = (rng.random(20_000)[:, None] > weight.cumsum(1)[:, :-1]).sum(1)
    assert prior_calibration(weight, best) < 0.03


def test_summary():
    measured = {
        "prior_weight": np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]),
        "best_anchor": np.array([0, 0]),
        "answer_error": np.array([[3.0, 1.0], [2.0, 4.0]]),
        "mean_error": np.array([2.0, 4.0]),
        "answer_distance": np.array([1.0, 3.0]),
        "draw_error": np.array([[3.0, 3.0], [2.0, 0.0]]),
        "reduced_error/1": np.array([1.0, 2.0]),
    }
    found = summarize_answers(measured, (1, 2))
    assert found["best_of/1"] == 2.5 and found["best_of/2"] == 1.5
    assert found["best_of_draws/2"] == 1.5 and found["best_of_reduced/1"] == 1.5
    assert found["answer_distance"] == 2.0 and found["mean_answer"] == 3.0
    assert found["prior_entropy"] == pytest.approx(np.log(2) / 2)
    assert found["anchors_possible"] == pytest.approx(2 / 3)
    assert "log_likelihood" not in found and "best_of_reduced/2" not in found
