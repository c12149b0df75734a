"""Metrics of planes: values by hand, independent oracles, degenerate images."""

import math

import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.metrics import rand_score

from nvc_jax.geometry.planes import pixel_rays
from nvc_jax.metrics import planes
from tests.refusals import refused

RNG = np.random.default_rng(0)
NO = planes.NON_PLANAR


def depth_recall(images, *thresholds):
    return planes.recall(images, "depth", *thresholds)


def normal_recall(images, *thresholds):
    return planes.recall(images, "normal", *thresholds)


def scores(true, predicted, with_non_planar=True, base=2.0):
    arrays = np.array(true, int), np.array(predicted, int)
    table = planes.contingency(*arrays, with_non_planar=with_non_planar)
    return (
        planes.rand_index(table),
        planes.variation_of_information(table, base),
        planes.segmentation_covering(table),
    )


def test_agreement_by_hand():
    constant = scores([0, 0, 1, 1], [3, 3, 3, 3])
    assert constant == pytest.approx((1 / 3, 1.0, 0.5))
    nats = scores([0, 0, 1, 1], [3, 3, 3, 3], base=math.e)
    assert nats[1] == pytest.approx(math.log(2))
    assert scores([0, 0, 1, 1], [5, 5, 2, 2]) == pytest.approx((1, 0, 1))


def test_what_lies_on_no_plane_is_left_out_or_a_segment():
    true, predicted = [NO, NO, 1, 1, 2, 2], [NO, 1, 1, 1, 2, 2]
    assert scores(true, predicted)[0] == pytest.approx(0.8)
    assert scores(true, predicted, False) == pytest.approx((1, 0, 1))
    # A pixel of a plane that was predicted non-planar does count.
    assert scores([1, 1, 2, 2], [1, NO, 2, 2], False)[0] < 1
    # Unknown pixels never do.
    assert scores([1, 1, 255, 2], [1, 1, 1, 2]) == pytest.approx((1, 0, 1))


def slow_covering(true, predicted):
    def covered(of, by):
        best = [max(np.mean((of == a) & (by == b)) / np.mean((of == a) | (by == b)) for b in by)
                for a in of]  # fmt: skip
        return np.mean(best)  # every pixel stands for its segment, which weighs segments by size

    return (covered(true, predicted) + covered(predicted, true)) / 2


@pytest.mark.parametrize("seed", range(5))
def test_agreement_equals_independent_implementations(seed):
    rng = np.random.default_rng(seed)
    true, predicted = rng.integers(0, 2 + seed, 60), rng.integers(0, 5, 60)
    rand, voi, covering = scores(true, predicted)
    assert rand == pytest.approx(rand_score(true, predicted))
    joint = np.histogram2d(true, predicted, bins=(range(9), range(9)))[0]
    conditional = [entropy(joint, base=2, axis=0) * joint.sum(0),
                   entropy(joint.T, base=2, axis=0) * joint.sum(1)]  # fmt: skip
    assert voi == pytest.approx(np.nansum(conditional) / 60)
    assert covering == pytest.approx(slow_covering(true, predicted))


def test_agreement_does_not_depend_on_numbers_of_segments():
    true, predicted = RNG.integers(0, 6, (5, 8)), RNG.integers(0, 4, (5, 8))
    found = scores(true, predicted)
    names = RNG.permutation(19)
    assert scores(names[true], names[::-1][predicted]) == pytest.approx(found)
    assert scores(predicted, true) == pytest.approx(found)


def test_degenerate_segmentations():
    assert all(math.isnan(value) for value in scores([255, 255], [0, 0]))
    assert all(math.isnan(value) for value in scores([NO, NO], [0, 0], False))
    assert scores([4, 4, 4], [0, 0, 0]) == pytest.approx((1, 0, 1))
    assert scores([4], [0]) == pytest.approx((1, 0, 1))
    refused(r"\(2,\) and \(3,\)", scores, [1, 1], [1, 1, 1])


RAYS = pixel_rays(np.array([5.0, 5.0, 0.0, 0.0]), 1, 8)
TRUE = np.array([[0, 0, 0, 0, 1, 1, NO, 255]], np.uint8)
TRUE_PLANES = np.array([[0.0, 0, 2], [0, 0, 3]])


def compare(segmentation, found, true=TRUE):
    return planes.plane_overlaps(
        (TRUE_PLANES, true), (np.array(found), np.array([segmentation], np.uint8)), RAYS
    )


def test_recall_by_hand():
    # The first plane is found at 3 of 4 pixels and 7 cm too far; the second has an IoU of ½ alone.
    found = compare(
        [5, 5, 5, NO, 2, NO, NO, NO], [[0, 0, 1.0]] * 2 + [[0, 0, 3.0]] * 3 + [[0, 0, 2.07]]
    )
    np.testing.assert_array_equal(found.area, [4, 2])
    np.testing.assert_array_equal(found.overlap, [[0, 3], [1, 0]])
    np.testing.assert_allclose(found.iou, [[0, 0.75], [0.5, 0]])
    np.testing.assert_allclose(found.depth_error, [[np.inf, 0.07], [0, np.inf]], atol=1e-12)
    recall = depth_recall([found])
    assert len(planes.THRESHOLDS["depth"]) == 13 and planes.THRESHOLDS["depth"][-1] == 0.6
    np.testing.assert_allclose(recall.planes, [0, 0] + [0.5] * 11)
    np.testing.assert_allclose(recall.pixels, [0, 0] + [0.5] * 11)
    # Pooled over planes, but averaged over images: one with a single plane that is found at once.
    whole = compare([0] * 8, [[0, 0, 2.0]], np.zeros((1, 8), np.uint8))
    both = depth_recall([found, whole], [0.0, 0.1])
    np.testing.assert_allclose(both.planes, [1 / 3, 2 / 3])
    np.testing.assert_allclose(both.pixels, [0.5, 0.75])


def test_normals_have_a_recall_of_their_own():
    turned = [0, 2 * math.sin(math.radians(6)), 2 * math.cos(math.radians(6))]
    found = compare([0, 0, 0, 0, 1, 1, 1, 1], [turned, [0, 0, 30.0]])
    np.testing.assert_allclose(found.normal_error, [[6, 0], [6, 0]], atol=1e-5)
    recall = normal_recall([found])
    # The second plane: 2 pixels of 3, as the unknown one does not count; its normal is right.
    np.testing.assert_allclose(recall.planes, [0.5] * 3 + [1] * 10)
    np.testing.assert_allclose(recall.pixels, [2 / 6] * 3 + [1] * 10)
    assert depth_recall([found]).planes[-1] == 0.5


def test_recall_of_perfect_and_of_no_planes():
    perfect = compare(TRUE[0], TRUE_PLANES)
    np.testing.assert_array_equal(depth_recall([perfect]).planes, 1)
    np.testing.assert_array_equal(normal_recall([perfect], [0.0]).pixels, 1)
    nothing = compare([NO] * 8, np.zeros((20, 3)))
    np.testing.assert_array_equal(depth_recall([nothing]).planes, 0)
    empty = compare([0] * 8, TRUE_PLANES, np.full((1, 8), NO, np.uint8))
    assert np.isnan(depth_recall([empty]).planes).all()
    assert depth_recall([empty, perfect], [0.0]) == (1, 1)
    assert np.isnan(depth_recall([], [0.0]).pixels).all()


def test_a_plane_behind_the_camera_is_not_found():
    behind = compare([0] * 8, [[0, 0, -2.0]])
    assert np.isinf(behind.depth_error).all()


def test_depth_errors_by_hand():
    found = planes.depth_errors(np.array([[2.0, 4.0, 0.0, 1.0]]), np.array([[2.2, 2.0, 7.0, 1.3]]))
    assert found == pytest.approx(
        {
            "rel": (0.1 + 0.5 + 0.3) / 3,
            "rms": math.sqrt((0.04 + 4 + 0.09) / 3),
            "log10": (math.log10(1.1) + math.log10(2) + math.log10(1.3)) / 3,
            "delta1": 1 / 3,
            "delta2": 2 / 3,
            "delta3": 2 / 3,
        }
    )
    assert math.isfinite(planes.depth_errors([1.0], [-1.0])["log10"])
    assert all(math.isnan(value) for value in planes.depth_errors([0.0], [1.0]).values())
