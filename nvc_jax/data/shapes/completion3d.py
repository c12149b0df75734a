"""Completion of point clouds from HDF5 files: Completion3D."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.data.base import options as shared
from nvc_jax.data.base.files import FileSource, read_hdf5
from nvc_jax.data.shapes.clouds import completion_source

OPTIONS = (
    shared.DIR,
    shared.NUM_POINTS,
)

# The complete clouds of the folder test were never published, so val is what one tests on.
_FOLDERS = {"train": "train", "test": "val"}


def read_completion3d(options: Any, split: str) -> FileSource:
    """Reads pairs of clouds, `{train,val}/{partial,gt}/<class>/<model>.h5` with the array `data`.

    The test split is the folder `val`; the folder `test` has no complete clouds. Points that are
    not finite or at the origin, which is padding, are left out. Clouds keep their place and scale.

    Args:
      options: `config.data`; `num_points` is what both clouds are resampled to (2,048 are stored),
        in a way that depends on the example alone.
      split: `train` or `test`.

    Returns:
      `partial` and `complete`, float32 `[num_points, 3]`, and `label`, the number of the class
      among all folders of classes, sorted. Files are read as they are asked for.

    Raises:
      UserError: for a missing folder, file, partner or array, and for a damaged file.

    Reference: Tchapmi et al., "TopNet: Structural Point Cloud Decoder", CVPR 2019.
    """
    return completion_source(
        options,
        [_FOLDERS[split]],
        splits=list(_FOLDERS.values()),
        target="gt",
        suffix=".h5",
        parse=_read_points,
    )


def _read_points(path: Path) -> np.ndarray:
    """One file."""
    return read_hdf5(path, {"data": ("n", 3)})["data"]
