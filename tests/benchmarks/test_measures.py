"""How rows are computed: what validation chooses, RANSAC on predicted depth, formulas of other methods."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from benchmarks import measures
from benchmarks.deep_clustering import Mixture, sharpened, soft_clusters, vade_divergence
from benchmarks.grid import GRIDS
from nvc_jax.config import changed, load_config, make_config
from nvc_jax.data.planes.rooms import Rooms
from nvc_jax.geometry.planes import invert_planes
from nvc_jax.model.losses import anchor_kl
from nvc_jax.tasks import make_task
from tests.numeric import normal

SIZE = (16, 24)


@pytest.fixture(scope="module")
def model():
    """A model that predicts the truth."""
    sizes = {"image_size": SIZE, "num_scenes": 3, "num_heldout_scenes": 4}
    data = {"source": "rooms", **sizes}
    config = make_config({"task": "planar_reconstruction", "data": data, "model.latent": "image"})

    def encode(source):
        batch = source.gather(np.arange(len(source)))
        row = np.minimum(batch["segmentation"], 19).astype(int).reshape(len(source), -1, 1)
        plane = np.take_along_axis(invert_planes(batch["planes"]), row, axis=1)
        planar = np.where(batch["segmentation"] < 20, 1.0, -1.0)
        return {"plane": plane.reshape(-1, *SIZE, 3), "planar": planar}

    task = make_task(config, Rooms("test", 1, SIZE).spec)
    return SimpleNamespace(config=config, task=task, encode=encode)


def test_ransac_works_on_the_depth_that_is_predicted(model):
    rooms = Rooms("test", 4, SIZE)
    exact = measures.ransac_measures(model, rooms, 0.02)
    assert exact["pixel_recall/0.05"] > 0.6
    coarse = measures.ransac_measures(model, rooms, 0.5)
    assert coarse["covering"] < exact["covering"]


def test_tolerance_is_chosen_on_validation_rooms(model, monkeypatch, tmp_path):
    asked = []

    def measured(_, source, tolerance):
        asked.append((source, tolerance))
        values = dict.fromkeys(measures.PLANE_MEASURES, 0.0)
        return values | {"plane_recall/0.05": -abs(tolerance - 0.08)}

    monkeypatch.setattr(measures, "load", lambda _: model)
    monkeypatch.setattr(measures, "open_examples", lambda _, split: split)
    monkeypatch.setattr(measures, "random_subset", lambda source, *_, **__: source)
    monkeypatch.setattr(measures, "ransac_measures", measured)
    row = measures.ransac_row(tmp_path)
    assert row["ransac_tolerance"] == 0.08 and set(row) <= set(GRIDS["planes"].columns)
    assert [source for source, _ in asked] == ["validation"] * len(measures.TOLERANCES) + ["test"]
    assert asked[-1] == ("test", 0.08)


def test_the_threshold_is_the_best_one_on_validation_models(tmp_path, monkeypatch):
    config = changed(load_config("cad:voxels"), {"eval.thresholds": (0.3, 0.4, 0.5)})
    values = {"iou_at/0.3": 0.2, "iou_at/0.4": 0.6, "iou_at/0.5": 0.5}
    opened = []
    monkeypatch.setattr(measures, "open_examples", lambda _, split: opened.append(split))
    task = SimpleNamespace(summary=lambda encoded, source: values)
    model = SimpleNamespace(config=config, task=task, encode=lambda source: {})
    monkeypatch.setattr(measures, "load", lambda directory: model)
    assert measures.best_threshold(tmp_path) == 0.4
    assert opened == ["validation"]


def test_divergence_from_one_component_is_the_kl_from_it():
    mean, logvar, sample = normal(0, 4, 3), normal(1, 4, 3), normal(2, 4, 3)
    one = Mixture(jnp.zeros(1), jnp.full((1, 3), 0.5), jnp.full((1, 3), 2 * np.log(0.7)))
    found = vade_divergence(mean, logvar, sample, one)
    expected = anchor_kl(mean, logvar, np.full((4, 3), 0.5, np.float32), 0.7)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_divergence_by_brute_force():
    mean, logvar, sample = normal(0, 2, 3), normal(1, 2, 3), normal(2, 2, 3)
    logits, centers, spread = normal(3, 4), normal(4, 4, 3), normal(5, 4, 3)
    found = vade_divergence(
        mean, logvar, sample, Mixture(*map(jnp.asarray, (logits, centers, spread)))
    )
    prior = np.exp(logits) / np.exp(logits).sum()
    for row in range(2):
        density = norm.pdf(sample[row], centers, np.exp(spread / 2)).prod(axis=1) * prior
        gamma = density / density.sum()
        expected = -0.5 * np.sum(1 + logvar[row]) + np.sum(gamma * np.log(gamma / prior))
        for c in range(4):
            moved = np.exp(logvar[row]) + (mean[row] - centers[c]) ** 2
            expected += gamma[c] * 0.5 * np.sum(spread[c] + moved / np.exp(spread[c]))
        np.testing.assert_allclose(found[row], expected, rtol=1e-4)


def test_soft_clusters_and_their_targets_by_hand():
    q = soft_clusters(jnp.array([[0.0], [1.0]]), jnp.array([[0.0], [2.0]]))
    np.testing.assert_allclose(q, [[5 / 6, 1 / 6], [0.5, 0.5]], rtol=1e-6)
    found = sharpened(np.array([[0.8, 0.2], [0.5, 0.5]]))
    first = np.array([0.64 / 1.3, 0.04 / 0.7])
    second = np.array([0.25 / 1.3, 0.25 / 0.7])
    np.testing.assert_allclose(found, [first / first.sum(), second / second.sum()])
