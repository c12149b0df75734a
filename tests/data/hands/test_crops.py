"""Crops of a cube around a hand: windows, areas, cameras, depth as bytes, mirroring."""

import numpy as np
import pytest
from scipy.io import savemat

from nvc_jax.data.base.files import read_pixels
from nvc_jax.data.hands.crops import (
    Hand,
    color_crop,
    crop_camera,
    crop_side,
    depth_crop,
    encode_depth,
    read_mat,
    surface_center,
)
from tests import hands
from tests.refusals import refused

CAMERA = np.array([6.0, 6.0, 2.5, 2.5])  # at 300 mm the cube is six pixels wide
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (6, 6, 3), dtype=np.uint8)


def hand_at(center, camera=CAMERA, is_left=False):
    offsets = RNG.normal(size=(21, 3))
    return Hand(
        np.array(center) + offsets - offsets.mean(axis=0), np.ones(21, bool), camera, is_left
    )


def test_a_window_of_the_same_size_is_a_copy():
    example = color_crop(IMAGE, hand_at([0, 0, 300]), 6, "x")
    np.testing.assert_array_equal(example["image"], IMAGE)
    np.testing.assert_allclose(example["camera"], CAMERA)
    np.testing.assert_allclose(example["center"], [0, 0, 300], atol=1e-4)
    assert {name: (v.shape, v.dtype.name) for name, v in example.items()} == {
        "image": ((6, 6, 3), "uint8"),
        "joints": ((21, 3), "float32"),
        "camera": ((4,), "float32"),
        "center": ((3,), "float32"),
        "visible": ((21,), "bool"),
    }


def test_smaller_crops_are_means_and_larger_ones_repeat():
    small = color_crop(IMAGE, hand_at([0, 0, 300]), 3, "x")["image"]
    mean = IMAGE.astype(float).reshape(3, 2, 3, 2, 3).mean(axis=(1, 3))
    assert np.abs(small - mean).max() <= 0.5
    large = color_crop(IMAGE, hand_at([0, 0, 300]), 12, "x")["image"]
    np.testing.assert_array_equal(large, IMAGE.repeat(2, 0).repeat(2, 1))


def test_what_lies_outside_of_the_image_is_black():
    shifted = color_crop(IMAGE, hand_at([100, -50, 300]), 6, "x")  # two pixels right, one up
    expected = np.zeros_like(IMAGE)
    expected[1:, :4] = IMAGE[:5, 2:]
    np.testing.assert_array_equal(shifted["image"], expected)
    away = color_crop(IMAGE, hand_at([9000, 0, 300]), 6, "x")
    assert not away["image"].any()


def test_area_means_equal_an_integral_of_the_image():
    """Any window: the mean over a pixel's area from the integral of a piecewise constant function."""
    image = RNG.integers(0, 256, (7, 11, 3)).astype(np.uint8)
    hand, side = hand_at([13, -21, 411], np.array([8.3, 5.7, 4.9, 3.1])), 5
    integral = image.astype(float)
    for axis, i in ((0, 1), (1, 0)):
        focal, middle = hand.camera[i], hand.camera[2 + i] + 0.5
        center = hand.joints.mean(axis=0)
        edges = np.linspace(-150, 150, side + 1)
        edges = focal * (center[i] + edges) / center[2] + middle
        total = np.cumsum(integral, axis=axis)
        total = np.insert(total, 0, 0, axis=axis)
        rows = np.moveaxis(total, axis, -1)
        at = np.stack(
            [np.interp(edges, np.arange(len(f)), f) for f in rows.reshape(-1, rows.shape[-1])]
        )
        at = np.moveaxis(at.reshape(*rows.shape[:-1], side + 1), -1, axis)
        integral = np.diff(at, axis=axis) / (edges[1] - edges[0])
    got = color_crop(image, hand, side, "x")["image"]
    assert np.abs(got - integral).max() <= 0.51


@pytest.mark.parametrize("is_left", [False, True])
def test_joints_are_seen_where_the_crops_camera_says(is_left):
    camera = np.array([400.0, 420.0, 170.0, 110.0])
    points = hands.joints(hands.OURS, [20, -10, 600])
    image = hands.paint(
        np.zeros((240, 320, 3), np.uint8), points, camera, hands.COLORS.values(), radius=4
    )
    example = color_crop(image, Hand(points, np.ones(21, bool), camera, is_left), 96, "x")
    np.testing.assert_array_equal(hands.seen(example), list(hands.COLORS.values()))
    side = -1 if is_left else 1
    np.testing.assert_allclose(example["joints"], points * [side, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(example["center"], points.mean(axis=0) * [side, 1, 1], rtol=1e-6)
    mirrored = crop_camera(points.mean(axis=0) * [side, 1, 1], 96)
    np.testing.assert_allclose(example["camera"], mirrored, rtol=1e-5)


def test_depth_crops_keep_edges_and_are_centered_on_the_surface():
    depth = np.zeros((6, 6))
    depth[1:3, 2:4] = 290  # a surface whose middle is not that of the joints
    depth[5, 5] = 900
    hand = Hand(np.array([[0, 0, 300.0]] * 21), np.ones(21, bool), CAMERA)
    example = depth_crop(depth, hand, 60, "x")
    np.testing.assert_allclose(example["center"], [0, -290 / 6, 290], rtol=1e-6)
    assert set(np.unique(example["image"])) == {0, 128}
    rows, columns = (np.flatnonzero(example["image"][..., 0].any(axis=i)) for i in (1, 0))
    # Two pixels at 290 mm are 96.7 of 300 mm: 19 or 20 of 60 around the middle.
    for found in (rows, columns):
        assert len(found) in (19, 20) and abs(found.mean() - 29.5) <= 0.5
    np.testing.assert_array_equal(example["joints"], hand.joints)


def test_depth_takes_the_pixel_under_the_middle_of_a_cropped_one():
    depth = np.tile([290.0, 300, 310, 310, 300, 290], (6, 1))  # symmetric: its mean is the axis
    hand = Hand(np.array([[0, 0, 300.0]] * 21), np.ones(21, bool), CAMERA)
    example = depth_crop(depth, hand, 3, "x")
    np.testing.assert_allclose(example["center"], [0, 0, 300], atol=1e-4)
    np.testing.assert_array_equal(example["image"][0, :, 0], encode_depth(depth[0, 1::2], 300.0))


def test_without_a_surface_the_center_is_that_of_the_joints():
    hand = Hand(np.array([[30, 0, 400.0]] * 21), np.ones(21, bool), CAMERA)
    for depth in (np.zeros((6, 6)), np.full((6, 6), 800.0)):
        example = depth_crop(depth, hand, 4, "x")
        np.testing.assert_array_equal(example["center"], [30, 0, 400])
        assert not example["image"].any()


def test_depth_as_bytes():
    depth = np.array([450, 449, 600, 601, 300, 299, 0, 525, -5])
    expected = [128, 129, 1, 0, 255, 0, 0, 65, 0]
    got = encode_depth(depth, 450.0)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(encode_depth(np.array([0, 1, -1]), 100.0), [0, 212, 0])


def test_surface_of_the_cube_only():
    depth = np.array([[0.0, 500, 500], [640, 660, 0]])
    camera = np.array([10.0, 10.0, 0, 0])
    # (50, 0), (100, 0), (0, 64); the fifth is too deep.
    got = surface_center(depth, camera, np.array([0, 0, 500.0]))
    np.testing.assert_allclose(got, [50, 64 / 3, 1640 / 3])
    got = surface_center(depth, camera, np.array([-101, 0, 500.0]))
    np.testing.assert_allclose(got, [0, 64, 640])


def test_joints_without_annotation_lie_at_the_center_and_are_not_visible():
    points = np.array([[0, 0, 300.0]] * 21)
    points[[3, 7], 0] = np.nan
    visible = np.ones(21, bool)
    visible[5] = False
    example = color_crop(IMAGE, Hand(points, visible, CAMERA), 6, "x")
    np.testing.assert_array_equal(example["joints"], [[0, 0, 300]] * 21)
    assert np.flatnonzero(~example["visible"]).tolist() == [3, 5, 7]


@pytest.mark.parametrize("value", [np.nan, 0.0, -400.0])
def test_no_hand_in_front_of_the_camera_is_told(value):
    hand = Hand(np.full((21, 3), value), np.ones(21, bool), CAMERA)
    refused(r"here\.png: no hand in front of the camera", color_crop, IMAGE, hand, 6, "here.png")


def test_side_of_crops(options):
    assert crop_side(options("rhd")) == 128
    assert crop_side(options("rhd", image_size=(64, 64))) == 64
    message = r"data\.image_size is .*: crops of hands are square"
    refused(message, crop_side, options("rhd", image_size=(64, 32)))


def test_wrong_images_and_matrices_are_told(tmp_path):
    from PIL import Image

    path = tmp_path / "a.png"
    refused(r"a\.png is missing", read_pixels, path, "L")
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    refused(r"a\.png cannot be read as an image", read_pixels, path, "L")
    Image.fromarray(IMAGE).save(path)
    np.testing.assert_array_equal(read_pixels(path, "RGB", (6, 6)), IMAGE)
    refused(r"a\.png has mode RGB .* expected mode I", read_pixels, path, "I")
    refused(r"width\) \(6, 6\), expected mode RGB and \(6, 7\)", read_pixels, path, "RGB", (6, 7))
    path = tmp_path / "a.mat"
    refused(r"a\.mat is missing", read_mat, path, "x", (None,))
    path.write_bytes(b"MATLAB 5.0")
    refused(r"a\.mat cannot be read as a MATLAB file", read_mat, path, "x", (None,))
    savemat(path, {"x": np.ones((2, 3)), "t": "text"})
    np.testing.assert_array_equal(read_mat(path, "x", (None, 3)), np.ones((2, 3)))
    for name, got in (("y", "None"), ("t", r"\(1,\)"), ("x", r"\(2, 3\)")):
        message = rf"a.mat: '{name}' has shape {got}, expected numbers \[any, 4\]"
        refused(message, read_mat, path, name, (None, 4))
