"""Geometry of planes: values by hand, and what must hold of any plane and camera."""

import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.geometry import planes as geometry
from nvc_jax.geometry.cameras import rays_of

CAMERA = np.array([2.0, 4.0, 1.0, 0.5], np.float32)
RNG = np.random.default_rng(0)
PLANES = RNG.normal(size=(7, 3)) + np.array([0, 0, 2.0])


def test_rays_by_hand():
    rays = geometry.pixel_rays(CAMERA, 2, 3)
    np.testing.assert_array_equal(rays[0], [[-0.5, -0.125, 1], [0, -0.125, 1], [0.5, -0.125, 1]])
    np.testing.assert_array_equal(rays[1, :, 1], [0.125] * 3)
    many = geometry.pixel_rays(np.stack([CAMERA, 2 * CAMERA]), 2, 3)
    assert many.shape == (2, 2, 3, 3)
    np.testing.assert_array_equal(many[0], rays)


def test_rays_on_the_device_are_those_of_the_host():
    cameras = np.stack([CAMERA, 2 * CAMERA, geometry.assumed_camera(4, 6)])
    found = rays_of(jnp.asarray(cameras), 4, 6)
    np.testing.assert_allclose(found, geometry.pixel_rays(cameras, 4, 6), rtol=1e-5, atol=1e-6)


def test_a_resized_image_sees_the_same_at_its_corners():
    scaled = geometry.scale_camera(CAMERA, (2.0, 3.0))
    assert scaled.dtype == np.float32
    for u, v in ((-0.5, -0.5), (2.5, 1.5)):
        old = (u - CAMERA[2]) / CAMERA[0], (v - CAMERA[3]) / CAMERA[1]
        u, v = 3 * (u + 0.5) - 0.5, 2 * (v + 0.5) - 0.5
        new = (u - scaled[2]) / scaled[0], (v - scaled[3]) / scaled[1]
        np.testing.assert_allclose(new, old)


def test_planes_in_their_three_forms():
    np.testing.assert_array_equal(geometry.invert_planes(np.array([0.0, 0, 2])), [0, 0, 0.5])
    np.testing.assert_allclose(geometry.invert_planes(geometry.invert_planes(PLANES)), PLANES)
    normal, distance = geometry.split_planes(np.array([[0.0, 3, 4], [0, 0, 0]]))
    np.testing.assert_allclose(normal, [[0, 0.6, 0.8], [0, 0, 0]])
    np.testing.assert_array_equal(distance, [5, 0])
    np.testing.assert_allclose(geometry.join_planes(*geometry.split_planes(PLANES)), PLANES)
    # 2·y = −6, which is y = −3.
    np.testing.assert_allclose(
        geometry.join_planes(np.array([0.0, 2, 0]), np.array(-6.0)), [0, -3, 0]
    )
    np.testing.assert_array_equal(geometry.invert_planes(np.zeros((2, 3))), np.zeros((2, 3)))


def test_points_at_a_planes_depth_lie_on_it():
    rays = geometry.pixel_rays(CAMERA, 3, 4)
    depth = geometry.plane_depth(PLANES, rays)
    assert depth.shape == (7, 3, 4)
    for plane, at in zip(PLANES, depth, strict=True):
        seen = np.isfinite(at)
        normal, distance = geometry.split_planes(plane)
        points = geometry.points_of_depth(np.where(seen, at, 0), rays)
        np.testing.assert_allclose((points @ normal)[seen], distance, rtol=1e-9)
        assert (at > 0).all() and seen.any()
    # A floor 1.5 m below is not seen above the horizon, nor is no plane.
    floor = geometry.plane_depth(np.array([[0, 1.5, 0], [0, 0, 0]]), rays)
    np.testing.assert_array_equal(np.isfinite(floor[0, :, 0]), [False, True, True])
    np.testing.assert_allclose(floor[0, 1], 1.5 / 0.125)
    assert np.isinf(floor[1]).all()


def test_depth_of_a_segmentation():
    rays = geometry.pixel_rays(CAMERA, 2, 3)
    planes = np.zeros((20, 3), np.float32)
    planes[:2] = [[0, 0, 2], [0, 1, 0]]
    segmentation = np.array([[0, 1, 20], [1, 255, 5]], np.uint8)
    depth = geometry.segmented_depth(planes, segmentation, rays)
    np.testing.assert_allclose(depth, [[2, 0, 0], [8, 0, 0]])
    assert depth.dtype == np.float32


def test_fitted_plane_is_the_one_of_its_points():
    rays = geometry.pixel_rays(CAMERA, 2, 3)
    plane = np.array([0.3, -0.4, 2.0])
    points = geometry.points_of_depth(geometry.plane_depth(plane[None], rays)[0], rays)
    np.testing.assert_allclose(geometry.fit_plane(points.reshape(-1, 3)), plane, rtol=1e-6)


def test_planes_move_with_their_points():
    angle = 0.7
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn, [0.5, -1, -9.0]  # to the other side of some of the planes
    moved = geometry.transform_planes(PLANES, pose)
    for plane, after in zip(PLANES, moved, strict=True):
        across = np.linalg.svd(plane[None])[2][1:]  # two directions within the plane
        points = plane + RNG.normal(size=(5, 2)) @ across
        normal, distance = geometry.split_planes(after)
        np.testing.assert_allclose((points @ turn.T + pose[:3, 3]) @ normal, distance, rtol=1e-9)
    np.testing.assert_array_equal(geometry.transform_planes(np.zeros((2, 3)), pose), 0)


@pytest.mark.parametrize("number", [3, 25])
def test_the_largest_planes_are_kept_in_order(number):
    planes = RNG.normal(size=(number, 3))
    segmentation = np.repeat(np.arange(number), np.arange(1, number + 1))
    segmentation = np.concatenate([segmentation, [-1, -2, -2]])[None]
    kept, renamed = geometry.keep_largest(planes, segmentation)
    assert kept.shape == (20, 3) and kept.dtype == np.float32 and renamed.dtype == np.uint8
    count = min(number, 20)
    np.testing.assert_allclose(kept[:count], planes[::-1][:count], rtol=1e-6)
    np.testing.assert_array_equal(kept[count:], 0)
    expected = np.where(segmentation >= number - count, number - 1 - segmentation, 20)
    expected = np.where(segmentation == -2, 255, np.where(segmentation == -1, 20, expected))
    np.testing.assert_array_equal(renamed, expected)


def test_planes_without_a_pixel_are_dropped():
    kept, renamed = geometry.keep_largest(np.eye(3), np.array([[2, 2, 0]]))
    np.testing.assert_array_equal(kept[:3], [[0, 0, 1], [1, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(renamed, [[0, 0, 1]])
