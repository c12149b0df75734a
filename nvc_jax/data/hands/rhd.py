"""The Rendered Hand Pose data set (RHD): synthetic color images of people, one hand of each read."""

from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.files import FileSource, check_frames, read_pixels
from nvc_jax.data.base.pickled_arrays import read_pickled_arrays
from nvc_jax.data.hands.crops import Hand, color_crop, crop_side

OPTIONS = (shared.DIR, shared.IMAGE_SIZE)

_FOLDERS = {"train": "training", "test": "evaluation"}
_MILLIMETERS = 1000.0
_FIRST_LEFT, _FIRST_RIGHT = 2, 18  # values of the mask: 0 background, 1 person
_FIELDS = {"xyz": (42, 3), "uv_vis": (42, 3), "K": (3, 3)}

_ORDER = np.array([0, *(4 * finger + i for finger in range(5) for i in (4, 3, 2, 1))])
"""Their joint for each of ours: theirs go from the tip of a finger to its base."""


def read_rhd(options: Any, split: str) -> FileSource:
    """Opens `training/` (41,258 images), or `evaluation/` (2,728) for the test split.

    Each of them holds `anno_<folder>.pickle` and `color/` and `mask/` with `%05d.png`. The pickle maps
    numbers to `xyz` (42 joints, m), `uv_vis` (their pixels, and 1 where one is visible) and `K`; nothing
    in it is run. Joints 0–20 are of the left hand, 21–41 of the right one; of each image the hand with
    more pixels in the mask (2–17 left, 18–33 right) is read, the right one if they are equal, as in the
    published evaluation. Left hands are mirrored. `depth/` is not read.

    Args:
      options: `config.data`; `image_size` is the side of the crops, see `crop_side`.
      split: `train` or `test`.

    Returns:
      The fields of `color_crop`, and no label. Images are read as they are asked for; the training
      annotation takes about a quarter of a minute.

    Raises:
      UserError: for a missing or damaged file, or a pickle of something else.

    Reference: Zimmermann and Brox, "Learning to Estimate 3D Hand Pose from Single RGB Images", ICCV
      2017, and the README of its data set and `BinaryDbReader.py` of its code, hand3d.
    """
    name = _FOLDERS[split]
    folder, side = Path(options.dir) / name, crop_side(options)
    path = folder / f"anno_{name}.pickle"
    annotations = read_pickled_arrays(path)
    if not isinstance(annotations, dict) or not annotations:
        raise _unexpected(path)
    if not all(_is_annotation(number, row) for number, row in annotations.items()):
        raise _unexpected(path)
    items: list[tuple[Any, ...]] = [
        (folder / "color" / f"{number:05d}.png", *(row[field] for field in _FIELDS), side)
        for number, row in sorted(annotations.items())
    ]
    check_frames(item[0] for item in items)
    check_frames(folder / "mask" / item[0].name for item in items)
    return FileSource(items, _read_hand, num_threads=options.num_threads)


def _is_annotation(number: Any, row: Any) -> bool:
    """Whether an entry of the pickle is that of an image."""
    return (
        isinstance(number, int)
        and 0 <= number < 10**9
        and isinstance(row, dict)
        and all(
            isinstance(row.get(name), np.ndarray) and row[name].shape == shape
            for name, shape in _FIELDS.items()
        )
    )


def _unexpected(path: Path) -> UserError:
    """The pickle holds something else."""
    return UserError(
        f"{path} is no annotation of RHD: expected numbers of images with "
        f"{', '.join(f'{name} {list(shape)}' for name, shape in _FIELDS.items())}; fetch it again."
    )


def _read_hand(
    path: Path, xyz: np.ndarray, uv_vis: np.ndarray, k: np.ndarray, side: int
) -> dict[str, np.ndarray]:
    """The hand of an image that has more pixels."""
    image = read_pixels(path, "RGB")
    mask = read_pixels(path.parent.parent / "mask" / path.name, "L", image.shape[:2])
    left = np.count_nonzero((mask >= _FIRST_LEFT) & (mask < _FIRST_RIGHT))
    is_left = bool(left > np.count_nonzero(mask >= _FIRST_RIGHT))
    rows = _ORDER if is_left else 21 + _ORDER
    camera = np.array([k[0, 0], k[1, 1], k[0, 2], k[1, 2]])
    hand = Hand(xyz[rows].astype(np.float64) * _MILLIMETERS, uv_vis[rows, 2] == 1, camera, is_left)
    return color_crop(image, hand, side, str(path))
