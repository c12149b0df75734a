"""Errors of joints: values by hand, SciPy as an oracle, hands of which little is visible."""

import math

import numpy as np
import pytest
from scipy.spatial import procrustes
from scipy.spatial.transform import Rotation

from nvc_jax.metrics import pose
from tests.refusals import refused

RNG = np.random.default_rng(0)
ALL = np.ones((1, 21), bool)


def hands(number=1, seed=0):
    return 60 * np.random.default_rng(seed).standard_normal((number, 21, 3))


def test_errors_by_hand():
    truth = np.zeros((2, 2, 3))
    predicted = np.array([[[3, 4, 0], [0, 0, 1]], [[0, 0, 0], [6, 8, 0]]])
    errors = pose.joint_errors(predicted, truth)
    np.testing.assert_allclose(errors, [[5, 1], [0, 10]])
    # The first joint counts in one frame, the second in two: means 5 and 5.5.
    visible = np.array([[True, True], [False, True]])
    np.testing.assert_allclose(pose.per_joint(errors, visible), [5, 5.5])
    assert pose.mean_over_joints(errors, visible) == pytest.approx(5.25)
    np.testing.assert_allclose(pose.pck_curve(errors, visible, [1, 5, 10]), [0.25, 0.75, 1])
    np.testing.assert_allclose(pose.frames_within(errors, visible, [4, 5, 10]), [0, 0.5, 1])
    refused(r"\[N, J, 3\].*\(2, 2, 3\) and \(2, 3\)", pose.joint_errors, predicted, truth[0])


def test_both_conventions_of_the_area_by_hand():
    # All errors are 33 mm: the curve rises from 0 to 1 in one of the intervals.
    predicted, truth = hands(), hands()
    truth[:, 1:, 0] += 33
    truth[:, 0] = predicted[:, 0]  # the wrist, which is right
    values = pose.pose_measures(predicted, truth, ALL)
    # Of 20 thresholds, 30/19 mm apart, the last 11 are above 33 mm.
    ours = (10 + 0.5) / 19
    # Of hand3d's 12 thresholds, 50/19 mm apart, the last 7 are: 34.21 mm and more.
    theirs = (6 + 0.5) / 11
    for name, joints in {"auc_20_50": ours, "auc_20_50_hand3d": theirs}.items():
        assert values[name] == pytest.approx((20 * joints + 1) / 21)
    assert values["auc_20_50"] != pytest.approx(values["auc_20_50_hand3d"], abs=1e-3)
    assert values["pck/30"] == pytest.approx(1 / 21)
    assert values["pck/40"] == 1
    assert pose.AUC_THRESHOLDS["auc_20_50_hand3d"][0] == pytest.approx(21.0526, abs=1e-4)


def test_a_shift_of_the_hand_counts_in_the_absolute_error_alone():
    truth = hands(3)
    values = pose.pose_measures(truth + np.array([0, 0, 12]), truth, np.repeat(ALL, 3, axis=0))
    assert values["mpjpe_abs"] == pytest.approx(12)
    assert values["mpjpe_root"] == pytest.approx(0, abs=1e-9)
    assert values["mpjpe_pa"] == pytest.approx(0, abs=1e-9)
    assert (values["frames_within/10"], values["frames_within/20"]) == (0, 1)
    assert values["pck/10"] == 1


@pytest.mark.parametrize("seed", range(4))
def test_alignment_equals_scipy(seed):
    rng = np.random.default_rng(seed)
    truth, predicted = hands(1, seed), hands(1, seed + 10)
    visible = rng.random((1, 21)) < 0.6
    seen = visible[0]
    p, t = (x[0] - x[0, seen].mean(axis=0) for x in (predicted, truth))
    turn, _ = Rotation.align_vectors(t[seen], p[seen])
    rigid = pose.align(predicted, truth, visible, scale=False)
    expected = turn.apply(p) + truth[0, seen].mean(axis=0)
    np.testing.assert_allclose(rigid[0], expected, atol=1e-6)
    # Of a turned and scaled hand with noise the best fit is no mirror image, as SciPy's may be.
    noisy = 0.7 * Rotation.random(random_state=seed).apply(truth[0]) + rng.normal(0, 5, (21, 3)) + 9
    moved = pose.align(noisy[None], truth, ALL)
    _, _, disparity = procrustes(truth[0], noisy)
    size = np.square(truth - truth.mean(axis=1)).sum()
    assert np.square(moved - truth).sum() == pytest.approx(disparity * size, rel=1e-9)


def test_a_mirrored_hand_is_not_turned_into_the_true_one():
    truth = hands()
    mirrored = truth * [-1, 1, 1]
    moved = pose.align(mirrored, truth, ALL)
    assert pose.joint_errors(moved, truth).mean() > 10
    _, _, disparity = procrustes(truth[0], mirrored[0])  # reflections are allowed
    assert disparity < 1e-12


def test_hands_without_extent():
    truth = hands(2)
    truth[1] = 5.0
    point = np.full_like(truth, 7.0)
    moved = pose.align(point, truth, np.repeat(ALL, 2, axis=0))
    np.testing.assert_allclose(moved[0], np.broadcast_to(truth[0].mean(axis=0), (21, 3)))
    np.testing.assert_allclose(moved[1], truth[1])
    # A true hand in one place is met exactly, by the scale 0.
    shrunk = pose.align(hands(1), truth[1:], ALL)
    np.testing.assert_allclose(shrunk, truth[1:], atol=1e-9)


def test_what_is_not_visible_counts_nowhere():
    truth = hands(4)
    predicted = truth + RNG.normal(0, 20, truth.shape)
    visible = np.ones((4, 21), bool)
    visible[0] = False  # nothing
    visible[1] = np.arange(21) == 3  # one joint, which any alignment meets
    visible[2, 0] = False  # no wrist
    predicted[~visible] = 1e6
    values = pose.pose_measures(predicted, truth, visible)
    errors = pose.joint_errors(predicted, truth)
    assert values["mpjpe_abs"] == pytest.approx(
        np.mean([errors[visible[:, j], j].mean() for j in range(21)])
    )
    relative = pose.joint_errors(pose.root_relative(predicted), pose.root_relative(truth))
    assert values["mpjpe_root"] == pytest.approx(relative[3].mean())  # the one with a wrist
    aligned = pose.joint_errors(pose.align(predicted, truth, visible), truth)
    by_joint = [aligned[[2, 3], j].mean() for j in range(1, 21)]
    assert values["mpjpe_pa"] == pytest.approx(np.mean([aligned[3, 0], *by_joint]))


def test_nothing_visible_is_nan():
    values = pose.pose_measures(hands(2), hands(2), np.zeros((2, 21), bool))
    assert all(math.isnan(value) for value in values.values())


def test_what_is_not_visible_may_be_anything(caplog, monkeypatch):
    monkeypatch.setattr("nvc_jax.metrics.pose._logger.propagate", True)
    truth, predicted = hands(4), hands(4, seed=1)
    visible = np.ones((4, 21), bool)
    visible[0, 3] = visible[1, 0] = visible[2, 5:] = False  # 1: the wrist
    expected = pose.pose_measures(predicted, truth, visible)
    for values in (truth, predicted):
        values[~visible] = np.nan
        found = pose.pose_measures(predicted, truth, visible)
        assert found == pytest.approx(expected, nan_ok=True)
    assert not caplog.records


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_frames_that_cannot_be_scored_are_counted_and_named(value, caplog, monkeypatch):
    monkeypatch.setattr("nvc_jax.metrics.pose._logger.propagate", True)
    truth, predicted, visible = hands(5), hands(5, seed=1), np.ones((5, 21), bool)
    scored = np.array([0, 2, 4])
    expected = pose.pose_measures(predicted[scored], truth[scored], visible[scored])
    predicted[1], truth[3, 7, 0] = value, value
    found = pose.pose_measures(predicted, truth, visible)
    assert found == pytest.approx({**expected, "frames_unscored": 2})
    assert "Left out 2 of 5 frames" in caplog.text and "not finite: 1, 3." in caplog.text
    none = pose.pose_measures(predicted[1:2], truth[1:2], visible[1:2])
    assert none["frames_unscored"] == 1 and np.isnan(none["mpjpe_pa"])
