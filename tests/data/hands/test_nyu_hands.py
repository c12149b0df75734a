"""NYU's hands: matrices and images by an independent writer; bytes of depth, axes, numbers, points."""

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from tests import hands

CAMERA = (588.036865, 587.075073, 320, 240)
# The points that published scores count, by name; 32, the palm's center, is not one of our joints.
SCORED = {
    0: "little tip",
    3: "little middle",
    6: "ring tip",
    9: "ring middle",
    12: "middle tip",
    15: "middle middle",
    18: "index tip",
    21: "index middle",
    24: "thumb tip",
    25: "thumb last",
    27: "thumb middle",
}
MIDDLES = np.array([[-40.0, 30, 700], [25, -10, 900]])


def points(middle):
    """All 36 in our axes; what is not scored lies far away."""
    found = np.full((36, 3), [400.0, 400, 2000])
    for number, name in SCORED.items():
        found[number] = hands.joints([name], middle)[0]
    wrist = hands.joints(["wrist"], middle)[0]
    half = np.array([12, 4, -6])
    found[30], found[31] = wrist + half, wrist - half
    return found


def write_split(folder, middles):
    folder.mkdir()
    ours = np.stack([points(middle) for middle in middles])
    theirs = ours * [1, -1, 1]
    other = np.full_like(theirs, 1.0)  # of the two cameras at the side
    arrays = {"joint_xyz": np.stack([theirs, other, other]), "joint_names": "unread"}
    savemat(folder / "joint_data.mat", arrays)
    for number, middle in enumerate(middles, start=1):
        depth = np.full((480, 640), 3000, int)
        seen = hands.joints(hands.OURS, middle)
        hands.paint(depth, seen, CAMERA, seen[:, 2], radius=5)
        red = np.full_like(depth, 77)
        image = np.stack([red, depth // 256, depth % 256], axis=-1).astype(np.uint8)
        Image.fromarray(image).save(folder / f"depth_1_{number:07d}.png", compress_level=1)


@pytest.fixture
def root(tmp_path):
    write_split(tmp_path / "test", MIDDLES)
    return tmp_path


def test_scored_points_take_the_places_of_our_joints(root, read):
    source, names = read("nyu_hands", "test", image_size=(128, 128)), {"wrist", *SCORED.values()}
    for number, middle in enumerate(MIDDLES):
        example = hands.first(source, number)
        hands.assert_shown(example, middle, np.array([name in names for name in hands.OURS]))
        assert example["label"] == -1


def test_splits(root, sizes):
    write_split(root / "train", np.tile([0, 0, 800.0], (4, 1)))
    assert sizes("nyu_hands", validation_fraction=0.25) == [3, 1, 2]


MAT, IMAGE = "test/joint_data.mat", "test/depth_1_0000001.png"
WRONG = [
    (MAT, None, "joint_data.mat is missing"),
    (MAT, b"", "joint_data.mat cannot be read as a MATLAB file"),
    (MAT, hands.mat(joint_xyz=np.zeros((3, 2, 14, 3))), r"expected numbers \[any, any, 36, 3\]"),
    (IMAGE, None, "depth_1_0000001.png is missing"),
    (IMAGE, b"", "depth_1_0000001.png cannot be read as an image"),
    (IMAGE, Image.new("I;16", (640, 480)).save, "has mode I;16 .* expected mode RGB"),
]


def test_wrong_files_are_told(root, refuses):
    refuses(WRONG, "nyu_hands", "test")
