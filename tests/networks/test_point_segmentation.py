"""Segmentation of points: graphs, edge convolutions, order of points, categories, memory."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import cKDTree

from nvc_jax.networks.points import (
    SEGMENTATION_NETWORKS,
    EdgeConv,
    PointNetSegmentation,
    SegmentationHead,
    make_point_segmentation,
    nearest_neighbors,
)
from tests.networks.test_images import assert_every_weight_counts, fill
from tests.numeric import blocks_of, normal, temporary_bytes
from tests.settings import model_options

OPTIONS = {"hidden": (5, 6, 7, 8), "decoder_hidden": (9, 10)}
ORDER = np.array([3, 0, 6, 1, 5, 4, 2])


def make(network, axis_name=None, **changes):
    other = {"pointnet": "num_neighbors", "dgcnn": "transform"}[network]  # what it does not read
    settings = {"network": network, **OPTIONS, "num_neighbors": 3, **changes}
    settings.pop(other, None)
    options = model_options("point_segmentation", **settings)
    return make_point_segmentation(options, 4, 2, axis_name)


@functools.cache
def compiled(network, train=False, axis_name=None, **changes):
    """Variables of encoder and head, and the function of (variables, points, code, category)."""
    encoder, head = make(network, axis_name, **changes)
    mutable = ["batch_stats"] if train else False
    category = jnp.zeros(1, jnp.int32)

    def init():
        key, code = jax.random.key(0), jnp.zeros((1, 3))
        (features, _), variables = encoder.init_with_output(key, jnp.zeros((1, 4, 6)), False)
        return variables, head.init(key, code, features, False, category)

    def apply(variables, points, code, category):
        encoded = encoder.apply(variables[0], points, train, mutable=mutable)
        features = encoded[0][0] if train else encoded[0]
        return encoded, head.apply(variables[1], code, features, train, category, mutable=mutable)

    return fill(jax.eval_shape(init)), jax.jit(apply)


def inputs(batch=2):
    return normal(0, batch, 7, 6), normal(1, batch, 3), np.arange(batch, dtype=np.int32) % 2


def test_neighbors_equal_those_of_trees():
    near = normal(0, 3, 50, 3)
    for x in (near, near + np.float32(100)):
        expected = [cKDTree(cloud).query(cloud, 5)[1] for cloud in x.astype(np.float64)]
        np.testing.assert_array_equal(nearest_neighbors(x, 5), expected)
    with blocks_of(16):
        np.testing.assert_array_equal(nearest_neighbors(x, 5), expected)


def test_few_points_and_equal_ones_have_neighbors_too():
    x = np.array([[[0, 0], [1, 0], [0, 0]]], np.float32)
    np.testing.assert_array_equal(nearest_neighbors(x, 20), [[[0, 2, 1], [1, 0, 2], [0, 2, 1]]])
    np.testing.assert_array_equal(nearest_neighbors(x[:, :1], 20), [[[0]]])


def test_neighbors_take_little_memory():
    x = jax.ShapeDtypeStruct((8, 4096, 3), jnp.float32)
    assert temporary_bytes(lambda x: nearest_neighbors(x, 20), x) < 8 * 4096**2 * 4 / 8


def test_edge_convolution_is_its_definition():
    """Of every edge by itself: `relu(max_j [(x_j − x_i, x_i)·W + b])`."""
    x = normal(0, 2, 7, 3)
    neighbors = np.random.default_rng(0).integers(7, size=(2, 7, 3))
    layer = EdgeConv(5)
    variables = fill(jax.eval_shape(layer.init, jax.random.key(0), x, neighbors, False))
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
    expected = np.zeros((2, 7, 5))
    for b, i in np.ndindex(2, 7):
        edges = [np.concatenate([x[b, j] - x[b, i], x[b, i]]) @ kernel for j in neighbors[b, i]]
        expected[b, i] = np.maximum(np.max(edges, axis=0) + bias, 0)
    apply = jax.jit(layer.apply, static_argnums=3)
    found = apply(variables, x, neighbors, False)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    half = EdgeConv(5, dtype=jnp.bfloat16)
    low = jax.jit(half.apply, static_argnums=3)(variables, x, neighbors, False)
    assert low.dtype == jnp.bfloat16
    # Close neighbors far from the origin, given in bfloat16, still differ.
    near = np.array([[[8, 0, 0], [8.0625, 0, 0]]], np.float32)
    both = np.array([[[0, 1], [0, 1]]])
    exact = apply(variables, near, both, False)
    low = apply(variables, near.astype(jnp.bfloat16), both, False)
    np.testing.assert_allclose(low, exact, atol=0.1)


@pytest.mark.parametrize("network", SEGMENTATION_NETWORKS)
def test_shapes_and_dtypes(network):
    for dtype in ("float32", "bfloat16"):
        variables, apply = compiled(network, True, batch_norm=True, dtype=dtype, transform=True)
        results = jax.eval_shape(apply, variables, *inputs())
        ((features, whole), _), (logits, _) = results
        assert features.shape == (2, 7, 26 if network == "pointnet" else 18)
        assert whole.shape == (2, 8) and whole.dtype == features.dtype == jnp.dtype(dtype)
        assert logits.shape == (2, 7, 4) and logits.dtype == jnp.float32


@pytest.mark.parametrize("network", SEGMENTATION_NETWORKS)
def test_order_of_points_is_kept(network):
    variables, apply = compiled(network, transform=network == "pointnet")
    points, code, category = inputs()
    (features, whole), logits = apply(variables, points, code, category)
    (shuffled, same), moved = apply(variables, points[:, ORDER], code, category)
    np.testing.assert_allclose(shuffled, features[:, ORDER], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(moved, logits[:, ORDER], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(same, whole, rtol=1e-5, atol=1e-5)
    assert np.abs(moved - logits).max() > 1e-2


def test_points_added_again_change_nothing_for_pointnet():
    variables, apply = compiled("pointnet", transform=True)
    points, code, category = inputs()
    (_, whole), logits = apply(variables, points, code, category)
    again = points[:, [*range(7), 6, 6, 0]]
    (_, same), longer = apply(variables, again, code, category)
    np.testing.assert_allclose(same, whole, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(longer[:, :7], logits, rtol=1e-5, atol=1e-5)


def test_dilated_neighbors_are_every_so_manyth_in_space():
    encoder, _ = make("dgcnn", hidden=(4, 5), num_neighbors=2, dilations=(3,))
    points = inputs()[0]
    init = jax.jit(encoder.init_with_output, static_argnums=2)
    (found, _), variables = init(jax.random.key(0), points, False)
    order = np.argsort(np.linalg.norm(points[:, :, None, :3] - points[:, None, :, :3], axis=-1))
    layer = {"params": variables["params"]["EdgeConv_0"]}
    apply = jax.jit(EdgeConv(4).apply, static_argnums=3)
    expected = apply(layer, points, order[..., [0, 3]], False)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_clouds_smaller_than_the_neighborhood():
    variables, apply = compiled("dgcnn", num_neighbors=40)
    points, code, category = inputs()
    complete = compiled("dgcnn", num_neighbors=7)[1](variables, points, code, category)
    chex.assert_trees_all_equal(apply(variables, points, code, category), complete)


def test_learned_transforms_begin_as_the_identity_and_turn_coordinates_alone():
    points = normal(0, 2, 7, 6)
    plain = PointNetSegmentation((4, 5, 6))
    run = jax.jit(plain.apply, static_argnums=2)
    turned = PointNetSegmentation((4, 5, 6), True, (3,), (3,))
    turn = jax.jit(turned.apply, static_argnums=2)
    variables = jax.jit(turned.init, static_argnums=2)(jax.random.key(0), points, False)
    shared = {k: v for k, v in variables["params"].items() if k.startswith("SharedMLP")}
    expected = run({"params": shared}, points, False)
    chex.assert_trees_all_close(turn(variables, points, False), expected, rtol=1e-6)
    # Coordinates turned by the matrix of a bias alone.
    dense = variables["params"]["_TransformNet_0"]["Dense_0"]
    matrix = normal(1, 3, 3)
    dense["bias"] = jnp.asarray((matrix - np.eye(3)).reshape(-1), jnp.float32)
    moved = np.concatenate([points[..., :3] @ matrix, points[..., 3:]], axis=-1)
    expected = run({"params": shared}, moved, False)
    found = turn(variables, points, False)
    chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-5)


def test_head_is_its_definition():
    """With code and category concatenated at every point; an unknown category is no category."""
    head = SegmentationHead(4, (5,), num_categories=2)
    features, code, category = normal(0, 3, 6, 2), normal(1, 3, 3), np.array([1, 0, -1])
    variables = fill(jax.eval_shape(head.init, jax.random.key(0), code, features, False, category))
    one_hot = np.array([[0, 1], [1, 0], [0, 0]], np.float32)
    beside = np.repeat(np.concatenate([code, one_hot], axis=-1)[:, None], 6, axis=1)
    joined, last = variables["params"]["JoinedLayer_0"], variables["params"]["Dense_0"]
    x = np.concatenate([features, beside], axis=-1) @ joined["kernel"] + joined["bias"]
    expected = np.maximum(x, 0) @ last["kernel"] + last["bias"]
    found = head.apply(variables, code, features, False, category)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_the_code_is_not_copied_to_every_point():
    head = SegmentationHead(4, (8,))
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((4, 4096), (4, 1024, 2))]
    category = jnp.zeros(4, jnp.int32)
    variables = jax.eval_shape(
        lambda *arrays: head.init(jax.random.key(0), *arrays, False, category), *shapes
    )
    taken = temporary_bytes(lambda v, *a: head.apply(v, *a, False, category), variables, *shapes)
    assert taken < 4 * 1024 * 4096 * 4 / 8


@functools.cache
def gradient_of(network, **changes):
    variables, apply = compiled(network, **changes)
    given = inputs(6)

    def total(variables):
        (_, whole), logits = apply(variables, *given)
        return jnp.mean(jnp.square(whole)) + jnp.mean(jnp.square(logits))

    return jax.jit(jax.value_and_grad(total))(variables)


@pytest.mark.parametrize(("network", "transform"), [("pointnet", True), ("dgcnn", False)])
def test_every_weight_counts(network, transform):
    assert_every_weight_counts(gradient_of(network, transform=transform)[1])


def test_recomputing_changes_nothing():
    plain, again = (gradient_of("dgcnn", transform=False, **c) for c in ({}, {"remat": True}))
    chex.assert_trees_all_close(again, plain, rtol=1e-4, atol=1e-5)


def test_devices_share_the_statistics_of_a_batch():
    variables, apply = compiled("dgcnn", True, batch_norm=True)
    whole = apply(variables, *inputs(4))
    _, shared = compiled("dgcnn", True, "devices", batch_norm=True)
    on_two = jax.pmap(shared, "devices", in_axes=(None, 0, 0, 0), devices=jax.devices()[:2])
    halves = on_two(variables, *(v.reshape(2, 2, *v.shape[1:]) for v in inputs(4)))
    np.testing.assert_allclose(halves[1][0].reshape(4, 7, 4), whole[1][0], rtol=1e-3, atol=1e-4)
    first = jax.tree.map(lambda v: v[0], (halves[0][1], halves[1][1]))
    chex.assert_trees_all_close(first, (whole[0][1], whole[1][1]), rtol=1e-3, atol=1e-5)
