"""What tests ask of every source of examples, and files that several kinds of data come in."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np


def take(source, *numbers):
    """Examples of a source by their numbers, with the fields that the source says it has."""
    batch = source.gather(np.array(numbers, int))
    assert {k: (v.shape[1:], v.dtype) for k, v in batch.items()} == dict(source.spec)
    return batch


def everything(source):
    """All examples of a source."""
    return take(source, *range(len(source)))


def hdf5(path: Path, compression: str | None = None, **fields: Any) -> None:
    """Writes an HDF5 file of arrays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in fields.items():
            file.create_dataset(name, data=values, compression=compression)
