"""Shapes as point clouds: ModelNet40's HDF5 files that PointNet's authors made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.data.base import options as shared
from nvc_jax.data.base.files import Shapes, read_hdf5_files, read_lines
from nvc_jax.data.base.source import FieldSource
from nvc_jax.data.shapes.clouds import resample, whole_numbers

OPTIONS = (
    shared.DIR,
    shared.NUM_POINTS,
)


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
    for path, arrays in read_hdf5_files(root, f"ply_data_{split}*.h5", expected):
        labels.append(whole_numbers(arrays["label"][:, 0], 0, len(classes) or 40, str(path)))
        for i, cloud in enumerate(arrays["data"]):
            rng = np.random.default_rng(len(points))
            ids = resample(cloud, count, rng, f"{path}, shape {i}")
            points.append(cloud[ids].astype(np.float32))
    fields = {"points": np.array(points), "label": np.concatenate(labels)}
    return FieldSource(fields, str(root), classes)
