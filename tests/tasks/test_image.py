"""The image task: value ranges, targets, likelihoods, and one model for AE, VAE and NVC."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax import nvc_loss
from nvc_jax.core.errors import UserError
from nvc_jax.data.base.source import FieldSpec
from nvc_jax.tasks import Outputs, make_task
from nvc_jax.tasks.image import to_range
from tests.settings import config_with

SHAPE = (4, 3, 2)


def spec_of(dtype="uint8", shape=SHAPE):
    return {"image": FieldSpec(shape, np.dtype(dtype)), "label": FieldSpec((), np.dtype(np.int32))}


def task_of(dtype="uint8", shape=SHAPE, **changes):
    """A task with a tiny model; `changes` are config values by their dotted names."""
    tiny = {"model.hidden": (8, 6), "model.latent_dim": 2, "model.num_anchors": 3}
    return make_task(config_with(tiny, changes), spec_of(dtype, shape))


def batch_of(size=5, dtype="uint8", seed=0):
    rng = np.random.default_rng(seed)
    image = rng.uniform(size=(size, *SHAPE))
    image = rng.integers(256, size=image.shape).astype(dtype) if dtype == "uint8" else image
    return {"image": image.astype(dtype), "label": np.arange(size, dtype=np.int32)}


@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-1.0, 1.0)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integers_fill_the_range_exactly_and_come_back(value_range, dtype):
    low, high = value_range
    stored = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
    for function in (to_range, jax.jit(to_range, static_argnums=1)):
        values = np.asarray(function(jnp.asarray(stored), value_range))
        assert values.dtype == np.float32
        assert values[0] == low and values[-1] == high
        expected = low + (high - low) * (stored / np.iinfo(dtype).max)
        np.testing.assert_allclose(values, expected, atol=1.5e-7)
        back = np.rint((values - low) / (high - low) * np.iinfo(dtype).max)
        np.testing.assert_array_equal(back, stored)


def test_prepared_images_are_what_the_network_sees_and_the_target():
    task, batch = task_of(loss__value_range=(-1.0, 1.0)), batch_of()
    batch["image"][0, 0, 0] = 255, 0
    task.check_batch(batch)
    prepared = task.prepare(jax.tree.map(jnp.asarray, batch))
    np.testing.assert_array_equal(prepared["image"][0, 0, 0], [1.0, -1.0])
    np.testing.assert_array_equal(prepared["target"], prepared["image"])
    np.testing.assert_array_equal(prepared["label"], batch["label"])


def test_floating_images_stay_as_they_are():
    task, batch = task_of("float32"), batch_of(dtype="float32")
    task.check_batch(batch)
    prepared = task.prepare(jax.tree.map(jnp.asarray, batch))
    np.testing.assert_array_equal(prepared["image"], batch["image"])


@pytest.mark.parametrize("likelihood", ["squared_error", "binary_cross_entropy"])
@pytest.mark.parametrize(
    ("value", "got"), [(255.0, "to 255"), (-1.0, "from -1 "), (1.001, "1.001")]
)
def test_floating_images_outside_of_the_range_are_refused(likelihood, value, got):
    task, batch = task_of("float32", loss__likelihood=likelihood), batch_of(dtype="float32")
    batch["image"][2, 1, 1, 0] = value
    with pytest.raises(UserError, match=rf"{got}.*outside of loss.value_range = \(0, 1\)"):
        task.check_batch(batch)


def test_check_batch_lists_what_was_got_and_expected():
    batch = batch_of()
    batch["image"] = batch["image"][:, :, :, :1]
    with pytest.raises(
        UserError, match=r"expected image \[b, 4, 3, 2\] uint8.*got image \[b, 4, 3, 1"
    ):
        task_of().check_batch(batch)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"loss__likelihood": "binary_cross_entropy", "loss__value_range": (-1.0, 1.0)},
            r"\(-1.0, 1.0\) does not fit binary_cross_entropy",
        ),
        ({"loss__value_range": (1.0, 0.0)}, "the smaller one first"),
        ({"loss__value_range": (1.0, 1.0)}, "the smaller one first"),
        ({"loss__value_range": (0.0, 0.5, 1.0)}, "give two numbers"),
        ({"loss__likelihood": "l1"}, "'l1': use one of squared_error, binary_cross_entropy"),
        ({"shape": (4, 3)}, r"a field image \[H, W, C\], got image \[4, 3\]"),
        ({"dtype": "int64"}, "uint8, uint16 or floats, got int64"),
        ({"task": "images"}, "task is 'images': use one of counts, hand_pose, image,"),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(UserError, match=message):
        task_of(**changes)


def outputs_of(output):
    return Outputs(output=jnp.asarray(output, jnp.float32), latent=None)


def test_squared_error_is_summed_over_pixels_and_channels():
    target = np.zeros((2, 2, 1, 3), np.float32)
    output = target + np.array([1.0, 2.0])[:, None, None, None]
    found = task_of().reconstruction(outputs_of(output), {"target": target})
    np.testing.assert_array_equal(found, [6.0, 24.0])
    measured = task_of().metrics(outputs_of(output), {"target": target})
    np.testing.assert_array_equal(measured["squared_error"], [1.0, 4.0])


def test_binary_cross_entropy_is_that_of_logits_and_never_negative():
    task = task_of(loss__likelihood="binary_cross_entropy")
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, *SHAPE)) * np.logspace(-1, 3, 6)[:, None, None, None]
    target = rng.uniform(size=logits.shape).astype(np.float32)
    target[:, 0] = logits[:, 0] > 0  # as certain as can be
    found, gradient = jax.value_and_grad(
        lambda output: (lambda e: (jnp.sum(e), e))(
            task.reconstruction(Outputs(output, None), {"target": target})
        ),
        has_aux=True,
    )(logits.astype(np.float32))
    t = target.astype(np.float64)
    expected = t * np.logaddexp(0, -logits) + (1 - t) * np.logaddexp(0, logits)
    np.testing.assert_allclose(found[1], expected.sum((1, 2, 3)), rtol=1e-5)
    assert np.all(found[1] >= 0)
    np.testing.assert_allclose(gradient, np.exp(-np.logaddexp(0, -logits)) - t, atol=1e-5)
    measured = task.metrics(outputs_of(logits), {"target": target})["squared_error"]
    shown = np.exp(-np.logaddexp(0, -logits))
    np.testing.assert_allclose(measured, np.square(shown - t).mean((1, 2, 3)), rtol=1e-4)


KEYS = jax.random.split(jax.random.key(0), 5)


@pytest.mark.parametrize("target", ["clean", "augmented"])
@pytest.mark.parametrize("assign_from", ["clean", "augmented"])
def test_which_view_is_reconstructed_and_which_decides(target, assign_from):
    task = task_of(
        loss__value_range=(-1.0, 1.0),
        augment__shift=3.0,
        augment__target=target,
        augment__assign_from=assign_from,
    )
    batch = {**batch_of(), "image": np.full((5, *SHAPE), 255, np.uint8)}
    prepared = task.prepare(jax.tree.map(jnp.asarray, batch), KEYS)
    clean = np.ones((5, *SHAPE), np.float32)
    assert np.any(prepared["image"] == -1.0)  # what comes in from outside is black
    assert np.min(prepared["image"]) >= -1 and np.max(prepared["image"]) <= 1
    expected = clean if target == "clean" else prepared["image"]
    np.testing.assert_array_equal(prepared["target"], expected)
    assert ("clean" in prepared) == (assign_from == "clean")
    if assign_from == "clean":
        np.testing.assert_array_equal(prepared["clean"]["image"], clean)


@pytest.mark.parametrize(("shift", "keys"), [(0.0, KEYS), (3.0, None)])
def test_nothing_is_augmented_without_ranges_or_keys(shift, keys):
    batch = batch_of()
    prepared = task_of(augment__shift=shift).prepare(jax.tree.map(jnp.asarray, batch), keys)
    np.testing.assert_allclose(prepared["image"], batch["image"] / 255, rtol=1e-6)
    assert "clean" not in prepared


@functools.cache
def model_of(**changes):
    """(task, model, variables, prepared batch)."""
    task = task_of(**changes)
    model, batch = task.make_model(None), task.prepare(jax.tree.map(jnp.asarray, batch_of()))
    key = jax.random.key(0)
    init = jax.jit(functools.partial(model.init, train=False))
    variables = init({"params": key, "noise": key}, batch)
    return task, model, variables, batch


def test_one_model_is_autoencoder_vae_and_nvc_by_its_weights():
    task, model, variables, batch = model_of()
    noise = {"noise": jax.random.key(1)}

    @functools.partial(jax.value_and_grad, has_aux=True)
    def loss(variables, weights, noise_scale):
        outputs = model.apply(variables, batch, train=True, noise_scale=noise_scale, rngs=noise)
        error = task.reconstruction(outputs, batch)
        total, _ = nvc_loss(error, outputs.latent, outputs.latent.anchors, weights)
        return total, (error, outputs.latent)

    step = jax.jit(loss)
    none = dict.fromkeys(("kl", "triplet", "gravity", "pull"), 0.0)

    # Autoencoder: no noise, no term but the reconstruction.
    plain = model.apply(variables, batch, train=False)
    (total, (_, latent)), _ = step(variables, none, 0.0)
    np.testing.assert_array_equal(latent.sample, latent.mean)
    np.testing.assert_allclose(total, np.mean(task.reconstruction(plain, batch)), rtol=1e-5)

    # Variational autoencoder: anchors at the origin, the usual negative evidence bound.
    params = variables["params"]
    bottleneck = {**params["bottleneck"], "anchors": jnp.zeros((3, 2))}
    at_origin = {"params": {**params, "bottleneck": bottleneck}}
    (total, (error, latent)), _ = step(at_origin, {**none, "kl": 1.0}, 1.0)
    m, v = np.asarray(latent.mean, np.float64), np.asarray(latent.logvar, np.float64)
    kl = -0.5 * (1 + v - np.square(m) - np.exp(v)).sum(1)
    np.testing.assert_allclose(total, np.mean(error) + kl.mean(), rtol=1e-5)
    assert np.all(latent.sample != latent.mean)

    # Nebula Variational Coding: the same parameters feel the anchors.
    (nvc_total, _), gradient = step(
        variables, {**none, "kl": 1.0, "gravity": 1.0, "pull": 1.0}, 1.0
    )
    assert nvc_total > total
    chex.assert_tree_all_finite(gradient)
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(gradient["params"]["bottleneck"]))


@pytest.mark.parametrize("batch_norm", [False, True])
def test_encoding_is_deterministic_and_decoding_it_reconstructs(batch_norm):
    _, model, variables, batch = model_of(
        model__batch_norm=batch_norm, model__condition_on_assignment=True
    )
    first = model.apply(variables, batch, method="encode")
    chex.assert_trees_all_equal(first, model.apply(variables, batch, method="encode"))
    np.testing.assert_array_equal(first.sample, first.mean)
    alone = model.apply(variables, {"image": batch["image"][:1]}, method="encode")
    np.testing.assert_allclose(alone.mean, first.mean[:1], rtol=1e-5)  # no statistics of the batch
    outputs = model.apply(variables, batch, train=False)
    chex.assert_trees_all_equal(outputs.latent, first)
    decoded = model.apply(variables, first.sample, method="decode")
    assert decoded.shape == (5, *SHAPE)
    np.testing.assert_allclose(decoded, outputs.output, rtol=1e-5)
    assert model.apply(variables, first.anchors, method="decode").shape == (3, *SHAPE)


def test_training_passes_on_key_index_and_assignment():
    _, model, variables, batch = model_of()
    rngs, given = {"noise": jax.random.key(1)}, jnp.array([2, 2, 0, 1, 0], jnp.int32)
    run = functools.partial(model.apply, variables, batch, train=True)
    first, second = run(rngs=rngs), run(rngs=rngs, assignment=given)
    np.testing.assert_array_equal(first.latent.sample, second.latent.sample)
    np.testing.assert_array_equal(second.latent.assignment, given)
    index = jnp.arange(5, dtype=jnp.int32) + 1
    later = run(rngs=rngs, example_index=index).latent
    np.testing.assert_allclose(  # the noise of an example is that of its place
        ((later.sample - later.mean) / jnp.exp(0.5 * later.logvar))[:-1],
        ((first.latent.sample - first.latent.mean) / jnp.exp(0.5 * first.latent.logvar))[1:],
        rtol=1e-4,
    )


def test_network_in_bfloat16_has_a_latent_and_losses_in_float32():
    task, model, variables, batch = model_of(model__dtype="bfloat16")
    outputs = model.apply(variables, batch, train=False)
    floats = [v for v in jax.tree.leaves(outputs) if jnp.issubdtype(v.dtype, jnp.floating)]
    assert {v.dtype for v in floats} == {np.dtype(np.float32)}
    error = task.reconstruction(outputs, batch)
    total, raw = nvc_loss(error, outputs.latent, outputs.latent.anchors, {"kl": 1.0})
    assert error.dtype == total.dtype == raw["kl"].dtype == jnp.float32


def temporary_bytes(remat):
    """What the compiled gradient of a convolutional network allocates beside its results."""
    image, key = jnp.zeros((32, 16, 16, 1)), jax.random.key(0)
    changes = {"model__network": "conv", "model__batch_norm": True, "shape": image.shape[1:]}
    task, batch = task_of(model__remat=remat, **changes), {"image": image, "target": image}
    model = task.make_model(None)
    variables = jax.eval_shape(lambda: model.init(key, batch, train=False))

    def loss(params, statistics):
        outputs, updated = model.apply(
            {"params": params, "batch_stats": statistics},
            batch,
            train=True,
            rngs={"noise": key},
            mutable="batch_stats",
        )
        return jnp.mean(task.reconstruction(outputs, batch)), updated

    step = jax.jit(jax.value_and_grad(loss, has_aux=True))
    lowered = step.lower(variables["params"], variables["batch_stats"])
    # Until jax 0.12 XLA for the CPU undoes it, unlike XLA for accelerators.
    undoing = {"xla_disable_hlo_passes": "cse_barrier_expander"}
    options = undoing if jax.__version_info__ < (0, 12) else None
    return lowered.compile(compiler_options=options).memory_analysis().temp_size_in_bytes


def test_recomputed_activations_take_less_memory():
    assert 0 < temporary_bytes(remat=True) < 0.8 * temporary_bytes(remat=False)


def test_presented_values_lie_between_zero_and_one():
    output = np.array([-3.0, -1.0, 0.0, 1.0, 2.0], np.float32)
    squared = task_of(loss__value_range=(-1.0, 1.0))
    np.testing.assert_allclose(squared.postprocess(output), [0, 0, 0.5, 1, 1])
    logits = task_of(loss__likelihood="binary_cross_entropy")
    np.testing.assert_allclose(logits.postprocess(output), 1 / (1 + np.exp(-output)), rtol=1e-6)


@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-1.0, 1.0)])
def test_features_are_the_pixels_between_zero_and_one(value_range):
    batch = batch_of()
    features = task_of(loss__value_range=value_range).features(batch)
    np.testing.assert_allclose(features, batch["image"].reshape(5, -1) / 255, atol=1e-6)
