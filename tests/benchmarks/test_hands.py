"""Baselines of hand pose: against brute force, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from benchmarks import hands
from nvc_jax.config import load_config
from nvc_jax.metrics.pose import pose_measures
from nvc_jax.tasks import open_examples


def test_nearest_images_equal_brute_force(monkeypatch):
    rng = np.random.default_rng(0)
    queries, references = (rng.integers(0, 256, (n, 6, 6, 1)).astype(np.uint8) for n in (23, 40))
    queries[5] = references[7]
    monkeypatch.setattr(hands, "CHUNK", 10)
    nearest = hands.nearest_images(queries, references)
    expected = cdist(queries.reshape(23, -1), references.reshape(40, -1)).argmin(axis=1)
    np.testing.assert_array_equal(nearest, expected)
    assert nearest[5] == 7


def test_baselines_by_hand():
    config = load_config("hands")
    config.data.update({"num_scenes": 12, "num_heldout_scenes": 5, "image_size": (16, 16)})
    rows = hands.baselines(config)
    train, test = (open_examples(config, split) for split in ("train", "test"))
    known, asked = (source.gather(np.arange(len(source))) for source in (train, test))
    about = known["joints"] - known["center"][:, None]
    nearest = [
        int(np.square(known["image"].astype(float) - image).sum(axis=(1, 2, 3)).argmin())
        for image in asked["image"]
    ]
    for name, poses in {
        "mean pose": about.mean(axis=0, keepdims=True).repeat(5, axis=0),
        "nearest training image": about[nearest],
    }.items():
        expected = pose_measures(
            poses + asked["center"][:, None], asked["joints"], asked["visible"]
        )
        for measure in ("mpjpe_root", "mpjpe_abs", "mpjpe_pa", "auc_20_50"):
            assert rows[name][measure] == pytest.approx(expected[measure], rel=1e-3), (
                name,
                measure,
            )
