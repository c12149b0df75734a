"""The triplet terms against sums over all triplets, in float64."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.core.errors import UserError
from nvc_jax.model import losses
from tests.numeric import (
    blocks_of,
    jitted,
    normal,
    numeric_gradient,
    numpy_distances,
    temporary_bytes,
    value_and_gradient,
)


def hard(x, labels, margin=1.0, squared=False):
    return losses.triplet_hinge(x, labels, margin, "hard", squared)


def every(x, labels, margin=1.0, squared=False):
    return losses.triplet_hinge(x, labels, margin, "all", squared)


FORMS = {"ratio": losses.triplet_ratio, "hard": hard, "all": every}
STEPS = {form: value_and_gradient(function) for form, function in FORMS.items()}


def distance(a, b, squared):
    d2 = float(np.sum(np.square(a - b)))
    return d2 if squared else d2**0.5


def brute_force(form, x, labels, parameter=1.0, squared=False):
    """(mean, number) of triplets, one by one."""
    x, labels = np.asarray(x, np.float64), np.asarray(labels)
    size = len(labels)
    values = []
    for i in range(size):
        positives = [j for j in range(size) if labels[j] == labels[i] and j != i]
        negatives = [j for j in range(size) if labels[j] != labels[i]]
        if form == "hard" and positives and negatives:
            far = max(distance(x[i], x[j], squared) for j in positives)
            near = min(distance(x[i], x[j], squared) for j in negatives)
            values.append(max(0.0, far - near + parameter))
        for j, k in itertools.product(positives, negatives) if form != "hard" else ():
            if form == "ratio":
                values.append(distance(x[i], x[j], True) / (distance(x[i], x[k], True) + parameter))
            else:
                near = distance(x[i], x[k], squared)
                values.append(max(0.0, distance(x[i], x[j], squared) - near + parameter))
    return (np.mean(values) if values else 0.0), len(values)


LABELS = np.array([0, 1, 0, 2, 1, 0, 2, 2, 7])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("parameter", [1.0, 0.1])
def test_value_count_and_gradient_equal_brute_force(form, parameter):
    x = normal(0, 9, 3)
    (value, count), gradient = STEPS[form](x, LABELS, parameter)
    expected, number = brute_force(form, x, LABELS, parameter)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert int(count) == number and count.dtype == jnp.int32 and value.dtype == jnp.float32
    expected = numeric_gradient(lambda x: brute_force(form, x, LABELS, parameter)[0], x)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", ["hard", "all"])
def test_squared_hinge_equals_brute_force(form):
    x = normal(1, 9, 2)
    found = jitted(losses.triplet_hinge, x, LABELS, margin=0.5, mining=form, squared=True)
    np.testing.assert_allclose(found[0], brute_force(form, x, LABELS, 0.5, True)[0], rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_exact_far_from_the_origin_and_for_tight_clusters(form):
    near = normal(2, 9, 3) * 1e-3
    x = (near + 64.0 * LABELS[:, None] + 1024.0).astype(np.float32)
    x[1] = x[0]  # coincide, with different labels
    value = STEPS[form](x, LABELS, 1.0)[0][0]
    np.testing.assert_allclose(value, brute_force(form, x, LABELS)[0], rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_hand_computed(form):
    # Triplets (0, 1, 2) and (1, 0, 2): d(x, y) = 1, d(x, w) = 3 and 2.
    x, labels = [[0.0], [1.0], [3.0]], [5, 5, 9]
    value, count = jax.jit(lambda: FORMS[form](x, labels, 1.5))()
    expected = (1 / 10.5 + 1 / 5.5) / 2 if form == "ratio" else (0.0 + 0.5) / 2
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert int(count) == 2


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3], [0], []])
@pytest.mark.parametrize("coincide", [False, True])
def test_without_a_triplet_exactly_zero(form, labels, coincide):
    x = np.ones((len(labels), 2), np.float32) if coincide else normal(0, len(labels), 2)
    (value, count), gradient = STEPS[form](x, np.array(labels, np.int32))
    assert float(value) == 0 and int(count) == 0
    np.testing.assert_array_equal(gradient, np.zeros_like(x))


@pytest.mark.parametrize("form", FORMS)
def test_coincident_points_have_finite_values_and_gradients(form):
    x, labels = np.ones((4, 3), np.float32), np.array([0, 0, 1, 1])
    (value, count), gradient = STEPS[form](x, labels)
    assert float(value) == (0.0 if form == "ratio" else 1.0)
    assert int(count) == (4 if form == "hard" else 8)
    np.testing.assert_array_equal(gradient, np.zeros_like(x))


@pytest.mark.parametrize("form", ["hard", "all"])
def test_satisfied_triplets_cost_nothing(form):
    x = np.array([0.0, 0.1, 10.0, 10.1], np.float32)[:, None] * np.eye(3, dtype=np.float32)[:1]
    (value, count), gradient = STEPS[form](x, np.array([0, 0, 1, 1]))
    assert float(value) == 0 and int(count) > 0
    np.testing.assert_array_equal(gradient, np.zeros_like(x))


def separated_ratio(x, labels, alpha):
    """The ratio form row by row in float64, for batches too large for all triplets."""
    x = np.asarray(x, np.float64)
    total, count = 0.0, 0
    for i in range(len(x)):
        d2 = np.square(x - x[i]).sum(1)
        same = labels == labels[i]
        total += d2[same].sum() * (1 / (d2[~same] + alpha)).sum()
        count += (same.sum() - 1) * (~same).sum()
    return total / count, count


def test_ratio_in_blocks():
    x, labels = normal(0, 1100, 3) + 300, np.random.default_rng(0).integers(4, size=1100)
    (value, count), gradient = STEPS["ratio"](x, labels)
    expected, number = separated_ratio(x, labels, 1.0)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert int(count) == number
    direction = normal(1, 1100, 3).astype(np.float64)
    ends = [separated_ratio(x + s * 1e-5 * direction, labels, 1.0)[0] for s in (1, -1)]
    slope = np.sum(np.asarray(gradient, np.float64) * direction)
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-5, rtol=1e-3)


def test_hard_in_blocks_equals_a_plain_computation():
    x, labels = normal(0, 1100, 2), np.random.default_rng(0).integers(4, size=1100)
    d = np.sqrt(np.square(x[:, None].astype(np.float64) - x[None]).sum(-1))
    same = labels[:, None] == labels
    far, near = np.where(same, d, -1).max(1), np.where(same, np.inf, d).min(1)
    expected = np.maximum(far - near + 0.3, 0).mean()
    np.testing.assert_allclose(jitted(hard, x, labels, margin=0.3)[0], expected, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_blocks_equal_brute_force(form):
    x = normal(0, 9, 3)
    with blocks_of(4):
        (value, count), gradient = STEPS[form](x, LABELS, 0.7)
    expected, number = brute_force(form, x, LABELS, 0.7)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert int(count) == number
    expected = numeric_gradient(lambda x: brute_force(form, x, LABELS, 0.7)[0], x)
    np.testing.assert_allclose(gradient, expected, atol=1e-6 * np.abs(expected).max())


# Two clusters of p and q make p·q·(p + q − 2) triplets. The last has more than 2³¹ for one example.
@pytest.mark.parametrize(
    "sizes", [(7, 0), (2, 1), (742, 1371), (405, 2110), (2048, 2048), (50_000, 50_000)]
)
def test_count_is_exact_and_saturates_instead_of_wrapping_around(sizes):
    labels = np.repeat(np.array([3, -1], np.int32), sizes)
    x = np.zeros((len(labels), 1), np.float32)
    count = jax.jit(lambda x, labels: losses.triplet_ratio(x, labels)[1])(x, labels)
    assert int(count) == min(sizes[0] * sizes[1] * (sum(sizes) - 2), 2**31 - 1)


@pytest.mark.parametrize(("form", "size"), [("ratio", 4096), ("hard", 4096), ("all", 1024)])
def test_memory_of_value_and_gradient(form, size):
    step = jax.value_and_grad(FORMS[form], has_aux=True)
    x, labels = np.zeros((size, 32), np.float32), np.zeros(size, np.int32)
    assert temporary_bytes(step, x, labels) < 2**26  # one array [4096, 4096]


@pytest.mark.parametrize("form", FORMS)
def test_other_dtypes_jit_and_vmap(form):
    x = np.random.default_rng(3).integers(9, size=(9, 2))
    expected = brute_force(form, x, LABELS)[0]
    for dtype in (np.int32, jnp.bfloat16, np.float64):
        found = jitted(FORMS[form], x.astype(dtype), LABELS)[0]
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    batch = np.stack([x, 2 * x]).astype(np.float32)
    mapped = jax.jit(jax.vmap(FORMS[form], (0, None)))(batch, LABELS)[0]
    np.testing.assert_allclose(mapped, [expected, brute_force(form, 2 * x, LABELS)[0]], rtol=1e-5)


ANCHORS = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0]], np.float32)


anchor_step = value_and_gradient(losses.triplet_anchor, (0, 1))


def anchor_form(x, anchors, assignment, margin):
    d2 = np.square(np.asarray(x, np.float64)[:, None] - anchors).sum(-1)
    rows = np.arange(len(x))
    own = d2[rows, assignment]
    d2[rows, assignment] = np.inf
    return np.maximum(own - d2.min(1) + margin, 0).mean()


def test_anchor_form_equals_numpy():
    x, assignment = normal(0, 5, 2) + 1, np.array([0, 1, 0, 2, 0])
    (value, count), gradients = anchor_step(x, ANCHORS, assignment, 2.0)
    np.testing.assert_allclose(value, anchor_form(x, ANCHORS, assignment, 2.0), rtol=1e-5)
    assert int(count) == 5
    for i, found in enumerate(gradients):
        expected = numeric_gradient(
            lambda v, i=i: anchor_form(x if i else v, v if i else ANCHORS, assignment, 2.0),
            (x, ANCHORS)[i],
        )
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_anchor_form_in_blocks_equals_float64():
    x, anchors = normal(0, 90, 32), normal(1, 64, 32)
    assignment = np.random.default_rng(2).integers(64, size=90)
    with blocks_of(40):
        (value, count), gradients = anchor_step(x, anchors, assignment, 2.0)
    np.testing.assert_allclose(value, anchor_form(x, anchors, assignment, 2.0), rtol=1e-6)
    assert int(count) == 90
    distances = numpy_distances(x, anchors)
    near = distances[np.arange(90), assignment].copy()
    distances[np.arange(90), assignment] = np.inf
    other = distances.argmin(1)
    active = (near - distances.min(1) + 2.0 > 0)[:, None] / 90
    wide, table = x.astype(np.float64), anchors.astype(np.float64)
    to_own, to_other = 2 * active * (wide - table[assignment]), 2 * active * (wide - table[other])
    one_hot = np.eye(64)
    expected = (to_own - to_other, one_hot[other].T @ to_other - one_hot[assignment].T @ to_own)
    for found, right in zip(gradients, expected):
        np.testing.assert_allclose(found, right, atol=1e-6 * np.abs(right).max())


def test_anchor_form_by_hand():
    # d² to the own anchor 1, to the nearest other one 9: max(0, 1 − 9 + 10) = 2.
    x, own = np.array([[1.0, 0.0]], np.float32), np.zeros(1, np.int32)
    (value, count), _ = anchor_step(x, ANCHORS, own, 10.0)
    assert (float(value), int(count)) == (2.0, 1)
    assert float(anchor_step(x, ANCHORS, own, 8.0)[0][0]) == 0


def test_anchor_form_with_one_anchor_or_coincident_anchors():
    (value, count), gradients = anchor_step(normal(0, 3, 2), ANCHORS[:1], np.zeros(3, int))
    assert float(value) == 0 and int(count) == 0
    chex.assert_trees_all_equal(gradients, jax.tree.map(np.zeros_like, gradients))
    (value, _), gradients = anchor_step(np.zeros((2, 2), np.float32), 0 * ANCHORS, np.array([0, 2]))
    assert float(value) == 1.0
    chex.assert_tree_all_finite(gradients)


def test_mistakes_are_named():
    with pytest.raises(UserError, match="'soft'"):
        losses.triplet_hinge(np.zeros((2, 1)), [0, 1], mining="soft")
    for function in (losses.triplet_ratio, hard):
        with pytest.raises(UserError, match="labels of shape"):
            function(np.zeros((2, 1)), [0, 1, 2])


def test_anchor_form_of_an_empty_batch_is_zero():
    value, count = losses.triplet_anchor(np.zeros((0, 2)), ANCHORS, np.zeros(0, np.int32), 1.0)
    assert float(value) == 0 and int(count) == 0


def ratio_gradient(x, labels, alpha=1.0):
    """In float64, by the formula of `_ratio_sum_jvp` and differences."""
    x, same = x.astype(np.float64), labels[:, None] == labels[None]
    squared = sum((c[:, None] - c[None]) ** 2 for c in x.T)
    near, inverse = (squared * same).sum(1), np.where(same, 0, 1 / (squared + alpha))
    far, size = inverse.sum(1), same.sum(1)
    force = np.where(same, far[:, None] + far, -(near[:, None] + near) * inverse**2)
    total = ((size - 1) * (len(x) - size)).sum()
    return 2 * np.stack([(force * (c[:, None] - c[None])).sum(1) for c in x.T], 1) / total


@pytest.mark.parametrize("gap", [1.0, 1e3, 1e6])
def test_gradients_keep_their_digits_where_clusters_lie_far_apart(gap):
    rng, labels = np.random.default_rng(0), np.arange(300) % 3
    x = rng.normal(size=(300, 2)).astype(np.float32)
    x[labels == 1] += np.float32(gap)
    x[labels == 2] -= np.float32(gap)
    anchors = np.stack([x[labels == k].mean(0) + d for k in range(3) for d in [0.3] * 40])
    anchors += rng.normal(size=anchors.shape) * 3
    anchors = anchors.astype(np.float32)
    assert x.size * len(anchors) > 2**16
    difference = x.astype(np.float64)[:, None] - anchors
    squared = np.square(difference).sum(-1)
    nearest = squared.argmin(1)

    def pull(x):
        return jnp.sum(losses.pull(x, anchors))

    found = jax.jit(
        lambda x: [jax.grad(f)(x) for f in (lambda x: losses.triplet_ratio(x, labels)[0], pull)]
    )(x)
    ids = np.arange(300)
    first, second = np.sort(squared, axis=1)[:, :2].T
    alone = (first < second)[:, None]  # of two anchors as near as each other it may be either
    rights = ratio_gradient(x, labels), 2 * difference[ids, nearest] * alone
    for got, right in zip((found[0], np.where(alone, found[1], 0)), rights, strict=True):
        np.testing.assert_allclose(got, right, rtol=0, atol=1e-4 * np.abs(right).max())
    own = difference[ids, nearest]
    squared[ids, nearest] = np.inf
    other = difference[ids, squared.argmin(1)]
    first, second = np.sort(squared, axis=1)[:, :2].T
    alone &= (first < second)[:, None]
    found = jax.grad(lambda x: losses.triplet_anchor(x, anchors, nearest, 1e12)[0])(x)
    right, got = (np.where(alone, g, 0) for g in (2 * (own - other) / 300, found))
    np.testing.assert_allclose(got, right, rtol=0, atol=1e-4 * np.abs(right).max())


@pytest.mark.parametrize("mining", ["hard", "all"])
@pytest.mark.parametrize("squared", [False, True])
def test_codes_that_are_not_finite_are_not_hidden(mining, squared):
    x, labels = np.zeros((6, 2), np.float32), np.array([0, 0, 1, 1, 2, 2])
    for rows in (slice(None), slice(1)):
        x[rows] = np.nan
        assert np.isnan(losses.triplet_hinge(x, labels, 0.2, mining, squared)[0])
        x[:] = 0
