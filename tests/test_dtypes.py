"""Everything public computes in float32; a network in bfloat16 leaves the rest as it is."""

import functools
import re
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

from nvc_jax import NebulaBottleneck, nvc_loss
from nvc_jax.config import make_config
from nvc_jax.data import ArraySource
from nvc_jax.model import anchors, losses
from nvc_jax.networks.images import IMAGE_NETWORKS
from nvc_jax.tasks.augment import warp
from nvc_jax.training.experiment import init_state, make_experiment
from nvc_jax.training.step import train_step

X = np.random.default_rng(0).normal(size=(12, 3))
A = np.random.default_rng(1).normal(size=(4, 3))
LABELS = np.arange(12) % 4


def bottleneck():
    model = NebulaBottleneck(4, 3, condition_on_assignment=True)
    keys = {"params": jax.random.key(0), "noise": jax.random.key(1)}
    latent, _ = model.init_with_output(keys, X)
    weights = {"kl": 1.0, "triplet": 1.0, "gravity": 1.0, "pull": 1.0}
    return latent, nvc_loss(np.ones(12), latent, latent.anchors, weights)


def images():
    keys = jax.random.split(jax.random.key(0), 2)
    return warp(jnp.ones((2, 5, 5, 1), jnp.float32), keys, shift=1.0, rotation=0.1, scale=0.1)


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize(
    "compute",
    [
        lambda: anchors.squared_distances(X, A),
        lambda: anchors.assign(X, A),
        lambda: anchors.soft_assign(X, A, 0.5),
        lambda: anchors.balanced_assign(X, A),
        lambda: anchors.usage(LABELS, 4),
        lambda: anchors.min_anchor_distance(A),
        lambda: anchors.revive(A, np.arange(4), X, jax.random.key(0)),
        lambda: anchors.spread()(jax.random.key(0), (4, 3)),
        lambda: losses.anchor_kl(X, X, A[LABELS]),
        lambda: losses.gravity(A, np.ones(4)),
        lambda: losses.cluster_masses(X, A, LABELS),
        lambda: losses.pull(X, A),
        lambda: losses.triplet_ratio(X, LABELS),
        lambda: losses.triplet_hinge(X, LABELS, 1.0),
        lambda: losses.triplet_hinge(X, LABELS, 1.0, "all"),
        lambda: losses.triplet_anchor(X, A, LABELS, 1.0),
        lambda: losses.triplet_anchor(X, A[:1], 0 * LABELS, 1.0),
        bottleneck,
        images,
    ],
)
def test_results_have_32_bits(compute, x64):
    with jax.enable_x64(x64), jax.numpy_dtype_promotion("standard"):
        results = jax.eval_shape(compute)
    dtypes = {np.dtype(leaf.dtype).name for leaf in jax.tree.leaves(results)}
    assert dtypes <= {"float32", "int32", "bool"}


@pytest.fixture
def standard_promotion() -> Iterator[None]:
    """optax's bias correction needs it."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def training(dtype, network="mlp"):
    """(train step of one device, function that makes its state, a batch): every loss term on."""
    model = {"network": network, "hidden": (24, 12), "dtype": dtype, "batch_norm": True}
    terms = {"loss.gravity.value": 0.1, "loss.pull.value": 0.1, "optimizer.learning_rate": 0.01}
    sizes = {"model.latent_dim": 3, "model.num_anchors": 4, "anchors.init": "spread"}
    config = make_config({"model": model, **sizes, **terms})
    source = ArraySource(load_digits().images[:64, :, :, None].astype(np.float32) / 16)
    experiment = make_experiment(config, source.spec, None)
    step = functools.partial(train_step, experiment=experiment)
    batch = jax.tree.map(jnp.asarray, source.gather(np.arange(64)))
    return step, functools.partial(init_state, experiment, config), batch


def assert_float32(state, metrics):
    for tree in (state.params, state.opt_state, state.batch_stats, metrics):
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        kinds = {jax.tree_util.keystr(path): leaf.dtype for path, leaf in leaves}
        floats = {name: dtype for name, dtype in kinds.items() if dtype != np.int32}  # but counters
        assert floats and set(floats.values()) == {np.dtype(np.float32)}, floats


def equations(jaxpr) -> Iterator:
    """All equations of a jaxpr and of those within it."""
    for equation in jaxpr.eqns:
        yield equation
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda v: v is None):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from equations(inner)


@pytest.mark.parametrize("network", IMAGE_NETWORKS)
def test_only_products_of_the_network_are_in_bfloat16(network, standard_promotion):
    step, init, batch = training("bfloat16", network)
    jaxpr, results = jax.make_jaxpr(step, return_shape=True)(jax.eval_shape(init), batch)
    assert_float32(*results)
    seen = set()
    for equation in equations(jaxpr.jaxpr):
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            where = re.findall("encoder|decoder|bottleneck", str(equation.source_info.name_stack))
            seen |= {("".join(where[:1]), value.aval.dtype.name) for value in equation.invars}
    inside, outside = ("encoder", "decoder"), ("bottleneck", "")
    expected = {(name, "bfloat16") for name in inside} | {(name, "float32") for name in outside}
    assert seen == expected


def test_training_in_bfloat16_is_near_that_in_float32(standard_promotion):
    start = training("float32")[1]()
    found = []
    for dtype in ("float32", "bfloat16"):
        step, _, batch = training(dtype)
        step, state, values = jax.jit(step), start, []
        for _ in range(50):
            state, metrics = step(state, batch)
            values.append(float(metrics["loss"]))
        assert_float32(state, metrics)
        found.append(values)
    full, half = found
    assert half[0] != full[0] and half[0] == pytest.approx(full[0], rel=0.03)
    assert half[-1] < 0.5 * half[0] and half[-1] == pytest.approx(full[-1], rel=0.1)
