"""Labels of voxels and points: cross-entropy against NumPy, checks, names of metrics."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from nvc_jax.core.errors import UserError
from nvc_jax.tasks import labels
from tests.numeric import normal


def config_of(num_classes=3, class_weights=()):
    return ml_collections.ConfigDict(
        {"model": {"num_classes": num_classes}, "loss": {"class_weights": class_weights}}
    )


def numpy_cross_entropy(logits, target, weights):
    """One label after the other, in float64."""
    found = np.zeros(len(target))
    for index in np.ndindex(*target.shape):
        if target[index] != 255:
            row = logits[index].astype(np.float64)
            error = np.logaddexp.reduce(row) - row[target[index]]
            found[index[0]] += weights[target[index]] * error
    return found


@pytest.mark.parametrize("shape", [(5,), (2, 1, 3)])
def test_cross_entropy_is_weighted_and_counts_known_labels_only(shape):
    logits = 3 * normal(0, 3, *shape, 3)
    logits[0, 0] = [1000.0, -1000.0, 0.0]  # no overflow
    target = np.random.default_rng(1).integers(0, 3, (3, *shape)).astype(np.uint8)
    target[1, 0], target[2] = 255, 255
    weights = (0.0, 0.5, 7.0)
    loss = jax.jit(lambda x: labels.cross_entropy(x, target, weights))
    found = loss(logits)
    assert found.shape == (3,) and found.dtype == jnp.float32
    np.testing.assert_allclose(found, numpy_cross_entropy(logits, target, weights), rtol=1e-5)
    assert found[2] == 0

    gradient = jax.jit(jax.grad(lambda x: jnp.sum(loss(x))))(logits)
    p = np.exp(logits - np.logaddexp.reduce(logits.astype(np.float64), axis=-1, keepdims=True))
    known = (target != 255)[..., None]
    label = np.where(target == 255, 0, target)
    expected = np.where(known, np.array(weights)[label][..., None] * (p - np.eye(3)[label]), 0)
    np.testing.assert_allclose(gradient, expected, atol=1e-5)


def test_soft_iou_by_hand():
    probability = np.array(
        [
            [[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.3, 0.4]],
            [[0.5, 0.25, 0.25], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1]],
            [[0.7, 0.2, 0.1]] * 3,
        ],
        np.float32,
    )
    target = np.array([[0, 1, 1], [0, 2, 255], [0, 0, 0]], np.uint8)
    soft = jax.jit(labels.soft_iou, static_argnums=2)
    logits = jnp.log(probability)
    # Class 1 of the first: 0.9 of 0.2 + 1 + 1; class 2 of the second: 0.6 of 0.25 + 1.
    np.testing.assert_allclose(soft(logits, target, 1), [0.9 / 2.2, 0.6 / 1.25, 1.0], rtol=1e-5)
    whole = [(0.7 / 1.4 + 0.9 / 2.2) / 2, (0.5 / 1.2 + 0.6 / 1.25) / 2, 2.1 / 3]
    np.testing.assert_allclose(soft(logits, target, 0), whole, rtol=1e-5)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(labels.soft_iou(x, target, 1))))(logits)
    assert np.isfinite(gradient).all() and not gradient[2].any() and not gradient[1, 2].any()
    certain = jnp.asarray(1000.0 * np.eye(3, dtype=np.float32)[[[0, 1, 1]]])
    np.testing.assert_array_equal(soft(certain, target[:1], 1), [1.0])


def test_labeling_loss_is_cross_entropy_and_what_lacks_of_the_soft_iou():
    logits, target = normal(3, 2, 5, 3), np.array([[0, 1, 2, 2, 255], [1, 1, 1, 1, 0]], np.uint8)
    entropy = labels.cross_entropy(logits, target, (1.0, 2.0, 0.5))
    found = labels.labeling_loss(logits, target, (1.0, 2.0, 0.5), 0.3, 1)
    lacking = 1 - np.asarray(labels.soft_iou(logits, target, 1))
    np.testing.assert_allclose(found, entropy + 0.3 * 5 * lacking, rtol=1e-5)
    plain = labels.labeling_loss(logits, target, (1.0, 2.0, 0.5), 0.0)
    np.testing.assert_array_equal(plain, entropy)


def test_255_classes_are_as_many_as_labels_can_tell():
    assert labels.check_num_classes(config_of(255)) == 255
    target = np.array([[254, 255]], np.uint8)
    labels.check_labels(target, 255, "complete")
    logits = np.zeros((1, 2, 255), np.float32)
    found = jax.jit(lambda x: labels.cross_entropy(x, target, (1.0,) * 255))(logits)
    np.testing.assert_allclose(found, [np.log(255)], rtol=1e-6)


@pytest.mark.parametrize("count", [0, 1, -1, 256])
def test_the_number_of_classes_must_be_set(count):
    with pytest.raises(UserError, match=rf"model.num_classes is {count}: .* from 2 to 255"):
        labels.check_num_classes(config_of(count))


def test_weights_are_one_for_every_class():
    assert labels.check_class_weights(config_of(), 3) == (1, 1, 1)
    assert labels.check_class_weights(config_of(3, (0.0, 1.0, 2.0)), 3) == (0, 1, 2)
    for wrong in ((1.0, 2.0), (1.0, 2.0, -1.0)):
        with pytest.raises(UserError, match="give 3 numbers from 0"):
            labels.check_class_weights(config_of(3, wrong), 3)


def test_labels_beyond_the_classes_are_refused():
    labels.check_labels(np.array([0, 2, 255], np.uint8), 3, "complete")
    labels.check_labels(np.zeros((0, 2), np.uint8), 3, "complete")
    with pytest.raises(UserError, match="complete holds the label 7: labels go from 0 to 2"):
        labels.check_labels(np.array([[0, 3], [7, 255]], np.uint8), 3, "complete")


def test_classes_go_by_name_or_number():
    found = labels.named("iou_class", {0: 0.5, 1: 0.25, 3: 1.0}, ("chair", "table"))
    assert found == {"iou_class/chair": 0.5, "iou_class/table": 0.25, "iou_class/3": 1.0}
    assert labels.named("a", {}, ("chair",)) == {}


def test_iou_of_classes_divides_sums_and_leaves_out_what_never_occurs():
    intersection = np.array([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    union = np.array([[4.0, 3.0, 0.0], [2.0, 0.0, 0.0]])
    found = labels.class_iou(intersection, union, ("empty", "chair", "table"))
    assert found == {"iou_class/empty": 0.5, "iou_class/chair": 0.0}
