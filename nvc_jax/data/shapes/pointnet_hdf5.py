"""Point clouds in HDF5 files that PointNet's authors made: ModelNet40's shapes, S3DIS's rooms."""

from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.files import Shapes, read_hdf5, read_hdf5_files, read_lines
from nvc_jax.data.base.source import FieldSource
from nvc_jax.data.shapes.clouds import resample, whole_numbers

MODELNET_OPTIONS = (shared.DIR, shared.NUM_POINTS)


def read_modelnet_hdf5(options: Any, split: str) -> FieldSource:
    """Reads `ply_data_{train,test}*.h5` with the arrays `data` and `label`.

    Args:
      options: `config.data`; `num_points` is what every cloud is resampled to (2,048 are stored).
      split: `train` or `test`.

    Returns:
      `points`, float32 `[num_points, 3]`, in the unit ball as stored, and `label`; the classes have
      names if there is a file `shape_names.txt`.

    Raises:
      UserError: for missing or damaged files.

    Reference: Qi et al., "PointNet", CVPR 2017.
    """
    root, count = Path(options.dir), options.num_points
    names = root / "shape_names.txt"
    classes = read_lines(names) if names.is_file() else []
    points: list[np.ndarray] = []
    labels = []
    expected: Shapes = {"data": ("n", "p", 3), "label": ("n", 1)}
    for path, arrays in read_hdf5_files(root, f"ply_data_{split}*", expected):
        label = arrays["label"][:, 0]
        if classes and len(label) and label.max() >= len(classes):
            raise UserError(
                f"{path} has the label {label.max():g}, but {names} has {len(classes)} names, of labels from "
                "0: complete the names, or remove that file."
            )
        labels.append(whole_numbers(label, 0, len(classes) or 40, str(path)))
        for i, cloud in enumerate(arrays["data"]):
            rng = np.random.default_rng(len(points))
            ids = resample(cloud, count, rng, f"{path}, shape {i}")
            points.append(cloud[ids].astype(np.float32))
    fields = {"points": np.array(points), "label": np.concatenate(labels)}
    return FieldSource(fields, str(root), classes)


S3DIS_OPTIONS = (
    shared.DIR,
    shared.NUM_POINTS,
    Option("data.test_area", 5, "of the six areas", (1, 2, 3, 4, 5, 6)),
)

POINT_CLASSES = (
    "ceiling", "floor", "wall", "beam", "column", "window", "door",
    "table", "chair", "sofa", "bookcase", "board", "clutter",
)  # fmt: skip
"""Name of every `point_label`."""


def read_s3dis(options: Any, split: str) -> FieldSource:
    """Reads blocks of rooms from the files that `all_files.txt` lists, in its order.

    Args:
      options: `config.data`; the test split is the area `test_area`, 1 to 6, and training has the
        others, by the rooms' names in `room_filelist.txt`, one line a block. `num_points` is what
        a block is resampled to; 4,096 are stored, and published scores count them all.
      split: `train` or `test`.

    Returns:
      `points`, float32 `[num_points, 9]` (x, y, z in meters, from the block's center in x and y;
      red, green, blue; place in the room; these six from 0 to 1), `point_label`, uint8 `[num_points]`,
      and no `label`. They are held in memory: 3.3 GiB for all areas with 4,096 points.

    Raises:
      UserError: for a missing or damaged file, a list of rooms that does not fit, or an area
        without blocks.

    Reference: Armeni et al., "3D Semantic Parsing of Large-Scale Indoor Spaces", CVPR 2016; the
    blocks: Qi et al., "PointNet", CVPR 2017.
    """
    root, count, area = Path(options.dir), options.num_points, options.test_area
    rooms = _names(root / "room_filelist.txt")
    tested = np.array([room.startswith(f"Area_{area}_") for room in rooms])
    if tested.all() or not tested.any():
        raise UserError(
            f"data.test_area is {area}: {tested.sum()} of {len(rooms)} blocks in "
            f"{root / 'room_filelist.txt'} are of that area, expected some and not all; use 1 to 6."
        )
    chosen = tested if split == "test" else ~tested
    points = np.empty((chosen.sum(), count, 9), np.float32)
    part = np.empty((chosen.sum(), count), np.uint8)
    start = row = 0
    for name in _names(root / "all_files.txt"):
        path = root / Path(name).name  # the list has a folder's name before it
        arrays = read_hdf5(path, {"data": ("n", "p", 9), "label": ("n", "p")})
        label = whole_numbers(arrays["label"], 0, len(POINT_CLASSES), str(path))
        for i in np.flatnonzero(chosen[start : start + len(label)]):
            values, rng = arrays["data"][i], np.random.default_rng(start + i)
            ids = resample(values, count, rng, f"{path}, block {i}")
            points[row], part[row] = values[ids], label[i][ids]
            row += 1
        start += len(label)
    if start != len(rooms):
        raise UserError(
            f"{root / 'room_filelist.txt'} has {len(rooms)} lines, but the files that all_files.txt "
            f"lists have {start} blocks: expected one line a block; fetch them again."
        )
    fields = {"points": points, "point_label": part}
    return FieldSource(fields, str(root), point_class_names=POINT_CLASSES)


def _names(path: Path) -> list[str]:
    """The lines of a list, which is not empty."""
    names = read_lines(path)
    if not names:
        raise UserError(f"The file {path} is empty: expected one name a line; fetch it again.")
    return names
