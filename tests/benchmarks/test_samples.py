"""The table of samples: a run's row."""

import jax

from benchmarks import samples
from benchmarks.table import Rows
from nvc_jax.config import changed, load_config
from nvc_jax.training.loop import train


def test_a_run_is_a_row(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(samples, "SAMPLES", 5)
    settings = {"train.num_steps": 8, "train.figures": False, "model.hidden": (16,)}
    run = tmp_path / "short"
    with jax.numpy_dtype_promotion("standard"):  # optax's bias correction needs it
        train(changed(load_config("digits"), settings), run)
        assert samples.main([str(run), f"--rows={tmp_path}"]) == 0
    row = Rows(tmp_path / "samples.csv").find("short", 0) or {}
    assert 0 <= float(row["least"]) <= float(row["samples"]) <= 1
    assert float(row["classifier"]) > 0.8 and float(row["anchor_offset"]) >= 0
    assert float(row["frechet_drawn"]) > 0 and 0 <= float(row["told_reconstructed"]) <= 1
    assert abs(float(row["told_training"]) - 0.5) < 0.1, "both are real"
    assert "anchor_offset_max" in capsys.readouterr().out
