"""Point encoders and the folding decoder against their published form, order, padding, memory."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.networks.points import FoldingDecoder, make_point_autoencoder
from tests.networks.test_images import (
    assert_every_weight_counts,
    compiled_pair,
    fill,
    relative_error,
)
from tests.numeric import normal, temporary_bytes
from tests.settings import model_options

OPTIONS = {
    "hidden": (5, 6, 7, 8),
    "decoder_hidden": (9, 10),
    "num_coarse": 4,
    "fold_grid": 3,
    "fold_hidden": (11, 12),
}


def make(network, axis_name=None, **changes):
    options = model_options("point_completion", **{"network": network, **OPTIONS, **changes})
    return make_point_autoencoder(options, axis_name)


@functools.cache
def compiled(network, train=False, axis_name=None, **changes):
    encoder, decoder = make(network, axis_name, **changes)
    return compiled_pair(encoder, decoder, (2, 3), train)


def layers(tree):
    """Kernel and bias of every dense layer, in the order of their use."""
    if "kernel" in tree:
        return [(np.asarray(tree["kernel"], np.float64), np.asarray(tree["bias"], np.float64))]
    order = {"MLP": 0, "JoinedLayer": 2}
    names = sorted(tree, key=lambda name: (order.get(name.split("_")[0], 1), name))
    return [layer for name in names for layer in layers(tree[name])]


def through(x, parameters, linear=False):
    """Dense layers with ReLU, the last one without if it is `linear`."""
    for number, (kernel, bias) in enumerate(parameters):
        x = x @ kernel + bias
        if not linear or number < len(parameters) - 1:
            x = np.maximum(x, 0)
    return x


def encoder_parameters(variables, *names):
    tree = variables[0]["params"]
    return [layer for name in names for layer in layers(tree[name])]


def test_pointnet_is_its_definition():
    variables, apply = compiled("pointnet")
    points = normal(0, 2, 6, 3)
    expected = through(points, encoder_parameters(variables, "SharedMLP_0")).max(1)
    features = apply(variables, points, normal(1, 2, 3))[0]
    assert features.shape == (2, 8)
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-5)


def test_pcn_is_its_definition():
    """With features and the global feature concatenated at every point."""
    variables, apply = compiled("pcn")
    points = normal(0, 2, 6, 3)
    local = through(points, encoder_parameters(variables, "SharedMLP_0", "Dense_0"), linear=True)
    both = np.concatenate([local, np.repeat(local.max(1, keepdims=True), 6, axis=1)], axis=-1)
    parameters = encoder_parameters(variables, "JoinedLayer_0", "Dense_1")
    expected = through(both, parameters, linear=True).max(1)
    features = apply(variables, points, normal(1, 2, 3))[0]
    assert features.shape == (2, 8)
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-5)


def test_folding_is_its_definition():
    """With grid, coarse point and code concatenated at every fine point."""
    variables, apply = compiled("pcn")
    code = normal(1, 2, 3)
    output = apply(variables, normal(0, 2, 6, 3), code)[1]
    tree = variables[1]["params"]
    dense = [layer for name in ("MLP_0", "Dense_0") for layer in layers(tree[name])]
    coarse = through(code, dense, linear=True).reshape(2, 4, 3)
    steps = (-0.05, 0.0, 0.05)
    names = ("JoinedLayer_0", "SharedMLP_0", "Dense_1")
    fold = [layer for name in names for layer in layers(tree[name])]
    for example in range(2):
        expected = []
        for point in coarse[example]:
            for u in steps:
                for v in steps:
                    seen = np.concatenate([[v, u], point, code[example]])
                    expected.append(point + through(seen, fold, linear=True))
        np.testing.assert_allclose(output.fine[example], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(output.coarse, coarse, rtol=1e-4, atol=1e-5)
    assert output.fine.shape == (2, 36, 3)


def test_seeds_are_coarse_points_and_mirror_images_told_of_what_is_near():
    changes = {"num_encoded": 5, "num_mirrored": 2, "fold_grid": 2}
    encoder, decoder = make("seeds", **changes)
    points, code = jnp.asarray(normal(0, 2, 10, 3)), jnp.asarray(normal(1, 2, 3))

    def init():
        key = jax.random.key(0)
        (_, maps), variables = encoder.init_with_output(key, points, False)
        return variables, decoder.init(key, code, False, maps)

    variables = fill(jax.eval_shape(init))
    features, maps = encoder.apply(variables[0], points, False)
    whole = make("pcn")[0].apply(variables[0], points[:, ::2], False)
    np.testing.assert_allclose(features, whole, rtol=1e-6)
    np.testing.assert_array_equal(maps[0], points[:, ::2])
    output = jax.jit(lambda v: decoder.apply(v, code, False, maps))(variables[1])
    tree = variables[1]["params"]
    dense = [layer for name in ("MLP_0", "Dense_0") for layer in layers(tree[name])]
    coarse = through(np.float64(code), dense, linear=True).reshape(2, 4, 3)
    first, rest = layers(tree["JoinedLayer_0"])[0], layers(tree["SharedMLP_0"])
    last = layers(tree["Dense_1"])[0]
    for example in range(2):
        seen, local = (np.asarray(x[example], np.float64) for x in maps)
        images = seen[[0, 2]] * [-1, 1, 1]  # at even steps of the 5
        expected = []
        for number, seed in enumerate([*coarse[example], *images]):
            near = np.square(seen - seed).sum(1).argmin()
            own = local[2 * (number - 4)] if number >= 4 else 0 * local[0]
            told = np.concatenate([seed, seen[near] - seed, local[near], own, code[example]])
            x = through(told, [first, *rest])
            expected += [seed + offset for offset in (x @ last[0] + last[1]).reshape(4, 3)]
        np.testing.assert_allclose(output.fine[example], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(output.coarse, coarse, rtol=1e-4, atol=1e-5)
    # Maps of zeros are what dropped ones are: then the code alone decides on the coarse points.
    none = [jnp.zeros_like(x) for x in maps]
    dropped, alone = (decoder.apply(variables[1], code, False, x).fine for x in (none, None))
    np.testing.assert_allclose(dropped[:, :16], alone, rtol=1e-5, atol=1e-6)
    assert alone.shape == (2, 16, 3)


@pytest.mark.parametrize("network", ["pointnet", "pcn"])
def test_neither_order_nor_repetition_of_points_counts(network):
    variables, apply = compiled(network)
    points, code = normal(0, 2, 6, 3), normal(1, 2, 3)
    features = apply(variables, points, code)[0]
    shuffled = apply(variables, points[:, [3, 0, 5, 1, 4, 2]], code)[0]
    np.testing.assert_allclose(shuffled, features, atol=1e-6)
    padded = apply(variables, points[:, [0, 1, 2, 3, 4, 5, 5, 5, 2]], code)[0]
    np.testing.assert_allclose(padded, features, atol=1e-6)
    fewer = apply(variables, points[:, :1], code)[0]
    assert np.abs(fewer - features).max() > 1e-2


def test_every_weight_counts_and_recomputing_changes_nothing():
    points, code = normal(0, 8, 6, 3), normal(1, 8, 3)
    results = []
    for remat in (False, True):
        variables, apply = compiled("pcn", remat=remat)

        def total(variables, apply=apply):
            features, output = apply(variables, points, code)
            return jnp.sum(jnp.square(features)) + jnp.sum(jnp.square(output.fine))

        results.append(jax.jit(jax.value_and_grad(total))(variables))
    chex.assert_trees_all_close(*results, rtol=1e-5, atol=1e-5)
    assert_every_weight_counts(results[0][1])


def test_devices_share_the_statistics_of_a_batch():
    points, code = normal(0, 4, 6, 3), normal(1, 4, 3)
    variables, apply = compiled("pcn", True, batch_norm=True)
    (features, encoder), (output, decoder) = apply(variables, points, code)
    _, shared = compiled("pcn", True, "devices", batch_norm=True)
    on_two = jax.pmap(shared, "devices", in_axes=(None, 0, 0), devices=jax.devices()[:2])
    halves = on_two(variables, points.reshape(2, 2, 6, 3), code.reshape(2, 2, 3))
    (features_2, encoder_2), (output_2, decoder_2) = halves
    for found, whole in ((features_2, features), (output_2.fine, output.fine)):
        np.testing.assert_allclose(found.reshape(whole.shape), whole, rtol=1e-3, atol=1e-4)
    first = jax.tree.map(lambda v: v[0], (encoder_2, decoder_2))
    chex.assert_trees_all_close(first, (encoder, decoder), rtol=1e-3, atol=1e-5)
    kept = variables[0]["batch_stats"], variables[1]["batch_stats"]
    moved = encoder["batch_stats"], decoder["batch_stats"]
    changes = jax.tree.map(lambda old, new: np.abs(new - old).max(), kept, moved)
    assert min(jax.tree.leaves(changes)) > 0


def test_bfloat16_is_near_float32_and_outputs_are_float32():
    points, code = normal(0, 4, 6, 3), normal(1, 4, 3)
    variables, apply = compiled("pcn")
    features, output = apply(variables, points, code)
    half, decoded = compiled("pcn", dtype="bfloat16")[1](variables, points, code)
    assert half.dtype == jnp.bfloat16
    assert {decoded.coarse.dtype, decoded.fine.dtype} == {jnp.dtype("float32")}
    for full, low in ((features, half), (output.fine, decoded.fine)):
        assert 0 < relative_error(low, full) < 0.03


def test_the_code_is_not_copied_to_every_point():
    decoder = FoldingDecoder(num_coarse=64, grid=4, hidden=(8,), fold=(8, 8))
    code = jax.ShapeDtypeStruct((4, 4096), jnp.float32)
    variables = jax.eval_shape(lambda code: decoder.init(jax.random.key(0), code, False), code)
    taken = temporary_bytes(lambda v, c: decoder.apply(v, c, False), variables, code)
    assert taken < 4 * 1024 * 4096 * 4 / 8
