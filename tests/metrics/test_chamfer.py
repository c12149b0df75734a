"""Chamfer distance and F-score: by hand, against SciPy's trees, masks, ties, memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import cKDTree

from nvc_jax.metrics.chamfer import chamfer_distance, f_score, nearest_squared_distances
from tests.numeric import jitted, normal, numeric_gradient, temporary_bytes
from tests.refusals import refused

VARIANTS = ("l1", "l2")
jitted_score, nearest = jax.jit(f_score), jax.jit(nearest_squared_distances)
X = np.array([[[0, 0, 0], [3, 4, 0]]], np.float32)
Y = np.array([[[0, 0, 1], [3, 0, 0], [0, 0, 1]]], np.float32)


def tree_distances(x, y):
    """Distance of every point to the nearest one of the other cloud, in float64."""
    return cKDTree(y.astype(np.float64)).query(x.astype(np.float64))[0]


def tree_chamfer(x, y, variant):
    forth, back = tree_distances(x, y), tree_distances(y, x)
    if variant == "l1":
        return (forth.mean() + back.mean()) / 2
    return np.square(forth).mean() + np.square(back).mean()


def tree_f_score(x, y, threshold):
    precision = np.mean(tree_distances(x, y) < threshold)
    recall = np.mean(tree_distances(y, x) < threshold)
    return 2 * precision * recall / max(precision + recall, 1e-9)


def all_pairs(x, y, variant):
    """Value and gradients of one pair of clouds in float64, from an array with all pairs."""
    difference = x[:, None].astype(np.float64) - y[None].astype(np.float64)
    squared = np.square(difference).sum(-1)
    value, gradients = 0.0, (np.zeros(x.shape), np.zeros(y.shape))
    for nearest, size in (
        (np.stack([np.arange(len(x)), squared.argmin(1)]), len(x)),
        (np.stack([squared.argmin(0), np.arange(len(y))]), len(y)),
    ):
        for i, j in nearest.T:
            distance = np.sqrt(squared[i, j])
            step = difference[i, j] / distance / 2 if variant == "l1" else 2 * difference[i, j]
            gradients[0][i] += step / size
            gradients[1][j] -= step / size
            value += (distance / 2 if variant == "l1" else squared[i, j]) / size
    return value, gradients


@functools.cache
def with_gradient(variant):
    """Values `[B]` and the gradient of their sum in both clouds."""

    def total(clouds, **masks):
        values = chamfer_distance(*clouds, variant=variant, **masks)
        return values.sum(), values

    return jax.jit(lambda *clouds, **masks: jax.grad(total, has_aux=True)(clouds, **masks)[::-1])


def test_by_hand():
    # x → y: 1 from the origin, 4 from (3, 4, 0); y → x: 1, 3 and 1.
    np.testing.assert_array_equal(nearest(X, Y), [[1, 16]])
    np.testing.assert_array_equal(nearest(Y, X), [[1, 9, 1]])
    l1 = ((1 + 4) / 2 + (1 + 3 + 1) / 3) / 2
    np.testing.assert_allclose(with_gradient("l1")(X, Y)[0], [l1], rtol=1e-6)
    l2 = (1 + 16) / 2 + (1 + 9 + 1) / 3
    np.testing.assert_allclose(with_gradient("l2")(X, Y)[0], [l2], rtol=1e-6)
    precision, recall = 1 / 2, 2 / 3
    f1 = 2 * precision * recall / (precision + recall)
    # The threshold itself does not count, and distances are not squared.
    for threshold, score in ((1.5, f1), (1.0, 0), (4.01, 1)):
        np.testing.assert_allclose(jitted_score(X, Y, threshold=threshold), [score], rtol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_equals_trees_in_float64(variant, offset):
    x, y = normal(0, 3, 50, 3) + np.float32(offset), normal(1, 3, 37, 3) + np.float32(offset)
    expected = [tree_chamfer(*clouds, variant) for clouds in zip(x, y, strict=True)]
    found, gradient = with_gradient(variant)(x, y)
    assert found.dtype == jnp.float32 and found.shape == (3,)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    if not offset:
        slope = numeric_gradient(lambda v: tree_chamfer(v, y[0].astype(float), variant), x[0])
        np.testing.assert_allclose(gradient[0][0], slope, atol=1e-5)


@pytest.mark.parametrize("threshold", [0.2, 0.5, 1.0])
def test_f_score_equals_trees(threshold):
    x, y = normal(0, 3, 50, 3), normal(1, 3, 37, 3)
    found = jitted_score(x, y, threshold=threshold)
    expected = [tree_f_score(x[i], y[i], threshold) for i in range(3)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_large_clouds_take_little_memory_and_equal_all_pairs(variant):
    clouds = [jax.ShapeDtypeStruct((32, 16_384, 3), jnp.float32)] * 2
    assert temporary_bytes(with_gradient(variant), *clouds) < 2**28
    x, y = normal(2, 2, 256, 3), normal(3, 2, 256, 3)
    found, gradients = with_gradient(variant)(x, y)
    for example in range(2):
        value, slopes = all_pairs(x[example], y[example], variant)
        np.testing.assert_allclose(found[example], value, atol=1e-5)
        for gradient, slope in zip(gradients, slopes, strict=True):
            np.testing.assert_allclose(gradient[example], slope, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("filler", [np.nan, np.inf, 1e30, 0.0])
def test_masked_points_change_nothing(variant, filler):
    x, y = normal(4, 3, 20, 3), normal(5, 3, 18, 3)
    sizes = ((20, 1), (7, 18), (3, 5))
    x_mask = np.arange(20) < np.array([[n] for n, _ in sizes])
    y_mask = np.arange(18) < np.array([[m] for _, m in sizes])
    filled = [np.where(m[..., None], v, np.float32(filler)) for v, m in ((x, x_mask), (y, y_mask))]
    masks = {"x_mask": x_mask, "y_mask": y_mask}
    found, gradients = with_gradient(variant)(*filled, **masks)
    score = jitted_score(*filled, threshold=0.7, **masks)
    for example, (n, m) in enumerate(sizes):
        alone = x[example, :n], y[example, :m]
        expected, slopes = all_pairs(*alone, variant)
        np.testing.assert_allclose(found[example], expected, rtol=1e-5)
        np.testing.assert_allclose(score[example], tree_f_score(*alone, 0.7), rtol=1e-6)
        for gradient, slope, size in zip(gradients, slopes, (n, m), strict=True):
            np.testing.assert_allclose(gradient[example, :size], slope, atol=1e-5)
            np.testing.assert_array_equal(gradient[example, size:], 0.0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_cloud_without_points_is_worth_nothing(variant):
    x, y = normal(6, 3, 20, 3), normal(7, 3, 18, 3)
    x_mask, y_mask = np.ones((3, 20), bool), np.ones((3, 18), bool)
    x_mask[0], y_mask[1:] = False, False
    x_mask[2] = False
    found, gradients = with_gradient(variant)(x, y, x_mask=x_mask, y_mask=y_mask)
    np.testing.assert_array_equal(found, 0.0)
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0.0)
    scores = jitted_score(x, y, threshold=1e3, x_mask=x_mask, y_mask=y_mask)
    np.testing.assert_array_equal(scores, 0.0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_equal_points_have_no_distance_and_a_finite_gradient(variant):
    x = np.repeat(normal(8, 2, 64, 3), 4, axis=1)
    found, gradients = with_gradient(variant)(x, x[:, ::-1])
    np.testing.assert_array_equal(found, 0.0)
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_one_point_each(variant):
    found, gradients = with_gradient(variant)(X[:, 1:], np.zeros((1, 1, 3), np.float32))
    np.testing.assert_allclose(found, [5.0 if variant == "l1" else 50.0], rtol=1e-6)
    slope = [0.6, 0.8, 0.0] if variant == "l1" else [12.0, 16.0, 0.0]
    np.testing.assert_allclose(gradients[0][0, 0], slope, rtol=1e-6)
    np.testing.assert_allclose(gradients[1][0, 0], np.negative(slope), rtol=1e-6)


def test_of_equally_near_points_the_first_has_the_gradient():
    y = np.tile(np.array([-1, 0, 0], np.float32), (1, 40, 1))
    y[0, 5:, 0], y[0, 5, 0], y[0, 30, 0] = 9, 1, -1
    y[0, :5, 0] = 2
    gradient = jax.jit(jax.grad(lambda v: nearest_squared_distances(X[:, :1], v).sum()))(y)
    expected = np.zeros_like(y)
    expected[0, 5, 0] = 2
    np.testing.assert_array_equal(gradient, expected)


def test_a_broken_point_shows():
    broken = X.copy()
    broken[0, 0, 0] = np.nan
    for variant in VARIANTS:
        assert np.isnan(with_gradient(variant)(broken, Y)[0]).all()
        assert np.isnan(with_gradient(variant)(Y, broken)[0]).all()


def test_integers_are_points_too():
    found = jitted(chamfer_distance, X.astype(np.int32), Y.astype(jnp.bfloat16), variant="l2")
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, with_gradient("l2")(X, Y)[0])


def test_mistakes_are_told():
    for changes, words in [
        ({"variant": "squared"}, "'squared': use one of l1, l2"),
        ({"x": X[0]}, r"\(2, 3\).*\[B, N, 3\]"),
        ({"y": np.zeros((1, 4, 6))}, r"\(1, 4, 6\)"),
        ({"y": np.zeros((1, 0, 3))}, "at least one point"),
        ({"y": np.repeat(Y, 2, axis=0)}, "1 point clouds x and 2 y"),
        ({"x_mask": np.ones((1, 3), bool)}, r"bool \(1, 2\)"),
        ({"y_mask": np.ones((1, 3), np.int32)}, "int32"),
    ]:
        refused(words, chamfer_distance, **{"x": X, "y": Y, "variant": "l1", **changes})
