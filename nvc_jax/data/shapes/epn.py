"""The distance fields of 3D-EPN: partial scans of ShapeNet objects, and the objects."""

import math
import struct
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.files import (
    FileSource,
    Shapes,
    existing_folder,
    open_hdf5,
    read_content,
    read_lines,
)
from nvc_jax.data.base.source import Source
from nvc_jax.data.base.tree import files_matching, folders_in

OPTIONS = (shared.DIR,)

SURFACE_DISTANCE = 1.0
"""Voxels at most so far from the surface, in voxels, are occupied, as in 3D-EPN's classifier."""

_SDF, _DF = "shapenet_dim32_sdf", "shapenet_dim32_df"
_MODELS, _H5_FILES = "completion_{}.txt", "{}_shape_voxel_data_list.txt"
_H5_SHAPES: Shapes = {"data": ("N", 2, "Z", "Y", "X"), "target": ("N", 1, "Z", "Y", "X")}


def read_epn(options: Any, split: str) -> Source:
    """Reads pairs of a partial scan and its object.

    `dir` holds either of the two published forms:

    - `shapenet_dim32_sdf/<class>/<id>__k__.sdf` with `shapenet_dim32_df/<class>/<id>__0__.df`, and
      the lists `completion_train.txt` and `completion_test.txt` of models, a line
      `…\\<class>\\<id>` each;
    - `.h5` files with the lists `train_shape_voxel_data_list.txt` and `test_…` of their names:
      `data` `[N, 2, Z, Y, X]` (signed distance, −inf where not seen; 1 known, −1 unknown) and
      `target` `[N, 1, Z, Y, X]` (distance). They have no labels.

    A voxel is occupied where |distance| ≤ `SURFACE_DISTANCE`. The scan knows voxels with a signed
    distance above −1; others are 0 in `partial`.

    Args:
      options: `config.data`; `dir` is the folder.
      split: `train` or `test`.

    Returns:
      `partial` and `complete`, uint8 `[X, Y, Z]` of 0 and 1, read as they are asked for.

    Raises:
      UserError: for missing or damaged files, or a scan without its object.

    Reference: A. Dai, C. R. Qi, M. Nießner, Shape Completion using 3D-Encoder-Predictor CNNs and
    Shape Synthesis (CVPR 2017). Checked in the authors' code: names, lists, `.sdf`, what is known
    and occupied, and the fields of `.h5`. Checked in others' loaders only: the header of `.df`.
    Inferred: that x runs fastest in `.h5` too.
    """
    folder = existing_folder(Path(options.dir))
    if (folder / _SDF).is_dir():
        items, label, class_names = _scans(folder, split)
        read: Any = _read_scan
    elif (folder / _H5_FILES.format(split)).is_file():
        items, class_names, read = _h5_rows(folder, split), [], _read_h5
        label = [-1] * len(items)
    else:
        raise UserError(
            f"data.dir = {str(folder)!r}: expected the folder {_SDF}, or the list "
            f"{_H5_FILES.format(split)}; put 3D-EPN's files there."
        )
    if not items:
        raise UserError(f"data.dir = {str(folder)!r}: there is no scan of the {split} split in it.")
    return FileSource(
        items, read, label=label, class_names=class_names, num_threads=options.num_threads
    )


def parse_distances(data: bytes, where: object) -> np.ndarray:
    """Decodes a `.sdf` or `.df` file.

    Three uint64 X, Y, Z are followed by X Y Z float32; all are little-endian. Voxel (x, y, z) has
    the position (z Y + y) X + x: x runs fastest.

    Args:
      data: content of the file.
      where: what the file is called in messages.

    Returns:
      float32 `[X, Y, Z]`, distances in voxels; −inf where nothing was seen.

    Raises:
      UserError: for content of another length than the header tells.
    """
    if len(data) < 24:
        raise UserError(f"{where} is cut short: its header is incomplete; fetch it again.")
    x, y, z = struct.unpack_from("<3Q", data)
    expected = 24 + 4 * math.prod((x, y, z))
    if len(data) != expected or expected == 24:
        raise UserError(
            f"{where} is cut short, too long or no distance field: expected {expected} bytes for "
            f"the size {(x, y, z)}, got {len(data)}."
        )
    values = np.frombuffer(data, "<f4", offset=24).astype(np.float32)
    return np.ascontiguousarray(values.reshape(z, y, x).T)


def _scans(folder: Path, split: str) -> tuple[list[Any], list[int], list[str]]:
    """(Files, labels, class names) of the models in the list of a split."""
    # The lists have backslashes; a Windows path takes both kinds.
    lines = read_lines(folder / _MODELS.format(split))
    models = {PureWindowsPath(line).parts[-2:] for line in lines}
    classes = folders_in(folder / _SDF)
    items, label = [], []
    for number, scans in enumerate(classes):
        targets = folder / _DF / scans.name
        found = {path.name.lower(): path for path in files_matching(targets, "*", ".df")}
        for scan in files_matching(scans, "*", ".sdf"):
            model = scan.name.split("__")[0]
            if (scans.name, model) not in models:
                continue
            target = f"{model}__0__.df"
            if target.lower() not in found:
                raise UserError(f"{scan} has no object: {targets / target} is missing.")
            items.append((scan, found[target.lower()]))
            label.append(number)
    return items, label, [path.name for path in classes]


def _read_scan(scan: Path, target: Path) -> dict[str, np.ndarray]:
    """One example of a `.sdf` and a `.df` file."""
    signed = parse_distances(read_content(scan), scan)
    distance = parse_distances(read_content(target), target)
    return _occupancy(signed, signed > -1, distance)


def _occupancy(signed: np.ndarray, known: np.ndarray, distance: np.ndarray) -> dict[str, Any]:
    """The pair of volumes of a pair of distance fields."""
    seen = known & (np.abs(signed) <= SURFACE_DISTANCE)
    occupied = np.abs(distance) <= SURFACE_DISTANCE
    return {"partial": seen.astype(np.uint8), "complete": occupied.astype(np.uint8)}


def _h5_rows(folder: Path, split: str) -> list[tuple[Path, int]]:
    """(File, row) of every example of a split; the files lie beside the list."""
    rows = []
    for line in read_lines(folder / _H5_FILES.format(split)):
        path = folder / PureWindowsPath(line).name
        remedy = "scans for testing alone have no 'target' and can be no pairs, leave them out of the list"
        with open_hdf5(path, _H5_SHAPES, remedy) as data:
            rows += [(path, row) for row in range(len(data["data"]))]
    return rows


def _read_h5(path: Path, row: int) -> dict[str, np.ndarray]:
    """One example of an `.h5` file."""
    with open_hdf5(path, _H5_SHAPES) as sets:
        data, target = sets["data"][row], sets["target"][row]
    return _occupancy(data[0].T, data[1].T > 0, target[0].T)
