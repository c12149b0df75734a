"""Everything public computes in float32, whatever comes in and whatever JAX's default is."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax import NebulaBottleneck, anchors, losses, nvc_loss
from nvc_jax.augment import warp

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
        dtypes = {np.dtype(leaf.dtype).name for leaf in jax.tree.leaves(compute())}
    assert dtypes <= {"float32", "int32", "bool"}
