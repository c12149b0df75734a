"""A term of the loss from outside takes ten lines and `--import`; runs that knew nothing of it still open."""

import sys

import pytest
from nvc_jax.losses import TERMS

from nvc_jax.core.options import leaves
from nvc_jax.programs import eval as eval_program
from nvc_jax.programs import train as train_program
from nvc_jax.training.logging import read_metrics
from nvc_jax.training.workdir import read_config

TERM = """
import jax.numpy as jnp
from nvc_jax.core.options import Option
from nvc_jax.losses import TERMS, Term

def center(inputs, center_power):
    return jnp.sum(jnp.abs(inputs.anchors) ** center_power)

POWER = Option("loss.center_power", 2.0, "p", above=0)
TERMS["center"] = Term("center", "anchors near the origin", center, (POWER,))
"""
SMALL = {
    "model.hidden": "4",
    "model.latent_dim": "2",
    "model.num_anchors": "3",
    "train.num_steps": "10",
    "train.batch_size": "16",
    "train.log_every": "1",
    "anchors.warmup": "0.2",
    "eval.max_train_examples": "50",
    "train.figures": "false",
    "eval.kmeans_inputs": "false",
}
ARGUMENTS = ["--config=digits", *(f"--config.{name}={text}" for name, text in SMALL.items())]


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A folder with a module that adds a term; the term is gone afterwards."""
    (tmp_path / "outside_terms.py").write_text(TERM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("nvc_jax.programs.cli.use_compilation_cache", lambda _: None, raising=False)
    monkeypatch.setattr("nvc_jax.core.compilation.use_compilation_cache", lambda _: None)
    yield tmp_path
    TERMS.pop("center", None)
    sys.modules.pop("outside_terms", None)


def test_a_term_from_outside(outside):
    assert train_program.main([*ARGUMENTS, "--workdir=older"]) == 0
    imported = "--import=outside_terms"
    mine = ["--config.loss.center.value=0.5", "--config.loss.center.schedule=linear",
            "--config.loss.center.duration=0.5", "--config.loss.center_power=1"]  # fmt: skip
    assert train_program.main([*ARGUMENTS, *mine, imported, "--workdir=newer"]) == 0
    records = [r for r in read_metrics(outside / "newer" / "metrics.jsonl") if "loss" in r]
    weights = [record["weight/center"] for record in records]
    assert weights[:3] == [0, 0, 0] and weights[-1] == 0.5 and 0 < weights[4] < 0.5
    last = records[-1]
    parts = ("reconstruction", "kl", "triplet", "center")
    assert last["loss"] == pytest.approx(sum(last[f"weighted/{name}"] for name in parts), rel=1e-5)
    assert last["weighted/center"] == pytest.approx(0.5 * last["center"])
    assert leaves(read_config(outside / "newer"))["loss.center_power"] == 1.0

    assert eval_program.main([imported, "--workdir=older", "--nofigures"]) == 0
    more = "--config.train.num_steps=12"
    assert train_program.main([*ARGUMENTS, more, *mine, imported, "--workdir=older"]) == 0
    last = read_metrics(outside / "older" / "metrics.jsonl")[-1]
    assert last["step"] == 12
