"""A run tells where test examples have twins in training."""

import logging

import numpy as np
import pytest

from nvc_jax.config import make_config
from nvc_jax.tasks import open_training


@pytest.fixture
def told(caplog, monkeypatch):
    """What opening the training split of a config warns of."""
    monkeypatch.setattr(logging.getLogger("nvc_jax"), "propagate", True)

    def ask(**settings):
        caplog.clear()
        open_training(make_config({f"data.{k}": v for k, v in settings.items()}))
        return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]

    return ask


def test_copies_of_training_images_in_the_test_are_told(tmp_path, told):
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 4), dtype=np.uint8)
    np.savez(tmp_path / "train.npz", image=images[:12])
    np.savez(tmp_path / "test.npz", image=images[10:], label=np.zeros(10, int))
    (message,) = told(source="npz", dir=str(tmp_path), validation_fraction=0.0)
    assert message.startswith("2 of 10 test examples have twins") and "\n" not in message
    np.savez(tmp_path / "test.npz", image=images[12:])
    assert told(source="npz", dir=str(tmp_path), validation_fraction=0.0) == []


def test_volumes_that_are_nearly_alike_are_told(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("nvc_jax"), "propagate", True)
    voxels = (np.random.default_rng(0).random((6, 8, 8, 8)) < 0.5).astype(np.uint8)
    voxels[0] = voxels[5]
    voxels[0, 0, 0, 0] ^= 1
    np.savez(tmp_path / "shapes.npz", voxels=voxels)
    config = make_config(
        {
            "task": "voxel_completion",
            "data.source": "shapes",
            "data.dir": str(tmp_path / "shapes.npz"),
            "data.holdout_every": 3,
        }
    )
    open_training(config)
    assert "1 of 2 test examples have twins in the training split (nearly the same voxels)" in (
        caplog.text
    )
