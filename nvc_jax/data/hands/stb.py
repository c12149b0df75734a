"""The Stereo Tracking Benchmark of hands (STB): color images of one left hand, from two cameras."""

from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.core.options import Option
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.files import FileSource, check_frames, read_pixels
from nvc_jax.data.hands.crops import Hand, color_crop, crop_side, read_mat
from nvc_jax.geometry.joints import CHAINS, WRIST

OPTIONS = (
    shared.DIR,
    shared.IMAGE_SIZE,
    Option("data.wrist_from_palm", True, "joint 0 moves from the center of the palm to the wrist"),
)

_BACKGROUNDS = {"train": range(2, 7), "test": range(1, 2)}
_MOTIONS = ("Counting", "Random")
_FRAMES, _SIZE = 1500, (480, 640)
_CAMERA = (822.79041, 822.79041, 318.47345, 250.31296)
_BASELINE = {"left": 0.0, "right": 120.054}  # mm, along x from the left camera
_RING_BASE = CHAINS["ring"][0]

_ORDER = np.array([0, *(4 * finger + i for finger in (4, 3, 2, 1, 0) for i in (1, 2, 3, 4))])
"""Their joint for each of ours: theirs go from the little finger to the thumb, each from its base."""


def read_stb(options: Any, split: str) -> FileSource:
    """Opens the stereo pairs of the Bumblebee camera: B1 tests (6,000 images), B2 to B6 train (30,000).

    `labels/<sequence>_BB.mat` has `handPara` (3 × 21 × 1,500 mm, in the left camera's axes), and
    `images/<sequence>/`, or `<sequence>/`, the images `BB_{left,right}_<i>.png`, i from 0. Both images
    of a pair are examples, each in its own camera's axes: the right camera lies 120.054 mm along x. The
    hand is a left one in all sequences, so all examples are mirrored. The Intel camera's color and depth
    (`SK_*`) are not read.

    Joint 0 is annotated at the palm's center. It is moved to where the wrist should be, `ring base +
    2·(palm − ring base)`, as in hand3d, unless `wrist_from_palm` is off. Other readers take the base of
    the middle finger; scores of joint 0 are comparable only under one convention.

    Args:
      options: `config.data`; `wrist_from_palm`, and `image_size`, the side of the crops, see `crop_side`.
      split: `train` or `test`.

    Returns:
      The fields of `color_crop`, all joints visible; the label is the motion, Counting or Random. Images
      are read as they are asked for.

    Raises:
      UserError: for a missing or damaged file.

    Reference: Zhang et al., "A Hand Pose Tracking Benchmark from Stereo Matching", ICIP 2017, and the
      README of its data set; hand3d's `BinaryDbReaderSTB.py` (left hands, wrist); the place of the right
      camera: `create_db.m` of Spurr et al., "Cross-modal Deep Variational Hand Pose Estimation", 2018.
    """
    root, side = Path(options.dir), crop_side(options)
    images = root / "images" if (root / "images").is_dir() else root
    items: list[tuple[Any, ...]] = []
    label: list[int] = []
    for background in _BACKGROUNDS[split]:
        for motion, name in enumerate(_MOTIONS):
            sequence = f"B{background}{name}"
            path = root / "labels" / f"{sequence}_BB.mat"
            stored = read_mat(path, "handPara", (3, 21, _FRAMES))
            joints = np.moveaxis(stored, 2, 0).swapaxes(1, 2)[:, _ORDER].astype(np.float64)
            if options.wrist_from_palm:
                joints[:, WRIST] = 2 * joints[:, WRIST] - joints[:, _RING_BASE]
            items += [
                (images / sequence / f"BB_{eye}_{frame}.png", joints[frame], offset, side)
                for frame in range(_FRAMES)
                for eye, offset in _BASELINE.items()
            ]
            label += [motion] * (len(items) - len(label))
    check_frames(item[0] for item in items)
    return FileSource(
        items, _read_hand, label=label, class_names=_MOTIONS, num_threads=options.num_threads
    )


def _read_hand(path: Path, joints: np.ndarray, offset: float, side: int) -> dict[str, np.ndarray]:
    """One of the two images of a pair."""
    image = read_pixels(path, "RGB", _SIZE)
    hand = Hand(joints - [offset, 0, 0], np.ones(21, bool), np.array(_CAMERA), is_left=True)
    return color_crop(image, hand, side, str(path))
