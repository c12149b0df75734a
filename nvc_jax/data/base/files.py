"""What the readers of files share: examples read as they are asked for, npz, HDF5 and lists."""

import gzip
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.extras import require
from nvc_jax.data.base.source import FieldSpec, stack_examples

Shapes = Mapping[str, tuple[int | str, ...]]
"""Shapes by name; an axis given by a letter has any length, the same wherever the letter stands."""


class FileSource:
    """Examples in files, read as they are asked for.

    A damaged file stops the program when it is reached, whatever `data.strict` says: scores of
    benchmarks count every example. Reader processes get the paths and not the content.

    Args:
      items: arguments of `read` for every example, at least one; the first of them is a path.
      read: item → arrays by field, of equal shapes for all; a function of a module, or a partial of
        one. The first example is read at once, and tells the shapes.
      label: int `[N]`; (): there is none.
      class_names: name of every label.
      point_class_names: name of every `point_label`.
      num_threads: reading threads.
    """

    def __init__(
        self,
        items: Sequence[tuple[Any, ...]],
        read: Callable[..., dict[str, np.ndarray]],
        *,
        label: Sequence[int] = (),
        class_names: Sequence[str] = (),
        point_class_names: Sequence[str] = (),
        num_threads: int = 2,
    ):
        self._items, self._read, self._threads = list(items), read, max(num_threads, 1)
        self._label = np.array(label or [-1] * len(self._items), np.int32)
        self.class_names, self.point_class_names = tuple(class_names), tuple(point_class_names)
        first = read(*self._items[0])
        self.spec = {name: FieldSpec(v.shape, v.dtype) for name, v in first.items()}
        self.spec["label"] = FieldSpec((), self._label.dtype)

    def __len__(self) -> int:
        return len(self._items)

    def gather(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """See `Source`."""
        with ThreadPoolExecutor(self._threads) as pool:
            examples = list(pool.map(self._example, ids))
        return stack_examples(examples, self.spec)

    def _example(self, number: int) -> dict[str, np.ndarray]:
        """The arrays of one example, of the expected shapes, and its label."""
        item = self._items[number]
        fields = self._read(*item)
        for name, values in fields.items():
            if values.shape != self.spec[name].shape:
                raise UserError(
                    f"Examples differ in size: {item[0]} has {name} of {values.shape}, expected "
                    f"{self.spec[name].shape} as in the other files."
                )
        return {**fields, "label": self._label[number]}


def existing(path: Path, expected: str = "", remedy: str = "put it there or set data.dir") -> Path:
    """The path, if there is a file.

    Args:
      path: the file.
      expected: the files that belong together, for the message.
      remedy: what to do where there is none, for the message.

    Returns:
      The path.

    Raises:
      UserError: if there is none.
    """
    if path.is_file():
        return path
    where = "" if path.parent.is_dir() else " (its folder is missing)"
    listing = f", expected {expected}" if expected else ""
    raise UserError(f"The file {path} is missing{where}{listing}: {remedy}.")


def existing_folder(path: Path) -> Path:
    """The path, if there is a folder; else a `UserError`."""
    if path.is_dir():
        return path
    raise UserError(f"data.dir: the folder {str(path)!r} is missing.")


@contextmanager
def told(message: str) -> Iterator[None]:
    """Raises a `UserError` with the message in place of whatever a library raises that reads a file."""
    try:
        yield
    except UserError:
        raise
    except Exception:  # libraries raise many kinds
        raise UserError(message) from None


def read_content(path: Path, size: int = -1) -> bytes:
    """The first `size` bytes of a file; all of them for −1.

    Raises:
      UserError: for a file that is missing or must not be read.
    """
    try:
        with existing(path).open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): make it readable.") from None


def plain_or_packed(path: Path) -> Path | None:
    """The file, or that with `.gz` at its end; None if there is neither."""
    packed = path.with_name(f"{path.name}.gz")
    return next((found for found in (path, packed) if found.is_file()), None)


def read_unpacked(path: Path) -> bytes:
    """The content of a file, decompressed where its name ends in `.gz`; else see `read_content`."""
    content = read_content(path)
    if path.suffix != ".gz":
        return content
    with told(f"{path} is damaged, or no gzip file: fetch it again."):
        if not content:
            raise EOFError  # gzip takes no bytes for no text
        return gzip.decompress(content)


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty, without spaces at their ends."""
    text = read_content(path).decode("utf-8", "replace")
    return [line.strip() for line in text.splitlines() if line.strip()]


def read_fields(
    path: Path,
    names: Sequence[str],
    *,
    required: Sequence[str] = (),
    remedy: str = "fetch it again",
    expected: str = "",
    missing: str = "put it there or set data.dir",
) -> dict[str, np.ndarray]:
    """Reads those of the fields `names` that an npz file has.

    Args:
      path: the file.
      names: the fields.
      required: those of them that have to be there.
      remedy: what to do where one of these is missing, for the message.
      expected: see `existing`.
      missing: what to do where there is no file, for the message.

    Returns:
      Arrays by name.

    Raises:
      UserError: for a missing file or field, or a file that is damaged or holds something else than
        arrays. Pickled objects are never opened.
    """
    if not zipfile.is_zipfile(existing(path, expected, missing)):
        raise UserError(f"The file is not an npz archive: {path}; fetch or save it again.")
    with told(no_arrays(path)), np.load(path, allow_pickle=False) as archive:
        fields = {name: archive[name] for name in names if name in archive.files}
        got = ", ".join(archive.files) or "none"
    for name in required:
        if name not in fields:
            raise UserError(f"{path} has no field {name!r}, got {got}; {remedy}.")
    if not all(isinstance(values, np.ndarray) for values in fields.values()):
        raise UserError(no_arrays(path))  # a zip archive of other files
    return fields


def check_image_size(size: Sequence[int]) -> tuple[int, int]:
    """`data.image_size`, (height, width), or (0, 0) for what is stored.

    Raises:
      UserError: for anything else.
    """
    if len(size) != 2 or min(size) == 0 < max(size):
        raise UserError(
            f"data.image_size is {tuple(size)}: use (height, width), or (0, 0) for what is stored."
        )
    height, width = size
    return height, width


def read_pixels(path: Path, mode: str, size: tuple[int, int] | None = None) -> np.ndarray:
    """The pixels of an image file.

    Args:
      path: the file.
      mode: Pillow's, RGB, L (8 bits) or I (16 bits), which the file has to have.
      size: (height, width) that the file has to have, if it matters.

    Returns:
      uint8 `[H, W, 3]` or `[H, W]`, or int32 `[H, W]`.

    Raises:
      UserError: for a missing or damaged file, or another mode or size.
    """
    from PIL import Image  # slow to import

    unreadable = f"{path} cannot be read as an image; fetch it again."
    with told(unreadable), Image.open(existing(path)) as file:
        stored, values = file.mode, np.asarray(file.convert(mode))
    if not stored.startswith(mode) or (size and values.shape[:2] != size):
        raise UserError(
            f"{path} has mode {stored} and (height, width) {values.shape[:2]}, expected mode {mode}"
            f"{f' and {size}' if size else ''}; fetch it again."
        )
    return values


def no_arrays(path: Path) -> str:
    """NumPy's own message is left out, since it may advise to load pickled objects."""
    return f"{path} cannot be read: it is damaged, or holds something else than arrays of numbers."


@contextmanager
def open_hdf5(path: Path, shapes: Shapes) -> Iterator[dict[str, Any]]:
    """Opens data sets of numbers in an HDF5 file.

    Args:
      path: the file.
      shapes: shape of every data set by its name. A last axis of 1 may be missing.

    Yields:
      The data sets by name, of which nothing has been read.

    Raises:
      UserError: for a missing or damaged file, a missing data set, or another shape; also for damage
        that shows while data are read.
    """
    h5py = require("h5py", extra="shapes", what="Reading HDF5 files")

    unreadable = f"{path} cannot be read as HDF5: it is cut short, damaged or of another kind; fetch it again."
    with told(unreadable), h5py.File(existing(path), "r") as file:
        found = {name: file[name] for name in shapes if name in file}
        numbers = {
            name: data
            for name, data in found.items()
            if isinstance(data, h5py.Dataset) and data.dtype.kind in "fiu"
        }
        _check_data_sets(path, numbers, shapes, ", ".join(file) or "nothing")
        yield numbers


def _check_data_sets(path: Path, data: Mapping[str, Any], shapes: Shapes, got: str) -> None:
    """All data sets are there and have their shapes."""
    lengths: dict[int | str, int] = {}
    for name, shape in shapes.items():
        if name not in data:
            raise UserError(f"{path} has no array of numbers {name!r}, got {got}; fetch it again.")
        size = data[name].shape
        if len(size) == len(shape) - 1 and shape[-1] == 1:
            size = (*size, 1)
        expected = [lengths.get(axis, axis) for axis in shape]
        if len(size) != len(shape) or any(
            isinstance(e, int) and e != s for e, s in zip(expected, size, strict=True)
        ):
            raise UserError(
                f"{path}: {name!r} has shape {list(size)}, expected "
                f"[{', '.join(map(str, expected))}]; fetch it again."
            )
        lengths.update({axis: s for axis, s in zip(shape, size, strict=True) if axis != s})


def read_hdf5(path: Path, shapes: Shapes) -> dict[str, np.ndarray]:
    """Reads data sets of an HDF5 file as arrays, as stored but for their shape; see `open_hdf5`."""
    with open_hdf5(path, shapes) as data:
        arrays = {name: data[name][()] for name in shapes}
    return {
        name: values[..., None] if values.ndim < len(shapes[name]) else values
        for name, values in arrays.items()
    }


def read_hdf5_files(
    root: Path, pattern: str, shapes: Shapes
) -> Iterator[tuple[Path, dict[str, np.ndarray]]]:
    """Every file of a pattern with its arrays, in order of their names; see `open_hdf5`."""
    paths = sorted(root.glob(pattern))
    if not paths:
        raise UserError(
            f"data.dir = {str(root)!r}: there is no file {pattern}; put it there or set data.dir."
        )
    for path in paths:
        yield path, read_hdf5(path, shapes)
