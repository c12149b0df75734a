"""KL, masses, gravity and pull against float64."""

from __future__ import annotations

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.core.errors import UserError
from nvc_jax.model import losses
from tests.numeric import blocks_of, normal, numeric_gradient, numpy_distances, temporary_bytes


def log_density(z, mean, variance):
    return -0.5 * (np.square(z - mean) / variance + np.log(2 * np.pi * variance))


def expected_kl(mean, logvar, centers, scale=1.0):
    """E[log q − log p] by Gauss-Hermite quadrature, exact for Gaussians."""
    mean, logvar, centers = (np.asarray(v, np.float64)[..., None] for v in (mean, logvar, centers))
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    z = mean + np.exp(0.5 * logvar) * nodes
    difference = log_density(z, mean, np.exp(logvar)) - log_density(z, centers, scale**2)
    return (difference * weights).sum(-1).sum(-1) / np.sqrt(2 * np.pi)


@pytest.mark.parametrize("scale", [1.0, 0.5, 3.0])
def test_kl_equals_its_definition(scale):
    mean, logvar, centers = normal(0, 5, 3), 2 * normal(1, 5, 3), normal(2, 5, 3)
    found = losses.anchor_kl(mean, logvar, centers, scale)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected_kl(mean, logvar, centers, scale), rtol=1e-5)

    def total(mean, logvar, centers):
        return jnp.sum(losses.anchor_kl(mean, logvar, centers, scale))

    arguments = {"mean": mean, "logvar": logvar, "centers": centers}
    gradients = jax.grad(lambda arrays: total(**arrays))(arguments)
    for name, gradient in gradients.items():
        expected = numeric_gradient(
            lambda v, name=name: expected_kl(**{**arguments, name: v}, scale=scale).sum(),
            arguments[name],
        )
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-4)


def test_kl_by_hand():
    mean, zero = np.array([[4.0, 0.0], [0.0, 0.0]]), np.zeros((2, 2))
    np.testing.assert_array_equal(losses.anchor_kl(mean, zero, zero), [8.0, 0.0])
    np.testing.assert_array_equal(losses.anchor_kl(mean, zero, mean), [0.0, 0.0])
    found = losses.anchor_kl([[1.0, 3.0]], [[0.0, np.log(4.0)]], [[1.0, 1.0]], 2.0)
    np.testing.assert_allclose(found, [0.5 * (1 / 4 - 1 + 2 * np.log(2.0) + 8 / 4 - 1)], rtol=1e-6)


def test_kl_to_the_origin_is_that_of_a_plain_vae():
    mean, logvar = normal(0, 6, 4), normal(1, 6, 4)
    m, v = mean.astype(np.float64), logvar.astype(np.float64)
    plain = -0.5 * np.sum(1 + v - np.square(m) - np.exp(v), axis=1)
    np.testing.assert_allclose(losses.anchor_kl(mean, logvar, np.zeros_like(mean)), plain, 1e-5)


@pytest.mark.parametrize("logvar", [-1e4, -90.0, -20.0, 20.0, 79.0, 89.0, 1e3, 1e4])
def test_kl_of_extreme_logvar_is_finite_and_right(logvar):
    def total(mean, logvar):
        return jnp.sum(losses.anchor_kl(mean, logvar, jnp.zeros_like(mean)))

    mean, array = np.full((2, 3), 2.0, np.float32), np.full((2, 3), logvar, np.float32)
    value, gradients = jax.value_and_grad(total, (0, 1))(mean, array)
    variance = np.exp(min(np.float64(logvar), 80.0))
    np.testing.assert_allclose(value, 3 * (variance + 4 - 1 - logvar), rtol=1e-5)
    np.testing.assert_allclose(gradients[0], mean, rtol=1e-6)
    np.testing.assert_allclose(gradients[1], np.full((2, 3), 0.5 * (variance - 1)), rtol=1e-5)


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
    found = losses.cluster_masses(sample, anchors, assignment, reduction)
    assert found.dtype == jnp.float32
    expected = expected_masses(sample, anchors, assignment, reduction)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert float(found[2]) == 1.0
    gradients = jax.grad(
        lambda s, a: jnp.sum(losses.cluster_masses(s, a, assignment, reduction)), (0, 1)
    )(sample, anchors)
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
    np.testing.assert_array_equal(losses.cluster_masses(sample, anchors, [0, 0, 1]), [27.0, 1.0])
    np.testing.assert_array_equal(
        losses.cluster_masses(sample, anchors, [0, 0, 1], "mean"), [14.0, 1.0]
    )
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


@pytest.mark.parametrize(("reduction", "expected"), [("sum", -23.6488), ("mean", -7.8829)])
def test_gravity_by_hand_counts_each_pair_once(reduction, expected):
    found = losses.gravity(ANCHORS, MASSES, "paper", reduction=reduction)
    np.testing.assert_allclose(found, expected, atol=1e-4)


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
    chex.assert_trees_all_equal(gradients, jax.tree.map(jnp.zeros_like, gradients))


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
    assert float(value) == float(losses.gravity(COINCIDENT[1:], masses[1:], "paper"))
    np.testing.assert_array_equal(gradient[0], [0.0, 0.0])
    chex.assert_tree_all_finite(gradient)


def test_gravity_names_mistakes():
    for options in [("unbounded",), ("paper", 1.0, "max")]:
        with pytest.raises(UserError, match="'bounded' or 'paper'"):
            losses.gravity(ANCHORS, MASSES, *options)
    with pytest.raises(UserError, match="one mass for each of the 3 anchors"):
        losses.gravity(ANCHORS, MASSES[:2])


@pytest.mark.parametrize("num_anchors", [1, 4])
def test_pull_is_the_squared_distance_to_the_nearest(num_anchors):
    sample, anchors = normal(0, 5, 3), normal(1, num_anchors, 3)
    found = losses.pull(sample, anchors)
    np.testing.assert_allclose(found, numpy_distances(sample, anchors).min(1), rtol=1e-5)
    gradients = jax.grad(lambda s, a: jnp.sum(losses.pull(s, a)), (0, 1))(sample, anchors)
    nearest = np.argmin(numpy_distances(sample, anchors), 1)
    slope = 2 * (sample - anchors[nearest])
    np.testing.assert_allclose(gradients[0], slope, rtol=1e-5, atol=1e-6)
    expected = -np.eye(num_anchors)[nearest].T @ slope
    np.testing.assert_allclose(gradients[1], expected, rtol=1e-5, atol=1e-6)


def test_pull_by_hand():
    np.testing.assert_array_equal(losses.pull([[1.0, 1.0], [3.0, 4.0]], ANCHORS), [1.0, 0.0])


def test_pull_in_blocks_equals_float64():
    sample, anchors, weight = normal(0, 90, 32), normal(1, 64, 32), normal(2, 90)

    def total(sample, anchors):
        return jnp.sum(weight * losses.pull(sample, anchors))

    with blocks_of(40):
        found = losses.pull(sample, anchors)
        gradients = jax.grad(total, (0, 1))(sample, anchors)
    distances = numpy_distances(sample, anchors)
    np.testing.assert_allclose(found, distances.min(1), rtol=1e-6)
    nearest = np.argmin(distances, 1)
    slope = 2.0 * weight[:, None] * (sample.astype(np.float64) - anchors[nearest])
    np.testing.assert_allclose(gradients[0], slope, atol=1e-6 * np.abs(slope).max())
    expected = -np.eye(64)[nearest].T @ slope
    np.testing.assert_allclose(gradients[1], expected, atol=1e-6 * np.abs(expected).max())


def test_memory_for_a_large_batch():
    sample, anchors = np.zeros((65_536, 64), np.float32), np.zeros((1_024, 64), np.float32)
    assignment = np.zeros(65_536, np.int32)

    def pull(sample, anchors):
        return jnp.sum(losses.pull(sample, anchors))

    def masses(sample, anchors, assignment):
        return jnp.sum(losses.cluster_masses(sample, anchors, assignment))

    # An array [B, D] takes 2²⁴ bytes, one [B, K] 2²⁸.
    assert temporary_bytes(jax.grad(pull, (0, 1)), sample, anchors) < 2**25
    assert temporary_bytes(jax.grad(masses, (0, 1)), sample, anchors, assignment) < 2**26
