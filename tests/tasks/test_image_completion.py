"""Completion of images: what is seen, errors by hand, several answers, and a whole run."""

import json
from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.data import ArraySource
from nvc_jax.data.base.source import FieldSpec
from nvc_jax.evaluation import evaluate, load
from nvc_jax.tasks import Outputs, make_task
from nvc_jax.tasks.image_completion import visible_pixels
from nvc_jax.training import parallel
from nvc_jax.training.answering import measure_answers_step, noise_of
from nvc_jax.training.experiment import abstract_state, make_experiment
from nvc_jax.training.loop import train
from nvc_jax.training.step import train_step
from tests.networks.test_images import fill
from tests.refusals import refused
from tests.settings import config_with

TINY = {
    "task": "image_completion",
    "data.source": "python",
    "data.num_threads": 0,
    "model.conditional": True,
    "model.hidden": (8,),
    "model.latent_dim": 2,
    "model.num_anchors": 3,
    "model.prior_rank": 2,
    "loss.own.value": 0.5,
    "loss.triplet.value": 0.0,
    "train.batch_size": 16,
    "eval.batch_size": 16,
    "eval.best_of": (1, 2),
    "eval.draws": 12,
    "eval.shown_answers": 2,
}
SPEC = {
    "image": FieldSpec((4, 4, 1), np.dtype(np.uint8)),
    "label": FieldSpec((), np.dtype("int32")),
}


def images(size: int, seed: int = 0) -> np.ndarray:
    """One pixel is seen, from which a bar goes up or to the right."""
    rng = np.random.default_rng(seed)
    bars = np.zeros((size, 4, 4, 1), np.uint8)
    for i, (kind, place) in enumerate(rng.integers(0, 2, (size, 2))):
        bars[i, 2 + place, 0] = 255
        bars[(i, slice(2), 0) if kind else (i, 2 + place, slice(2, 4))] = 255
    return bars


def task_of(**changes):
    return make_task(config_with(TINY, changes), SPEC)


def test_quadrants_are_seen():
    expected = np.zeros((3, 5), bool)
    expected[2:, :3] = True  # the middle row and column belong to the first half
    np.testing.assert_array_equal(visible_pixels(("bottom_left",), 3, 5), expected)
    three = visible_pixels(("bottom_left", "top_left", "bottom_right"), 4, 4)
    np.testing.assert_array_equal(~three, np.outer([1, 1, 0, 0], [0, 0, 1, 1]))
    for names in ((), ("middle",), ("bottom_left", "top_left", "bottom_right", "top_right")):
        refused("give one to three of bottom_left", visible_pixels, names, 4, 4)


def test_what_is_prepared_and_its_errors_by_hand():
    task = task_of()
    image = np.zeros((1, 4, 4, 1), np.uint8)
    image[0, 3, 0], image[0, 0, 0], image[0, 0, 1] = 128, 255, 127
    batch = task.prepare({"image": jnp.asarray(image), "label": jnp.zeros(1, jnp.int32)})
    assert batch["image"][0, 3, 0] == 1 and batch["image"][0, 2, 0] == 0
    assert (batch["image"][0, :2] == -1).all() and (batch["image"][0, :, 2:] == -1).all()
    assert batch["target"][0, 0, 0] == 1 and batch["target"][0, 0, 1] == 0
    zero = Outputs(jnp.zeros((1, 4, 4, 1)), None)
    assert float(task.reconstruction(zero, batch)[0]) == pytest.approx(12 * np.log(2), rel=1e-6)
    assert float(task.metrics(zero, batch)["wrong_pixels"][0]) == 1  # none is set, one should be
    answer = task.answer(zero.output, batch)
    assert answer[0, 3, 0] == 1 and answer[0, 2, 0] == 0 and answer[0, 0, 0] == 0.5
    gradient = jax.grad(lambda x: task.reconstruction(Outputs(x, None), batch).sum())(zero.output)
    expected = np.where(task.visible, 0.0, 0.5 - batch["target"][0])
    np.testing.assert_allclose(gradient[0], expected, atol=1e-6)


def test_images_of_other_values_and_own_answers_of_a_plain_model_are_refused():
    task = make_task(config_with(TINY, {}), {**SPEC, "image": FieldSpec((4, 4, 1), np.dtype("f4"))})
    wrong = {"image": np.full((1, 4, 4, 1), 2.0, np.float32), "label": np.zeros(1, np.int32)}
    refused("scale the images to 0 to 1", task.check_batch, wrong)
    for changes, told in [
        ({"model.conditional": False}, "set model.conditional=true"),
        ({"anchors.revive_every": 5}, "set it to 0"),
        ({"anchors.neighbors": 5}, "set it to 0"),
        ({"model.condition_on_assignment": True}, r"use model\.tell_anchor"),
    ]:
        refused(told, make_experiment, config_with(TINY, changes), SPEC, None)


@pytest.mark.parametrize("shift", ["none", "shared", "anchor"])
def test_the_prior_begins_as_the_anchors_and_moves_as_it_is_told(shift):
    config = config_with(TINY, {"model.prior_shift": shift, "model.tell_anchor": True})
    experiment = make_experiment(config, SPEC, None)
    start = abstract_state(experiment, config)
    params = fill(start.params)
    batch = experiment.task.prepare({"image": jnp.asarray(images(5))})

    def prior_of(params):
        variables = {"params": params}
        return experiment.model.apply(variables, batch, method="encode").prior

    anchors = params["model"]["bottleneck"]["anchors"]
    heads = ("weights", "shared", "apart", "logvar")
    zeros = {k: jax.tree.map(jnp.zeros_like, v) for k, v in params.items() if k in heads}
    first, moved = prior_of({**params, **zeros}), prior_of(params)
    np.testing.assert_allclose(first.mean, np.broadcast_to(anchors, (5, 3, 2)), atol=1e-6)
    np.testing.assert_allclose(first.logvar, 0.0, atol=1e-3)
    np.testing.assert_allclose(jnp.exp(first.log_weight), 1 / 3, rtol=1e-5)
    away = np.asarray(moved.mean) - np.asarray(anchors)
    by_anchor, by_input = np.ptp(away, axis=1).max(), np.ptp(away, axis=0).max()
    assert (by_anchor > 1e-3) == (shift == "anchor") and (by_input > 1e-3) == (shift != "none")


CHANGES = {
    "code": {"anchors.shares": "learned", "anchors.learn_from": 0.0},
    "error": {"anchors.choose_by": "error", "anchors.choose_from": 0.0, "anchors.candidates": 2},
}


@pytest.mark.parametrize("way", CHANGES)
def test_one_step_is_the_same_on_one_and_eight_devices_and_in_microbatches(way):
    settings = {"optimizer.name": "sgd", "optimizer.learning_rate": 0.1, "anchors.init": "normal"}
    config = config_with(TINY, {**settings, **CHANGES[way]})
    batch = ArraySource(images(16)).gather(np.arange(16))
    batch["image"] = np.maximum(batch["image"], images(16, seed=9))  # no two rows alike in a shard
    found: list[Any] = []
    for axis, pieces in ((None, 1), (None, 4), (parallel.AXIS, 1)):
        config = config_with(TINY, {**settings, **CHANGES[way], "train.microbatches": pieces})
        experiment = make_experiment(config, SPEC, axis)
        if not found:
            start = abstract_state(experiment, config)
            start = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), start)
            shares = np.array([0.5, 0.25, 0.25], np.float32)
            start = start.replace(params=fill(start.params), shares=shares)
        step = partial(train_step, experiment=experiment)
        with jax.numpy_dtype_promotion("standard"):
            if axis is None:
                found.append(jax.device_get(jax.jit(step)(start, batch)))
                continue
            mapped = parallel.map_step(step, donate_state=True)
            after = jax.device_get(mapped(parallel.replicate(start), parallel.shard(batch)))
        for leaf in jax.tree.leaves(after):
            assert leaf.tobytes() == leaf[0].tobytes() * 8
        found.append(jax.tree.map(lambda leaf: leaf[0], after))
    (state, metrics), *others = found
    assert all(metrics[name] != 0 for name in ("reconstruction", "kl", "own"))
    changed = jax.tree.map(lambda a, b: np.abs(a - b).max() > 0, start.params, state.params)
    for name in ("weights", "shared", "apart", "logvar"):
        assert all(jax.tree.leaves(changed[name])), name
    for other, told in others:
        chex.assert_trees_all_close(other.params, state.params, rtol=0, atol=2e-6)
        np.testing.assert_array_equal(other.last_used, state.last_used)
        np.testing.assert_array_equal(other.shares, state.shares)
        chex.assert_trees_all_close(told, metrics, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run, stopped and resumed, and the same in one go."""
    settings = {
        "anchors.warmup": 20,
        "anchors.restarts": 1,
        "anchors.choose_by": "error",
        "anchors.choose_from": 20,
        "optimizer.learning_rate": 0.02,
        "train.num_steps": 120,
        "train.eval_every": 0,
        "train.checkpoint_every": 0,
        "train.figures": False,
        "eval.tsne_examples": 0,
        "eval.shown_examples": 3,
    }
    config, folder = config_with(TINY, settings), tmp_path_factory.mktemp("completion")
    data = {"train_data": ArraySource(images(64)), "validation_data": ArraySource(images(16, 1))}
    with jax.numpy_dtype_promotion("standard"):
        whole = train(config, folder / "whole", **data)
        train(config, folder / "halves", **data, stop_after=60)
        resumed = train(config, folder / "halves", **data, resume="must")
    return folder / "whole", whole, resumed


def test_resumed_run_ends_as_the_whole_one(run):
    chex.assert_trees_all_equal(run[1].state, run[2].state)


def test_evaluation_measures_answers(run):
    test = ArraySource(images(20, seed=2), np.zeros(20, np.int32))
    found = evaluate(run[0], test_data=test, train_data=ArraySource(images(64)), figures=True)
    values = json.loads((run[0] / "results.json").read_text())["metrics"]
    assert values == found["metrics"]
    assert values["best_of/1"] == pytest.approx(values["wrong_pixels"])
    assert values["best_of/2"] < values["best_of/1"]  # a bar goes up, or to the right
    assert values["best_of_reduced/2"] < values["best_of_reduced/1"]
    assert values["log_likelihood"] < 0 <= values["prior_calibration"]
    assert (run[0] / "figures" / "hypotheses.png").is_file()
    assert (run[0] / "figures" / "completions.png").is_file()


def test_several_answers_to_one_input(run):
    model, some = load(run[0]), images(5, seed=3)
    found = model.complete(some, n=3)
    assert found.answers.shape == (5, 3, 4, 4, 1) and found.probabilities.shape == (5, 3)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1.0, rtol=1e-5)
    assert (np.diff(found.probabilities, axis=1) <= 0).all()
    assert (found.answers[:, :, 2:, :2] == (some[:, None, 2:, :2] > 127)).all()
    np.testing.assert_allclose(found.answers[:, 0], model.reconstruct(some), atol=1e-5)
    more = model.complete(some, n=5)
    np.testing.assert_allclose(more.answers[:, :3], found.answers, atol=1e-5)
    np.testing.assert_array_equal(more.probabilities[:, 3:], 0.0)
    one = model.complete(some, n=1, by="expected")
    weight = found.probabilities[:, :, None, None, None]
    np.testing.assert_allclose(one.answers[:, 0], (weight * found.answers).sum(1), atol=1e-4)
    refused("by 'probable' or 'expected'", model.complete, some, by="chance")
    refused("sees the input", model.decode, np.zeros((1, 2)))


def test_likelihood_of_one_pixel_is_the_integral(run):
    """By importance sampling, and by draws of the prior alone, which need many more."""
    model = load(run[0], overrides=[("eval.draws", "2000")])
    experiment = make_experiment(model.config, SPEC, None)
    batch = {"image": jnp.asarray(images(2, seed=5)), "label": jnp.zeros(2, jnp.int32)}
    state = run[1].state
    found = jax.jit(partial(measure_answers_step, experiment=experiment))(state, batch)
    prepared = experiment.task.prepare(batch)
    prior = jax.device_get(experiment.apply(state, prepared, method="encode").prior)
    noise, _ = noise_of(1, 20_000, 2)
    total = np.zeros(2)
    for k, log_weight in enumerate(prior.log_weight.T):
        code = prior.mean[:, None, k] + np.exp(0.5 * prior.logvar[:, None, k]) * noise[None]
        index = jnp.full(code.shape[:2], k)
        output = experiment.apply(state, prepared, jnp.asarray(code), index, method="answers")
        error = jax.vmap(
            lambda one: experiment.task.reconstruction(Outputs(one, None), prepared), 1, 1
        )(output)
        total += np.exp(log_weight) * np.exp(-np.asarray(error, np.float64)).mean(axis=1)
    np.testing.assert_allclose(found["log_likelihood"], np.log(total), atol=0.15)
