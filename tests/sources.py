"""What tests ask of every source of examples, and files that several kinds of data come in."""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.data import ArraySource


def take(source, *numbers):
    """Examples of a source by their numbers, with the fields that the source says it has."""
    batch = source.gather(np.array(numbers, int))
    assert {k: (v.shape[1:], v.dtype) for k, v in batch.items()} == dict(source.spec)
    return batch


def everything(source):
    """All examples of a source."""
    return take(source, *range(len(source)))


def numbered(n: int) -> ArraySource:
    """A source of n examples whose label and pixels are the example's number."""
    number = np.arange(n)
    return ArraySource(np.tile(number[:, None, None, None], (1, 2, 3, 1)).astype("u1"), number)


def damaged(good: bytes) -> Iterator[bytes]:
    """All contents with one byte changed, and all that are cut short."""
    for i in range(len(good)):
        yield good[:i]
        for flip in (0x01, 0xFF):
            yield good[:i] + bytes([good[i] ^ flip]) + good[i + 1 :]


def damage_told(good: bytes, read: Callable[[bytes], Any], every: int = 1) -> list[str]:
    """Reads contents damaged in all ways, or every so manieth; returns what was refused, and why."""
    found = []
    for content in itertools.islice(damaged(good), 0, None, every):
        try:
            read(content)
        except UserError as error:
            found.append(str(error))
    assert all("\n" not in message for message in found)
    return found


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
