"""Planes of an upright camera at a known height: exact ones stay, wrong ones come nearer, odd ones do no harm."""

from typing import Any

import numpy as np
import pytest

from nvc_jax.data.planes.rooms import Rooms
from nvc_jax.geometry.plane_segmentation import Planes
from nvc_jax.geometry.planes import NON_PLANAR, pixel_rays, segmented_depth, split_planes
from nvc_jax.geometry.upright import stand_upright
from nvc_jax.metrics.planes import plane_overlaps, recall

HEIGHT = 1.5


def room(number, rooms):
    batch = {name: values[0] for name, values in rooms.gather(np.array([number])).items()}
    return batch, pixel_rays(batch["camera"], *batch["depth"].shape)


def disturbed(planes, rng):
    """Normals off by some degrees, distances by 12 %."""
    normal, distance = split_planes(planes.astype(np.float64))
    normal = normal + rng.normal(0, 0.05, normal.shape)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    distance = distance * np.exp(rng.normal(0, 0.12, distance.shape))
    return (normal * distance[:, None]).astype(np.float32)


def inverse_depth(planes, segmentation, rays, depth):
    of_planes = segmented_depth(planes, segmentation, rays)
    return 1 / np.where(of_planes > 0, of_planes, depth)


def by_hand(distance):
    """A floor 1.5 m below a level camera and a wall `distance` ahead, which meets it, in 24 × 32 pixels."""
    camera = np.array([16.0, 16.0, 15.5, 3.5])
    rays = pixel_rays(camera, 24, 32)
    with np.errstate(divide="ignore"):
        floor = np.where(rays[..., 1] > 0, HEIGHT / rays[..., 1], np.inf)
    segmentation = np.where(floor < distance, 0, 1).astype(np.uint8)
    planes = np.zeros((20, 3), np.float32)
    planes[0], planes[1] = [0, HEIGHT, 0], [0, 0, distance]
    return Planes(planes, segmentation), rays


def test_a_wall_is_where_it_rises_from_the_floor():
    # The floor begins between two rows, at y/z = 0.5 exactly: 3.5 + 16·0.5 = 11.5.
    true, rays = by_hand(3.0)
    wrong = true.planes.copy()
    wrong[0, 1], wrong[1, 2] = 1.3, 3.6
    found = stand_upright(
        Planes(wrong, true.segmentation),
        inverse_depth(wrong, true.segmentation, rays, np.ones((24, 32))),
        rays,
        HEIGHT,
    )
    np.testing.assert_allclose(found.planes[:2], true.planes[:2], atol=0.02)
    np.testing.assert_array_equal(found.segmentation, true.segmentation)
    assert not found.planes[2:].any()


def test_planes_of_rooms_come_nearer_and_exact_ones_stay():
    rooms, rng = Rooms("validation", 20), np.random.default_rng(0)
    before: list[Any] = []
    after: list[Any] = []
    exact: list[Any] = []
    for number in range(len(rooms)):
        batch, rays = room(number, rooms)
        truth = batch["planes"], batch["segmentation"]
        for planes, overlaps in (
            (disturbed(batch["planes"], rng), after),
            (batch["planes"], exact),
        ):
            found = Planes(planes, batch["segmentation"])
            depth = inverse_depth(*found, rays, batch["depth"])
            overlaps.append(plane_overlaps(truth, stand_upright(found, depth, rays, HEIGHT), rays))
            if overlaps is after:
                before.append(plane_overlaps(truth, found, rays))
    of_depth, of_normal = (
        [recall(x, by)[0] for x in (before, after, exact)] for by in ("depth", "normal")
    )
    assert (
        of_depth[1][1] > 1.5 * of_depth[0][1] and of_depth[1][4] > 1.2 * of_depth[0][4]
    )  # 0.05, 0.2 m
    assert of_normal[1][1] > 1.2 * of_normal[0][1]
    assert of_depth[2][4] > 0.9  # pixels are as coarse as that


@pytest.mark.parametrize("kind", ["none", "one wall", "ceiling alone", "floor alone"])
def test_what_tells_nothing_stays_as_it_is(kind):
    rays = pixel_rays(np.array([16.0, 16.0, 7.5, 5.5]), 12, 16)
    planes, segmentation = np.zeros((20, 3), np.float32), np.full((12, 16), NON_PLANAR, np.uint8)
    first = {"one wall": (0, 0, 2), "ceiling alone": (0, -1, 0), "floor alone": (0, 1.2, 0)}
    if kind != "none":
        planes[0] = np.array(first[kind], np.float32)
        segmentation[8:] = 0
    found = stand_upright(Planes(planes, segmentation), np.ones((12, 16)), rays, HEIGHT)
    expected = planes if kind != "floor alone" else planes * (HEIGHT / 1.2)
    np.testing.assert_allclose(found.planes, expected, atol=1e-6)
    assert found.planes.dtype == np.float32
