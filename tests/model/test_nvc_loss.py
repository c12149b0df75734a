"""The weighted sum of all terms: reductions, weights of zero, degenerate batches."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option
from nvc_jax.model import losses
from nvc_jax.model.bottleneck import Latent
from tests.numeric import blocks_of, jitted, normal, temporary_bytes


def make_latent(size, dim=2, num_anchors=3, seed=0, assignment=None):
    mean, anchors = normal(seed, size, dim), normal(seed + 1, num_anchors, dim)
    logvar, sample = normal(seed + 2, size, dim), mean + normal(seed + 3, size, dim)
    if assignment is None:
        assignment = np.argmin(np.square(mean[:, None] - anchors).sum(-1), 1)
    assignment = np.asarray(assignment, np.int32)
    return Latent(
        mean, logvar, sample, sample, assignment, np.eye(num_anchors)[assignment], anchors
    )


PLAIN = tuple(name for name in losses.TERMS if name != "own")  # that is of a conditional nebula
FORMS = ("ratio", "hinge", "anchor")
WEIGHTS = {"reconstruction": 2.0, "kl": 0.5, "triplet": 3.0, "gravity": 0.25, "pull": 0.125}
TRIPLET = {"triplet": 3.0}  # the one term that a form of triplets changes


@functools.partial(jax.jit, static_argnames=("triplet_form", "gravity_form"))
def step(reconstruction, latent, weights, **options):
    """((total, raw), gradient with respect to reconstruction and the latent's float arrays)."""
    names = ("mean", "logvar", "sample", "anchors")

    def loss(reconstruction, arrays):
        inputs = latent.replace(**arrays)
        return losses.nvc_loss(reconstruction, inputs, inputs.anchors, weights, **options)

    arrays = {name: getattr(latent, name) for name in names}
    return jax.value_and_grad(loss, (0, 1), has_aux=True)(reconstruction, arrays)


def loss_of(reconstruction, latent, weights, **options):
    """(total, raw)."""
    return jitted(
        lambda r, x: losses.nvc_loss(r, x, x.anchors, weights, **options), reconstruction, latent
    )


def expected_terms(reconstruction, latent, form, gravity_form):
    """(raw terms, number of triplets), of the functions by themselves."""
    averaged = "mean" if gravity_form == "bounded" else "sum"
    assigned = latent.anchors[latent.assignment]
    masses = losses.cluster_masses(latent.sample, latent.anchors, latent.assignment, averaged)
    triplet, count = {
        "ratio": lambda: losses.triplet_ratio(latent.mean, latent.assignment, 0.5),
        "hinge": lambda: losses.triplet_hinge(latent.mean, latent.assignment, 2.0, "all", True),
        "anchor": lambda: losses.triplet_anchor(
            latent.mean, latent.anchors, latent.assignment, 2.0
        ),
    }[form]()
    return {
        "reconstruction": jnp.mean(reconstruction),
        "kl": jnp.mean(losses.anchor_kl(latent.mean, latent.logvar, assigned, 2.0)),
        "triplet": triplet,
        "gravity": losses.gravity(latent.anchors, masses, gravity_form, 4.0, "mean"),
        "pull": jnp.mean(losses.pull(latent.sample, latent.anchors)),
    }, count


@pytest.mark.parametrize(
    ("form", "gravity_form"),
    [("ratio", "bounded"), ("hinge", "paper"), ("anchor", "bounded")],
)
def test_total_is_the_weighted_sum_of_raw_terms(form, gravity_form):
    latent, reconstruction = make_latent(8), np.abs(normal(9, 8))
    forms = {"form": form, "gravity_form": gravity_form}
    expected, count = jitted(expected_terms, reconstruction, latent, **forms)
    total, raw = loss_of(
        reconstruction,
        latent,
        WEIGHTS,
        anchor_scale=2.0,
        triplet_form=form,
        triplet_alpha=0.5,
        triplet_margin=2.0,
        triplet_mining="all",
        triplet_squared=True,
        gravity_form=gravity_form,
        gravity_radius=4.0,
        gravity_reduction="mean",
    )
    assert int(raw.pop("num_triplets")) == int(count)
    assert set(raw) == set(PLAIN)
    for name, value in expected.items():
        np.testing.assert_allclose(raw[name], value, rtol=1e-4, err_msg=name)
    weighted = sum(WEIGHTS[name] * float(value) for name, value in raw.items())
    np.testing.assert_allclose(total, weighted, rtol=1e-6)


def test_terms_left_out_are_not_computed_but_the_reconstruction():
    latent, reconstruction = make_latent(4), np.array([1.0, 2.0, 3.0, 6.0], np.float32)
    total, raw = loss_of(reconstruction, latent, {})
    assert float(total) == 3.0 and raw == {"reconstruction": 3.0}
    total, raw = loss_of(reconstruction, latent, {"pull": 0})
    assert float(total) == 3.0 and set(raw) == {"reconstruction", "pull"} and raw["pull"] > 0


# Fields of the latent that a term reads and the terms that read them.
POISONED = {
    "reconstruction": ((), ("reconstruction",)),
    "kl": (("logvar",), ("kl",)),
    "triplet": (("mean",), ("kl", "triplet")),
    "gravity": (("sample",), ("gravity", "pull")),
    "pull": (("sample",), ("gravity", "pull")),
}


@pytest.mark.parametrize("bad", [np.inf, np.nan])
@pytest.mark.parametrize("term", PLAIN)
def test_weight_zero_leaves_a_term_out_even_if_it_is_not_finite(term, bad):
    latent, reconstruction = make_latent(8), np.abs(normal(9, 8))
    fields, terms = POISONED[term]
    weights = {name: jnp.float32(0 if name in terms else w) for name, w in WEIGHTS.items()}
    (total, raw), gradient = step(reconstruction, latent, weights)
    assert float(raw[term]) > 0
    kept = sum(WEIGHTS[name] * raw[name] for name in PLAIN if name not in terms)
    np.testing.assert_allclose(total, kept, rtol=1e-6)

    poisoned = {name: getattr(latent, name).copy() for name in fields}
    for array in poisoned.values():
        array[1, 0] = bad
    worse = reconstruction.copy()
    if term == "reconstruction":
        worse[1] = bad
    (same_total, raw), same_gradient = step(worse, latent.replace(**poisoned), weights)
    assert not np.isfinite(raw[term])
    chex.assert_trees_all_equal((same_total, same_gradient), (total, gradient))
    chex.assert_tree_all_finite(gradient)


def test_weight_zero_stops_the_gradient_of_that_term_alone():
    latent, reconstruction = make_latent(8), np.abs(normal(9, 8))
    weights = {name: jnp.float32(name in ("reconstruction", "kl")) for name in WEIGHTS}
    _, (_, gradient) = step(reconstruction, latent, weights)
    np.testing.assert_array_equal(gradient["sample"], np.zeros((8, 2)))
    difference = latent.mean - latent.anchors[latent.assignment]
    np.testing.assert_allclose(gradient["mean"], difference / 8, rtol=1e-5)
    np.testing.assert_allclose(gradient["logvar"], (np.exp(latent.logvar) - 1) / 16, rtol=1e-5)
    own = np.eye(3)[latent.assignment]
    np.testing.assert_allclose(gradient["anchors"], -own.T @ difference / 8, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("form", "weights"), [("hinge", WEIGHTS), ("anchor", TRIPLET)])
def test_duplicating_the_batch_changes_no_term(form, weights):
    latent, reconstruction = make_latent(8), np.abs(normal(9, 8))
    twice = jax.tree.map(lambda v: np.concatenate([v, v]), latent).replace(anchors=latent.anchors)
    total, raw = loss_of(reconstruction, latent, weights, triplet_form=form)
    total2, raw2 = loss_of(np.tile(reconstruction, 2), twice, weights, triplet_form=form)
    del raw["num_triplets"], raw2["num_triplets"]
    chex.assert_trees_all_close((total2, raw2), (total, raw), rtol=1e-6)


def test_kl_is_a_sum_over_dimensions_and_a_mean_over_examples():
    mean, zero = np.array([[4.0, 0.0], [0.0, 0.0]], np.float32), np.zeros((2, 2), np.float32)
    latent = make_latent(2, num_anchors=1).replace(mean=mean, logvar=zero, anchors=zero[:1])
    _, raw = loss_of(np.zeros(2), latent, {"kl": 1})
    assert float(raw["kl"]) == 4.0


def test_terms_that_compare_examples_see_the_global_batch():
    shard, whole = make_latent(4), make_latent(8, seed=50).replace(anchors=make_latent(4).anchors)
    reconstruction = np.abs(normal(9, 4))
    (_, alone), (_, both), (_, large) = jitted(
        lambda shard, whole: (
            losses.nvc_loss(reconstruction, shard, shard.anchors, WEIGHTS),
            losses.nvc_loss(reconstruction, shard, shard.anchors, WEIGHTS, pair_latent=whole),
            losses.nvc_loss(np.zeros(8), whole, shard.anchors, WEIGHTS),
        ),
        shard,
        whole,
    )
    for name in PLAIN:
        expected = large if name in ("triplet", "gravity") else alone
        np.testing.assert_allclose(both[name], expected[name], rtol=1e-6, err_msg=name)
        assert float(alone[name]) != float(large[name])
    assert int(both["num_triplets"]) == int(large["num_triplets"])


@pytest.mark.parametrize("form", ["ratio", "hinge"])
@pytest.mark.parametrize("assignment", [[0, 0, 0, 0], [0, 1, 2, 3], [0]])
def test_batch_without_a_triplet_costs_nothing(form, assignment):
    latent = make_latent(len(assignment), num_anchors=4, assignment=assignment)
    weights = {"reconstruction": jnp.float32(0), "triplet": jnp.float32(5)}
    size = np.zeros(len(assignment), np.float32)
    (total, raw), gradient = step(size, latent, weights, triplet_form=form)
    assert float(total) == float(raw["triplet"]) == 0 and int(raw["num_triplets"]) == 0
    chex.assert_trees_all_equal(gradient, jax.tree.map(np.zeros_like, gradient))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1, 4])
def test_one_anchor_has_no_triplets_and_no_gravity(form, size):
    latent, reconstruction = make_latent(size, num_anchors=1), np.ones(size, np.float32)
    (total, raw), gradient = step(reconstruction, latent, WEIGHTS, triplet_form=form)
    assert float(raw["triplet"]) == float(raw["gravity"]) == 0 and int(raw["num_triplets"]) == 0
    centers = np.tile(latent.anchors, (size, 1))
    kl = jitted(losses.anchor_kl, latent.mean, latent.logvar, centers).mean()
    pull = np.square(latent.sample - latent.anchors).sum(1).mean()
    np.testing.assert_allclose(total, 2 + 0.5 * kl + 0.125 * pull, rtol=1e-5)
    chex.assert_tree_all_finite(gradient)


def test_satisfied_triplets_cost_nothing_but_are_counted():
    mean = np.array([[0.0, 0.0], [0.1, 0.0], [10.0, 0.0], [10.1, 0.0]], np.float32)
    latent = make_latent(4, assignment=[0, 0, 1, 1]).replace(mean=mean)
    _, raw = loss_of(np.zeros(4), latent, {"triplet": 1}, triplet_form="hinge")
    assert float(raw["triplet"]) == 0 and int(raw["num_triplets"]) == 4


def test_terms_are_averaged_in_float32():
    latent = jax.tree.map(lambda v: v.astype(jnp.bfloat16), make_latent(4))
    latent = latent.replace(assignment=np.array([0, 0, 1, 2]))
    total, raw = loss_of(np.ones(10_000, jnp.bfloat16), latent, WEIGHTS)
    assert float(raw["reconstruction"]) == 1.0
    assert {v.dtype for k, v in raw.items() if k != "num_triplets"} | {total.dtype} == {
        np.dtype(np.float32)
    }


@pytest.mark.parametrize(
    ("weights", "options", "told"),
    [
        ({"kld": 1.0}, {}, "no term 'kld': use one of gravity, kl"),
        ({}, {"triplet_marg": 1.0}, "no option 'triplet_marg': .*triplet_margin"),
        ({}, {"triplet_form": "kld"}, "triplet_form is 'kld': use one of ratio"),
        ({}, {"anchor_scale": 0.0}, "anchor_scale is 0.0: it must be greater than 0"),
    ],
)
def test_mistakes_are_told(weights, options, told):
    latent = make_latent(2)
    with pytest.raises(UserError, match=told):
        losses.nvc_loss(np.zeros(2), latent, latent.anchors, weights, **options)


def test_a_term_of_ones_own(monkeypatch):
    """It averages over examples, has an option with a default, and further metrics."""

    def spread(inputs, spread_power):
        return jnp.abs(inputs.mean[:, 0]) ** spread_power, {"largest": jnp.max(inputs.mean)}

    option = Option("loss.spread_power", 2, "of the lengths", at_least=1)
    monkeypatch.setitem(losses.TERMS, "spread", losses.Term("spread", "Σ", spread, (option,)))
    latent, weights = make_latent(4), {"spread": 0.5}
    total, raw = loss_of(np.zeros(4), latent, weights)
    expected = np.square(latent.mean[:, 0]).mean()
    np.testing.assert_allclose((raw["spread"], total), (expected, 0.5 * expected), rtol=1e-6)
    assert raw["largest"] == latent.mean.max()
    with pytest.raises(UserError, match="spread_power is 0"):
        losses.nvc_loss(np.zeros(4), latent, latent.anchors, weights, spread_power=0)


@pytest.mark.parametrize(
    ("form", "weights", "atol"),
    [("ratio", WEIGHTS, 1e-6), ("hinge", TRIPLET, 3e-6), ("anchor", TRIPLET, 1e-6)],
)
def test_large_batches_in_blocks_equal_the_plain_computation(form, weights, atol):
    latent, reconstruction = make_latent(400, num_anchors=100), np.abs(normal(9, 400))
    inputs = (reconstruction, latent, weights)
    expected, right = jax.device_get(step(*inputs, triplet_form=form))
    with blocks_of(150):
        found, gradient = jax.device_get(step(*inputs, triplet_form=form))
    chex.assert_trees_all_close(found, expected, rtol=1e-6)
    scaled = [
        jax.tree.map(lambda g, r: g / max(np.abs(r).max(), 1e-30), tree, right)
        for tree in (gradient, right)
    ]
    chex.assert_trees_all_close(*scaled, rtol=0, atol=atol)


@pytest.mark.parametrize(
    ("form", "weights"), [("ratio", WEIGHTS), ("hinge", TRIPLET), ("anchor", TRIPLET)]
)
def test_memory_for_a_large_batch(form, weights):
    size, dim, num_anchors = 65_536, 64, 1_024
    batch = np.zeros((size, dim), np.float32)
    anchors, assignment = np.zeros((num_anchors, dim), np.float32), np.zeros(size, np.int32)
    latent = Latent(batch, batch, batch, batch, assignment, None, anchors)

    def value_and_gradient(reconstruction, latent):
        return step(reconstruction, latent, weights, triplet_form=form)

    used = temporary_bytes(value_and_gradient, batch[:, 0], latent)
    assert used < 0.75 * 4 * size * num_anchors
