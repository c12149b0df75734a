"""MSRA's hand gesture data set of 2015: depth images of nine people's right hands, 17 gestures each."""

from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.files import FileSource, read_content, read_lines, told
from nvc_jax.data.hands.crops import depth_source

OPTIONS = (
    shared.DIR,
    shared.IMAGE_SIZE,
    Option("data.test_subject", 0, "of nine persons", tuple(range(9))),
)

_SUBJECTS = 9
_GESTURES = (
    "1", "2", "3", "4", "5", "6", "7", "8", "9", "I", "IP", "L", "MP", "RP", "T", "TIP", "Y",
)  # fmt: skip
_CAMERA = (241.42, 241.42, 160.0, 120.0)
_HEIGHT, _WIDTH = 240, 320
_HEADER = 6
_NO_IMAGE = f"is no depth image of {_WIDTH} x {_HEIGHT} pixels"

_ORDER = np.array([0, *range(17, 21), *range(1, 17)])
"""Their joint for each of ours: their thumb comes last."""

_FAULTY = {
    (2, "TIP"): {172, 173, 174},
    (2, "MP"): {173, 174, 175, *range(345, 355), 356, 359, 360},
    (3, "T"): {120, 489},
    (8, "4"): {168},
}
"""Frames to leave out, by subject and gesture, as listed in DeepPrior++'s importer."""


def read_msra15(options: Any, split: str) -> FileSource:
    """Opens the frames of one subject, which tests, or of the eight others, which train.

    `P<0–8>/<gesture>/` has `joint.txt` (the number of frames, then 63 numbers a line: 21 joints in mm)
    and `%06d_depth.bin`: six int32 (width, height, left, top, right, bottom) and the float32 depth, mm,
    of that part of the image. Their y points up and z backward, so that both change their sign. 22
    frames, with a wrong depth, are left out. Published figures are the mean over all nine subjects left
    out, one run for each `test_subject`; their number of frames is 76,375 in some papers, and whether
    these are the same frames could not be confirmed.

    Args:
      options: `config.data`; `test_subject`, 0 to 8, and `image_size`, the side of the crops, see
        `crop_side`.
      split: `train` or `test`.

    Returns:
      The fields of `depth_crop`, all joints visible; the label is the gesture. Depth is read as it is
      asked for.

    Raises:
      UserError: for a missing or damaged file.

    Reference: Sun et al., "Cascaded Hand Pose Regression", CVPR 2015, and the README of its data set;
      Oberweger and Lepetit, "DeepPrior++", ICCV workshops 2017, `importers.py` (faulty frames).
    """
    root, tested = Path(options.dir), options.test_subject
    frames: list[tuple[Path, np.ndarray]] = []
    label: list[int] = []
    for subject in range(_SUBJECTS):
        if (subject == tested) != (split == "test"):
            continue
        for number, gesture in enumerate(_GESTURES):
            folder = root / f"P{subject}" / gesture
            faulty = _FAULTY.get((subject, gesture), set())
            frames += [
                (folder / f"{frame:06d}_depth.bin", joints)
                for frame, joints in enumerate(_joints(folder / "joint.txt"))
                if frame not in faulty
            ]
            label += [number] * (len(frames) - len(label))
    return depth_source(
        options, frames, _read_depth, _CAMERA, label=label, class_names=_GESTURES, wrong=_NO_IMAGE
    )


def _joints(path: Path) -> np.ndarray:
    """The joints of all frames in our axes and order, `[N, 21, 3]`, mm."""
    lines = read_lines(path)
    with told(
        f"{path} is no list of joints: expected the number of frames, then a line of 63 numbers for "
        "each; fetch it again."
    ):
        numbers = np.array([line.split() for line in lines[1:]], np.float64)
        joints = numbers.reshape(int(lines[0]), 21, 3)
        if not len(joints):
            raise ValueError
    return joints[:, _ORDER] * [1, -1, -1]


def _read_depth(path: Path) -> np.ndarray:
    """The whole depth image, mm; 0 where the file has none."""
    content = read_content(path)
    start = 4 * _HEADER
    header = np.frombuffer(content[: len(content) // 4 * 4], "<i4")[:_HEADER].tolist()
    width, height, left, top, right, bottom = header if len(header) == _HEADER else [0] * _HEADER
    if (
        (width, height) != (_WIDTH, _HEIGHT)
        or not (0 <= left <= right <= width and 0 <= top <= bottom <= height)
        or len(content) != start + 4 * (right - left) * (bottom - top)
    ):
        raise UserError(
            f"{path} {_NO_IMAGE}: {len(content)} bytes with the "
            f"header {header}, expected a part of it and all its pixels; fetch it again."
        )
    depth = np.zeros((height, width), np.float32)
    patch = np.frombuffer(content, "<f4", offset=start)
    depth[top:bottom, left:right] = patch.reshape(bottom - top, right - left)
    return depth
