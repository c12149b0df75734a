"""A work directory that version 0.1.0 left is evaluated and gone on with."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from nvc_jax.config import changed
from nvc_jax.evaluation import evaluate, load
from nvc_jax.training.logging import read_metrics
from nvc_jax.training.loop import train
from nvc_jax.training.workdir import read_config

STORED = Path(__file__).parent / "run_0.1.0"
# As version 0.1.0 printed them.
MEASURED = {
    "reconstruction": 44.3595,
    "squared_error": 0.179278,
    "kl": 0.0333096,
    "anchor_perplexity": 2.5984,
    "anchor_min_distance": 0.475169,
    "silhouette": 0.578327,
    "nmi": 0.266595,
    "knn_accuracy": 0.353760,
}


@pytest.fixture
def directory(tmp_path):
    return Path(shutil.copytree(STORED, tmp_path / "run"))


@pytest.mark.parametrize("checkpoint", ["latest", "best"])
def test_its_numbers_are_those_of_then(directory, checkpoint):
    settings = [("eval.kmeans_inputs", "false")]
    results = evaluate(directory, checkpoint, overrides=settings, figures=False)
    assert results["step"] == 6 and results["counts"]["per_anchor"] == [211, 59, 89]
    found = {name: results["metrics"][name] for name in MEASURED}
    assert found == pytest.approx(MEASURED, rel=1e-3)


def test_it_goes_on(directory, messages):
    config = changed(read_config(directory), {"train.num_steps": 8})
    before = load(directory).anchors
    result = train(config, directory)
    assert any("Resumed" in message and "at step 6" in message for message in messages)
    assert int(result.state.step) == 8 and int(result.state.anchors_step) == 2
    after = load(directory).anchors
    assert 0 < np.abs(after - before).max() < 0.1
    steps = [record["step"] for record in read_metrics(directory / "metrics.jsonl")]
    assert max(steps) == 8 and 2 in steps
