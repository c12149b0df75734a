"""KL, masses, gravity and pull against float64."""

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


def log_density(z, mean, variance):
    return -0.5 * (np.square(z - mean) / variance + np.log(2 * np.pi * variance))


def expected_kl(mean, logvar, centers, scale=1.0):
    """E[log q − log p] by Gauss-Hermite quadrature, exact for Gaussians."""
    mean, logvar, centers = (np.asarray(v, np.float64)[..., None] for v in (mean, logvar, centers))
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    z = mean + np.exp(0.5 * logvar) * nodes
    difference = log_density(z, mean, np.exp(logvar)) - log_density(z, centers, scale**2)
    return (difference * weights).sum(-1).sum(-1) / np.sqrt(2 * np.pi)


def total_kl(mean, logvar, centers, scale):
    values = losses.anchor_kl(mean, logvar, centers, scale)
    return jnp.sum(values), values


kl_step = value_and_gradient(total_kl, (0, 1, 2))


@pytest.mark.parametrize("scale", [1.0, 0.5, 3.0])
def test_kl_equals_its_definition(scale):
    arrays = (normal(0, 5, 3), 2 * normal(1, 5, 3), normal(2, 5, 3))
    (_, found), gradients = kl_step(*arrays, scale)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected_kl(*arrays, scale), rtol=1e-5)
    for i, gradient in enumerate(gradients):

        def total(v, i=i):
            mean, logvar, centers = (v if j == i else array for j, array in enumerate(arrays))
            return expected_kl(mean, logvar, centers, scale).sum()

        expected = numeric_gradient(total, arrays[i])
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-4)


def test_kl_by_hand():
    mean, zero = np.array([[4.0, 0.0], [0.0, 0.0]]), np.zeros((2, 2))
    np.testing.assert_array_equal(jitted(losses.anchor_kl, mean, zero, zero), [8.0, 0.0])
    np.testing.assert_array_equal(jitted(losses.anchor_kl, mean, zero, mean), [0.0, 0.0])
    wide = ([[1.0, 3.0]], [[0.0, np.log(4.0)]], [[1.0, 1.0]], 2.0)
    found = jax.jit(lambda: losses.anchor_kl(*wide))()
    np.testing.assert_allclose(found, [0.5 * (1 / 4 - 1 + 2 * np.log(2.0) + 8 / 4 - 1)], rtol=1e-6)


def test_kl_to_the_origin_is_that_of_a_plain_vae():
    mean, logvar = normal(0, 5, 3), normal(1, 5, 3)
    m, v = mean.astype(np.float64), logvar.astype(np.float64)
    plain = -0.5 * np.sum(1 + v - np.square(m) - np.exp(v), axis=1)
    (_, found), _ = kl_step(mean, logvar, np.zeros_like(mean), 1.0)
    np.testing.assert_allclose(found, plain, 1e-5)


@pytest.mark.parametrize("logvar", [-1e4, -90.0, -20.0, 20.0, 79.0, 89.0, 1e3, 1e4])
def test_kl_of_extreme_logvar_is_finite_and_right(logvar):
    mean, array = np.full((5, 3), 2.0, np.float32), np.full((5, 3), logvar, np.float32)
    (_, found), gradients = kl_step(mean, array, np.zeros_like(mean), 1.0)
    variance = np.exp(min(np.float64(logvar), 80.0))
    np.testing.assert_allclose(found, np.full(5, 1.5 * (variance + 4 - 1 - logvar)), rtol=1e-5)
    np.testing.assert_allclose(gradients[0], mean, rtol=1e-6)
    np.testing.assert_allclose(gradients[1], np.full((5, 3), 0.5 * (variance - 1)), rtol=1e-5)


def test_kl_refuses_shapes_that_differ():
    with pytest.raises(UserError, match="every example its own center"):
        losses.anchor_kl(np.zeros((4, 2)), np.zeros((4, 2)), np.zeros((3, 2)))


def expected_masses(sample, anchors, assignment, reduction="sum"):
    masses = np.ones(len(anchors))
    for k in range(len(anchors)):
        own = np.asarray(sample, np.float64)[np.asarray(assignment) == k] - anchors[k]
        if len(own):
            d2 = np.square(own).sum(1)
            masses[k] += d2.sum() if reduction == "sum" else d2.mean()
    return masses


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_masses_equal_sums_over_each_cluster(reduction):
    sample, anchors, assignment = normal(0, 9, 3), normal(1, 4, 3), np.array([0, 1, 0, 3] * 2 + [3])

    def total(sample, anchors):
        masses = losses.cluster_masses(sample, anchors, assignment, reduction)
        return jnp.sum(masses), masses

    (_, found), gradients = value_and_gradient(total, (0, 1))(sample, anchors)
    assert found.dtype == jnp.float32
    expected = expected_masses(sample, anchors, assignment, reduction)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert float(found[2]) == 1.0
    for i, gradient in enumerate(gradients):
        numeric = numeric_gradient(
            lambda v, i=i: expected_masses(
                sample if i else v, v if i else anchors, assignment, reduction
            ).sum(),
            (sample, anchors)[i],
        )
        np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-4)


def test_masses_by_hand():
    sample, anchors = [[1.0, 0.0], [3.0, 4.0], [9.0, 9.0]], [[0.0, 0.0], [9.0, 9.0]]
    for reduction, expected in (("sum", [27.0, 1.0]), ("mean", [14.0, 1.0])):
        found = jax.jit(lambda r=reduction: losses.cluster_masses(sample, anchors, [0, 0, 1], r))
        np.testing.assert_array_equal(found(), expected)
    with pytest.raises(UserError, match="'median'"):
        losses.cluster_masses(sample, anchors, [0, 0, 1], "median")


def expected_gravity(anchors, masses, form, radius=1.0, reduction="sum"):
    """Pair by pair."""
    energies = []
    for i, j in itertools.combinations(range(len(anchors)), 2):
        d2 = np.square(np.asarray(anchors, np.float64)[i] - anchors[j]).sum()
        energy = -np.log(d2) if form == "paper" else max(0.0, -np.log(d2 / radius**2))
        energies.append(float(masses[i]) * float(masses[j]) * energy)
    return sum(energies) / (len(energies) if reduction == "mean" else 1)


ANCHORS = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]], np.float32)
MASSES = np.array([2.0, 3.0, 0.5], np.float32)
COINCIDENT = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0]], np.float32)
gravity_step = jax.jit(jax.value_and_grad(losses.gravity, (0, 1)), static_argnums=(2, 4))
HAND = (ANCHORS, MASSES, "paper", 1.0)


@pytest.mark.parametrize(("reduction", "expected"), [("sum", -23.6488), ("mean", -7.8829)])
def test_gravity_by_hand_counts_each_pair_once(reduction, expected):
    np.testing.assert_allclose(gravity_step(*HAND, reduction)[0], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("form", "radius", "reduction"),
    [
        ("paper", 1.0, "sum"),
        ("paper", 1.0, "mean"),
        ("bounded", 1.5, "sum"),
        ("bounded", 2, "mean"),
    ],
)
def test_gravity_equals_brute_force(form, radius, reduction):
    anchors, masses = normal(3, 6, 2), np.abs(normal(4, 6)) + 1
    options = (form, radius, reduction)
    value, gradients = gravity_step(anchors, masses, *options)
    np.testing.assert_allclose(value, expected_gravity(anchors, masses, *options), rtol=1e-4)
    numeric = numeric_gradient(lambda a: expected_gravity(a, masses, *options), anchors)
    np.testing.assert_allclose(gradients[0], numeric, rtol=1e-3, atol=1e-3)
    numeric = numeric_gradient(lambda m: expected_gravity(anchors, m, *options), masses)
    if form == "bounded":
        numeric = np.zeros(6)  # masses are constants
    np.testing.assert_allclose(gradients[1], numeric, rtol=1e-4, atol=1e-4)


def test_bounded_gravity_ends_at_its_radius():
    value, (gradient, _) = gravity_step(ANCHORS, MASSES, "bounded", 0.99, "sum")
    assert float(value) == 0
    np.testing.assert_array_equal(gradient, np.zeros_like(ANCHORS))
    value, (gradient, _) = gravity_step(0.9 * ANCHORS, MASSES, "bounded", 0.99, "sum")
    np.testing.assert_allclose(value, -np.log(0.81 / 0.9801), rtol=1e-4)
    gradient = np.asarray(gradient)
    assert gradient[2, 1] < 0 < gradient[0, 1]  # descent drives the near pair apart
    np.testing.assert_array_equal(gradient[1], [0.0, 0.0])


def test_paper_gravity_has_no_lower_bound():
    values = [
        float(gravity_step(scale * ANCHORS, MASSES, "paper", 1.0, "sum")[0])
        for scale in np.array([1, 1e3, 1e6, 1e9], np.float32)
    ]
    np.testing.assert_allclose(np.diff(values), -2 * np.log(1e3) * (6 + 1 + 1.5), rtol=1e-4)


@pytest.mark.parametrize("form", ["paper", "bounded"])
def test_gravity_of_one_anchor_is_zero(form):
    one, mass = np.ones((1, 2), np.float32), np.full(1, 7, np.float32)
    value, gradients = gravity_step(one, mass, form, 1.0, "sum")
    assert float(value) == 0
    chex.assert_trees_all_equal(gradients, jax.tree.map(np.zeros_like, gradients))


@pytest.mark.parametrize("form", ["paper", "bounded"])
def test_coincident_anchors_are_finite_and_part(form):
    ones = np.ones(3, np.float32)
    value, gradients = gravity_step(COINCIDENT, ones, form, 3.0, "sum")
    chex.assert_tree_all_finite((value, gradients))
    softened, near = -np.log(1e-6), -np.log(5.0)
    expected = softened + 2 * near + (3 * np.log(9) if form == "bounded" else 0)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    moved = COINCIDENT - 0.01 * np.asarray(gradients[0])
    assert np.linalg.norm(moved[0] - moved[1]) > 0
    assert gravity_step(moved, ones, form, 3.0, "sum")[0] < value


def test_pairs_without_mass_add_exactly_nothing():
    masses = np.array([0.0, 1.0, 1.0], np.float32)
    value, (gradient, _) = gravity_step(COINCIDENT, masses, "paper", 1.0, "sum")
    np.testing.assert_allclose(value, -np.log(5.0), atol=1e-5)
    assert value == gravity_step(COINCIDENT[1:], masses[1:], "paper", 1.0, "sum")[0]
    np.testing.assert_array_equal(gradient[0], [0.0, 0.0])
    chex.assert_tree_all_finite(gradient)


def test_gravity_names_mistakes():
    for options in [("unbounded",), ("paper", 1.0, "max")]:
        with pytest.raises(UserError, match="'bounded' or 'paper'"):
            losses.gravity(ANCHORS, MASSES, *options)
    with pytest.raises(UserError, match="one mass for each of the 3 anchors"):
        losses.gravity(ANCHORS, MASSES[:2])


def total_pull(sample, anchors, weight):
    values = losses.pull(sample, anchors)
    return jnp.sum(weight * values), values


pull_step = value_and_gradient(total_pull, (0, 1))


@pytest.mark.parametrize(
    ("size", "dim", "num_anchors", "rows", "rtol"),
    [(5, 3, 1, 64, 1e-5), (5, 3, 4, 64, 1e-5), (90, 32, 64, 40, 1e-6)],
)
def test_pull_is_the_squared_distance_to_the_nearest(size, dim, num_anchors, rows, rtol):
    """Also where the examples are worked on in blocks."""
    sample, anchors = normal(0, size, dim), normal(1, num_anchors, dim)
    weight = normal(2, size) if size > rows else np.ones(size, np.float32)
    with blocks_of(rows):
        (_, found), gradients = pull_step(sample, anchors, weight)
    distances = numpy_distances(sample, anchors)
    np.testing.assert_allclose(found, distances.min(1), rtol=rtol)
    nearest = np.argmin(distances, 1)
    slope = 2.0 * weight[:, None] * (sample.astype(np.float64) - anchors[nearest])
    expected = (slope, -np.eye(num_anchors)[nearest].T @ slope)
    for gradient, right in zip(gradients, expected):
        np.testing.assert_allclose(gradient, right, atol=1e-6 * np.abs(right).max())


def test_pull_by_hand():
    (_, found), _ = pull_step(np.array([[1.0, 1.0], [3.0, 4.0]]), ANCHORS, np.ones(2))
    np.testing.assert_array_equal(found, [1.0, 0.0])


def test_memory_for_a_large_batch():
    sample, anchors = np.zeros((65_536, 64), np.float32), np.zeros((1_024, 64), np.float32)
    assignment = np.zeros(65_536, np.int32)

    def masses(sample, anchors, assignment):
        return jnp.sum(losses.cluster_masses(sample, anchors, assignment))

    # An array [B, D] takes 2²⁴ bytes, one [B, K] 2²⁸.
    assert temporary_bytes(pull_step, sample, anchors, sample[:, 0]) < 2**25
    assert temporary_bytes(jax.grad(masses, (0, 1)), sample, anchors, assignment) < 2**26
