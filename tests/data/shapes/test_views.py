"""What is seen of a shape, and sources of partial views."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nvc_jax.data import Source
from nvc_jax.data.base.source import FieldSource, class_names_of
from nvc_jax.data.shapes.views import (
    ELEVATION,
    SIDES,
    PartialClouds,
    PartialVolumes,
    oblique_rotation,
    oblique_view,
    oblique_viewpoint,
    side_view,
    visible_points,
)
from tests.refusals import refused
from tests.sources import everything, numbered, take

ALL_SIDES = ("+x", "-x", "+y", "-y", "+z", "-z")


def cells(volume):
    return sorted(map(tuple, np.argwhere(volume).tolist()))


def looking(forward):
    """A camera of which only the direction of sight is set."""
    return np.stack([np.zeros(3), np.zeros(3), forward / np.linalg.norm(forward)])


@pytest.fixture
def blobs():
    """Six random volumes of 5 × 4 × 6."""
    return (np.random.default_rng(0).random((6, 5, 4, 6)) < 0.3).astype(np.uint8)


@pytest.fixture
def shapes(blobs):
    points = np.random.default_rng(1).normal(size=(6, 40, 3)).astype(np.float32)
    label = np.arange(6, dtype=np.int32) % 2
    return FieldSource(
        {"voxels": blobs, "points": points, "label": label}, class_names=("odd", "even")
    )


# An L in the plane z = 1: (0..2, 0, 1) and (0, 1, 1).
def test_sides_of_an_l():
    for direction, seen in [
        ("+x", [(0, 1, 1), (2, 0, 1)]),
        ("-x", [(0, 0, 1), (0, 1, 1)]),
        ("+y", [(0, 1, 1), (1, 0, 1), (2, 0, 1)]),
        ("-y", [(0, 0, 1), (1, 0, 1), (2, 0, 1)]),
        ("+z", [(0, 0, 1), (0, 1, 1), (1, 0, 1), (2, 0, 1)]),
    ]:
        volume = np.zeros((3, 3, 3), np.uint8)
        volume[:, 0, 1] = volume[0, 1, 1] = 7
        view = side_view(volume, direction)
        assert view.dtype == np.uint8 and view.max() == 1
        assert cells(view) == seen
        assert cells(oblique_view(volume, looking(camera_axis(direction)))) == seen


def camera_axis(direction):
    forward = np.zeros(3)
    forward["xyz".index(direction[1])] = -1 if direction[0] == "+" else 1
    return forward


@pytest.mark.parametrize("direction", ALL_SIDES)
def test_one_voxel_a_line_and_the_first(blobs, direction):
    view = side_view(blobs, direction)
    axis = "xyz".index(direction[1]) + 1
    np.testing.assert_array_equal(view.sum(axis), blobs.any(axis))
    order = np.arange(blobs.shape[axis]) * (1 if direction[0] == "+" else -1)
    depth = order.reshape([-1 if i == axis else 1 for i in range(4)])
    first = np.where(blobs > 0, depth, -100).max(axis)
    np.testing.assert_array_equal(np.where(view > 0, depth, -100).max(axis), first)
    for one, seen in zip(blobs, view, strict=True):
        np.testing.assert_array_equal(side_view(one, direction), seen)
        np.testing.assert_array_equal(oblique_view(one, looking(camera_axis(direction))), seen)


def test_unknown_side_is_told():
    refused(r"view is 'x': use \+x", side_view, np.zeros((2, 2, 2), np.uint8), "x")


def free_line(volume, start, backward):
    """Whether small steps from a point toward the camera stay out of occupied voxels."""
    path = start + np.arange(1e-3, 20, 2e-3)[:, None] * backward
    path = path[((path >= 0) & (path < volume.shape)).all(1)]
    return not volume[tuple(np.floor(path).astype(int).T)].any()


@pytest.mark.parametrize("seed", range(3))
def test_oblique_view_against_small_steps(blobs, seed):
    rotation = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    backward = -rotation[2]
    expected = np.zeros_like(blobs[seed])
    for voxel in np.argwhere(blobs[seed]):
        for axis in range(3):
            face = voxel + 0.5
            face[axis] += 0.5 * np.sign(backward[axis])
            expected[tuple(voxel)] |= free_line(blobs[seed], face, backward)
    np.testing.assert_array_equal(oblique_view(blobs[seed], rotation), expected)


def test_oblique_view_of_a_box_is_its_three_near_sides():
    volume = np.zeros((8, 6, 7), np.uint8)
    volume[1:6, 1:5, 2:6] = 1
    near = np.zeros_like(volume)
    near[5, 1:5, 2:6] = near[1:6, 4, 2:6] = near[1:6, 1:5, 2] = 1
    np.testing.assert_array_equal(oblique_view(volume, looking(np.array([-5.0, -2, 0.1]))), near)
    assert not oblique_view(np.zeros_like(volume), looking(np.ones(3))).any()


def test_visible_half_of_a_sphere():
    height = np.linspace(-0.999, 0.999, 1000)  # a spiral of evenly spread points
    turn = np.arange(1000) * np.pi * (3 - np.sqrt(5))
    level = np.sqrt(1 - height**2)
    points = 0.5 * np.stack([level * np.cos(turn), height, level * np.sin(turn)], 1)
    viewpoint = np.array([1.0, 2.0, -3.0])
    seen = visible_points(points, viewpoint)
    # A line from the viewpoint touches the sphere where p · v = r².
    beyond = points @ viewpoint - 0.25
    assert seen.dtype == np.int64 and (np.diff(seen) > 0).all()
    assert set(np.flatnonzero(beyond > 0)) <= set(seen)
    assert (beyond[seen] > -0.2).all()  # not more than two rows of points too many


def test_a_plate_hides_what_is_behind_it():
    across = np.linspace(-1, 1, 21)
    plate = np.stack(np.meshgrid(across, across, [0.0]), -1).reshape(-1, 3)
    behind = np.array([[0.0, 0.0, -0.5], [0.3, 0.2, -0.4]])
    beside = np.array([[3.0, 0.0, -0.5]])
    points = np.concatenate([plate, behind, beside])
    assert visible_points(points, np.array([0.0, 0, 5])).tolist() == [*range(441), 443]


def test_nothing_hides_in_a_plane():
    for points in [
        np.zeros((0, 3)),
        np.eye(3),
        np.zeros((9, 3)),
        np.random.default_rng(0).random((9, 3)) * [1, 0, 1],
        np.arange(15.0)[:, None] * [1, 1, 1],
    ]:
        assert visible_points(points, np.array([4.0, 5, 6])).tolist() == [*range(len(points))]


def test_cameras_are_rotations_from_above():
    seen = np.stack([oblique_rotation(i, v, 0) for i in range(100) for v in range(2)])
    np.testing.assert_allclose(seen @ seen.mT, np.broadcast_to(np.eye(3), seen.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(seen), 1, rtol=1e-12)
    elevation = np.rad2deg(np.arcsin(-seen[:, 2, 1]))
    low, high = ELEVATION
    assert low <= elevation.min() < low + 2 and high - 2 < elevation.max() <= high
    np.testing.assert_allclose(seen[:, 0, 1], 0, atol=1e-12)  # the horizon is level
    assert (seen[:, 1, 1] < 0).all()  # and down is down
    azimuth = np.arctan2(-seen[:, 2, 2], -seen[:, 2, 0])
    assert np.histogram(azimuth, 4, (-np.pi, np.pi))[0].min() > 30
    np.testing.assert_array_equal(oblique_rotation(3, 1, 0), seen[7])
    assert not np.allclose(oblique_rotation(3, 1, 9), seen[7])


def test_viewpoint_has_the_points_in_front():
    points = np.array([[1.0, 2, 3], [3.0, 2, 3], [1.0, 5, 4]])
    rotation = oblique_rotation(0, 0, 0)
    center = rotation @ (np.array([2.0, 3.5, 3.5]) - oblique_viewpoint(points, rotation))
    np.testing.assert_allclose(center[:2], 0, atol=1e-12)
    assert center[2] > np.linalg.norm(np.ptp(points, axis=0))


def test_partial_volumes(shapes, blobs):
    source = PartialVolumes(shapes, num_oblique=2, seed=3)
    assert isinstance(source, Source) and source.in_memory
    assert class_names_of(source) == ("odd", "even")
    assert len(source) == 36
    ids = np.array([35, 0, 7, 2, 17, 10])
    batch = take(source, *ids)
    np.testing.assert_array_equal(batch["complete"], blobs[ids // 6])
    assert batch["label"].tolist() == [1, 0, 1, 0, 0, 1]
    assert (batch["partial"] <= batch["complete"]).all()
    for number, partial in zip(ids, batch["partial"], strict=True):
        model, view = divmod(int(number), 6)
        expected = (
            side_view(blobs[model], SIDES[view])
            if view < 4
            else oblique_view(blobs[model], oblique_rotation(model, view, 3))
        )
        np.testing.assert_array_equal(partial, expected)
        np.testing.assert_array_equal(source.gather(np.array([number]))["partial"][0], partial)


def test_partial_clouds(shapes):
    def source():
        return PartialClouds(shapes, num_views=3, num_points=16, seed=1)

    clouds = source()
    assert isinstance(clouds, Source) and class_names_of(clouds) == ("odd", "even")
    assert len(clouds) == 18
    batch = everything(clouds)
    assert batch["label"].tolist() == np.repeat([0, 1, 0, 1, 0, 1], 3).tolist()
    again = source().gather(np.array([17, 4]))
    for name, values in again.items():
        np.testing.assert_array_equal(values, batch[name][[17, 4]])
    for example, (partial, complete) in enumerate(
        zip(batch["partial"], batch["complete"], strict=True)
    ):
        rotation = oblique_rotation(example // 3, example % 3, 1)
        seen = complete[visible_points(complete, oblique_viewpoint(complete, rotation))]
        assert set(map(tuple, partial)) <= set(map(tuple, seen))
        assert len(set(map(tuple, partial))) == min(16, len(seen))
    assert not np.array_equal(batch["partial"][0], batch["partial"][1])


def test_no_view_is_told(shapes):
    for make, message in [
        (lambda s: PartialVolumes(s, views=("up",)).gather(np.arange(1)), "view is 'up'"),
        (lambda s: PartialVolumes(s, views=()), "no view"),
        (lambda s: PartialClouds(s, num_views=0, num_points=4), "1 or more views"),
        (lambda s: PartialClouds(s, num_views=1, num_points=0), "1 or more views and points"),
    ]:
        refused(message, make, shapes)


@pytest.mark.parametrize("make", [PartialVolumes, PartialClouds])
def test_a_source_without_shapes_is_told(make):
    options = {} if make is PartialVolumes else {"num_views": 1, "num_points": 4}
    refused(r"need shapes with a field (voxels|points) .*, got", make, numbered(3), **options)
