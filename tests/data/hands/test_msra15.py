"""MSRA's hands: text and binary files by an independent writer; axes, order, subjects, bad frames."""

import os
import struct

import numpy as np
import pytest

from nvc_jax.data import open_source
from nvc_jax.data.hands.msra15 import read_msra15
from tests import hands

CAMERA = (241.42, 241.42, 160, 120)
GESTURES = [*"123456789", "I", "IP", "L", "MP", "RP", "T", "TIP", "Y"]
FINGERS = ("index", "middle", "ring", "little", "thumb")
THEIRS = ("wrist", *(f"{finger} {part}" for finger in FINGERS for part in hands.PARTS))
MIDDLE = (-30.0, 15, 400)


def write_gesture(folder, count=1, middle=MIDDLE, drawn=(0,)):
    """Joints with y up and z backward; depth of the part of the image that has the hand."""
    folder.mkdir(parents=True)
    points = hands.joints(THEIRS, middle)
    row = " ".join(f"{x:f} {-y:f} {-z:f}" for x, y, z in points)
    (folder / "joint.txt").write_text(f"{count}\n" + f"{row}\n" * count)
    for frame in drawn:
        depth = np.zeros((240, 320))
        hands.paint(depth, points, CAMERA, points[:, 2])
        left, top, right, bottom = 50, 30, 250, 235
        content = struct.pack("<6i", 320, 240, left, top, right, bottom)
        for line in depth[top:bottom, left:right]:
            content += struct.pack(f"<{right - left}f", *line)
        (folder / f"{frame:06d}_depth.bin").write_bytes(content)
    for frame in set(range(count)) - set(drawn):
        other, path = folder / "other.bin", folder / f"{frame:06d}_depth.bin"
        if not other.exists():
            other.write_bytes(struct.pack("<6i", 320, 240, 7, 7, 7, 7))
        os.link(other, path)


def write_subject(root, subject, counts=None, middle=MIDDLE):
    for gesture in GESTURES:
        count = (counts or {}).get(gesture, 1)
        write_gesture(root / f"P{subject}" / gesture, count, middle, (0,) if gesture == "1" else ())


@pytest.fixture
def root(tmp_path):
    write_subject(tmp_path, 4, {"Y": 3})
    return tmp_path


def test_joints_in_our_axes_and_order(root, read):
    source = read("msra15", "test", test_subject=4, image_size=(120, 120))
    example = hands.first(source)
    hands.assert_shown(example, MIDDLE, np.ones(21, bool), rtol=1e-6)
    assert example["image"].shape == (120, 120, 1)
    assert np.abs(example["center"] - example["joints"].mean(axis=0)).max() < 15


def test_the_label_is_the_gesture(root, read):
    source = read("msra15", "test", test_subject=4)
    assert len(source) == 19 and list(source.class_names) == GESTURES
    assert source._label.tolist() == [*range(17), 16, 16]


def test_one_subject_is_left_out_and_faulty_frames_are(tmp_path, options):
    faulty = {2: {"TIP": 175, "MP": 361}, 3: {"T": 490}, 8: {"4": 169, "T": 490}}
    for subject in range(9):
        write_subject(tmp_path, subject, faulty.get(subject), (subject, 0, 400))
    total = 9 * 17 + 174 + 360 + 489 + 168 + 489
    data = {s: options("msra15", test_subject=s, validation_fraction=0.5) for s in range(9)}
    sizes = [len(open_source(options, "test")) for options in data.values()]
    more = {2: 174 + 360 - 3 - 16, 3: 489 - 2, 8: 168 - 1 + 489}
    assert sizes == [17 + more.get(subject, 0) for subject in range(9)]
    assert sum(sizes) == total - 22
    parts = [len(open_source(data[3], split)) for split in ("train", "validation")]
    assert sum(parts) == total - 22 - sizes[3]
    first = hands.first(read_msra15(data[0], "train"))
    assert first["joints"][0, 0] == pytest.approx(1 + hands.PLACES["wrist"][0])
    source = read_msra15(data[8], "test")
    frames = [int(item[0].name[:6]) for item in source._items if item[0].parent.name == "4"]
    assert frames == list(range(168))


HEADER = struct.pack("<6i", 320, 240, 0, 0, 2, 1)
NO_LIST = "joint.txt is no list of joints: expected the number of frames"
NO_DEPTH = "000000_depth.bin is no depth image of 320 x 240 pixels"
WRONG = [
    ("P4/1/joint.txt", None, "joint.txt is missing"),
    ("P4/9/joint.txt", b"", NO_LIST),
    ("P4/9/joint.txt", b"0\n", NO_LIST),
    ("P4/9/joint.txt", b"2\n" + b"1 " * 63, NO_LIST),
    ("P4/9/joint.txt", b"1\n" + b"1 " * 62, NO_LIST),
    ("P4/9/joint.txt", b"1\n" + b"a " * 63, NO_LIST),
    ("P4/1/000000_depth.bin", None, "000000_depth.bin is missing"),
    ("P4/1/000000_depth.bin", b"", NO_DEPTH),
    ("P4/Y/000002_depth.bin", None, "000002_depth.bin is missing"),  # told before it is asked for
    ("P4/Y/000001_depth.bin", b"", f"000001{NO_DEPTH[6:]}, it is empty, as 1 of 19 files are"),
    ("P4/1/000000_depth.bin", HEADER[:-1], NO_DEPTH),
    ("P4/1/000000_depth.bin", HEADER + b"0" * 7, NO_DEPTH),
    ("P4/1/000000_depth.bin", HEADER + b"0" * 12, NO_DEPTH),
    ("P4/1/000000_depth.bin", struct.pack("<6i", 320, 240, 319, 0, 321, 1) + b"0" * 8, NO_DEPTH),
    ("P4/1/000000_depth.bin", struct.pack("<6i", 320, 240, 2, 1, 0, 0) + b"0" * 8, NO_DEPTH),
    ("P4/1/000000_depth.bin", struct.pack("<6i", 240, 320, 0, 0, 2, 1) + b"0" * 8, NO_DEPTH),
]


def test_wrong_files_are_told(root, refuses):
    refuses(WRONG, "msra15", "test", test_subject=4)


def test_a_frame_without_depth_is_empty(root, read):
    path = root / "P4" / "1" / "000000_depth.bin"
    path.write_bytes(struct.pack("<6i", 320, 240, 7, 7, 7, 7))
    example = hands.first(read("msra15", "test", test_subject=4))
    assert not example["image"].any()
    np.testing.assert_allclose(
        example["center"], hands.joints(THEIRS, MIDDLE).mean(axis=0), rtol=1e-6
    )
