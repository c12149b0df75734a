"""Metrics on disk: what a reader finds, also after a crash and a resumed run."""

import json
import logging
import math

import matplotlib.figure
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nvc_jax.core import logs as run_logging
from nvc_jax.training import logging as logs
from nvc_jax.training.logging import MetricWriter, Progress, purge_after, read_metrics


def write(path, steps, **values):
    writer = MetricWriter(path)
    for step in steps:
        writer.scalars(step, {"loss": step / 2, **values})
    writer.close()


def events(path):
    """Steps of every scalar tag, in the order in which they were written."""
    accumulator = EventAccumulator(str(path / "tensorboard"), purge_orphaned_data=False)
    accumulator.Reload()
    tags = accumulator.Tags()["scalars"]
    return {tag: [event.step for event in accumulator.Scalars(tag)] for tag in tags}


def test_scalars_go_to_both_files(tmp_path):
    writer = MetricWriter(tmp_path)
    writer.scalars(3, {"loss": 0.5, "kl": math.nan})
    writer.scalars(3, {"kl": math.inf}, prefix="validation")
    writer.close()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 3, "loss": 0.5, "kl": None},
        {"step": 3, "validation/kl": None},
    ]
    assert events(tmp_path) == {"train/loss": [3], "train/kl": [3], "validation/kl": [3]}


def test_without_tensorboard_the_numbers_are_in_one_file(tmp_path, monkeypatch, caplog):
    write(tmp_path, (1, 2))
    before = events(tmp_path)
    monkeypatch.setattr(logs, "HAS_TENSORBOARD", False)
    with caplog.at_level("INFO", "nvc_jax"):
        writer = MetricWriter(tmp_path)
    assert "pip install 'nvc_jax[report]'" in caplog.text
    writer.scalars(3, {"loss": 0.5})
    writer.histogram(3, "mean", np.ones(3))
    writer.figures(3, {"latent": matplotlib.figure.Figure()})
    writer.close()
    purge_after(tmp_path, 2)
    assert [record["step"] for record in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2]
    assert events(tmp_path) == before


def test_a_line_is_on_disk_at_once(tmp_path):
    writer = MetricWriter(tmp_path)
    writer.scalars(1, {"loss": 1.0})
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": 1.0}]
    writer.close()


def test_histograms_leave_out_what_is_not_finite(tmp_path):
    writer = MetricWriter(tmp_path)
    writer.histogram(2, "mean", np.array([[1.0, 3.0], [np.nan, np.inf]]))
    writer.histogram(2, "nothing", np.array([np.nan]))
    writer.figures(2, {"latent": matplotlib.figure.Figure()})
    writer.close()
    accumulator = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert accumulator.Tags()["histograms"] == ["mean"]
    found = accumulator.Histograms("mean")[0].histogram_value
    assert (found.num, found.min, found.max) == (2, 1, 3)
    assert [image.step for image in accumulator.Images("latent")] == [2]


def test_a_line_cut_off_by_a_crash_is_left_out(tmp_path):
    write(tmp_path, [1, 2])
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text()[:-4])
    assert [record["step"] for record in read_metrics(path)] == [1]
    assert read_metrics(tmp_path / "missing.jsonl") == []


@pytest.mark.parametrize("cut", [0, 7])
def test_a_resumed_run_goes_on_where_the_checkpoint_was(tmp_path, cut):
    write(tmp_path, [1, 5, 10, 15], kl=math.nan)
    for file in [tmp_path / "metrics.jsonl", *(tmp_path / "tensorboard").iterdir()]:
        content = file.read_bytes()
        file.write_bytes(content[: len(content) - cut])
    purge_after(tmp_path, 10)
    write(tmp_path, [11, 15, 20])
    purge_after(tmp_path, 20)
    expected = [1, 5, 10, 11, 15, 20]
    assert [record["step"] for record in read_metrics(tmp_path / "metrics.jsonl")] == expected
    assert events(tmp_path) == {"train/loss": expected, "train/kl": [1, 5, 10]}


def test_two_purges_after_two_crashes(tmp_path):
    write(tmp_path, [1, 5, 10])
    purge_after(tmp_path, 5)
    write(tmp_path, [6, 10, 15])
    purge_after(tmp_path, 5)
    write(tmp_path, [7])
    assert events(tmp_path) == {"train/loss": [1, 5, 7]}
    assert not list(tmp_path.rglob("*partial*"))


def test_a_fresh_run_removes_what_a_crash_before_the_first_checkpoint_left(tmp_path):
    write(tmp_path, [1, 5])
    purge_after(tmp_path, 0)
    assert read_metrics(tmp_path / "metrics.jsonl") == [] and events(tmp_path) == {}


def test_purging_an_empty_directory_writes_nothing(tmp_path):
    purge_after(tmp_path, 3)
    assert list(tmp_path.iterdir()) == []


def test_progress_shows_and_stays_silent(capsys):
    for enabled in (True, False):
        bar = Progress(10, 4, enabled=enabled)
        bar.show({"loss": 1.23456, "kl": 2.0}, ["loss"])
        for _ in range(6):
            bar.advance()
        bar.close()
        shown = capsys.readouterr().err
        assert ("10/10" in shown and "loss=1.235" in shown and "kl" not in shown) == enabled


def test_messages_go_to_standard_error_once(capsys, monkeypatch):
    fresh = logging.Logger("fresh")
    monkeypatch.setattr(run_logging, "logger", fresh)
    absl = logging.getLogger("absl")
    monkeypatch.setattr(absl, "level", absl.level)
    run_logging.setup_logging()
    run_logging.setup_logging()
    fresh.info("hello %d", 3)
    fresh.warning("careful")
    assert capsys.readouterr() == ("", "hello 3\nwarning: careful\n")
