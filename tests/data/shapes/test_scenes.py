"""Scenes that are composed of models, as voxels and as points."""

import numpy as np
import pytest
from scipy import ndimage

from nvc_jax.data import Source
from nvc_jax.data.base.source import FieldSource, class_names_of, subset
from nvc_jax.data.shapes import scenes
from nvc_jax.data.shapes.scenes import SceneClouds, SceneVolumes, class_shares
from tests.refusals import refused
from tests.sources import everything, numbered

NAMES = ("cube", "slab", "post", "stair")
LABELS = (0, 1, 2, 3, -1)


@pytest.fixture
def models():
    """A cube, a slab, a post, a stair, and a ball without a class."""
    voxels = np.zeros((5, 8, 8, 8), np.uint8)
    voxels[0, 1:7, 1:7, 1:7] = 1
    voxels[1, :, 3:5, 2:6] = 1
    voxels[2, 3:5, :, 3:5] = 1
    voxels[3, :, :2] = voxels[3, :4, :4] = 1
    grid = np.stack(np.meshgrid(*[np.arange(8) - 3.5] * 3), -1)
    voxels[4] = np.linalg.norm(grid, axis=-1) < 4
    rng = np.random.default_rng(0)
    points = np.stack([(rng.permutation(np.argwhere(v))[:32] - 3.5) / 7 for v in voxels])
    fields = {"voxels": voxels, "points": points.astype(np.float32), "label": np.array(LABELS)}
    return FieldSource(fields, class_names=NAMES)


def volumes(models, **options):
    return SceneVolumes(models, **{"num_scenes": 12, "seed": 4, **options})


def clouds(models, **options):
    return SceneClouds(models, **{"num_scenes": 12, "num_points": 64, "seed": 4, **options})


def test_scenes_of_voxels(models):
    source = volumes(models)
    batch = everything(source)
    assert isinstance(source, Source) and class_names_of(source) == NAMES and len(source) == 12
    assert batch["complete"].shape == (12, 32, 16, 32)
    assert (batch["label"] == -1).all()
    assert set(np.unique(batch["complete"])) == {0, 1, 2, 3, 4, 255}
    assert batch["partial"].max() == 1
    assert ((batch["partial"] == 0) | (batch["complete"] > 0)).all()
    counts = set()
    for complete in batch["complete"]:
        # Models do not touch: every piece has one class, stands on the floor and has its size.
        pieces, count = ndimage.label(complete, np.ones((3, 3, 3)))
        counts.add(count)
        for number, region in enumerate(ndimage.find_objects(pieces), 1):
            own = pieces[region] == number
            assert len(np.unique(complete[region][own])) == 1
            assert region[1].start == 0
            assert 10 <= max(own.shape) <= 14
            if complete[region][own][0] == 1:
                assert own.all() and len(set(own.shape)) == 1
    assert counts == {2, 3, 4}


def test_the_view_is_from_above_at_the_front(models):
    complete, partial = (
        everything(volumes(models))[k].astype(bool) for k in ("complete", "partial")
    )
    above = np.zeros_like(complete)
    above[:, :, :-1] = complete[:, :, 1:]
    tops = complete & ~above
    below = np.zeros_like(complete)
    below[:, :, 1:] = complete[:, :, :-1]
    front = np.zeros_like(complete)
    front[..., :-1] = complete[..., 1:]
    assert partial[tops].mean() > 0.6
    assert partial[complete & ~front].mean() > 0.6
    assert not partial[
        :, 1:-1, 1:-1, 1:-1
    ][  # surrounded by others
        ndimage.binary_erosion(complete, np.ones((1, 3, 3, 3)))[:, 1:-1, 1:-1, 1:-1]
    ].any()


def test_large_models_are_made_to_fit(models):
    batch = everything(volumes(models, size=(7, 5, 9), models_per_scene=(1, 3)))
    assert batch["complete"].shape == (12, 7, 5, 9)
    assert (batch["complete"] > 0).any(axis=(1, 2, 3)).all()


def test_thin_parts_outlive_shrinking():
    voxels = np.zeros((1, 32, 32, 32), np.uint8)
    voxels[0, :, 30:] = 1
    voxels[0, [0, 0, 31, 31], :, [0, 31, 0, 31]] = 1  # a table with four legs
    source = FieldSource({"voxels": voxels, "label": np.zeros(1, int)})
    for complete in everything(volumes(source, models_per_scene=(1, 1)))["complete"]:
        assert ndimage.label(complete[:, 0])[1] == 4


def test_scenes_of_points(models):
    source = clouds(models, models_per_scene=(2, 4))
    batch = everything(source)
    assert source.point_class_names == class_names_of(source) == NAMES
    assert isinstance(source, Source)
    assert (batch["label"] == -1).all()
    assert set(np.unique(batch["point_label"])) == {0, 1, 2, 3, 255}
    points = batch["points"]
    assert abs(points[..., [0, 2]]).max() <= 1.01
    assert points[..., 1].min() >= 0 and points[..., 1].max() <= 0.61
    for cloud, label in zip(points, batch["point_label"], strict=True):
        boxes = [(cloud[label == k].min(0), cloud[label == k].max(0)) for k in np.unique(label)]
        for i, (low, high) in enumerate(boxes):
            assert all(((l > high) | (h < low))[[0, 2]].any() for l, h in boxes[:i])  # noqa: E741
            assert (high - low).max() <= 0.61 * np.sqrt(3)


def test_scenes_show_what_is_visible():
    """A ball alone: the points of a scene are its near half."""
    points = np.random.default_rng(0).normal(size=(1, 400, 3))
    points /= 2 * np.linalg.norm(points, axis=2, keepdims=True)
    source = FieldSource({"points": points.astype(np.float32), "label": np.zeros(1, int)})
    for scene in everything(clouds(source, models_per_scene=(1, 1), num_points=500))["points"]:
        radius = np.ptp(scene, axis=0).max() / 2
        assert 150 < len(np.unique(scene, axis=0)) < 300
        assert scene[:, 1].max() == pytest.approx(2 * radius, rel=0.2)  # the upper side, too


@pytest.mark.parametrize("make", [volumes, clouds])
def test_a_scene_depends_on_seed_number_and_models(models, make):
    scenes = everything(make(models))
    again = make(models, num_scenes=30).gather(np.array([11, 3]))
    for name, values in again.items():
        np.testing.assert_array_equal(values, scenes[name][[11, 3]])
    shown = "complete" if make is volumes else "points"
    assert len({scene.tobytes() for scene in scenes[shown]}) == len(scenes[shown])
    assert not np.array_equal(everything(make(models, seed=5))[shown], scenes[shown])


def test_only_models_of_the_source_are_used(models):
    some = subset(models, np.array([1, 3]))
    assert set(np.unique(everything(volumes(some))["complete"])) == {0, 2, 4}
    assert set(np.unique(everything(clouds(some))["point_label"])) == {1, 3}


@pytest.mark.parametrize("make", [volumes, clouds])
def test_impossible_scenes_are_told(models, make):
    message = r"data\.models_per_scene is \(3, 2\): give the fewest"
    refused(message, make, models, models_per_scene=(3, 2))
    refused(r"need shapes with a field (voxels|points)", make, numbered(3))


def test_too_many_classes_are_told(models):
    fields = {**everything(models), "label": np.full(5, 254)}
    refused("254 classes at most, got label 254", everything, volumes(FieldSource(fields)))


def test_models_are_drawn_by_their_shares(models):
    shares = np.array([0.0, 0.5, 0.5, 0.0, 0.0])
    assert set(np.unique(everything(volumes(models, shares=shares))["complete"])) == {0, 2, 3}


def test_shares_even_out_classes():
    label = np.array([0, 0, 0, 0, 1, -1])
    np.testing.assert_allclose(class_shares(label, 1.0), [*[1 / 12] * 4, 1 / 3, 1 / 3])
    half = class_shares(label, 0.5)
    np.testing.assert_allclose(half[:4].sum() / half[4], 2.0)  # the root of 4
    np.testing.assert_allclose(class_shares(label, 0.0), [1 / 6] * 6)


def test_more_scenes_than_memory_should_hold_are_the_same_scenes(models, monkeypatch):
    kept = everything(clouds(models))
    monkeypatch.setattr(scenes, "KEPT", 11)
    fresh = clouds(models)
    for _ in range(2):
        again = fresh.gather(np.arange(12))
        np.testing.assert_array_equal(again["points"], kept["points"])
    assert not fresh._drawn
