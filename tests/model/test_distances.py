"""Squared distances, their gradient, and work in blocks of rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from nvc_jax.core.errors import UserError
from nvc_jax.model import distances
from tests.numeric import (
    blocks_of,
    normal,
    numpy_distances,
    temporary_bytes,
    value_and_gradient,
)


def gradients(x, a, weight):
    """Of `Σ weight·d²` by float64 differences."""
    difference = x.astype(np.float64)[:, None] - a.astype(np.float64)[None]
    weighted = 2 * weight.astype(np.float64)[:, :, None] * difference
    return weighted.sum(1), -weighted.sum(0)


squared_distances = jax.jit(distances.squared_distances)


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.uint8, np.float64, jnp.bfloat16])
def test_distances_in_any_dtype(dtype):
    x, a = np.array([[0, 3], [1, 1]], dtype), np.array([[4, 0], [1, 1], [0, 3]], dtype)
    d = squared_distances(x, a)
    assert d.dtype == jnp.float32
    np.testing.assert_array_equal(d, [[25, 5, 0], [10, 0, 5]])


@pytest.mark.parametrize("offset", [1e5, 1e6, -3e6])
def test_distances_are_exact_at_large_offsets(offset):
    x, a = np.array([[offset, 0.0]]), np.array([[offset + 2, 0.0], [0.0, 0.0]])
    np.testing.assert_array_equal(squared_distances(x, a), [[4.0, np.float32(offset) ** 2]])


@pytest.mark.parametrize("shape", [(5, 3, 1), (9, 4, 16), (6, 7, 37), (40, 50, 70), (1, 1, 2)])
def test_distances_and_gradient_against_numpy(shape):
    n, k, d = shape
    x, a, weight = normal(0, n, d) + 1000, normal(1, k, d) + 1000, normal(2, n, k)
    a[0] = x[0]

    def weighted(x, a):
        squared = distances.squared_distances(x, a)
        return jnp.sum(weight * squared), squared

    (_, found), slopes = value_and_gradient(weighted, (0, 1))(x, a)
    found = np.asarray(found)
    np.testing.assert_allclose(found, numpy_distances(x, a), rtol=1e-5)
    assert found[0, 0] == 0 and np.min(found) >= 0
    expected = gradients(x, a, weight)
    for gradient, right in zip(slopes, expected):
        np.testing.assert_allclose(gradient, right, rtol=1e-4, atol=1e-4)


def nearest(x, a):
    return jnp.sum(jnp.min(distances.squared_distances(x, a), axis=1))


def test_gradient_is_exact_for_near_pairs_of_a_wide_spread():
    x = np.array([[1e5, 0.0], [0.0, 0.0]], np.float32)
    a = np.array([[1e5 + 2, 0.0], [0.0, 0.25]], np.float32)
    found = jax.jit(jax.grad(nearest))(x, a)
    np.testing.assert_array_equal(found, [[-4.0, 0.0], [0.0, -0.5]])


def test_distances_differentiate_twice_and_forward():
    check_grads(
        squared_distances,
        (normal(0, 3, 2), normal(1, 2, 2)),
        order=2,
        rtol=2e-2,
        atol=2e-2,
    )


def test_distances_under_jit_and_vmap():
    x, a = normal(0, 4, 5, 3), normal(1, 4, 2, 3)
    mapped = jax.jit(jax.vmap(distances.squared_distances))(x, a)
    np.testing.assert_allclose(mapped, [numpy_distances(*pair) for pair in zip(x, a)], rtol=1e-5)


def test_distances_refuse_other_shapes():
    for x, a in [((2, 3), (2, 2)), ((3,), (2, 3)), ((2, 3), (0, 3))]:
        with pytest.raises(UserError, match="N, D"):
            distances.squared_distances(np.zeros(x), np.zeros(a))


def test_memory_of_distances_and_their_gradient():
    x, a = np.zeros((65_536, 64), np.float32), np.zeros((1_024, 64), np.float32)
    assert temporary_bytes(distances.squared_distances, x, a) < 2**26
    assert temporary_bytes(jax.grad(nearest, (0, 1)), x, a) < 2**30  # 4 of [N, K], not 64


def test_blocks_have_a_bounded_size():
    assert distances.block_rows(1_024) * 1_024 * 4 == 2**22  # bytes
    assert distances.block_rows(10) > 100_000
    assert distances.block_rows(10**9) == 64


@pytest.mark.parametrize(
    ("size", "seen"), [(1, {1}), (4, {4}), (5, {4, 1}), (8, {4, 0}), (11, {4, 3})]
)
def test_rows_in_blocks_equal_the_plain_call_and_its_gradient(size, seen):
    x, y, factor = normal(0, size, 2), normal(1, size), normal(2, 3)
    weight = normal(3, size, 3)
    rows = set()

    def function(x, y, factor):
        rows.add(len(x))
        return jnp.sin(x[:, :1] * y[:, None]) * factor[None] + x[:, 1:]

    def in_blocks(x, y, factor):
        mapped = distances.map_rows(lambda x, y: function(x, y, factor), 2, x, y)
        summed = distances.sum_rows(lambda x, y: function(x, y, factor), 2, x, y)
        return jnp.sum(weight * mapped) + jnp.sum(summed * summed), (mapped, summed)

    with blocks_of(4):
        (_, found), gradient = value_and_gradient(in_blocks, (0, 1, 2))(x, y, factor)
    assert rows == seen
    wide, tall, f = (v.astype(np.float64) for v in (x, y[:, None], factor))
    values = np.sin(wide[:, :1] * tall) * f + wide[:, 1:]
    np.testing.assert_allclose(found[0], values, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[1], values.sum(0), rtol=1e-5, atol=1e-6)
    slope = weight + 2 * values.sum(0)
    inner = np.cos(wide[:, :1] * tall) * f * slope
    expected = (
        np.stack([(inner * tall).sum(1), slope.sum(1)], 1),
        (inner * wide[:, :1]).sum(1),
        (np.sin(wide[:, :1] * tall) * slope).sum(0),
    )
    for gradient_of_one, right in zip(gradient, expected):
        np.testing.assert_allclose(gradient_of_one, right, rtol=1e-5, atol=1e-5)
