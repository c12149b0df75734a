"""ICVL's hand posture data set: depth images with 16 annotated joints."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.data.base import options as shared
from nvc_jax.data.base.files import FileSource, read_lines, read_pixels, told
from nvc_jax.data.base.tree import inside
from nvc_jax.data.hands.crops import depth_source

OPTIONS = (shared.DIR, shared.IMAGE_SIZE)

_FILES = {
    "train": ("Training", ("labels.txt",)),
    "test": ("Testing", ("test_seq_1.txt", "test_seq_2.txt")),
}
_CAMERA = (241.42, 241.42, 160.0, 120.0)
_SIZE = (240, 320)
_PLACES = [0, 2, 3, 4, *(4 * finger + i for finger in range(1, 5) for i in (1, 2, 4))]
"""Our joint for each of theirs."""


def read_icvl(options: Any, split: str) -> FileSource:
    """Opens `Training/` (331,006 frames, most of them rotated copies) or `Testing/` (1,596).

    `labels.txt`, or `test_seq_1.txt` and `test_seq_2.txt` one after the other, have lines of a path in
    `Depth/` and 16 × (u, v, d): pixels and mm. The images hold depth in mm with 16 bits.

    The 16 joints are the palm's center, then root, middle and tip of thumb, index, middle, ring and
    little finger. The palm's center takes the wrist's place, joint 0. Of a finger these are taken for the
    base, the middle joint and the tip, of the thumb for 2, 3 and 4; what the data set's authors call
    them could not be confirmed. The other five joints are not visible, lie at `center` and count nowhere.

    u and v become mm by a focal length of 241.42, which most readers take; some evaluations take 240.99
    and 240.96, with which x and y are 0.2 % larger. That the hands are right ones is what DeepPrior++
    says, and could not be confirmed otherwise.

    Args:
      options: `config.data`; `image_size` is the side of the crops, see `crop_side`.
      split: `train` or `test`. Validation examples are cut from the training frames at random, so that
        rotated copies of them stay in training.

    Returns:
      The fields of `depth_crop`, and no label. Depth is read as it is asked for.

    Raises:
      UserError: for a missing or damaged file.

    Reference: Tang et al., "Latent Regression Forest", CVPR 2014; Oberweger and Lepetit, "DeepPrior++",
      ICCV workshops 2017, `importers.py`; the names of the joints: public readers of the data set.
    """
    name, lists = _FILES[split]
    folder = Path(options.dir) / name
    frames = [
        (inside(folder / "Depth", name, folder / listing), joints)
        for listing in lists
        for name, joints in _annotations(folder / listing)
    ]
    return depth_source(options, frames, partial(read_pixels, mode="I", size=_SIZE), _CAMERA)


def _annotations(path: Path) -> list[tuple[str, np.ndarray]]:
    """(file, joints `[21, 3]` in mm) of all lines."""
    lines = [line.split() for line in read_lines(path)]
    with told(
        f"{path} is no list of joints: expected lines of a file's name and 48 numbers; fetch it again."
    ):
        uvd = np.array([line[1:] for line in lines], np.float64).reshape(len(lines), 16, 3)
        if not lines:
            raise ValueError
    fx, fy, cx, cy = _CAMERA
    u, v, d = np.moveaxis(uvd, -1, 0)
    joints = np.full((len(lines), 21, 3), np.nan, np.float32)
    joints[:, _PLACES] = np.stack([(u - cx) / fx * d, (v - cy) / fy * d, d], axis=-1)
    return [(line[0], row) for line, row in zip(lines, joints, strict=True)]
