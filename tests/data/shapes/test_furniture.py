"""Primitives as volumes and points, and the furniture that is made of them."""

import numpy as np
import pytest

from nvc_jax.config import make_config
from nvc_jax.data import Source
from nvc_jax.data.base.source import class_names_of
from nvc_jax.data.shapes.furniture import (
    CLASS_NAMES,
    PART_NAMES,
    PARTS_OF_CLASS,
    box,
    contains,
    ellipsoid,
    fit,
    read_furniture,
    rod,
    sample_surface,
    voxelize,
)
from tests.refusals import refused
from tests.sources import everything


def read(split, num_models=40, holdout_every=5):
    data = {"source": "furniture", "num_models": num_models, "holdout_every": holdout_every}
    return read_furniture(make_config({"data": data}).data, split)


@pytest.fixture(scope="module")
def train():
    return everything(read("train"))


def test_box_as_voxels():
    expected = np.zeros((8, 8, 8))
    expected[2:6, 0:4, 3:5] = 1
    volume = voxelize([box("a", (0, -0.25, 0), (0.5, 0.5, 0.25))], 8)
    assert volume.dtype == np.uint8
    np.testing.assert_array_equal(volume, expected)


def test_volume_of_primitives():
    for piece, volume in [
        (rod("a", (0, -0.4, 0), (0, 0.4, 0), 0.8, 0.6, kind="cylinder"), np.pi * 0.4 * 0.3 * 0.8),
        (rod("a", (0.1, 0, -0.4), (0.1, 0, 0.4), 0.5, kind="cylinder"), np.pi * 0.25**2 * 0.8),
        (ellipsoid("a", (0, 0.1, 0), (0.9, 0.6, 0.7)), np.pi / 6 * 0.9 * 0.6 * 0.7),
        (rod("a", (-0.3, -0.2, 0), (0.3, 0.2, 0.1), 0.2, 0.3), np.sqrt(0.53) * 0.2 * 0.3),
        # A frustum of a square pyramid: h (A + B + √(AB)) / 3.
        (rod("a", (0, 0.4, 0), (0, -0.4, 0), 0.8, ends=(0.5, 1)), 0.8 * (0.16 + 0.64 + 0.32) / 3),
    ]:
        assert np.linalg.det(piece.axes) > 0
        assert voxelize([piece], 80).mean() == pytest.approx(volume, rel=0.02)


@pytest.mark.parametrize("place", [(0.0, 0.0), (0.06, 0.02), (-0.031, 0.01)])
@pytest.mark.parametrize("kind", ["box", "cylinder"])
def test_a_thin_pole_is_whole(place, kind):
    x, z = place
    pole = rod("a", (x, -0.5, z), (x, 0.5, z), 0.001, kind=kind, ends=(0.1, 1))
    assert voxelize([pole], 16).any(axis=(0, 2)).all()


def test_sampling_is_uniform_outward_and_outside_only():
    cube = box("a", (0, 0, 0), (1, 1, 1))
    inner = ellipsoid("b", (0, 0, 0), (0.9, 0.9, 0.9))
    on_top = box("c", (0, 0.75, 0), (1, 0.5, 1))
    pieces = [cube, inner, on_top]
    points, normals, piece = sample_surface(pieces, 6000, np.random.default_rng(0))
    assert not (piece == 1).any()
    # The cube shows 4 sides and its bottom, the box on it 4 halves and its top; nothing between.
    assert (piece == 2).mean() == pytest.approx(3 / 8, abs=0.02)
    assert not np.isclose(points[:, 1], 0.5)[abs(normals[:, 1]) > 0.5].any()
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, rtol=1e-9)
    assert not any(contains(p, points + 2e-3 * normals).any() for p in pieces)
    assert all(contains(pieces[i], points[piece == i] - 1e-6 * normals[piece == i]).all()
               for i in (0, 2))  # fmt: skip
    sides = points[abs(normals[:, 0]) > 0.5]
    assert sides[:, 2].mean() == pytest.approx(0, abs=0.03)
    assert sides[:, 2].std() == pytest.approx(1 / np.sqrt(12), abs=0.02)


def test_points_of_a_ball():
    ball = ellipsoid("a", (1, 2, 3), (2, 2, 2))
    points, normals, _ = sample_surface([ball], 4000, np.random.default_rng(0))
    radius = points - [1, 2, 3]
    np.testing.assert_allclose(np.linalg.norm(radius, axis=1), 1, atol=0.02)
    assert ((radius * normals).sum(1) > 0.98).all()
    np.testing.assert_allclose((radius**2).mean(0), 1 / 3, atol=0.02)


def test_fit_centers_and_scales():
    pieces = fit([box("a", (5, 1, 0), (2, 2, 2)), rod("b", (6, 1, 0), (10, 1, 0), 1)])
    points, _, _ = sample_surface(pieces, 4000, np.random.default_rng(0))
    np.testing.assert_allclose(points.max(0), [0.5, 1 / 6, 1 / 6], atol=0.01)
    np.testing.assert_allclose(points.min(0), [-0.5, -1 / 6, -1 / 6], atol=0.01)


def test_fields(train):
    source = read("train")
    assert isinstance(source, Source) and class_names_of(source) == CLASS_NAMES
    assert set(source.spec) == {"voxels", "points", "normals", "point_label", "label"}
    assert train["voxels"].shape == (24, 32, 32, 32) and train["points"].shape == (24, 2048, 3)
    assert train["voxels"].max() == 1
    assert abs(train["points"]).max() <= 0.5
    np.testing.assert_allclose(np.linalg.norm(train["normals"], axis=2), 1, atol=1e-5)


def test_models_fill_and_center_their_volume(train):
    for axes in ((2, 3), (1, 3), (1, 2)):
        line = train["voxels"].any(axis=axes)
        ends = np.argmax(line, 1) - np.argmax(line[:, ::-1], 1)
        assert (abs(ends) <= 1).all()
    sides = [train["voxels"].any(axis=axes).sum(1) for axes in ((2, 3), (1, 3), (1, 2))]
    assert (np.max(sides, axis=0) >= 31).all()
    np.testing.assert_allclose(np.ptp(train["points"], axis=1).max(1), 1, atol=0.02)


def test_points_lie_on_the_border_of_the_volume(train):
    padded = np.pad(train["voxels"], ((0, 0), (1, 1), (1, 1), (1, 1)))
    for depth, expected in ((-0.6, 1), (1.2, 0)):  # voxels along the normal
        at = train["points"] + depth / 32 * train["normals"]
        cell = np.clip(np.floor((at + 0.5) * 32).astype(int) + 1, 0, 33)
        found = padded[np.arange(len(padded))[:, None], *np.moveaxis(cell, -1, 0)]
        assert (found == expected).mean() > 0.9


def test_parts_are_those_of_the_class(train):
    assert PARTS_OF_CLASS.shape == (len(CLASS_NAMES), len(PART_NAMES))
    assert (PARTS_OF_CLASS.sum(0) == 1).all()
    chair = PARTS_OF_CLASS[CLASS_NAMES.index("chair")]
    parts = [f"chair {name}" for name in ("seat", "back", "leg", "arm")]
    assert [name for name, own in zip(PART_NAMES, chair, strict=True) if own] == parts
    assert np.take_along_axis(PARTS_OF_CLASS[train["label"]], train["point_label"], 1).all()
    for model, label in enumerate(train["label"]):
        if CLASS_NAMES[label] == "chair":  # legs below, the seat between, the back above
            height = train["points"][model, :, 1]
            part = train["point_label"][model]
            seat, back, leg = (
                height[part == PART_NAMES.index(f"chair {n}")].mean()
                for n in ("seat", "back", "leg")
            )
            assert leg < seat < back


@pytest.mark.parametrize("every", [4, 5, 8])
def test_every_split_has_every_class(every):
    for split in ("train", "validation", "test"):
        label = everything(read(split, 64, every))["label"]
        assert set(label.tolist()) == set(range(len(CLASS_NAMES)))


def test_a_model_depends_on_its_number_alone(train):
    more = everything(read("train", 48))
    for name, values in train.items():
        np.testing.assert_array_equal(more[name][: len(values)], values)
    assert len({v.tobytes() for v in more["voxels"]}) == len(more["voxels"])


def test_too_few_models_are_told():
    refused("train split is empty: 2 examples", read, "train", 2)
