"""The programs that the guides show, as they are printed but for shorter runs."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata
import jax
import numpy as np
import pandas as pd
import pytest
from nvc_jax.losses import TERMS, TermInputs

from nvc_jax import NebulaClustering
from nvc_jax.config import load_config, make_config
from nvc_jax.core.errors import UserError
from nvc_jax.data import open_source
from nvc_jax.data.registry import SOURCES, Reader
from nvc_jax.evaluation import evaluate, load
from nvc_jax.metrics import cluster_accuracy
from nvc_jax.tasks import TASKS
from nvc_jax.training.loop import train
from tests.markdown import python_blocks

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch) -> Iterator[None]:
    """A reader's folder, and JAX as it is without the tests' settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
    sys.modules.pop("mine", None)


def run(code: str, names: dict[str, Any] | None = None, **shorter: str) -> dict[str, Any]:
    """Runs a program with some lines, given by their beginnings, replaced; returns its names."""
    for beginning, line in shorter.items():
        code, count = re.subn(rf"^{beginning}\b.*$", line, code, flags=re.MULTILINE)
        assert count == 1, beginning
    names = {} if names is None else names
    exec(code, names)
    return names


def test_the_loop_with_a_bottleneck(capsys):
    code, _ = python_blocks(DOCS / "model.md")
    assert sum(bool(line.strip()) for line in code.splitlines()) < 60
    names = run(code, WARMUP="WARMUP, STEPS, BATCH, ANCHORS = 20, 40, 64, 10")
    assert np.isfinite(list(names["terms"].values())).all()
    assert names["weight"] > 0 and len(np.unique(names["clusters"])) > 1
    accuracy = float(re.findall(r"^accuracy: (\S+)", capsys.readouterr().out, re.MULTILINE)[0])
    assert accuracy > 0.3  # 0.1 by chance


def test_a_bottleneck_in_nnx():
    """Anchors are trained, and the noise is another one at every step."""
    _, code = python_blocks(DOCS / "model.md")
    names = run(code.replace("range(100)", "range(1)"))
    model, optimizer, x = (names[name] for name in ("model", "optimizer", "x"))
    first, anchors = names["terms"], np.array(model.bottleneck.anchors)
    assert anchors.shape == (10, 8)
    sampled = [np.asarray(model(x[:1])[1].sample) for _ in range(2)]
    assert np.abs(sampled[0] - sampled[1]).max() > 0
    for _ in range(20):
        terms = names["step"](model, optimizer, x)
    assert terms["reconstruction"] < first["reconstruction"]
    assert np.abs(np.array(model.bottleneck.anchors) - anchors).max() > 1e-4


def test_an_array():
    first, mixed, known, cells = (
        code.replace("random_state=0)", "random_state=0, max_iter=40, hidden=(16,))")
        for code in python_blocks(DOCS / "estimator.md")
    )
    ages = np.where(np.arange(60) % 7, np.arange(60.0), np.nan)
    table = pd.DataFrame({"age": ages, "color": ["red", "blue", "blue"] * 20})
    names = run(mixed, {"table": table, "NebulaClustering": NebulaClustering})
    assert names["model"].feature_names_in_.tolist() == ["age", "color_blue", "color_red"]
    names = run(first, X="X = load_digits().data[:200]")
    assert names["model"].predict(names["X"]).shape == (200,) and Path("digits.html").is_file()
    run("import numpy as np\n" + known, names)
    assert names["model"].labels_[3] == names["model"].labels_[17] != names["model"].labels_[8]
    counts = anndata.AnnData(np.zeros((200, 64)), layers={"counts": names["X"]})
    run(cells, {**names, "adata": counts})
    assert counts.obsm["nvc_probabilities"].shape == (200, 8)


def test_a_task(monkeypatch):
    data, reader, task, recipe, *_ = python_blocks(DOCS / "task.md")
    run(data)
    read = run(reader)
    monkeypatch.setitem(SOURCES, "signals", Reader(read["read_signals"], read["OPTIONS"]))
    monkeypatch.setitem(TASKS, "signals", run(task)["SignalTask"])
    settings = {**run(recipe)["get_config"](), "train.num_steps": 30, "train.batch_size": 64}
    train(make_config({**settings, "train.eval_every": 0}), "runs/signals")
    with pytest.raises(UserError, match=r"'augment\.nois'.*did you mean 'augment\.noise'"):
        make_config({**settings, "augment.nois": 0.2})
    model, test = load("runs/signals"), np.load("signals/test.npz")
    assert cluster_accuracy(test["label"], model.assign(test["signal"])) > 0.8
    assert model.decode(model.anchors).shape == (3, 64)


def test_a_term(monkeypatch):
    *_, term = python_blocks(DOCS / "task.md")
    monkeypatch.setitem(TERMS, "center", None)  # undone afterwards
    center = run(term)["TERMS"]["center"]
    assert make_config({"loss.center_power": 1}).loss.center.value == 0
    zero = np.zeros((2, 1), np.float32)
    inputs = TermInputs(zero[:, 0], zero, zero, zero, np.zeros(2, int), np.float32([[3], [-4]]))
    assert center.function(inputs, center_power=1) == 7


def test_pictures_arrays_and_batches(tmp_path):
    pictures, recipe, arrays, batches, _ = python_blocks(DOCS / "data.md")
    names = run(pictures)
    (tmp_path / "mine.py").write_text(recipe)
    config = load_config("mine.py")
    source = open_source(config.data, "test")
    assert source.spec["image"].shape == (16, 16, 1) and len(source) == 359
    run(arrays, names)
    config = load_config("mine.py", [("data.source", "npz"), ("data.dir", "arrays")])
    assert len(open_source(config.data, "test")) == 397
    run(batches.replace('("train.num_steps", "60")', '("train.num_steps", "6")'), names)
    assert names["results"]["counts"]["test_labeled"] == 397
    with pytest.raises(
        UserError, match="trained on data given from Python, so that there is no test"
    ):
        evaluate("runs/chunks")
    assert names["clusters"].shape == (397,)


def test_a_reader(tmp_path, monkeypatch):
    pictures, *_, reader = python_blocks(DOCS / "data.md")
    run(pictures)
    monkeypatch.setitem(SOURCES, "csv", None)  # undone afterwards
    run(reader)
    (tmp_path / "pictures" / "train.csv").write_text("3/0003.png,3\n7/0007.png,7\n")
    settings = {"data.source": "csv", "data.dir": "pictures", "data.validation_fraction": 0.0}
    batch = open_source(make_config(settings).data, "train").gather(np.array([1, 0]))
    assert batch["image"].shape == (2, 8, 8, 1) and batch["label"].tolist() == [7, 3]
