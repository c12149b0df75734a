"""RHD: pickles and images by an independent writer; sides, orders, units and the dominant hand."""

import pickle

import numpy as np
import pytest
from PIL import Image

from tests import hands

K = np.array([[150.0, 0, 70], [0, 155, 60], [0, 0, 1]])
CAMERA = (150.0, 155.0, 70.0, 60.0)
# As the data set's README lists one hand: wrist, then each finger from its tip.
THEIRS = ("wrist", *(f"{f} {p}" for f in hands.FINGERS for p in reversed(hands.PARTS)))
MIDDLE = {"left": (-60.0, 10, 500), "right": (70.0, -15, 560)}
HIDDEN = ("index tip", "little base")


def write_frame(folder, number, left_pixels, right_pixels, painted):
    """One image whose `painted` hand is drawn; returns its annotation."""
    image, mask = np.zeros((110, 140, 3), np.uint8), np.zeros(110 * 140, np.uint8)
    mask[:1000] = 1  # the person
    mask[1000 : 1000 + left_pixels] = np.resize([2, 17], left_pixels)
    mask[5000 : 5000 + right_pixels] = np.resize([18, 33], right_pixels)
    points = np.concatenate([hands.joints(THEIRS, MIDDLE[side]) for side in ("left", "right")])
    at = {"left": points[:21], "right": points[21:]}[painted]
    hands.paint(image, at, CAMERA, [hands.COLORS[name] for name in THEIRS], radius=2)
    for name, values in (("color", image), ("mask", mask.reshape(110, 140))):
        (folder / name).mkdir(exist_ok=True, parents=True)
        Image.fromarray(values).save(folder / name / f"{number:05d}.png")
    visible = np.array([name not in HIDDEN for name in THEIRS * 2], float)
    uv = np.array(hands.project(points, CAMERA)).T
    return {
        "xyz": points / 1000,
        "uv_vis": np.column_stack([uv, visible]),
        "K": K.astype(np.float32),
    }


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "training"
    training = {
        1: write_frame(folder, 1, 40, 41, "right"),
        0: write_frame(folder, 0, 41, 40, "left"),
        10: write_frame(folder, 10, 40, 40, "right"),
        2: write_frame(folder, 2, 0, 40, "right"),
    }
    folder = tmp_path / "evaluation"
    evaluation = {0: write_frame(folder, 0, 9, 0, "left")}
    for name, rows in (("training", training), ("evaluation", evaluation)):
        (tmp_path / name / f"anno_{name}.pickle").write_bytes(pickle.dumps(rows, 2))
    return tmp_path


def test_the_dominant_hand_in_our_order_in_mm_as_a_right_one(root, read):
    source = read("rhd", "train", image_size=(96, 96))
    for number, side in enumerate(("left", "right", "right", "right")):
        example = hands.first(source, number)
        sign = [-1, 1, 1] if side == "left" else [1, 1, 1]
        expected = hands.joints(hands.OURS, MIDDLE[side]) * sign
        np.testing.assert_allclose(example["joints"], expected, rtol=1e-5)
        np.testing.assert_array_equal(hands.seen(example), list(hands.COLORS.values()))
        assert {hands.OURS[i] for i in np.flatnonzero(~example["visible"])} == set(HIDDEN)
        assert example["image"].shape == (96, 96, 3) and example["label"] == -1


def test_splits(root, sizes, read):
    assert sizes("rhd", validation_fraction=0.25) == [3, 1, 1]
    test = hands.first(read("rhd", "test", image_size=(16, 16)))
    middle = hands.joints(THEIRS, MIDDLE["left"]).mean(axis=0)
    np.testing.assert_allclose(test["center"], middle * [-1, 1, 1], rtol=1e-5)


ANNOTATION = "evaluation/anno_evaluation.pickle"
WRONG = [
    (ANNOTATION, None, "anno_evaluation.pickle is missing"),
    (ANNOTATION, b"cos\nsystem\n(S'true'\ntR.", "asks for os.system"),
    (ANNOTATION, pickle.dumps([]), "is no annotation of RHD: expected numbers"),
    (ANNOTATION, pickle.dumps({}), "is no annotation of RHD"),
    (ANNOTATION, pickle.dumps({"a": {}}), "is no annotation of RHD"),
    (ANNOTATION, pickle.dumps({0: {"xyz": np.zeros((21, 3))}}), "is no annotation"),
    ("evaluation/color/00000.png", None, "00000.png is missing"),
    ("evaluation/color/00000.png", b"", "00000.png cannot be read as an image"),
    ("evaluation/mask/00000.png", b"\x89PNG", "00000.png cannot be read as an image"),
]


def test_wrong_files_are_told(root, refuses):
    refuses(WRONG, "rhd", "test")
