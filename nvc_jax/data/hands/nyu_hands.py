"""NYU's hand pose data set: depth images of a hand, with the joints that published scores count."""

from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.data.base import options as shared
from nvc_jax.data.base.files import FileSource, read_pixels
from nvc_jax.data.hands.crops import depth_source, read_mat
from nvc_jax.geometry.joints import WRIST

OPTIONS = (shared.DIR, shared.IMAGE_SIZE)

_CAMERA = (588.036865, 587.075073, 320.0, 240.0)
_SIZE = (480, 640)
_SIDES_OF_WRIST = (30, 31)

_JOINTS = {
    4: 24,  # thumb: tip
    3: 25,
    2: 27,
    8: 18,  # index finger: tip, middle joint
    6: 21,
    12: 12,
    10: 15,
    16: 6,
    14: 9,
    20: 0,
    18: 3,
}
"""Their joint for those of ours that published scores count, but for the wrist."""


def read_nyu_hands(options: Any, split: str) -> FileSource:
    """Opens `train/` (72,757 frames) or `test/` (8,252) with the frontal camera's images.

    Each of them holds `joint_data.mat` with `joint_xyz` (cameras × N × 36 × 3, mm, y up) and
    `depth_1_%07d.png`, from 1, whose green and blue channels are the high and the low byte of the depth
    in mm. Cameras 2 and 3, color and rendered depth are not read.

    Published scores count 14 of the 36 points: 0, 3, 6, 9, 12, 15, 18, 21, 24, 25, 27, 30, 31, 32. Here
    the tips and middle joints of four fingers and the thumb's last three joints take their places; the
    wrist is the mean of 30 and 31, its two sides; 32, the palm's center, has no place. These 12 joints
    are visible. The bases and last joints of four fingers and the thumb's base are not, lie at `center`
    and count nowhere. So a score over visible joints is close to published ones, but not the same.
    That the hands are right ones is what DeepPrior++ says, and could not be confirmed otherwise.

    Args:
      options: `config.data`; `image_size` is the side of the crops, see `crop_side`.
      split: `train` or `test`.

    Returns:
      The fields of `depth_crop`, and no label. Depth is read as it is asked for.

    Raises:
      UserError: for a missing or damaged file.

    Reference: Tompson et al., "Real-Time Continuous Pose Recovery of Human Hands Using Convolutional
      Networks", TOG 2014, the camera: `convert_xyz_to_uvd.m` of its data set; Oberweger and Lepetit,
      "DeepPrior++", ICCV workshops 2017, `importers.py` (the 14 points).
    """
    folder = Path(options.dir) / split
    stored = read_mat(folder / "joint_data.mat", "joint_xyz", (None, None, 36, 3))[0]
    theirs = stored.astype(np.float64) * [1, -1, 1]
    joints = np.full((len(theirs), 21, 3), np.nan)
    joints[:, WRIST] = theirs[:, _SIDES_OF_WRIST].mean(axis=1)
    joints[:, list(_JOINTS)] = theirs[:, list(_JOINTS.values())]
    frames = ((folder / f"depth_1_{i + 1:07d}.png", row) for i, row in enumerate(joints))
    return depth_source(options, frames, _read_depth, _CAMERA)


def _read_depth(path: Path) -> np.ndarray:
    """Depth in mm."""
    _, high, low = np.moveaxis(read_pixels(path, "RGB", _SIZE).astype(np.int32), -1, 0)
    return high << 8 | low
