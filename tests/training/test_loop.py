"""Whole runs: what they log, save, warn of and refuse."""

import shutil

import chex
import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nvc_jax.core.errors import DivergedError, UserError
from nvc_jax.data import ArraySource
from nvc_jax.displays import ImageDisplay
from nvc_jax.training import parallel
from nvc_jax.training.checkpoint import BEST, Checkpoints
from nvc_jax.training.logging import read_metrics
from nvc_jax.training.loop import train
from nvc_jax.training.state import find_anchors


def split_metrics(directory):
    """(records of training, records of validation)."""
    records = read_metrics(directory / "metrics.jsonl")
    return [r for r in records if "loss" in r], [r for r in records if "loss" not in r]


def state_of(directory, like, step, kind="checkpoints"):
    found = Checkpoints(directory).restore(like, step=step, kind=kind)
    assert found is not None
    return found[0]


def test_training_is_logged_with_weights_and_rates(whole):
    training, _ = split_metrics(whole.directory)
    assert [record["step"] for record in training] == [1, 4, 8, 12, 16, 20]
    weights = [record["weight/kl"] for record in training]
    np.testing.assert_allclose(weights, [0, 0, 0.2, 0.6, 1, 1], atol=1e-6)
    rates = [record["learning_rate"] for record in training]
    np.testing.assert_allclose(rates, np.array([0, 3, 2, 4, 4, 4]) / 4 * 1e-3, atol=1e-9)
    assert all(record["skipped_steps"] == 0 for record in training)


def test_time_of_compilation_is_told_apart(whole):
    training, _ = split_metrics(whole.directory)
    assert "steps_per_second" not in training[0]
    for record in training[1:]:
        per_step = record["examples_per_second"] / record["steps_per_second"]
        assert record["steps_per_second"] > 0 and per_step == pytest.approx(16)
    assert whole.result.first_step_seconds > 0 and whole.result.steps_per_second > 0


def test_validation_tells_the_use_of_anchors(whole):
    _, validation = split_metrics(whole.directory)
    assert [record["step"] for record in validation] == [6, 12, 18, 20]
    for record in validation:
        used, dead = record["validation/anchors_used"], record["validation/anchors_dead"]
        assert used + dead == 4 and 1 <= used <= 4
        assert 1 <= record["validation/anchor_perplexity"] <= used + 1e-5
        assert 0.25 <= record["validation/anchor_max_share"] <= 1
        assert record["validation/anchor_min_distance"] > 0
        assert record["validation/kl"] > 0 and record["validation/active_units"] <= 2


def test_checkpoint_of_a_step_holds_that_steps_values(whole):
    checkpoints = Checkpoints(whole.directory)
    assert checkpoints.steps() == [4, 8, 12, 16, 20]
    states = [state_of(whole.directory, whole.result.state, s) for s in checkpoints.steps()]
    assert [int(state.step) for state in states] == checkpoints.steps()
    assert [int(state.anchors_step) for state in states] == [-1, 5, 5, 5, 5]
    anchors = [find_anchors(state.params) for state in states]
    assert {a.shape for a in anchors} == {(4, 2)}
    assert len(np.unique(anchors[1:], axis=0)) == 4  # they train
    chex.assert_trees_all_equal(states[-1], whole.result.state)


def test_best_checkpoint_is_the_one_of_the_smallest_validation_error(whole):
    _, validation = split_metrics(whole.directory)
    best = min(validation, key=lambda record: record["validation/reconstruction"])
    (step,) = Checkpoints(whole.directory).steps(BEST)
    assert step == best["step"]
    assert state_of(whole.directory, whole.result.state, step, BEST).step == step


def test_figures_are_in_tensorboard(whole):
    """Those of the task only at the end, because predictions take a compilation of their own."""
    accumulator = EventAccumulator(str(whole.directory / "tensorboard")).Reload()
    images = {
        tag: [image.step for image in accumulator.Images(tag)]
        for tag in accumulator.Tags()["images"]
    }
    assert images == {"validation/latent": [6, 12, 18, 20], "validation/reconstructions": [20]}


def test_a_figure_that_fails_is_told_and_stops_nothing(
    config, data, tmp_path, monkeypatch, messages
):
    def fail(*_):
        raise ValueError("no ink")

    monkeypatch.setattr(ImageDisplay, "figures", fail)
    config.train.num_steps, config.train.figures = 1, True
    assert train(config, tmp_path, **data).state.step == 1
    assert "WARNING: A figure failed: no ink" in messages


def test_no_figure_stays_open(whole):
    assert plt.get_fignums() == []


@pytest.mark.parametrize("seed", [0, 1])
def test_the_seed_decides_everything(config, data, tmp_path, whole, seed):
    config.seed = seed
    result = train(config, tmp_path, stop_after=4, **data)
    assert result.stopped == "--stop_after=4"
    same = jax.tree.map(
        np.array_equal, result.state, state_of(whole.directory, result.state, 4)
    )  # NumPy arrays, bit for bit
    assert all(jax.tree.leaves(same.params)) == (seed == 0)
    assert all(jax.tree.leaves(same)) == (seed == 0)


def test_checkpoints_at_intervals_and_at_the_end(config, data, tmp_path):
    config.train.num_steps, config.train.checkpoint_every, config.train.keep = 7, 3, 3
    result = train(config, tmp_path, train_data=data["train_data"])
    assert Checkpoints(tmp_path).steps() == [3, 6, 7]
    for step in (3, 6, 7):
        assert state_of(tmp_path, result.state, step).step == step


def test_a_finished_run_is_left_as_it_is(config, data, tmp_path, whole):
    shutil.copytree(whole.directory, tmp_path / "run")
    before = {f.relative_to(tmp_path) for f in (tmp_path / "run").rglob("*")}
    result = train(config, tmp_path / "run", **data)
    chex.assert_trees_all_equal(result.state, whole.result.state)
    after = {f.relative_to(tmp_path) for f in (tmp_path / "run").rglob("*")}
    assert before <= after and all("tfevents" in file.name for file in after - before)
    assert split_metrics(tmp_path / "run") == split_metrics(whole.directory)


def test_another_number_of_anchors_is_refused_and_the_run_stays(config, data, whole, tmp_path):
    shutil.copytree(whole.directory, tmp_path / "run")
    config.model.num_anchors = 5
    with pytest.raises(UserError, match=r"anchors has shape \(4, 2\) in it, \(5, 2\) in the model"):
        train(config, tmp_path / "run", **data)
    assert '"num_anchors": 4' in (tmp_path / "run" / "config.json").read_text()
    assert Checkpoints(tmp_path / "run").steps() == [4, 8, 12, 16, 20]


def test_batch_that_does_not_divide_is_refused_before_anything_is_written(config, data, tmp_path):
    config.train.batch_size = 10
    with pytest.raises(UserError, match=r"train.batch_size = 10 .* 8 devices.* 8 or 16"):
        train(config, tmp_path / "run", **data)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("every", "steps"), [(3, [3]), (5, [])])
def test_nan_in_every_step_ends_the_run_with_finite_checkpoints(
    config, make_images, tmp_path, every, steps
):
    config.train.log_every = 100
    config.train.checkpoint_every = every
    images = np.full_like(make_images(50), np.nan)
    with pytest.raises(
        DivergedError, match=r"step 5: 5 steps in a row .* because of reconstruction"
    ):
        train(config, tmp_path, train_data=ArraySource(images))
    assert Checkpoints(tmp_path).steps() == steps
    last = read_metrics(tmp_path / "metrics.jsonl")[-1]
    assert last["skipped_steps"] == 1 and last["reconstruction"] is None


def test_one_bad_example_costs_its_steps_only(config, make_images, tmp_path, messages):
    images = make_images(50)
    images[17, 3, 3] = np.nan
    result = train(config, tmp_path, train_data=ArraySource(images), stop_after=7)
    chex.assert_tree_all_finite(result.state)
    assert result.state.anchors_step == 5 and 1 <= result.state.skipped_steps <= 3
    (warning,) = [m for m in messages if m.startswith("WARNING")]
    assert "left 1 examples whose code is not finite out" in warning


def test_collapse_is_warned_of(config, make_images, tmp_path, messages):
    config.train.num_steps = 6
    alike = ArraySource(np.zeros((10, 6, 6, 1), np.float32))
    train(config, tmp_path, train_data=ArraySource(make_images(50)), validation_data=alike)
    (warning,) = [m for m in messages if m.startswith("WARNING")]
    assert "collapsed: 100 % of the validation examples" in warning
    (record,) = split_metrics(tmp_path)[1]
    assert record["validation/anchor_max_share"] == 1 and record["validation/anchors_dead"] == 3


def test_nothing_is_read_from_the_devices_between_logs(config, make_images, tmp_path, monkeypatch):
    reads, before_step = list[str](), list[int]()

    class Watched(ArraySource):
        def gather(self, ids):
            before_step.append(len(reads))
            return super().gather(ids)

    def counted(function):
        def call(*args, **kwargs):
            reads.append(function.__name__)
            return function(*args, **kwargs)

        return call

    for owner, name in [(parallel, "unreplicate"), (parallel, "gather_to_host")]:
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    for name in ("device_get", "block_until_ready"):
        monkeypatch.setattr(jax, name, counted(getattr(jax, name)))
    config.train.log_every, config.train.checkpoint_every, config.anchors.revive_every = 10, 0, 0
    train(config, tmp_path, train_data=Watched(make_images(50)), stop_after=18)
    last = before_step[-8:]  # before steps 11 to 18
    assert last[0] > 0 and set(last) == {last[0]}


def test_the_last_checkpoint_is_read_back(config, data, tmp_path, monkeypatch):
    save = Checkpoints.save
    monkeypatch.setattr(
        Checkpoints,
        "save",
        lambda self, step, state, *rest: save(self, step, state.replace(step=np.int32(99)), *rest),
    )
    with pytest.raises(UserError, match=r"step 2 .* differs from the state in memory"):
        train(config, tmp_path, stop_after=2, **data)


def test_best_metric_must_exist(config, data, tmp_path):
    config.train.best_metric = "accuracy"
    with pytest.raises(UserError, match=r"'accuracy'.*anchor_perplexity.*reconstruction"):
        train(config, tmp_path, **data)
