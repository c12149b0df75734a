"""Volume networks: where voxels go, against NumPy, and that maps, remat and precision do no harm."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.networks.layers import shrink_factor
from nvc_jax.networks.voxels import VOLUME_NETWORKS, make_volume_autoencoder
from tests.networks.test_images import assert_every_weight_counts, fill, relative_error
from tests.numeric import normal
from tests.settings import model_options

SHAPE = (16, 8, 24)
LOW = {"patch3d": (2, 1, 3), "conv3d": (4, 2, 6)}  # what two stages make of it


def make(network, shape=SHAPE, outputs=2, axis_name=None, **changes):
    settings = {"network": network, "channels": (3, 5), **changes}
    options = model_options("voxel_completion", **settings)
    return make_volume_autoencoder(options, shape, outputs, axis_name)


@functools.cache
def compiled(network, train=False, axis_name=None, with_maps=True, **changes):
    """Variables of encoder and decoder, and the function of (variables, volume, code)."""
    shape, outputs = changes.pop("shape", SHAPE), changes.pop("outputs", 2)
    encoder, decoder = make(network, shape, outputs, axis_name, **changes)
    mutable = ["batch_stats"] if train else False

    def init():
        key = jax.random.key(0)
        (_, maps), variables = encoder.init_with_output(key, jnp.zeros((1, *shape)), False)
        given = maps if with_maps else None
        return variables, decoder.init(key, jnp.zeros((1, 3)), False, given)

    def apply(variables, volume, code):
        found = encoder.apply(variables[0], volume, train, mutable=mutable)
        maps = (found[0] if train else found)[1]
        given = maps if with_maps else None
        return found, decoder.apply(variables[1], code, train, given, mutable=mutable)

    return fill(jax.eval_shape(init)), jax.jit(apply)


def volume_of(size, shape=SHAPE, seed=0):
    return (np.random.default_rng(seed).random((size, *shape)) < 0.3).astype(np.float32)


def fold(volume):
    """Cubes of 4³ voxels `[B, X/4, Y/4, Z/4, 64]`, one after the other."""
    batch, *sides = volume.shape
    folded = np.zeros((batch, *(side // 4 for side in sides), 64))
    for i, j, k in np.ndindex(*folded.shape[1:4]):
        cube = volume[:, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4, 4 * k : 4 * k + 4]
        folded[:, i, j, k] = cube.reshape(batch, 64)
    return folded


def test_a_mirrored_volume_is_a_second_channel():
    (encoder, _), (plain, _) = (make("patch3d", see_mirrored=m, blocks=0) for m in (True, False))
    volume = jnp.asarray(volume_of(2))
    variables = fill(jax.eval_shape(lambda: encoder.init(jax.random.key(0), volume, False)))
    found = encoder.apply(variables, volume, False)[1][0]
    layer = variables["params"]["Dense_0"]
    parts = []
    for channel, seen in enumerate((volume, volume[:, ::-1])):
        own = {"kernel": layer["kernel"][channel::2], "bias": layer["bias"]}
        params = {**variables["params"], "Dense_0": own}
        parts.append(plain.apply({"params": params}, seen, False)[1][0])
    np.testing.assert_allclose(
        found,
        parts[0] + parts[1] - np.asarray(layer["bias"])[None, None, None, None],
        rtol=1e-4,
        atol=1e-5,
    )


def test_patches_without_residual_blocks_are_dense_layers():
    """One stage, by hand: cubes → features and a map; code and map → cubes."""
    shape = (8, 4, 12)
    variables, apply = compiled("patch3d", shape=shape, outputs=1, channels=(3,), blocks=0)
    volume, code = volume_of(2, shape), normal(1, 2, 3)
    (features, maps), output = apply(variables, volume, code)
    encoder, decoder = (jax.tree.map(np.float64, v["params"]) for v in variables)
    layer = encoder["Dense_0"]
    folded = fold(volume) @ layer["kernel"] + layer["bias"]
    assert len(maps) == 1
    np.testing.assert_allclose(maps[0], folded, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(features, np.maximum(folded, 0).reshape(2, -1), rtol=1e-4, atol=1e-5)
    first, last = decoder["Dense_0"], decoder["Dense_1"]
    x = (code @ first["kernel"] + first["bias"]).reshape(2, 2, 1, 3, 3)
    x = x + folded @ decoder["skip_0"]["kernel"]
    expected = np.maximum(x, 0) @ last["kernel"] + last["bias"]
    np.testing.assert_allclose(fold(output[..., 0]), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("network", VOLUME_NETWORKS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_volumes_that_are_no_cubes_go_in_and_come_out(network, dtype):
    variables, apply = compiled(network, True, dtype=dtype, batch_norm=True)
    results = jax.eval_shape(apply, variables, jnp.zeros((2, *SHAPE)), jnp.zeros((2, 3)))
    ((features, maps), statistics), (output, _) = results
    low = LOW[network]
    assert features.shape == (2, np.prod(low) * 5) and features.dtype == jnp.dtype(dtype)
    double = tuple(2 * side for side in low)
    assert [m.shape for m in maps] == [(2, *double, 3), (2, *low, 5)]
    assert output.shape == (2, *SHAPE, 2) and output.dtype == jnp.float32
    kept = jax.tree.leaves((variables, statistics))
    assert {leaf.dtype for leaf in kept} == {np.dtype(np.float32)}


@pytest.mark.parametrize("network", VOLUME_NETWORKS)
def test_a_code_alone_takes_the_same_parameters(network):
    variables, with_maps = compiled(network)
    _, alone = compiled(network, with_maps=False)
    volume, code = volume_of(2), normal(1, 2, 3)
    both, lone = with_maps(variables, volume, code)[1], alone(variables, volume, code)[1]
    assert lone.shape == both.shape and np.abs(lone - both).max() > 1e-3
    # Maps of zeros, as dropped ones are, say nothing.
    decoder = make(network)[1]
    low = LOW[network]
    zeros = [jnp.zeros((2, *(2 * side for side in low), 3)), jnp.zeros((2, *low, 5))]
    nothing = jax.jit(lambda v: decoder.apply(v, code, False, zeros))(variables[1])
    np.testing.assert_allclose(nothing, lone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("network", "blocks"), [("patch3d", 1), ("conv3d", 0)])
def test_every_weight_counts_and_recomputing_changes_nothing(network, blocks):
    shape = (8, 4, 12)
    options = {"shape": shape, "channels": (3,), "blocks": blocks}
    volume, code = volume_of(4, shape), normal(1, 4, 3)
    results = []
    for remat in (False, True):
        variables, apply = compiled(network, True, remat=remat, batch_norm=True, **options)

        def total(variables, apply=apply):
            ((features, _), encoder), (output, decoder) = apply(variables, volume, code)
            loss = jnp.mean(jnp.square(features)) + jnp.mean(jnp.square(output))
            return loss, (features, output, encoder, decoder)

        results.append(jax.jit(jax.value_and_grad(total, has_aux=True))(variables))
    chex.assert_trees_all_close(*results, rtol=1e-4, atol=1e-5)
    assert_every_weight_counts([tree["params"] for tree in results[0][1]])


def test_bfloat16_is_near_float32():
    volume, code = volume_of(4), normal(1, 4, 3)
    variables, apply = compiled("patch3d")
    (features, _), output = apply(variables, volume, code)
    (half, _), decoded = compiled("patch3d", dtype="bfloat16")[1](variables, volume, code)
    for full, low in ((features, half), (output, decoded)):
        assert 0 < relative_error(low, full) < 0.05


def test_shrinking_is_four_then_two_or_always_two():
    for first, expected in ((4, [4, 8, 16]), (2, [2, 4, 8])):
        options = (model_options("voxel_completion", channels=(1,) * n) for n in (1, 2, 3))
        assert [shrink_factor(o, (16, 32), first) for o in options] == expected
