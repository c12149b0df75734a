"""The bottleneck: posterior, sample, assignment, code; alone and in a user's own model."""

import functools
import inspect

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from flax.errors import InvalidRngError

from nvc_jax import NebulaBottleneck, nvc_loss
from nvc_jax.model import anchors
from nvc_jax.model.bottleneck import at_positions
from tests.numeric import jitted, normal, numpy_distances


def params(mean_kernel, logvar_bias, table):
    """Parameters of a bottleneck whose mean is linear and whose log variance is the bias."""
    mean_kernel = np.asarray(mean_kernel, np.float32)
    dim = mean_kernel.shape[1]
    return {
        "params": {
            "anchors": np.asarray(table, np.float32),
            "mean": {"kernel": mean_kernel, "bias": np.zeros(dim, np.float32)},
            "logvar": {
                "kernel": np.zeros_like(mean_kernel),
                "bias": np.full(dim, logvar_bias, np.float32),
            },
        }
    }


TABLE = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 0.0], [0.0, 5.0]], np.float32)
PARAMS = params(np.eye(2), 1.0, TABLE)
BOTTLENECK = NebulaBottleneck(num_anchors=4, latent_dim=2)
FEATURES = normal(0, 6, 2)


@jax.jit
def jitted_draw(features, seed, index, scale):
    rngs = {"noise": jax.random.key(seed)}
    return BOTTLENECK.apply(PARAMS, features, example_index=index, noise_scale=scale, rngs=rngs)


def draw(features, seed, index=None, scale=1.0):
    return jax.device_get(jitted_draw(features, seed, index, scale))


@functools.partial(jax.jit, static_argnums=0)
def apply(model, variables, features, seed=None):
    """The latent: the mean without a seed, a sample with one."""
    if seed is None:
        return model.apply(variables, features, deterministic=True)
    return model.apply(variables, features, rngs={"noise": jax.random.key(seed)})


def test_parameters_and_latent_have_the_documented_shapes_and_dtypes():
    model = NebulaBottleneck(num_anchors=5, latent_dim=3, condition_on_assignment=True)
    features = jnp.ones((4, 7), jnp.bfloat16)
    key = jax.random.key(0)
    latent, variables = jax.eval_shape(
        lambda: model.init_with_output({"params": key, "noise": key}, features)
    )
    variables = variables["params"]
    assert set(variables) == {"anchors", "mean", "logvar"}
    assert variables["anchors"].shape == (5, 3)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}
    given = {name: value for name, value in vars(latent).items() if value is not None}
    shapes = {name: (value.shape, str(value.dtype)) for name, value in given.items()}
    assert shapes == {
        "mean": ((4, 3), "float32"),
        "logvar": ((4, 3), "float32"),
        "sample": ((4, 3), "float32"),
        "code": ((4, 8), "float32"),
        "assignment": ((4,), "int32"),
        "soft_assignment": ((4, 5), "float32"),
        "anchors": ((5, 3), "float32"),
    }


def test_anchors_come_from_the_given_initializer():
    model = NebulaBottleneck(3, 2, anchor_init=nn.initializers.constant(7.0))
    init = jax.jit(lambda key: model.init(key, jnp.ones((1, 2)), deterministic=True))
    variables = init(jax.random.key(0))
    np.testing.assert_array_equal(variables["params"]["anchors"], np.full((3, 2), 7.0))


def test_deterministic_sample_is_the_mean_each_time():
    first, second = (apply(BOTTLENECK, PARAMS, FEATURES) for _ in range(2))
    np.testing.assert_allclose(first.mean, FEATURES, rtol=1e-6)
    np.testing.assert_array_equal(first.sample, first.mean)
    chex.assert_trees_all_equal(first, second)


def test_sampling_needs_a_key_and_repeats_for_it():
    with pytest.raises(InvalidRngError, match="noise"):
        jax.eval_shape(BOTTLENECK.apply, PARAMS, FEATURES)
    first, second = draw(FEATURES, 0), draw(FEATURES, 1)
    chex.assert_trees_all_equal(first, draw(FEATURES, 0))
    np.testing.assert_array_equal(first.mean, second.mean)
    assert np.all(first.sample != second.sample)
    assert len(np.unique(first.sample - first.mean)) == FEATURES.size


def test_samples_have_the_posterior_s_moments():
    latent = draw(np.zeros((4096, 2), np.float32), 0)
    noise = latent.sample / np.exp(0.5 * latent.logvar)
    np.testing.assert_allclose(latent.logvar, 1.0, atol=1e-3)  # well inside of its bounds
    np.testing.assert_allclose(np.cov(noise.T), np.eye(2), atol=0.06)
    np.testing.assert_allclose(noise.mean(0), [0.0, 0.0], atol=0.05)


def test_noise_scale_is_a_factor_and_zero_makes_an_autoencoder():
    zero, one, two = (draw(FEATURES, 3, scale=scale) for scale in (0.0, 1.0, 2.0))
    np.testing.assert_array_equal(zero.sample, zero.mean)
    np.testing.assert_allclose(two.sample - two.mean, 2 * (one.sample - one.mean), rtol=1e-4)


def test_noise_does_not_depend_on_how_the_batch_is_split():
    index = np.arange(6, dtype=np.int32)
    whole = draw(FEATURES, 5).sample
    parts = [draw(FEATURES[i : i + 3], 5, index[i : i + 3]).sample for i in (0, 3)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_nearest_anchor_of_the_mean_and_the_lowest_of_ties():
    features = np.array([[1.0, 0.0], [1.5, 0.0], [0.0, 2.5], [-1.0, 4.0]], np.float32)
    np.testing.assert_array_equal(draw(features, 0).assignment, [0, 1, 0, 3])
    on_each_device = jax.pmap(lambda x: BOTTLENECK.apply(PARAMS, x, deterministic=True).assignment)
    np.testing.assert_array_equal(on_each_device(np.stack([features] * 8)), [[0, 1, 0, 3]] * 8)


def test_given_assignment_replaces_the_nearest_anchor():
    given = np.array([3, 2, 1, 0, 0, 3], np.int32)
    latent = jitted(BOTTLENECK.apply, PARAMS, FEATURES, deterministic=True, assignment=given)
    np.testing.assert_array_equal(latent.assignment, given)


def test_positions_of_an_example_have_latents_of_their_own():
    bottleneck = NebulaBottleneck(num_anchors=4, latent_dim=2, condition_on_assignment=True)
    several = FEATURES.reshape(2, 3, 2)
    latent = jax.device_get(apply(bottleneck, PARAMS, several, 1))
    alone = apply(bottleneck, PARAMS, FEATURES)
    np.testing.assert_allclose(latent.mean.reshape(6, 2), alone.mean, rtol=1e-6)
    np.testing.assert_array_equal(latent.assignment.reshape(6), alone.assignment)
    assert latent.code.shape == (2, 3, 6) and latent.soft_assignment.shape == (2, 3, 4)
    noise = (latent.sample - latent.mean).reshape(6, 2)
    assert len(np.unique(np.round(noise[:, 0], 5))) == 6  # no two positions share their noise
    position = np.array([[2, 0], [1, 1]], np.int32)
    seen = jitted(at_positions, latent, position)
    rows = np.array([2, 0, 4, 4])
    np.testing.assert_array_equal(seen.mean, latent.mean.reshape(6, 2)[rows])
    np.testing.assert_array_equal(seen.assignment, latent.assignment.reshape(6)[rows])
    np.testing.assert_array_equal(seen.anchors, TABLE)
    given = np.array([3, 2, 1, 0], np.int32)
    found = jitted(at_positions, latent, position, given).assignment
    np.testing.assert_array_equal(found, given)


def test_assignment_in_float32_for_bfloat16_features():
    model = NebulaBottleneck(2, 1)
    variables = params([[100.25]], 0.0, [[100.0], [100.4]])
    latent = apply(model, variables, np.ones((1, 1), jnp.bfloat16))
    np.testing.assert_array_equal(latent.mean, [[100.25]])
    np.testing.assert_array_equal(latent.assignment, [1])


@pytest.mark.parametrize(("low", "high"), [(-10.0, 10.0), (-3.0, 1.0), (-0.5, 0.5)])
def test_logvar_keeps_its_bounds_and_its_gradient(low, high):
    model = NebulaBottleneck(1, 1, logvar_min=low, logvar_max=high)
    variables = params([[0.0]], 0.0, [[0.0]])
    variables["params"]["logvar"]["kernel"] = np.ones((1, 1), np.float32)

    def logvar(x):
        return apply(model, variables, x[None, None]).logvar[0, 0]

    x = np.array([-1e6, -40.0, -15.0, 0.0, 15.0, 40.0, 1e6], np.float32)
    values, slopes = map(np.asarray, jitted(jax.vmap(jax.value_and_grad(logvar)), x))
    assert np.all(values >= low) and np.all(values <= high + 1e-5)
    np.testing.assert_allclose(values[[0, -1]], [low, high], atol=1e-5)
    assert np.all(np.diff(values) >= 0)
    assert np.all(np.isfinite(slopes)) and np.all(slopes[1:-1] > 0)


def test_logvar_far_from_its_bounds_is_the_network_s_own():
    x = np.linspace(-4, 4, 9).astype(np.float32)
    model, variables = NebulaBottleneck(1, 1), params([[0.0]], 0.0, [[0.0]])
    variables["params"]["logvar"]["kernel"] = np.ones((1, 1), np.float32)
    latent = apply(model, variables, x[:, None])
    np.testing.assert_allclose(latent.logvar, x[:, None], atol=5e-3)


def test_logvar_begins_where_asked():
    model = NebulaBottleneck(1, 3, logvar_init=-6.0)
    init = jax.jit(lambda x: model.init(jax.random.key(0), x, deterministic=True))
    latent = apply(model, init(np.zeros((1, 4), np.float32)), np.zeros((2, 4), np.float32))
    np.testing.assert_allclose(latent.logvar, -6.0, atol=0.02)  # the bounds move it by 0.018


@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_conditioned_code_holds_the_soft_assignment_of_the_sample(temperature):
    model = NebulaBottleneck(4, 2, temperature=temperature, condition_on_assignment=True)
    latent = jax.device_get(apply(model, PARAMS, FEATURES, 0))
    soft = scipy.special.softmax(-numpy_distances(latent.sample, TABLE) / temperature, axis=1)
    np.testing.assert_allclose(latent.soft_assignment, soft, rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(
        latent.code, np.concatenate([latent.sample, latent.soft_assignment], axis=1)
    )
    np.testing.assert_array_equal(np.argmax(soft, 1), anchors.assign(latent.sample, TABLE))


def test_code_of_given_latent_vectors():
    found = jitted(BOTTLENECK.apply, PARAMS, TABLE, method="code")
    np.testing.assert_array_equal(found, TABLE)
    model = NebulaBottleneck(4, 2, condition_on_assignment=True, temperature=0.01)
    code = jitted(model.apply, PARAMS, TABLE, method="code")
    half = np.array([[1, 0, 0, 0], [0, 0.5, 0.5, 0], [0, 0.5, 0.5, 0], [0, 0, 0, 1]])
    np.testing.assert_allclose(code, np.concatenate([TABLE, half], axis=1), atol=1e-6)


def test_one_anchor_and_one_example():
    model = NebulaBottleneck(1, 2, condition_on_assignment=True)
    variables = params(np.eye(2), 0.0, [[1.0, 1.0]])
    latent = apply(model, variables, FEATURES[:1], 0)
    np.testing.assert_array_equal(latent.assignment, [0])
    np.testing.assert_array_equal(latent.soft_assignment, [[1.0]])


WEIGHTS = {"kl": 0.1, "triplet": 1.0, "gravity": 0.1}
SGD, ADAM = optax.sgd(1e-2), optax.adam(1e-2)


@functools.partial(jax.jit, static_argnames=("model", "optimizer"))
def train(model, variables, batch, optimizer):
    """300 full training steps with all terms; returns the parameters and the losses."""

    def loss(variables, key):
        output, latent = model.apply(variables, batch, rngs={"noise": key})
        error = jnp.sum(jnp.square(output - batch), axis=1)
        return nvc_loss(error, latent, latent.anchors, WEIGHTS)[0]

    def step(state, key):
        variables, optimizer_state = state
        value, gradient = jax.value_and_grad(loss)(variables, key)
        updates, optimizer_state = optimizer.update(gradient, optimizer_state, variables)
        return (optax.apply_updates(variables, updates), optimizer_state), value

    keys = jax.random.split(jax.random.key(1), 300)
    with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer counts
        (variables, _), values = jax.lax.scan(step, (variables, optimizer.init(variables)), keys)
    return variables, values


@functools.cache
def make_own_model():
    """A user's own encoder and decoder around the bottleneck."""

    class Autoencoder(nn.Module):
        def setup(self):
            self.encoder = nn.Dense(16)
            self.bottleneck = NebulaBottleneck(num_anchors=3, latent_dim=2)
            self.decoder = nn.Dense(4)

        def __call__(self, x, deterministic=False):
            features = nn.relu(self.encoder(x))
            latent = self.bottleneck(features, deterministic=deterministic)
            return self.decoder(latent.code), latent

    model = Autoencoder()
    key = jax.random.key(0)
    return model, jax.jit(model.init)({"params": key, "noise": key}, np.zeros((1, 4), np.float32))


def test_a_user_s_own_model_is_short_and_learns():
    assert len(inspect.getsource(make_own_model).splitlines()) <= 25
    model, variables = make_own_model()
    centers = np.array([[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0]], np.float32)
    batch = np.repeat(centers, 8, 0) + 0.1 * normal(0, 24, 4)
    variables, values = jax.device_get(train(model, variables, batch, ADAM))
    chex.assert_tree_all_finite(variables)
    assert values[-20:].mean() < 0.5 * values[:20].mean()
    output, latent = jax.device_get(apply(model, variables, batch))
    assert np.mean(np.square(output - batch)) < 0.25 * np.mean(np.square(batch - batch.mean(0)))
    table = variables["params"]["bottleneck"]["anchors"]
    np.testing.assert_array_equal(latent.assignment, anchors.assign(latent.mean, table))


@pytest.mark.parametrize("optimizer", [SGD, ADAM], ids=["sgd", "adam"])
def test_anchors_in_one_place_part_in_training(optimizer):
    model, variables = make_own_model()
    params = dict(variables["params"])
    params["bottleneck"] = {**params["bottleneck"], "anchors": np.ones((3, 2), np.float32)}
    variables, _ = train(model, {"params": params}, normal(0, 24, 4), optimizer)
    chex.assert_tree_all_finite(variables)
    table = variables["params"]["bottleneck"]["anchors"]
    assert float(jitted(anchors.min_anchor_distance, table)) > 1e-3
