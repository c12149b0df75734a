"""IoU of volumes against hand-computed values, loops and scikit-learn."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import jaccard_score

from nvc_jax import metrics
from tests.numeric import temporary_bytes
from tests.refusals import refused

occupancy_counts = jax.jit(metrics.occupancy_counts, static_argnums=2)
class_counts = jax.jit(metrics.class_counts, static_argnums=2)


def labels(seed, *shape, high=3, unknown=True):
    """Random classes, some of them unknown."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, high, shape, np.uint8)
    return np.where(rng.random(shape) < 0.2, 255, values) if unknown else values


# --- Counts ---------------------------------------------------------------------------------------


def test_occupancy_by_hand():
    probability = np.array([0.55, 0.4, 0.39, 0.9, 0.9, 0.1], np.float32).reshape(1, 6, 1, 1)
    complete = np.array([1, 1, 1, 0, 255, 7], np.uint8).reshape(1, 6, 1, 1)
    intersection, union = occupancy_counts(probability, complete, (0.4, 0.5))
    assert intersection.dtype == union.dtype == jnp.float32
    np.testing.assert_array_equal(intersection, [[2, 1]])  # 0.4 itself is occupied
    np.testing.assert_array_equal(union, [[5, 5]])


def test_a_logit_has_to_become_a_probability_first():
    logit, complete = jnp.full((1, 1, 1, 1), 0.2), jnp.ones((1, 1, 1, 1), jnp.uint8)
    found = occupancy_counts(jax.nn.sigmoid(logit), complete, (0.5,))
    np.testing.assert_array_equal(found, [[[1]], [[1]]])


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_occupancy_equals_scikit_learn(dtype):
    probability = jnp.asarray(np.random.default_rng(0).random((2, 3, 4, 5)), dtype)
    complete, thresholds = labels(1, 2, 3, 4, 5, high=2), (0.1, 0.5, 0.9)
    counts = occupancy_counts(probability, complete, thresholds)
    found = metrics.iou(*counts)
    for b in range(2):
        known = complete[b] != 255
        for t, threshold in enumerate(thresholds):
            occupied = np.asarray(probability[b], np.float32) >= np.float32(threshold)
            expected = jaccard_score(complete[b][known], occupied[known])
            assert found[b, t] == pytest.approx(expected, abs=1e-12)


def test_classes_equal_a_loop_and_unknown_voxels_change_nothing():
    predicted, target = labels(0, 3, 4, 5, 2, high=4, unknown=False), labels(1, 3, 4, 5, 2, high=4)
    intersection, union = class_counts(predicted, target, 4)
    expected = np.zeros((2, 3, 4))
    for b, x, y, z in np.ndindex(3, 4, 5, 2):
        p, t = predicted[b, x, y, z], target[b, x, y, z]
        if t == 255:
            continue
        for c in range(4):
            expected[0, b, c] += p == c and t == c
            expected[1, b, c] += p == c or t == c
    np.testing.assert_array_equal([intersection, union], expected)
    other = np.where(target == 255, (predicted + 1) % 4, predicted)
    np.testing.assert_array_equal(class_counts(other, target, 4), expected)


def test_points_are_counted_like_voxels():
    predicted, target = labels(0, 2, 12, unknown=False), labels(1, 2, 12)
    points = class_counts(predicted, target, 3)
    volumes = class_counts(*(x.reshape(2, 3, 2, 2) for x in (predicted, target)), 3)
    np.testing.assert_array_equal(points, volumes)


def test_geometry_ignores_the_class_but_not_what_is_empty():
    predicted = np.array([[0, 0, 1, 2, 3, 1]], np.int32).reshape(1, 6, 1, 1)
    target = np.array([[0, 1, 2, 2, 0, 255]], np.uint8).reshape(1, 6, 1, 1)
    intersection, union = occupancy_counts(predicted > 0, target, (0.5,))
    np.testing.assert_array_equal(intersection, [[2]])
    np.testing.assert_array_equal(union, [[4]])


def test_shapes_that_differ_are_refused():
    # A decoder's channel axis would be broadcast to X·Y·Z·Y voxels.
    volume, labels = np.zeros((2, 3, 3, 3)), np.zeros((2, 5), np.uint8)
    message = r"\(2, 3, 3, 3, 1\) and \(2, 3, 3, 3\)"
    refused(message, metrics.occupancy_counts, volume[..., None], volume, (0.5,))
    refused("one shape", metrics.class_counts, labels[:, :4].astype(np.int32), labels, 3)


def test_memory_does_not_grow_with_thresholds_or_classes():
    probability, complete = np.zeros((4, 64, 64, 64), np.float32), np.zeros((4, 64, 64, 64), bool)
    thresholds = tuple(np.linspace(0.1, 0.9, 17).tolist())

    def occupancy(probability, complete):
        return metrics.occupancy_counts(probability, complete, thresholds)

    def classes(predicted, target):
        return metrics.class_counts(predicted, target, 40)

    # 2²⁰ voxels: a float32 array of them takes 2²² bytes.
    complete = complete.astype(np.uint8)
    assert temporary_bytes(occupancy, probability, complete) < 2**24
    assert temporary_bytes(classes, complete.astype(np.int32), complete) < 2**25


# --- Ratios ---------------------------------------------------------------------------------------


def test_the_mean_of_examples_is_not_the_pooled_iou():
    assert metrics.iou_mean([1, 0], [1, 9]) == 0.5
    assert metrics.iou_pooled([1, 0], [1, 9]) == pytest.approx(0.1)


def test_nothing_to_find_and_nothing_found_is_one():
    empty = np.zeros((1, 2, 2, 2))
    counts = occupancy_counts(empty.astype(np.float32), empty.astype(np.uint8), (0.5,))
    assert metrics.iou_mean(*counts) == metrics.iou_pooled(*counts) == 1.0
    assert metrics.iou_mean([0], [0], 0.1) == 1.0
    assert metrics.mean_iou([[0, 0]], [[0, 0]]) == 1.0
    assert metrics.mean_iou([[8, 0]], [[8, 0]], classes=[1]) == 1.0


def test_forknet_smooths_and_leaves_the_empty_class_out():
    intersection, union = np.array([[9, 1, 0], [9, 2, 0]]), np.array([[9, 2, 0], [9, 4, 1]])
    found = metrics.iou_mean(intersection[:, 1:], union[:, 1:], 0.1)
    assert found == pytest.approx((1.1 / 2.1 + 1.0 + 2.1 / 4.1 + 0.1 / 1.1) / 4)


def test_classes_weigh_the_same_and_examples_without_one_are_left_out():
    ratios = metrics.iou([1, 3, 2, 5], [2, 4, 8, 5])
    found = metrics.class_means(ratios, [0, 0, 7, -1])
    assert found.per_class == {0: 0.625, 7: 0.25}
    assert found.mean == 0.4375
    refused("an example with a label", metrics.class_means, [0.5], [-1])
    refused(r"\(2,\) and \(1,\)", metrics.class_means, [0.5, 0.5], [0])


def test_semantic_completion_equals_scikit_learn():
    predicted, target = labels(2, 5, 4, 4, 4, high=4, unknown=False), labels(3, 5, 4, 4, 4, high=4)
    counts: tuple[Any, Any] = class_counts(predicted, target, 6)  # two classes occur nowhere
    known = target != 255
    for classes in (None, [1, 2, 3, 4, 5]):
        present = [0, 1, 2, 3] if classes is None else [1, 2, 3]
        expected = jaccard_score(target[known], predicted[known], labels=present, average="macro")
        assert metrics.mean_iou(*counts, classes=classes) == pytest.approx(expected, abs=1e-12)


def test_a_class_that_is_only_predicted_counts_as_zero():
    assert metrics.mean_iou([[4, 0, 0]], [[5, 1, 0]]) == pytest.approx(0.4)


def test_no_example_and_unequal_counts_are_refused():
    for metric in (metrics.iou, metrics.iou_mean, metrics.iou_pooled, metrics.mean_iou):
        refused("at least one example", metric, np.zeros((0, 3)), np.zeros((0, 3)))
        refused(r"\(2, 3\) and \(2, 4\)", metric, np.zeros((2, 3)), np.zeros((2, 4)))
