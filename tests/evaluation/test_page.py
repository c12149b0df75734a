"""What the page of a run is made of, with a model that is a stand-in."""

from types import SimpleNamespace

import numpy as np
import pytest

from nvc_jax.config import make_config
from nvc_jax.data.base.source import FieldSource
from nvc_jax.displays import Display
from nvc_jax.evaluation import page as page_module
from nvc_jax.evaluation.page import run_page
from nvc_jax.plots.solids import solid_cloud

RESULTS = {
    "metrics": {"nmi": 0.5}, "reasons": {}, "notes": {}, "config": {"task": "own"},
    "counts": {"anchors": 2, "test_examples": 3, "train_examples": 2},
}  # fmt: skip


class Lines(Display):
    """Examples are numbers, shown as words; a code alone cannot be decoded."""

    decodes_codes = False

    def __init__(self):
        super().__init__(None)

    def describe(self, source, ids):
        return [f"number {k}" for k in source.gather(ids)["value"]]

    def references(self, batch):
        return [f"{k} and 1" for k in batch["value"]]


class Dots(Lines):
    """Examples are numbers, shown as gray dots."""

    decodes_codes = True

    def describe(self, source, ids):
        return None

    def pictures(self, batch):
        return batch["value"].reshape(-1, 1, 1, 1) / 255.0

    def render(self, outputs):
        return np.asarray(outputs)[..., None, None, None]

    def solids(self, outputs):
        return [solid_cloud(np.full((1, 3), k)) for k in outputs]

    def turned(self, batch, predicted):
        return {"input": self.solids(batch["value"]), "output": self.solids(predicted)}

    def figures(self, batch, predicted):
        from nvc_jax import plots

        figure = plots.latent_covariance(np.eye(2))
        return {"reconstructions": figure, "covariance": figure}


def source(values):
    label = np.arange(len(values), dtype=np.int32)
    names = tuple("abc")
    return FieldSource({"value": np.array(values), "label": label}, "values", class_names=names)


@pytest.fixture
def gathered(tmp_path):
    def gather(task):
        config = make_config({"eval.shown_samples": 2, "eval.shown_examples": 2})
        model = SimpleNamespace(
            task=task, display=task, config=config, step=7, anchors_step=3, anchors=np.array([[0.0, 0.0], [1.0, 1.0]]),
            predict=lambda source: source.gather(np.arange(len(source)))["value"] + 1,
            decode=lambda sample: sample.sum(axis=1),
            samples=lambda: np.array([[0.0, 0.0], [1.0, 1.0]]),
        )  # fmt: skip
        sources = {"train": source([10, 20]), "test": source([1, 2, 3])}
        encoded = {
            split: {
                "mean": np.array(value["value"])[:, None] * np.ones(2),
                "assignment": np.zeros(len(value["value"]), np.int64),
                "label": value["label"],
                "reconstruction": np.array(value["value"], np.float32),
            }
            for split, value in (
                (s, sources[s].gather(np.arange(len(sources[s])))) for s in sources
            )
        }
        (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step"')
        return run_page(tmp_path, model, sources, encoded, RESULTS)

    return gather


def test_texts_of_both_splits_are_found(gathered):
    report = gathered(Lines())
    assert list(report.split) == ["test"] * 3 + ["train"] * 2
    assert report.texts(np.array([4, 0, 3, 2])) == [
        "number 20",
        "number 1",
        "number 10",
        "number 3",
    ]
    np.testing.assert_array_equal(report.mean[:, 0], [1, 2, 3, 10, 20])
    assert report.scenes == {}
    assert report.examples == {
        "input": ["number 1", "number 2"],
        "output": ["2", "3"],
        "reference": ["1 and 1", "2 and 1"],
    }
    assert report.pictures is None and report.decoded is None and report.samples is None
    assert list(report.records) == [{"step": 1, "loss": 2.0}]
    assert report.facts["test examples"] == 3 and report.metrics == {"nmi": 0.5}
    assert report.class_names == ("a", "b", "c") and report.events == {"anchors set": 3}
    np.testing.assert_array_equal(report.error, [1, 2, 3, 10, 20])


def test_pictures_of_both_splits_are_found(gathered):
    report = gathered(Dots())
    found = report.pictures(np.array([4, 0, 3]))
    np.testing.assert_allclose(255 * found.ravel(), [20, 1, 10])
    np.testing.assert_allclose(report.decoded.ravel(), [0, 2])
    np.testing.assert_allclose(report.samples[..., 0, 0, 0], [[0, 0], [1, 1]])
    assert report.texts is None
    scenes = {
        scene: {name: solid.points[0, 0] for name, solid in panes.items()}
        for scene, panes in report.scenes.items()
    }
    assert scenes == {
        "example 0": {"input": 1, "output": 2},
        "example 1": {"input": 2, "output": 3},
        "anchors 0 to 1, decoded": {"anchor 0": 0, "anchor 1": 2},
    }
    np.testing.assert_allclose(255 * report.examples["input"].ravel(), [1, 2])
    np.testing.assert_allclose(report.examples["reconstruction"].ravel(), [2, 3])
    assert list(report.figures) == ["covariance"]
    assert report.figures["covariance"].ndim == 3


def test_what_fails_is_told_and_left_out(gathered, monkeypatch):
    told = []
    monkeypatch.setattr(page_module.logger, "warning", lambda *words: told.append(words))

    class Broken(Dots):
        def render(self, outputs):
            raise ValueError("no color left")

    report = gathered(Broken())
    assert report.decoded is None and report.examples == {}
    assert report.pictures is not None
    assert all("no color left" in str(words[1]) for words in told) and len(told) == 2
