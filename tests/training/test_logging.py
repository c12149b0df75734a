"""Metrics on disk: what a reader finds, also after a crash and a resumed run."""

import json
import logging
import math
import string
import sys

import matplotlib.figure
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nvc_jax.core import logs as run_logging
from nvc_jax.training import logging as logs
from nvc_jax.training.loggers import LOGGERS, Logger, check_loggers
from nvc_jax.training.logging import MetricWriter, Progress, purge_after, read_metrics
from tests.refusals import refused


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


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_shows_and_stays_silent(capsys, monkeypatch, terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    for enabled in (True, False):
        bar = Progress(10, 4, 32, enabled=enabled)
        first = capsys.readouterr().err
        for step in range(6):
            bar.advance()
            bar.show({"loss": 1.23456, "kl": 2.0 + step}, ["loss"])
        bar.close()
        shown = capsys.readouterr().err
        assert ("compiling" in first) == enabled and "kl" not in shown
        assert ("10/10" in shown and "1.235" in shown and "examples/s" in shown) == enabled
        assert enabled or not first + shown
        if not terminal and enabled:
            lines = shown.splitlines()
            assert lines[0].startswith("step 5/10: loss 1.235") and len(lines) == 2
            assert set(shown) <= set(string.printable) - {"\r"}


class Mine(Logger):
    """The logger of a user."""

    def __init__(self, workdir, config):
        super().__init__(workdir, config)
        self.told = []

    def scalars(self, step, values):
        self.told.append((step, dict(values)))

    def figures(self, step, figures):
        self.told.append((step, list(figures)))

    def close(self):
        (self.workdir / "mine.txt").write_text(repr((self.config, self.told)))


def test_a_logger_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setitem(LOGGERS, "mine", Mine)
    writer = MetricWriter(tmp_path, ("mine",), {"seed": 3})
    writer.scalars(1, {"loss": 0.5})
    writer.scalars(1, {"loss": 0.25}, prefix="validation")
    writer.figures(1, {"latent": matplotlib.figure.Figure()})
    writer.close()
    expected = [(1, {"loss": 0.5}), (1, {"validation/loss": 0.25}), (1, ["latent"])]
    assert (tmp_path / "mine.txt").read_text() == repr(({"seed": 3}, expected))
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 2
    assert not (tmp_path / "tensorboard").exists()
    refused("train.loggers has 'mlflow'", check_loggers, ("tensorboard", "mlflow"))


def test_weights_and_biases_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    writer = MetricWriter(tmp_path, ("wandb",), {"seed": 3})
    writer.scalars(1, {"loss": 0.5})
    writer.close()
    (log,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    assert b"loss" in log.read_bytes()


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
