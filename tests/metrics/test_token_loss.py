"""Token cross-entropy against float64, optax and values computed by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nvc_jax.metrics.token_loss import TokenSums, cross_entropy
from tests.numeric import jitted, normal, numeric_gradient, value_and_gradient
from tests.refusals import refused

TARGETS = np.array([[3, 1, 4, 0], [2, 0, 0, 0], [0, 0, 0, 0]], np.int32)
TOKENS = [3, 1, 0]


def expected_sums(logits, targets, smoothing) -> list[np.ndarray]:
    """Token by token, with the smoothed distribution written out."""
    found = np.zeros((4, len(targets)))
    for b, t in np.argwhere(targets != 0):
        row, target = np.asarray(logits[b, t], np.float64), targets[b, t]
        log_p = row - np.log(np.exp(row).sum())
        wanted = np.full(len(row), smoothing / len(row))
        wanted[target] += 1 - smoothing
        found[:, b] += [-(wanted * log_p).sum(), -log_p[target], row.argmax() == target, 1]
    return list(found)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_sums_and_gradient_against_float64(smoothing):
    logits, weight = 3 * normal(0, 3, 4, 5), np.array([1.0, -2.0, 3.0], np.float32)

    def total(logits):
        return jnp.sum(weight * cross_entropy(logits, TARGETS, smoothing=smoothing).loss)

    found = jax.jit(lambda x: cross_entropy(x, TARGETS, smoothing=smoothing))(logits)
    for value, expected in zip(found, expected_sums(logits, TARGETS, smoothing)):
        assert value.dtype == jnp.float32 and value.shape == (3,)
        np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert found.tokens.tolist() == TOKENS
    gradient = jax.jit(jax.grad(total))(logits)
    numeric = numeric_gradient(
        lambda x: (weight * expected_sums(x, TARGETS, smoothing)[0]).sum(), logits
    )
    np.testing.assert_allclose(gradient, numeric, atol=1e-5)
    assert not np.any(np.asarray(gradient)[TARGETS == 0])


def test_smoothing_is_that_of_optax():
    logits = normal(1, 2, 3, 7)
    targets = np.array([[1, 2, 3], [6, 5, 4]], np.int32)
    soft = optax.smooth_labels(jax.nn.one_hot(targets, 7), 0.2)
    expected = optax.softmax_cross_entropy(logits, soft).sum(axis=1)
    found = jitted(cross_entropy, logits, targets, smoothing=0.2)
    np.testing.assert_allclose(found.loss, expected, rtol=1e-6)


def test_sums_by_hand():
    # Probabilities 1/2, 1/4, 1/4 at one token; the other is padding.
    logits = np.log([[[1.0, 2.0, 1.0], [9.0, 1.0, 1.0]]]).astype(np.float32)
    found = jitted(cross_entropy, logits, np.array([[1, 0]], np.int32), smoothing=0.3)
    np.testing.assert_allclose(found.nll, [np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(found.loss, [0.8 * np.log(2) + 0.2 * np.log(4)], rtol=1e-6)
    assert (found.correct.tolist(), found.tokens.tolist()) == ([1.0], [1.0])
    # Nothing is known: the loss is log V, whatever the smoothing; the first of equals is id 0.
    found = jitted(cross_entropy, np.zeros((1, 2, 8)), np.array([[5, 7]], np.int32), smoothing=0.1)
    np.testing.assert_allclose(found.loss, [2 * np.log(8)], rtol=1e-6)
    assert found.correct.tolist() == [0.0]


@pytest.mark.parametrize("offset", [1e4, -1e4])
def test_an_offset_of_all_logits_changes_nothing(offset):
    logits = np.round(256 * normal(0, 3, 4, 5)) / 256  # exact in float32 also at the offset
    sums = jax.jit(lambda x: cross_entropy(x, TARGETS, smoothing=0.1))
    chex.assert_trees_all_equal(sums(logits), sums(logits + np.float32(offset)))


def test_extreme_logits_are_finite_and_right():
    logits = np.array([[[0.0, 1e4, 1e4], [1e30, -1e30, 0.0]]], np.float32)
    targets = np.array([[1, 2]], np.int32)
    nll = jax.jit(jax.value_and_grad(lambda x: cross_entropy(x, targets[:, : x.shape[1]]).nll[0]))
    value, gradient = nll(logits[:, :1])
    np.testing.assert_allclose(value, np.log(2), rtol=1e-6)
    np.testing.assert_allclose(gradient, [[[0.0, -0.5, 0.5]]], rtol=1e-6)
    value, gradient = nll(logits)
    np.testing.assert_allclose(value, 1e30, rtol=1e-6)
    np.testing.assert_allclose(gradient, [[[0.0, -0.5, 0.5], [1.0, 0.0, -1.0]]], rtol=1e-6)


def test_a_token_beyond_the_vocabulary_is_not_finite():
    found = jitted(cross_entropy, np.zeros((1, 2, 4), np.float32), np.array([[1, 4]], np.int32))
    assert np.isnan(found.loss[0])


def test_padding_alone_is_nothing():
    def total(logits):
        sums = cross_entropy(logits, np.zeros((3, 4), np.int32), smoothing=0.1)
        return jnp.sum(sums.loss), sums

    logits = normal(0, 3, 4, 5)
    (_, sums), gradient = value_and_gradient(total)(logits)
    chex.assert_trees_all_equal(sums, TokenSums(*np.zeros((4, 3), np.float32)))
    chex.assert_trees_all_equal(gradient, np.zeros_like(logits))


def test_bfloat16_logits_are_summed_in_float32():
    logits = jnp.asarray(3 * normal(0, 3, 4, 5), jnp.bfloat16)
    found = jitted(cross_entropy, logits, TARGETS, smoothing=0.1)
    for value, expected in zip(found, expected_sums(logits, TARGETS, 0.1)):
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_mistakes():
    logits = np.zeros((3, 4, 5), np.float32)
    refused(r"\(3, 4, 5\) and \(3, 3\)", cross_entropy, logits, TARGETS[:, :3])
