"""Image networks: shapes, batch statistics, precision, and that every pixel and weight counts."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.networks.images import IMAGE_NETWORKS, make_autoencoder
from tests.settings import model_options


def make(network, shape, axis_name=None, **changes):
    options = model_options("image", **{"network": network, "hidden": (12, 6), **changes})
    return make_autoencoder(options, shape, axis_name)


def image_of(*shape, seed=0):
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


def fill(tree):
    """Values for the shapes of variables, in no time: compiling an initialization takes seconds."""
    rng = np.random.default_rng(0)

    def leaf(path, shape):
        name = path[-1].key
        if name in ("mean", "var", "scale"):
            return np.full(shape.shape, float(name != "mean"), np.float32)
        size = np.prod(shape.shape[:-1]) if name == "kernel" else 100.0
        return (rng.normal(size=shape.shape) * np.sqrt(2 / size)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(leaf, tree)


def compiled_pair(encoder, decoder, shape, train):
    """Variables of encoder and decoder, and the function of (variables, input, code)."""
    mutable = ["batch_stats"] if train else False

    def init():
        key = jax.random.key(0)
        x, code = jnp.zeros((1, *shape)), jnp.zeros((1, 3))
        return encoder.init(key, x, False), decoder.init(key, code, False)

    def apply(variables, x, code):
        features = encoder.apply(variables[0], x, train, mutable=mutable)
        return features, decoder.apply(variables[1], code, train, mutable=mutable)

    return fill(jax.eval_shape(init)), jax.jit(apply)


@functools.cache
def compiled(network, shape, train=False, axis_name=None, **changes):
    encoder, decoder = make(network, shape, axis_name, **changes)
    return compiled_pair(encoder, decoder, shape, train)


def relative_error(low, full):
    """Of a result in bfloat16."""
    return np.linalg.norm(low.astype(jnp.float32) - full) / np.linalg.norm(full)


def assert_every_weight_counts(gradient):
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.any(leaf != 0), jax.tree_util.keystr(path)


@pytest.mark.parametrize("network", IMAGE_NETWORKS)
@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (64, 64, 3), (7, 5, 3), (1, 1, 2)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_any_size_goes_in_and_comes_out(network, shape, dtype):
    variables, apply = compiled(network, shape, True, dtype=dtype, batch_norm=True)
    results = jax.eval_shape(apply, variables, jnp.zeros((2, *shape)), jnp.zeros((2, 3)))
    (features, statistics), (output, _) = results
    assert features.shape == (2, 6) and features.dtype == jnp.dtype(dtype)
    assert output.shape == (2, *shape) and output.dtype == jnp.float32
    kept = jax.tree.leaves((variables, statistics))
    assert {leaf.dtype for leaf in kept} == {np.dtype(np.float32)}


@pytest.mark.parametrize("network", IMAGE_NETWORKS)
def test_every_pixel_and_weight_counts_and_outputs_are_unbounded(network):
    image, code = image_of(4, 7, 5, 2), 9 * image_of(4, 3, seed=1)
    variables, apply = compiled(network, (7, 5, 2))

    def total(variables, image, code):
        features, output = apply(variables, image, code)
        return jnp.sum(features) + jnp.sum(jnp.sin(output)), output

    step = jax.jit(jax.grad(total, (0, 1, 2), has_aux=True))
    (weights, pixels, codes), output = step(variables, image, code)
    chex.assert_tree_all_finite((weights, pixels, codes))
    assert_every_weight_counts(weights)
    assert np.all(np.any(pixels != 0, axis=0)) and np.all(np.any(codes != 0, axis=0))
    assert output.min() < -1 and output.max() > 1


def dense(x, layer):
    return np.asarray(x, np.float64) @ layer["kernel"] + layer["bias"]


def test_mlp_equals_numpy():
    image, code = image_of(3, 2, 2, 1), image_of(3, 3, seed=1)
    variables, apply = compiled("mlp", (2, 2, 1))
    features, output = apply(variables, image, code)

    def stack(x, params):
        for name in ("Dense_0", "Dense_1"):
            x = np.maximum(dense(x, params[name]), 0)
        return x

    encoder, decoder = (v["params"] for v in variables)
    expected = stack(image.reshape(3, 4), encoder)
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)
    assert decoder["MLP_0"]["Dense_0"]["kernel"].shape == (3, 6)  # widths are mirrored
    expected = dense(stack(code, decoder["MLP_0"]), decoder["Dense_0"])
    np.testing.assert_allclose(output, expected.reshape(3, 2, 2, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_batch_norm_trains_on_the_batch_and_evaluates_by_running_statistics(network):
    image, code = image_of(6, 2, 2, 1), image_of(6, 3, seed=1)
    other = np.concatenate([image[:3], 5 * image[3:]])
    variables, train = compiled(network, (2, 2, 1), True, batch_norm=True)
    (features, updated), (output, _) = train(variables, image, code)
    (features2, updated2), (output2, _) = train(variables, other, np.roll(code, 1, 1))
    assert np.any(features2[:3] != features[:3])  # an example's features depend on its batch
    assert np.any(output2 != output)
    for new, newer, old in zip(
        *map(jax.tree.leaves, (updated, updated2, variables[0]["batch_stats"]))
    ):
        assert np.any(new != old) and np.any(newer != new)

    _, evaluate = compiled(network, (2, 2, 1), batch_norm=True)
    alone, both = evaluate(variables, image, code)[0], evaluate(variables, other, code)[0]
    np.testing.assert_allclose(both[:3], alone[:3], rtol=1e-5)
    trained = ({**variables[0], **updated}, variables[1])
    assert np.any(evaluate(trained, image, code)[0] != alone)


def test_running_statistics_move_a_tenth_of_the_way():
    image = image_of(6, 2, 2, 1)
    variables, train = compiled("mlp", (2, 2, 1), True, batch_norm=True)
    (_, updated), _ = train(variables, image, image_of(6, 3, seed=1))
    before = dense(image.reshape(6, 4), variables[0]["params"]["Dense_0"])
    mean, var = jax.tree.leaves(updated)[:2]  # of the first layer
    np.testing.assert_allclose(mean, 0.1 * before.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(var, 0.9 + 0.1 * before.var(0), rtol=1e-5)


def test_batch_statistics_are_those_of_the_global_batch():
    image, code = image_of(6, 2, 2, 1), image_of(6, 3, seed=1)
    variables, train = compiled("mlp", (2, 2, 1), True, batch_norm=True)
    _, shard = compiled("mlp", (2, 2, 1), True, "devices", batch_norm=True)
    mapped = jax.vmap(shard, (None, 0, 0), axis_name="devices")
    halves = mapped(variables, image.reshape(2, 3, 2, 2, 1), code.reshape(2, 3, 3))
    for (found, statistics), (whole, expected) in zip(halves, train(variables, image, code)):
        np.testing.assert_allclose(found.reshape(whole.shape), whole, rtol=1e-4, atol=1e-5)
        first = jax.tree.map(lambda v: v[0], statistics)
        chex.assert_trees_all_close(first, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_bfloat16_is_near_float32(network):
    image, code = image_of(6, 2, 2, 1), image_of(6, 3, seed=1)
    results = []
    for dtype in ("float32", "bfloat16"):
        variables, evaluate = compiled(network, (2, 2, 1), batch_norm=True, dtype=dtype)
        results.append(evaluate(variables, image, code))
    for full, half in zip(*results):
        assert 0 < relative_error(half, full) < 0.02


@pytest.mark.parametrize("network", IMAGE_NETWORKS)
def test_recomputed_activations_leave_the_names_of_parameters(network):
    kept, again = (
        compiled(network, (7, 5, 2), batch_norm=True, remat=remat)[0] for remat in (False, True)
    )
    chex.assert_trees_all_equal_shapes(again, kept)


def trained(network, shape, axis_name=None, **changes):
    """Variables, and the function to ((loss, results and statistics), gradient) of a batch."""
    variables, apply = compiled(network, shape, True, axis_name, **changes)

    def loss(variables, image, code):
        (features, encoder), (output, decoder) = apply(variables, image, code)
        total = jnp.mean(jnp.square(features.astype(jnp.float32)))
        total += jnp.mean(jnp.square(output - image))
        return total, (features, output, encoder, decoder)

    return variables, jax.value_and_grad(loss, has_aux=True)


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_recomputed_activations_change_no_result(network):
    """Neither the statistics of batch normalization over two devices."""
    args = image_of(2, 2, 7, 5, 2), image_of(2, 2, 3, seed=1)
    results = []
    for remat in (False, True):
        variables, step = trained(network, (7, 5, 2), "devices", batch_norm=True, remat=remat)
        step = jax.pmap(step, "devices", in_axes=(None, 0, 0), devices=jax.devices()[:2])
        results.append(step(variables, *args))
    (value, gradient), (again, again_gradient) = results
    chex.assert_trees_all_close(again, value, rtol=1e-6, atol=1e-6)
    chex.assert_trees_all_close(again_gradient, gradient, rtol=1e-5, atol=1e-6)
    assert_every_weight_counts(gradient[0]["params"])


def test_gradients_in_bfloat16_are_near_those_in_float32():
    """Those of biases are sums over all pixels: in bfloat16 they are off by half."""
    image, code = image_of(64, 8, 8, 1), image_of(64, 3, seed=1)
    gradients = []
    for dtype in ("float32", "bfloat16"):
        variables, step = trained("conv", (8, 8, 1), dtype=dtype)
        gradients.append(jax.jit(step)(variables, image, code)[1])
    paths = jax.tree_util.tree_leaves_with_path(gradients[0])
    for (path, full), half in zip(paths, jax.tree.leaves(gradients[1])):
        assert half.dtype == np.float32
        assert relative_error(half, full) < 0.05, jax.tree_util.keystr(path)
