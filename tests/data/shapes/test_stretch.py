"""Stretched copies of shapes."""

from types import SimpleNamespace

import numpy as np
import pytest

from nvc_jax.data.base.source import FieldSource
from nvc_jax.data.shapes.stretch import (
    StretchedShapes,
    stretch_points,
    stretch_voxels,
    with_stretched_copies,
)


def box(*sides: int, volume: int = 8) -> np.ndarray:
    """A box of 1 in the middle of a cube of 0."""
    voxels = np.zeros((volume,) * 3, np.uint8)
    voxels[tuple(slice((volume - n) // 2, (volume + n) // 2) for n in sides)] = 1
    return voxels


@pytest.fixture
def shapes() -> FieldSource:
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(3, 50, 3)).astype(np.float32)
    return FieldSource(
        {
            "voxels": np.stack([box(8, 4, 2), box(2, 6, 4), box(6, 6, 6)]),
            "points": rng.uniform(-0.5, 0.5, (3, 50, 3)).astype(np.float32),
            "normals": normals / np.linalg.norm(normals, axis=2, keepdims=True),
            "label": np.array([0, 1, 0]),
        },
        class_names=("a", "b"),
    )


def test_box_is_stretched_with_its_longest_side_as_it_was():
    got = stretch_voxels(box(8, 4, 2), np.array([1.0, 1.5, 2.0]))
    np.testing.assert_array_equal(got, box(8, 6, 4))
    # Longest is now y: 4·3 = 12 is to be 8 again, so that 8 becomes 5.33 and 2 becomes 1.33.
    got = stretch_voxels(box(8, 4, 2), np.array([1.0, 3.0, 1.0]))
    assert [np.ptp(np.nonzero(got)[axis]) + 1 for axis in range(3)] == [5, 8, 1]
    assert got.sum() == 5 * 8 * 1


def test_thin_parts_outlive_shrinking():
    plate = box(8, 8, 8) * 0
    plate[:, 3, :] = 1
    plate[:, 0:2, 0] = 1
    got = stretch_voxels(plate, np.array([1.0, 0.3, 1.0]))
    assert got.any(axis=1).all()  # the plate has no hole


def test_empty_and_full_volumes_stay_such():
    factors = np.array([2.0, 1.0, 0.5])
    assert not stretch_voxels(np.zeros((4, 4, 4), np.uint8), factors).any()
    wide = stretch_voxels(np.ones((4, 2, 2), np.uint8), np.array([1.0, 2.0, 1.0]))
    np.testing.assert_array_equal(wide, np.ones((4, 2, 2)))  # and end at the walls


def test_points_keep_the_middle_and_the_longest_side():
    points = np.array([[1.0, 0.0, 0.0], [5.0, 2.0, 1.0], [3.0, 1.0, 0.5]])
    got, scale = stretch_points(points, np.array([1.0, 1.5, 1.0]))
    np.testing.assert_allclose(scale, [1.0, 1.5, 1.0])
    np.testing.assert_allclose(got, [[1, -0.5, 0], [5, 2.5, 1], [3, 1, 0.5]])
    got, scale = stretch_points(points, np.array([1.0, 4.0, 1.0]))  # y would be 8 long
    np.testing.assert_allclose(scale, [0.5, 2.0, 0.5])
    one, _ = stretch_points(points[:1], np.array([2.0, 1.0, 1.0]))
    np.testing.assert_array_equal(one, points[:1])


def test_copies_follow_the_shapes_and_are_the_same_whenever_asked(shapes):
    source = StretchedShapes(shapes, copies=2, amount=0.5, seed=3)
    assert len(source) == 9
    assert source.class_names == ("a", "b")
    everything = source.gather(np.arange(9))
    np.testing.assert_array_equal(everything["label"], [0, 1, 0] * 3)
    for name, values in shapes.gather(np.arange(3)).items():
        np.testing.assert_array_equal(everything[name][:3], values)
        assert everything[name].dtype == values.dtype
    assert (everything["points"][3:6] != everything["points"][:3]).any()
    assert (everything["points"][6:] != everything["points"][3:6]).any()
    backward = source.gather(np.arange(9)[::-1])
    for name, values in everything.items():
        np.testing.assert_array_equal(backward[name][::-1], values)


def test_normals_stay_at_right_angles_to_the_surface():
    # The plane x + y = 0, whose normal is (1, 1, 0) / √2.
    rng = np.random.default_rng(1)
    x, z = rng.uniform(-1, 1, (2, 40))
    source = FieldSource(
        {
            "points": np.stack([x, -x, z], axis=1)[None].astype(np.float32),
            "normals": np.tile(np.sqrt([0.5, 0.5, 0.0]), (1, 40, 1)).astype(np.float32),
        }
    )
    got = StretchedShapes(source, copies=1, amount=0.5).gather(np.array([1]))
    in_plane = np.diff(got["points"][0], axis=0)
    np.testing.assert_allclose(in_plane @ got["normals"][0, 0], 0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(got["normals"], axis=2), 1, rtol=1e-6)


def test_only_training_shapes_get_copies(shapes):
    options = SimpleNamespace(stretched_copies=0, stretch=0.15, view_seed=0)
    assert with_stretched_copies(shapes, options, "train") is shapes
    options.stretched_copies = 4
    assert len(with_stretched_copies(shapes, options, "train")) == 15
    assert with_stretched_copies(shapes, options, "validation") is shapes
    assert with_stretched_copies(shapes, options, "test") is shapes
