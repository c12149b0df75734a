"""Interrupted runs: what is there afterwards, and that they end as uninterrupted ones do."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import chex
import jax
import numpy as np
import optax
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nvc_jax.config import changed, to_json
from nvc_jax.data import ArraySource
from nvc_jax.model.merging import cluster_links, cohesion, merge_linked
from nvc_jax.training.checkpoint import Checkpoints
from nvc_jax.training.logging import read_metrics
from nvc_jax.training.loop import train
from nvc_jax.training.state import find_anchors
from tests.processes import PATIENCE, ROOT, environment, write_config

RATES = {"steps_per_second", "examples_per_second"}


def timeless(directory):
    """Step and group → record without what depends on the clock."""
    return {
        (record["step"], "loss" in record): {k: v for k, v in record.items() if k not in RATES}
        for record in read_metrics(directory / "metrics.jsonl")
    }


def assert_curves_do_not_zigzag(directory):
    """Every tag has strictly increasing steps, in both kinds of files."""
    curves: dict[str, list[int]] = {}
    for record in read_metrics(directory / "metrics.jsonl"):
        for name in record.keys() - {"step"}:
            curves.setdefault(name, []).append(record["step"])
    events = EventAccumulator(str(directory / "tensorboard"), purge_orphaned_data=False).Reload()
    for tag in events.Tags()["scalars"]:
        curves[f"event {tag}"] = [event.step for event in events.Scalars(tag)]
    assert "event train/loss" in curves and "event validation/kl" in curves
    for name, steps in curves.items():
        assert steps == sorted(set(steps)) and steps[-1] <= 20, name


def newest(directory, like):
    """The state of the newest checkpoint."""
    found = Checkpoints(directory).restore(like)
    assert found is not None
    return found[0]


def assert_ended_like(whole, result, directory):
    """The same last state, bit for bit, and the same logged values."""
    chex.assert_trees_all_equal(result.state, whole.result.state)
    expected, found = timeless(whole.directory), timeless(directory)
    assert expected.keys() <= found.keys()
    assert {key: found[key] for key in expected} == expected
    assert_curves_do_not_zigzag(directory)
    chex.assert_trees_all_equal(newest(directory, result.state), result.state)


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole.directory, tmp_path / "copy")


class Interrupted(ArraySource):
    """Does something instead of, or before, giving the batch of the 14th step."""

    def __init__(self, images, action):
        super().__init__(images)
        self.count, self.action = 0, action

    def gather(self, ids):
        self.count += 1
        if self.count == 14 + 4:  # four batches are encoded for k-means
            self.action()
        return super().gather(ids)


def test_stopped_and_resumed_in_a_relative_directory(config, data, whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = train(config, "rel/run", stop_after=8, **data)
    assert first.stopped == "--stop_after=8" and first.state.step == 8
    adam = newest(Path("rel/run"), first.state).opt_state[0]
    assert isinstance(adam, optax.ScaleByAdamState) and adam.count == 3  # since anchors were set
    result = train(config, "rel/run", resume="must", **data)
    assert result.stopped is None
    assert_ended_like(whole, result, tmp_path / "rel" / "run")
    record = timeless(tmp_path / "rel" / "run")[9, True]
    assert record["weight/kl"] == pytest.approx(0.3)  # of step 8 of the ramp from 5 to 15
    assert record["learning_rate"] == pytest.approx(0.75e-3)  # of step 3 after the restart


def merged_anyway(spaces, other, neighbors, num_clusters):
    """`better_merged` that always takes the merged clusters."""
    *_, small = next(iter(spaces))
    links = cluster_links(small, neighbors, int(small.max()) + 1)
    merged = merge_linked(links, num_clusters)[small].astype(np.int32)
    found = cohesion(cluster_links(merged, neighbors, num_clusters))
    return merged, (found, found)


@pytest.mark.parametrize("init", ["kmeans", "merge"])
def test_shares_neighbors_and_merged_clusters_are_those_of_one_go(
    config, data, tmp_path, init, monkeypatch
):
    monkeypatch.setattr("nvc_jax.training.placing.better_merged", merged_anyway)
    shares = {"anchors.shares": "learned", "anchors.learn_from": 2, "anchors.neighbors": 3}
    config = changed(config, {**shares, "train.num_steps": 12, "anchors.init": init})
    config = changed(config, {"anchors.hold": 6})
    whole = train(config, tmp_path / "whole", **data).state
    assert whole.shares.sum() == pytest.approx(1) and np.ptp(whole.shares) > 0.01
    train(config, tmp_path / "parts", **data, stop_after=9)
    if init == "merge":
        with np.load(tmp_path / "parts" / "hints.npz") as hints:
            assert hints["until"] == 11 and set(hints["held"]) == {0, 1, 2, 3}
            assert (hints["known"] == -1).all()
    chex.assert_trees_all_equal(train(config, tmp_path / "parts", **data).state, whole)


def test_stopped_just_before_the_anchors_are_set(config, data, whole, tmp_path):
    assert train(config, tmp_path, stop_after=5, **data).state.anchors_step == -1
    assert_ended_like(whole, train(config, tmp_path, **data), tmp_path)


def test_an_error_in_the_data_loses_only_steps_after_the_last_checkpoint(
    config, data, whole, make_images, tmp_path
):
    def fail():
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        train(config, tmp_path, **{**data, "train_data": Interrupted(make_images(50), fail)})
    assert Checkpoints(tmp_path).steps() == [4, 8, 12]
    assert_ended_like(whole, train(config, tmp_path, **data), tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_after_the_present_step(
    config, data, make_images, tmp_path, number, whole
):
    before = signal.getsignal(number)
    source = Interrupted(make_images(50), lambda: os.kill(os.getpid(), number))
    result = train(config, tmp_path, **{**data, "train_data": source})
    assert result.stopped == number.name and result.state.step == 14
    assert Checkpoints(tmp_path).steps() == [4, 8, 12, 14]
    assert signal.getsignal(number) is before
    if number == signal.SIGTERM:
        assert_ended_like(whole, train(config, tmp_path, **data), tmp_path)


def test_going_back_to_an_older_checkpoint_replaces_later_ones(config, data, whole, copy):
    checkpoints = Checkpoints(copy)
    assert checkpoints.steps("best") > [8]
    (copy / "checkpoints" / "8" / "record" / "metadata").write_text('{"best": 0.0}')
    result = train(config, copy, resume_step=8, stop_after=14, **data)
    assert checkpoints.steps("best") == [12]  # the best before, whatever it was, is gone
    assert checkpoints.steps() == [4, 8, 12, 14]
    chex.assert_trees_all_equal(newest(copy, result.state), result.state)
    discarded = {path.name for path in (copy / "discarded").iterdir()}
    assert {"checkpoints-12", "checkpoints-16", "checkpoints-20"} <= discarded
    assert max(step for step, _ in timeless(copy)) <= 14
    assert_ended_like(whole, train(config, copy, **data), copy)


def test_a_damaged_newest_checkpoint_costs_its_steps_only(config, data, whole, copy, messages):
    for file in [f for f in (copy / "checkpoints" / "20" / "state").rglob("*") if f.is_file()]:
        file.write_bytes(b"")
    config.train.keep = 1
    result = train(config, copy, **data)
    assert [m for m in messages if m.startswith("WARNING") and "checkpoints/20 cannot" in m]
    assert any("Resumed" in m and "at step 16 on" in m for m in messages)
    assert_ended_like(whole, result, copy)
    assert Checkpoints(copy).steps() == [20]


def child(code, *arguments, devices=None):
    """A Python process of its own that shares the cache of compiled functions."""
    return subprocess.Popen(
        [sys.executable, *code, *map(str, arguments)],
        env=environment(devices),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from nvc_jax.config import from_json
from nvc_jax.data import ArraySource
from nvc_jax.training.loop import train
config, directory, train_images, validation_images = sys.argv[1:]
class Fatal(ArraySource):
    steps = 0
    def gather(self, ids):
        self.steps += 1
        if self.steps == 14 + 4: os.kill(os.getpid(), signal.SIGKILL)
        return super().gather(ids)
train(
    from_json(Path(config).read_text(), config), directory,
    train_data=Fatal(np.load(train_images)), validation_data=ArraySource(np.load(validation_images)),
)
"""


def test_killed_without_warning_and_resumed(config, data, whole, make_images, tmp_path):
    (tmp_path / "config.json").write_text(to_json(config))
    for name, images in [("train.npy", make_images(50)), ("validation.npy", make_images(10, 1))]:
        np.save(tmp_path / name, images)
    names = ("config.json", "run", "train.npy", "validation.npy")
    arguments = [tmp_path / name for name in names]
    process = child(["-c", KILLED], *arguments)
    _, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGKILL, error
    steps = Checkpoints(tmp_path / "run").steps()
    assert steps in ([4, 8], [4, 8, 12])  # the last one may have been under way
    assert_ended_like(whole, train(config, tmp_path / "run", **data), tmp_path / "run")


def test_terminated_program_on_one_device_resumes_saves_and_exits(
    config, whole, copy, make_images, tmp_path
):
    for split in ("train", "test"):
        np.savez(tmp_path / f"{split}.npz", image=make_images(50))
    config = changed(config, {"data.source": "npz", "data.dir": str(tmp_path)})
    process = child(
        [str(ROOT / "train.py")], f"--config={write_config(config, tmp_path)}", f"--workdir={copy}",
        "--resume=must", "--config.train.num_steps=10000000", "--config.train.checkpoint_every=0",
        "--config.train.eval_every=0", devices=1,
    )  # fmt: skip
    deadline = time.monotonic() + PATIENCE
    while max(step for step, _ in timeless(copy)) < 28 and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    process.terminate()
    _, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, error
    assert f"Resumed {copy} at step 20 on 1 devices." in error and "by SIGTERM; saved." in error
    state = newest(copy, whole.result.state)
    assert state.step >= 28 and find_anchors(state.params).shape == (4, 2)
    assert jax.device_count() == 8
    chex.assert_trees_all_equal_shapes_and_dtypes(state, whole.result.state)
    chex.assert_tree_all_finite(state)


def test_a_longer_run_tells_the_learning_rate_before_and_after(config, data, tmp_path, messages):
    config.optimizer.schedule, config.optimizer.warmup = "cosine", 0.0
    config.anchors.init, config.optimizer.learning_rate = "spread", 1e-2
    train(changed(config, {"train.num_steps": 10}), tmp_path, stop_after=8, **data)
    train(changed(config, {"train.num_steps": 100}), tmp_path, stop_after=8, **data)
    # 0.01·(1 + cos(π·p)) / 2 with p = 8/10 and 8/100; end_factor is 0.
    (told,) = [message for message in messages if "The learning rate at step" in message]
    assert "at step 8 was 0.000955 with the earlier config, and is 0.00984 now" in told
