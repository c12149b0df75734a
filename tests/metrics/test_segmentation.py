"""Part and point IoU against hand-computed values, a loop in float64 and scikit-learn."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, jaccard_score

from nvc_jax import metrics
from tests.refusals import refused

# Category 0 has the parts 0 and 1, category 1 the parts 2, 3 and 4.
PARTS = np.array([[1, 1, 0, 0, 0], [0, 0, 1, 1, 1]], bool)
part_iou_counts = jax.jit(metrics.part_iou_counts)


def logits_of(predicted):
    """Logits whose largest is that of the given parts, `[B, P, 5]`."""
    return np.eye(5, dtype=np.float32)[np.asarray(predicted)]


def counts_of(predicted, point_label, category) -> tuple[Any, Any]:
    label = np.asarray(point_label, np.uint8)
    return part_iou_counts(logits_of(predicted), label, np.asarray(category, np.int32), PARTS)


def brute_force(logits, point_label, category):
    """IoU of every shape that has a category and a known point, shape by shape, part by part."""
    found = []
    for values, label, index in zip(np.asarray(logits, np.float64), point_label, category):
        parts = [c for c in range(5) if PARTS[index][c]]
        best = [parts[np.argmax(row[parts])] for row in values]
        pairs = [(p, t) for p, t in zip(best, label) if t != 255]
        if index < 0 or not pairs:
            continue
        ious = []
        for part in parts:
            union = sum(part in pair for pair in pairs)
            both = sum(pair == (part, part) for pair in pairs)
            ious.append(both / union if union else 1.0)
        found.append((index, sum(ious) / len(ious)))
    return found


def test_an_absent_part_counts_as_one_unless_it_is_predicted():
    # Part 4 is in neither; then it is predicted at one of the points.
    label, category = [[2, 2, 3, 3]], [1]
    counts = counts_of([[2, 2, 3, 2]], label, category)
    np.testing.assert_array_equal(counts[0], [[0, 0, 2, 1, 0]])
    np.testing.assert_array_equal(counts[1], [[0, 0, 3, 2, 0]])
    assert metrics.part_mious(*counts, category, PARTS)[0] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    counts = counts_of([[2, 2, 3, 4]], label, category)
    assert metrics.part_mious(*counts, category, PARTS)[0] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert metrics.mean_iou(*counts) == pytest.approx((1 + 1 / 2 + 0) / 3)  # no absent part here
    assert metrics.pooled_accuracy(*counts) == 0.75


def test_parts_of_other_categories_are_not_predicted():
    logits = np.array([[[0.0, 1.0, 9.0, 9.0, 9.0]], [[9.0, 9.0, -3.0, -2.0, -4.0]]], np.float32)
    label, category = np.array([[1], [3]], np.uint8), np.array([0, 1], np.int32)
    intersection, _ = part_iou_counts(logits, label, category, PARTS)
    np.testing.assert_array_equal(intersection, np.eye(5)[[1, 3]])
    unknown = np.array([-1, -1], np.int32)
    _, union = part_iou_counts(logits, label, unknown, PARTS)
    np.testing.assert_array_equal(union, [[0, 1, 1, 0, 0], [1, 0, 0, 1, 0]])


def test_instances_and_categories_weigh_differently():
    # Shape IoUs 1, 1 and (1/4 + 0 + 1)/3 = 5/12.
    label = [[0, 0, 1, 1], [0, 0, 0, 0], [2, 2, 2, 2]]
    predicted, category = [[0, 0, 1, 1], [0, 0, 0, 0], [2, 3, 3, 3]], [0, 0, 1]
    counts = counts_of(predicted, label, category)
    instances, found = metrics.part_mious(*counts, category, PARTS)
    assert instances == pytest.approx((2 + 5 / 12) / 3)
    assert found.per_class == pytest.approx({0: 1.0, 1: 5 / 12})
    assert found.mean == pytest.approx((1 + 5 / 12) / 2)


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_mious_equal_brute_force(dtype):
    rng = np.random.default_rng(0)
    category = np.array([0, 1, 1, -1, 0, 1], np.int32)
    label = rng.integers(0, 2, (6, 9)) + 2 * (category == 1)[:, None]
    label = np.where(rng.random((6, 9)) < 0.2, 255, label).astype(np.uint8)
    label[5] = 255  # nothing known: no shape to score
    logits = jnp.asarray(rng.permuted(np.arange(6 * 9 * 5)).reshape(6, 9, 5) % 64, dtype)
    counts: tuple[Any, Any] = part_iou_counts(logits, label, category, PARTS)
    expected = brute_force(logits, label, category)
    assert len(expected) == 4
    values = [value for _, value in expected]
    found, per_class = metrics.part_mious(*counts, category, PARTS)
    assert found == pytest.approx(np.mean(values), abs=1e-12)
    means = {k: np.mean([v for c, v in expected if c == k]) for k in (0, 1)}
    assert per_class.per_class == pytest.approx(means, abs=1e-12)
    assert per_class.mean == pytest.approx(np.mean(list(means.values())), abs=1e-12)


def test_pooled_numbers_equal_scikit_learn():
    rng = np.random.default_rng(1)
    predicted, target = rng.integers(0, 4, (2, 3, 50)).astype(np.uint8)
    target[rng.random((3, 50)) < 0.3] = 255
    counts = metrics.class_counts(predicted, target, 5)
    predicted, target = predicted[target != 255], target[target != 255]
    found = metrics.pooled_accuracy(*counts)
    assert found == pytest.approx(accuracy_score(target, predicted), abs=1e-12)
    expected = jaccard_score(target, predicted, average="macro")
    assert metrics.mean_iou(*counts) == pytest.approx(expected, abs=1e-12)


def test_no_known_point():
    counts = counts_of([[0, 1]], [[255, 255]], [0])
    np.testing.assert_array_equal(counts, np.zeros((2, 1, 5)))
    assert metrics.pooled_accuracy(*counts) == 1.0
    refused("none to score", metrics.part_mious, *counts, [0], PARTS)


def test_mistakes_are_named():
    ones = np.ones((2, 5))
    refused("Category 2 has no part", metrics.part_mious, ones, ones, [0, 2], PARTS)
    message = "Category 1 has no part"
    refused(message, metrics.part_mious, ones, ones, [0, 1], PARTS & [[True], [False]])
    refused(r"\(2, 5\), \(3,\) and \(2, 5\)", metrics.part_mious, ones, ones, [0, 1, 1], PARTS)
    refused("one shape", counts_of, [[0, 1]], [[0, 0, 0]], [0])
    refused("at least one example", metrics.pooled_accuracy, ones[:0], ones[:0])
