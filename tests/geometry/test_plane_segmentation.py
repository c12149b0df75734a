"""Planes among predictions for single pixels: exact maps, noise, groups, nothing planar."""

import numpy as np
import pytest

from nvc_jax.geometry.plane_segmentation import planes_of_depth, planes_of_map
from nvc_jax.geometry.planes import NON_PLANAR, invert_planes, pixel_rays, plane_depth

HEIGHT, WIDTH = 16, 24
RAYS = pixel_rays(np.array([20.0, 20.0, 11.5, 7.5]), HEIGHT, WIDTH)
TRUE = np.array([[0.0, 0, 3], [0, 0.6, 0], [-1.5, 0, 0.5]])
DEPTH = plane_depth(TRUE, RAYS)
NUMBER = DEPTH.argmin(axis=0)
ALL = np.ones((HEIGHT, WIDTH), bool)


def same_partition(first, second):
    pairs = np.unique(np.stack([first.reshape(-1), second.reshape(-1)]), axis=1).shape[1]
    return pairs == len(np.unique(first)) == len(np.unique(second))


@pytest.mark.parametrize("noise", [0.0, 0.005])
def test_planes_of_a_map(noise):
    noisy = invert_planes(TRUE)[NUMBER]
    noisy = noisy + noise * np.random.default_rng(0).normal(size=noisy.shape)
    found = planes_of_map(noisy, ALL, RAYS)
    assert same_partition(found.segmentation, NUMBER)
    assert found.planes.dtype == np.float32 and found.segmentation.dtype == np.uint8
    for row in range(3):
        mask = found.segmentation == row
        expected = TRUE[NUMBER[mask][0]]
        np.testing.assert_allclose(found.planes[row], expected, atol=1e-5 + 4 * noise)
    assert not found.planes[3:].any()
    # The largest one comes first.
    assert (np.diff(np.bincount(found.segmentation.reshape(-1))) <= 0).all()


def test_planes_of_depth():
    found = planes_of_depth(DEPTH.min(axis=0), ALL, RAYS)
    for number, plane in enumerate(TRUE):
        true = number == NUMBER
        row = np.bincount(found.segmentation[true], minlength=20)[:20].argmax()
        mask = found.segmentation == row
        assert (true & mask).sum() > 0.6 * (true | mask).sum()
        np.testing.assert_allclose(found.planes[row], plane, atol=0.15)


def test_normals_and_depths_decide_what_is_one_plane():
    near, far = np.array([0, 0, 1 / 3]), np.array([0, 0, 1 / 3.3])
    left = np.broadcast_to(np.arange(WIDTH)[:, None] < 10, (HEIGHT, WIDTH, 1))
    for other in (far, np.array([0.2, 0, 1 / 3])):
        walls = np.where(left, near, other)
        strict = planes_of_map(walls, ALL, RAYS, tolerance=0.05, angle=20.0)
        assert same_partition(strict.segmentation, left)
        loose = planes_of_map(walls, ALL, RAYS, tolerance=9.0, angle=60.0)
        assert len(np.unique(loose.segmentation)) == 1


@pytest.mark.parametrize("find", [planes_of_map, planes_of_depth])
def test_without_planar_pixels_there_is_no_plane(find):
    values = invert_planes(TRUE)[NUMBER] if find is planes_of_map else DEPTH.min(axis=0)
    none = find(values, ~ALL, RAYS)
    assert not none.planes.any() and (none.segmentation == NON_PLANAR).all()
    some = find(values, NUMBER == 1, RAYS)
    assert ((some.segmentation < NON_PLANAR) <= (NUMBER == 1)).all()
    few = np.zeros_like(ALL)
    few[0, :2] = True
    assert (find(values, few, RAYS).segmentation == NON_PLANAR).all()


def test_what_is_found_does_not_depend_on_earlier_calls():
    values = invert_planes(TRUE)[NUMBER]
    first, second = (planes_of_map(values, ALL, RAYS) for _ in range(2))
    np.testing.assert_array_equal(first.segmentation, second.segmentation)


def test_there_are_twenty_planes_at_most():
    stripes = np.broadcast_to(np.arange(WIDTH), (HEIGHT, WIDTH))
    walls = np.stack([np.zeros(WIDTH), np.zeros(WIDTH), 1 / np.arange(1, WIDTH + 1)], axis=-1)
    found = planes_of_map(walls[stripes], ALL, RAYS, tolerance=0.01)
    assert set(np.unique(found.segmentation)) == set(range(21))
