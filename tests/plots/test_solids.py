"""What is drawn of solids that are turned: surfaces, colors, and not too much."""

import numpy as np
import pytest

from nvc_jax.plots.shapes import class_colors, point_colors
from nvc_jax.plots.solids import Solid, solid_cloud, solid_volume
from tests.refusals import refused


def test_faces_are_those_that_touch_nothing():
    volume = np.zeros((3, 4, 5), np.uint8)
    volume[0, 1, 2], volume[1, 1, 2] = 1, 7
    solid = solid_volume(volume)
    np.testing.assert_array_equal(solid.points, [[0.5, 1.5, 2.5], [1.5, 1.5, 2.5]])
    np.testing.assert_array_equal(solid.faces, [63 - 2, 63 - 1])  # all but +x, all but −x
    np.testing.assert_array_equal(solid.colors, class_colors([1, 7]))
    assert solid.text == "2 voxels" and solid.side == 1


def test_bits_of_faces_are_one_for_each_side():
    volume = np.ones((3, 3, 3), bool)
    solid = solid_volume(volume)
    assert len(solid.points) == 26 and solid.text == "27 voxels"
    faces = {tuple(p - 1.5): bits for p, bits in zip(solid.points, solid.faces, strict=True)}
    for axis in range(3):
        for sign, bit in ((-1, 1), (1, 2)):
            place = tuple(float(sign * (k == axis)) for k in range(3))
            assert faces[place] == bit << 2 * axis


def test_empty_and_unknown_voxels_are_nothing():
    assert len(solid_volume(np.zeros((2, 2, 2), bool)).points) == 0
    assert len(solid_volume(np.full((2, 2, 2), 255, np.uint8)).points) == 0


def test_too_fine_a_volume_is_made_coarser():
    volume = np.zeros((5, 4, 4), np.uint8)
    volume[4, 0, 0], volume[0, 0, 0], volume[1, 1, 1] = 3, 1, 2
    solid = solid_volume(volume, most=2)
    np.testing.assert_array_equal(solid.points, [[1, 1, 1], [5, 1, 1]])
    np.testing.assert_array_equal(solid.colors, class_colors([2, 3]))
    assert solid.side == 2 and solid.text == "3 voxels, drawn 2 voxels a side"
    assert len(solid_volume(np.ones((9, 9, 9), bool), most=1).points) == 1


def test_clouds_have_the_colors_of_their_classes_and_not_too_many_points():
    points = np.random.default_rng(0).normal(size=(9, 4))
    solid = solid_cloud(points, [0, 1, 255, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(solid.points, points[:, :3])
    np.testing.assert_array_equal(solid.colors[:3], point_colors([0, 1, 255]))
    some, others = solid_cloud(points, most=4), solid_cloud(points + 1, most=4)
    assert some.text == "9 points, 4 drawn"
    np.testing.assert_allclose(others.points, some.points + 1)
    own = solid_cloud(points, colors=np.full((9, 3), 0.25))
    assert (own.colors == 0.25).all()


@pytest.mark.parametrize(
    "wrong", [{"points": np.zeros((2, 2))}, {"colors": np.zeros((3, 3))}, {"faces": np.zeros(3)}]
)
def test_arrays_that_disagree_are_refused(wrong):
    fields = {"kind": "dots", "points": np.zeros((2, 3)), "colors": np.zeros((2, 3))}
    refused("A solid has points", Solid, **{**fields, **wrong})
