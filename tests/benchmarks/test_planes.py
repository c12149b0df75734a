"""The table of planes: RANSAC on predicted depth, the tolerance that validation chooses, one wall."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import planes
from nvc_jax.config import make_config
from nvc_jax.data.planes.rooms import Rooms
from nvc_jax.geometry.planes import invert_planes
from nvc_jax.tasks import make_task

SIZE = (16, 24)


@pytest.fixture(scope="module")
def model():
    """A model that predicts the truth."""
    config = make_config(
        {
            "task": "planar_reconstruction",
            "data": {
                "source": "rooms",
                "image_size": SIZE,
                "num_scenes": 3,
                "num_heldout_scenes": 4,
            },
            "model.latent": "image",
        }
    )

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
    exact = planes.ransac_measures(model, rooms, 0.02)
    assert exact["pixel_recall/0.05"] > 0.6
    coarse = planes.ransac_measures(model, rooms, 0.5)
    assert coarse["covering"] < exact["covering"]


def test_tolerance_is_chosen_on_validation_rooms(model, monkeypatch, tmp_path):
    asked = []

    def measures(_, source, tolerance):
        asked.append((source, tolerance))
        values = dict.fromkeys(planes.MEASURES, 0.0)
        return values | {"plane_recall/0.05": -abs(tolerance - 0.08)}

    monkeypatch.setattr(planes, "load", lambda _: model)
    monkeypatch.setattr(planes, "open_examples", lambda _, split: split)
    monkeypatch.setattr(planes, "random_subset", lambda source, *_, **__: source)
    monkeypatch.setattr(planes, "ransac_measures", measures)
    row = planes.ransac_row(tmp_path)
    assert row["ransac_tolerance"] == 0.08 and set(row) <= set(planes.COLUMNS)
    assert [source for source, _ in asked] == ["validation"] * len(planes.TOLERANCES) + ["test"]
    assert asked[-1] == ("test", 0.08)


def test_one_wall(model):
    values = planes.baselines(model.config)["one wall"]
    assert values["plane_recall_normal/30"] >= values["plane_recall_normal/10"]
    assert values["rand_index"] < 0.9 and 0 < values["covering"] < 1
