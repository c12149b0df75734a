"""What tests ask of every source of examples, and files that several kinds of data come in."""

import os
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


def put(path: Path, content: str | bytes) -> Path:
    """Writes a file, and the folders that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


class Harmful:
    """What makes a folder when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)
