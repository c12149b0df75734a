"""ICVL: lists and images by an independent writer; pixels to mm, joints that are missing."""

import numpy as np
import pytest
from PIL import Image

from tests import hands

CAMERA = (241.42, 241.42, 160, 120)
NAMES = (
    "wrist",  # in its place, the palm's center
    *("thumb middle", "thumb last", "thumb tip"),
    *(f"{f} {p}" for f in hands.FINGERS[1:] for p in ("base", "middle", "tip")),
)
MIDDLE = (20.0, -35, 380)


def write_list(folder, name, paths, middle=MIDDLE):
    """A list of images of one hand each, which moves to the right by 10 mm a frame."""
    lines = []
    for number, path in enumerate(paths):
        points = hands.joints(NAMES, np.add(middle, [10 * number, 0, 0]))
        u, v = hands.project(points, CAMERA)
        numbers = np.stack([u, v, points[:, 2]], axis=-1).reshape(-1)
        lines.append(" ".join([path, *(f"{value:.5f}" for value in numbers)]) + " \n")
        depth = np.full((240, 320), 32001, np.uint16)
        hands.paint(depth, points, CAMERA, points[:, 2])
        file = folder / "Depth" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(depth).save(file)
    (folder / name).write_text("".join(lines) + "\n")


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "Testing"
    write_list(folder, "test_seq_1.txt", [f"test_seq_1/image_{i:04d}.png" for i in range(2)])
    write_list(folder, "test_seq_2.txt", ["test_seq_2/image_0000.png"], (0, 0, 500))
    return tmp_path


def test_joints_in_mm_in_our_order(root, read):
    there = np.array([name in NAMES for name in hands.OURS])
    missing = ["thumb base", *(f"{finger} last" for finger in hands.FINGERS[1:])]
    assert [hands.OURS[i] for i in np.flatnonzero(~there)] == missing
    source = read("icvl", "test", image_size=(120, 120))
    assert len(source) == 3
    for number, middle in enumerate([MIDDLE, (30, -35, 380), (0, 0, 500)]):
        example = hands.first(source, number)
        hands.assert_shown(example, middle, there, rtol=1e-4, atol=1e-3)
        assert example["label"] == -1


def test_splits(root, sizes):
    paths = [*(f"201403121135/image_{i:04d}.png" for i in range(3)), "22-5/a/image_0000.png"]
    write_list(root / "Training", "labels.txt", paths)
    assert sizes("icvl", validation_fraction=0.25) == [3, 1, 3]


NO_LIST = "test_seq_2.txt is no list of joints: expected lines of a file's name and 48 numbers"
IMAGE = "Testing/Depth/test_seq_1/image_0000.png"
WRONG = [
    ("Testing/test_seq_2.txt", None, "test_seq_2.txt is missing"),
    ("Testing/test_seq_2.txt", b"", NO_LIST),
    ("Testing/test_seq_2.txt", b"a.png " + b"1 " * 47, NO_LIST),
    ("Testing/test_seq_2.txt", b"a.png " + b"x " * 48, NO_LIST),
    ("Testing/test_seq_2.txt", b"../a.png " + b"1 " * 48, "names '../a.png': files lie below"),
    (IMAGE, None, "image_0000.png is missing"),
    (IMAGE, b"", "image_0000.png cannot be read as an image, it is empty"),
    (IMAGE, Image.new("L", (320, 240)).save, "has mode L .* expected mode I"),
]


def test_wrong_files_are_told(root, refuses):
    refuses(WRONG, "icvl", "test")
