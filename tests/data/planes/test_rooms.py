"""Synthetic rooms: rays against cuboids and ellipsoids, and fields that agree with each other."""

import math
from unittest import mock

import numpy as np
import pytest

from nvc_jax.data import open_source
from nvc_jax.data.planes.rooms import (
    TEXTURES,
    Rooms,
    cast_cuboids,
    cast_ellipsoids,
    draw_room,
    look_at,
    paint,
    plane_numbers,
)
from nvc_jax.geometry.planes import NON_PLANAR, pixel_rays, points_of_depth, segmented_depth

FORWARD = np.array([[0.0, 0, 1], [1, 0, 1], [0, -1, 1]])


def cast(center, size, yaw=0.0):
    found = cast_cuboids(
        np.zeros(3), FORWARD, np.array([center], float), np.array([size], float), np.array([yaw])
    )
    return [part[0] for part in found[:2]]


def test_cuboids_by_hand():
    t, face = cast([0, 0, 5], [2, 2, 2])
    np.testing.assert_array_equal(t, [4, np.inf, np.inf])
    assert face[0] == 4  # where z begins
    # From inside: the wall ahead, its corner to the right (in x first), and the ceiling.
    t, face = cast([0, 0, 0], [4, 2, 6])
    np.testing.assert_array_equal(t, [3, 2, 1])
    np.testing.assert_array_equal(face, [5, 1, 2])
    # Turned by 45 degrees an edge is nearest.
    t, _ = cast([0, 0, 5], [2, 2, 2], math.pi / 4)
    assert t[0] == pytest.approx(5 - math.sqrt(2))
    assert np.isinf(cast([0, 0, -5], [2, 2, 2])[0]).all()  # behind


def test_ellipsoids_by_hand():
    radius = np.array([[1.0, 1, 2], [0.5, np.inf, 0.5]])
    center = np.array([[0.0, 0, 5], [3, 7, 3]])
    t = cast_ellipsoids(np.zeros(3), FORWARD, center, radius)
    np.testing.assert_allclose(t[:, :2], [[3, np.inf], [np.inf, 3 - 0.5 / math.sqrt(2)]])
    # A column has no end.
    up = cast_ellipsoids(np.zeros(3), np.array([[1.0, -9, 1]]), center, radius)
    assert up[1, 0] == pytest.approx(3 - 0.5 / math.sqrt(2))
    assert np.isinf(cast_ellipsoids(np.zeros(3), -FORWARD, center, radius)).all()


@pytest.fixture(scope="module")
def rooms():
    return Rooms("train", 12).gather(np.arange(12))


def test_fields_fit_each_other(rooms):
    for number in range(12):
        room = {name: values[number] for name, values in rooms.items()}
        rays = pixel_rays(room["camera"], 48, 64)
        planar = room["segmentation"] < NON_PLANAR
        used = np.unique(room["segmentation"][planar])
        np.testing.assert_array_equal(used, np.flatnonzero(room["planes"].any(axis=1)))
        expected = segmented_depth(room["planes"], room["segmentation"], rays)
        np.testing.assert_allclose(expected[planar], room["depth"][planar], rtol=1e-5)
        assert (room["depth"] > 0.4).all() and (room["depth"] < 12).all()
    assert (rooms["segmentation"] == NON_PLANAR).any()
    planes_seen = rooms["planes"].any(axis=2).sum(axis=1)
    assert planes_seen.max() > 5 and planes_seen.min() >= 1
    assert rooms["image"].std() > 30


def test_views_agree_with_the_room_in_world_axes():
    room = draw_room(np.random.default_rng(1), TEXTURES["train"])
    rays = pixel_rays(np.array([30.0, 30.0, 15.5, 15.5]), 32, 32).reshape(-1, 3)
    view = look_at(room, rays)
    floor = view.surface == 3
    assert floor.sum() > 10
    np.testing.assert_allclose(view.place[floor, 1], 0, atol=1e-9)
    np.testing.assert_allclose(view.normal[floor], np.tile([0, -1, 0], (floor.sum(), 1)), atol=1e-9)
    seen = room.origin + points_of_depth(view.depth, rays) @ room.rotation.T
    np.testing.assert_allclose(view.place, seen, atol=1e-9)
    planes, number = plane_numbers(room, view, fewest=10)
    assert len(planes) == number.max() + 1 and (np.bincount(number[number >= 0]) >= 10).all()
    # The camera's height is the distance of the floor.
    height = np.linalg.norm(planes[number[floor][0]])
    assert height == pytest.approx(-room.origin[1])


def test_rooms_are_functions_of_split_number_and_seed(rooms, monkeypatch):
    again = Rooms("train", 5).gather(np.array([4, 2]))
    for name, values in again.items():
        np.testing.assert_array_equal(values, rooms[name][[4, 2]])
    for other in (Rooms("test", 5), Rooms("train", 5, seed=1)):
        assert (other.gather(np.array([4]))["image"] != rooms["image"][4]).any()
    one = Rooms("train", 5)
    drawn = mock.Mock(side_effect=one._draw)
    monkeypatch.setattr(one, "_draw", drawn)
    for ids in ([1, 3, 1], [3]):
        one.gather(np.array(ids))
    assert [call.args for call in drawn.call_args_list] == [(1,), (3,)]  # once


def test_textures_of_a_split_occur_in_no_other():
    used = {split: set(numbers) for split, numbers in TEXTURES.items()}
    assert not used["train"] & (used["validation"] | used["test"])
    assert not used["validation"] & used["test"]
    rng = np.random.default_rng(0)
    for split, numbers in TEXTURES.items():
        for _ in range(5):
            assert set(draw_room(rng, numbers).texture) <= used[split]


def test_a_texture_is_a_function_of_its_number_and_fades_with_distance():
    place, near = np.random.default_rng(0).uniform(-2, 2, (400, 2)), np.full(400, 1e-3)
    for number in range(14):
        color = paint(number, place, near)
        np.testing.assert_array_equal(color, paint(number, place, near))
        assert color.min() >= 0 and color.max() <= 1
        far = paint(number, place, np.full(400, 10.0))
        assert far.std(axis=0).max() < 1e-6
        if number % 7:
            assert color.std(axis=0).max() > 0.005
    assert (paint(0, place[:1], near[:1]) != paint(7, place[:1], near[:1])).any()


def test_reader_takes_numbers_and_size_from_the_config(options):
    data = options("rooms", num_scenes=3, num_heldout_scenes=2, image_size=(16, 24))
    assert [len(open_source(data, s)) for s in ("train", "validation", "test")] == [3, 2, 2]
    batch = open_source(data, "test").gather(np.array([1]))
    assert batch["image"].shape == (1, 16, 24, 3) and batch["label"].tolist() == [-1]
