"""STB: matrices and stereo pairs by an independent writer; order, wrist, cameras and the left hand."""

import os

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from nvc_jax.data import open_source
from tests import hands
from tests.refusals import refused

CAMERA = (822.79041, 822.79041, 318.47345, 250.31296)
THEIRS = ("wrist", *(f"{finger} {p}" for finger in reversed(hands.FINGERS) for p in hands.PARTS))
MIDDLE = (-40.0, -20, 800)


def write_sequence(root, name, frames=(0,)):
    """A sequence in which the hand moves by a tenth of a millimeter from frame to frame."""
    (root / "labels").mkdir(exist_ok=True)
    folder = root / "images" / name
    folder.mkdir(parents=True)
    moved = np.zeros((1500, 1, 3))
    moved[:, 0, 0] = np.arange(1500) / 10
    points = hands.joints(THEIRS, MIDDLE) + moved  # frame, joint, axis
    savemat(root / "labels" / f"{name}_BB.mat", {"handPara": points.transpose(2, 1, 0)})
    for frame in frames:
        for eye, offset in (("left", 0), ("right", 120.054)):
            image = np.zeros((480, 640, 3), np.uint8)
            colors = [hands.COLORS[joint] for joint in THEIRS]
            hands.paint(image, points[frame] - [offset, 0, 0], CAMERA, colors, radius=6)
            Image.fromarray(image).save(folder / f"BB_{eye}_{frame}.png", compress_level=1)
    other = root / "other.png"
    other.write_bytes(b"not looked at")
    for number in set(range(1500)) - set(frames):
        for eye in ("left", "right"):
            os.link(other, folder / f"BB_{eye}_{number}.png")
    other.unlink()


@pytest.fixture
def root(tmp_path):
    write_sequence(tmp_path, "B1Counting", (0,))
    write_sequence(tmp_path, "B1Random", (1499,))
    return tmp_path


def test_both_images_of_a_pair_as_a_right_hand(root, read):
    source = read("stb", "test", image_size=(128, 128), wrist_from_palm=False)
    assert len(source) == 6000 and source.class_names == ("Counting", "Random")
    for number, moved in ((0, 0), (1, -120.054), (5998, 149.9), (5999, 149.9 - 120.054)):
        example = hands.first(source, number)
        expected = hands.joints(hands.OURS, np.add(MIDDLE, [moved, 0, 0]))
        np.testing.assert_allclose(example["joints"], expected * [-1, 1, 1], rtol=1e-5, atol=1e-3)
        np.testing.assert_array_equal(hands.seen(example), list(hands.COLORS.values()))
        assert example["visible"].all() and example["label"] == number // 3000


def test_the_wrist_lies_behind_the_palm_as_far_as_the_ring_finger_before_it(root, read):
    palm, wrist = (
        hands.first(read("stb", "test", wrist_from_palm=on))["joints"] for on in (False, True)
    )
    np.testing.assert_array_equal(palm[1:], wrist[1:])
    ring = hands.OURS.index("ring base")
    np.testing.assert_allclose(wrist[0] - palm[0], palm[0] - palm[ring], rtol=1e-4)
    assert np.abs(wrist[0] - palm[0]).max() > 50


def test_splits_and_folders(tmp_path, options, read):
    for background in range(2, 7):
        for motion in ("Counting", "Random"):
            write_sequence(tmp_path, f"B{background}{motion}", (0,) if background == 2 else ())
    data = options("stb", validation_fraction=0.1)
    assert [len(open_source(data, split)) for split in ("train", "validation")] == [27000, 3000]
    for folder in (tmp_path / "images").iterdir():
        folder.rename(tmp_path / folder.name)
    (tmp_path / "images").rmdir()
    assert len(read("stb", "train")) == 30000
    refused(r"B1Counting_BB\.mat is missing", open_source, data, "test")


MAT, IMAGE = "labels/B1Random_BB.mat", "images/B1Counting/BB_left_0.png"
WRONG = [
    (MAT, None, "B1Random_BB.mat is missing"),
    (MAT, b"<html>", "B1Random_BB.mat cannot be read as a MATLAB file"),
    (
        MAT,
        hands.mat(handPara=np.zeros((21, 3, 1500))),
        r"'handPara' has shape \(21, 3, 1500\), expected numbers \[3, 21, 1500\]",
    ),
    (MAT, hands.mat(handpara=np.zeros((3, 21, 1500))), "'handPara' has shape None"),
    (IMAGE, None, "BB_left_0.png is missing"),
    ("images/B1Random/BB_right_700.png", None, "BB_right_700.png is missing"),  # told at once
    (IMAGE, b"", "BB_left_0.png cannot be read as an image, it is empty, as 1 of 6000 files are"),
    (IMAGE, b"GIF", "BB_left_0.png cannot be read as an image"),
    (IMAGE, Image.new("RGB", (320, 240)).save, r"\(240, 320\), expected mode RGB and \(480, 640\)"),
]


def test_wrong_files_are_told(root, refuses):
    refuses(WRONG, "stb", "test")
