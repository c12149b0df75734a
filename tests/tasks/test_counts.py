"""Counts: their likelihood against SciPy, what is encoded, and what is decoded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from nvc_jax.config import make_config
from nvc_jax.core.errors import UserError
from nvc_jax.data import FieldSpec
from nvc_jax.model.autoencoder import Outputs
from nvc_jax.tasks import make_task
from nvc_jax.tasks.counts import log_normalized, negative_binomial

SPEC = {"counts": FieldSpec((3,), np.dtype(np.float32))}


def task(**changes):
    return make_task(make_config({"task": "counts", **changes}), SPEC)


@pytest.mark.parametrize("log_theta", [-3.0, 0.0, 2.0, 6.9])
def test_likelihood_is_that_of_scipy(log_theta):
    x = np.array([0, 1, 2, 7, 60, 1000])[:, None]
    log_mean = np.array([-9.0, -1.0, 0.0, 3.0, 7.0])[None]
    theta = np.exp(log_theta)
    expected = -stats.nbinom.logpmf(x, theta, theta / (theta + np.exp(log_mean)))
    found = negative_binomial(x, log_mean, log_theta)
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-3)


def test_poisson_is_that_of_scipy_and_the_limit():
    x, log_mean = np.array([0, 1, 9, 40]), np.log([0.1, 1.0, 5.0, 50.0])
    expected = -stats.poisson.logpmf(x, np.exp(log_mean))
    np.testing.assert_allclose(negative_binomial(x, log_mean, None), expected, rtol=1e-4)
    limit = negative_binomial(x, log_mean, 50.0)  # taken as 7
    np.testing.assert_allclose(limit, expected, rtol=0.02)


def test_gradient_is_that_of_the_mean_minus_the_count():
    def total(log_mean):
        return negative_binomial(5.0, log_mean, None)

    np.testing.assert_allclose(jax.grad(total)(jnp.log(3.0)), 3.0 - 5.0, rtol=1e-5)
    for theta in (0.5, 20.0):
        slope = jax.grad(lambda m, t=theta: negative_binomial(5.0, m, jnp.log(t)))(jnp.log(3.0))
        np.testing.assert_allclose(slope, theta * (3 - 5) / (theta + 3), rtol=1e-4)


def test_extreme_means_have_a_finite_value_and_gradient():
    for log_mean in (-80.0, 80.0):
        value, slope = jax.value_and_grad(lambda m: negative_binomial(0.0, m, 0.0))(log_mean)
        assert np.isfinite(value) and np.isfinite(slope)


def test_what_is_encoded_does_not_depend_on_the_size():
    x = jnp.array([[1.0, 3.0, 0.0], [10.0, 30.0, 0.0], [0.0, 0.0, 0.0]])
    found = np.asarray(log_normalized(x, 100.0))
    np.testing.assert_allclose(found[0], np.log1p([25.0, 75.0, 0.0]), rtol=1e-5)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)
    assert (found[2] == 0).all()


def test_error_is_least_where_frequencies_are_right():
    counts = jnp.array([[2.0, 6.0, 0.0], [0.0, 0.0, 0.0]])
    made = task(**{"loss.likelihood": "poisson"})

    def error(shares):
        logits = jnp.log(jnp.asarray([shares, shares]))
        output = {"logits": logits, "log_dispersion": jnp.zeros_like(logits)}
        return made.reconstruction(Outputs(output, None), {"counts": counts})

    right, wrong = error([0.249, 0.75, 0.001]), error([0.5, 0.25, 0.25])
    assert right[0] < wrong[0]
    expected = -stats.poisson.logpmf([2, 6, 0], np.array([0.249, 0.75, 0.001]) * 8).sum()
    np.testing.assert_allclose(right[0], expected, rtol=1e-4)
    assert np.isfinite(right[1])


def test_features_are_left_out_of_what_is_encoded_and_not_of_the_target():
    batch = {"counts": jnp.ones((64, 3)), "label": jnp.zeros(64, jnp.int32)}
    made = task(**{"augment.drop": 0.5})
    seen = made.prepare(batch, jax.random.split(jax.random.key(0), 64))
    assert 0.3 < (seen["features"] == 0).mean() < 0.7
    assert (seen["counts"] == 1).all() and (seen["clean"]["features"] > 0).all()
    assert (made.prepare(batch)["features"] > 0).all()


def test_decoded_counts_have_the_sum_asked_for():
    output = {"logits": np.zeros((2, 3), np.float32), "log_dispersion": np.zeros((2, 3))}
    np.testing.assert_allclose(
        task(**{"loss.total": 30.0}).postprocess(output), np.full((2, 3), 10.0), rtol=1e-5
    )


def test_negative_counts_are_refused():
    with pytest.raises(UserError, match="not negative, got -1"):
        task().check_values({"counts": np.array([[1.0, -1.0, 0.0]], np.float32)})
