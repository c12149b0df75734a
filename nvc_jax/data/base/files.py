"""What the readers of files share: examples read as they are asked for, npz, HDF5 and lists."""

import codecs
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.extras import require
from nvc_jax.data.base.source import FieldSpec, number_alike, stack_examples
from nvc_jax.data.base.tree import files_matching

Shapes = Mapping[str, tuple[int | str, ...]]
"""Shapes by name; an axis given by a letter has any length, the same wherever the letter stands."""

IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "PPM", "GIF")
"""Formats that Pillow decodes by itself; of others some start another program."""

_MOST_UNPACKED, _MOST_RATIO = 2**28, 100
"""What is packed may have so many bytes, or so many times what it takes; no real file has come near both."""
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
_ORIENTATION = 0x0112  # of EXIF


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
      The path, of which the suffix may be in capitals.

    Raises:
      UserError: if there is none.
    """
    for suffix in (path.suffix, path.suffix.upper(), path.suffix.capitalize()):
        if (found := path.with_suffix(suffix) if suffix else path).is_file():
            return found
    where = "" if path.parent.is_dir() else " (its folder is missing)"
    listing = f", expected {expected}" if expected else ""
    raise UserError(f"The file {path} is missing{where}{listing}: {remedy}.")


def check_frames(paths: Iterable[Path], wrong: str = "cannot be read as an image") -> None:
    """Checks that files which are read later are there and not empty; folders are listed once each.

    Args:
      paths: the files.
      wrong: what is wrong with an empty one, for the message.

    Raises:
      UserError: naming the first that is not, and how many are like it.
    """
    wanted = list(paths)
    sizes: dict[str, dict[str, int]] = {}
    found = []
    for path in wanted:
        folder, name = os.path.split(path)
        if folder not in sizes:
            entries = os.scandir(folder) if os.path.isdir(folder) else ()
            sizes[folder] = {
                entry.name: entry.stat().st_size for entry in entries if entry.is_file()
            }
        if not sizes[folder].get(name) and not (path.is_file() and path.stat().st_size):
            found.append(path)
    if found:
        path = existing(found[0])  # tells if it is missing
        raise UserError(
            f"{path} {wrong}, it is empty, as {len(found)} of {len(wanted)} files are: fetch it again."
        )


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
    packed = (path.with_name(path.name + suffix) for suffix in (".gz", ".GZ"))
    return next((found for found in (path, *packed) if found.is_file()), None)


def check_unpacked(size: int, packed: int, where: object) -> None:
    """Checks how many bytes something packed has, before memory is asked for.

    Raises:
      UserError: for more than any real file has.
    """
    if size > max(_MOST_UNPACKED, _MOST_RATIO * packed):
        raise UserError(
            f"{where} takes {packed} bytes and unpacks to {size} or more: no file of data does; fetch it "
            "again, or unpack it yourself."
        )


def read_unpacked(path: Path) -> bytes:
    """The content of a file, decompressed where its name ends in `.gz`; else see `read_content`."""
    content = read_content(path)
    if path.suffix.lower() != ".gz":
        return content
    with told(f"{path} is damaged, or no gzip file: fetch it again."):
        return b"".join(_members(content, path))


def _members(content: bytes, where: Path) -> Iterator[bytes]:
    """What the parts of a gzip file hold, of which there is at least one."""
    size, rest = 0, content
    while rest or not size:
        inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
        # One byte more than there may be: that is told and not kept.
        most = max(_MOST_UNPACKED, _MOST_RATIO * len(content)) + 1
        piece = inflate.decompress(rest, most - size)
        size += len(piece)
        check_unpacked(size, len(content), where)
        yield piece
        if not inflate.eof:
            raise EOFError
        rest = inflate.unused_data.lstrip(b"\0")  # zeros may fill a file up
        if not rest:
            return


def unmarked(content: bytes, where: object) -> bytes:
    """A text without its byte order mark; one in UTF-16 or UTF-32 as UTF-8.

    Raises:
      UserError: for a damaged text of these, or one of UTF-16 without a mark.
    """
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            if encoding == "utf-8":
                return content[len(mark) :]
            with told(
                f"{where} begins as text in {encoding.upper()} and is damaged: fetch it again."
            ):
                return content.decode(encoding).encode()
    zeros = [content[i:8:2] == bytes(4) for i in (0, 1)]
    letters = [content[i:8:2].isascii() and 0 not in content[i:8:2] for i in (0, 1)]
    if (zeros[0] and letters[1]) or (zeros[1] and letters[0]):
        raise UserError(f"{where} looks like text in UTF-16 without a mark: convert it to UTF-8.")
    return content


def read_text(path: Path) -> bytes:
    """The content of a text file in UTF-8; see `unmarked`."""
    return unmarked(read_content(path), path)


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty, without spaces at their ends."""
    text = read_text(path).decode("utf-8", "replace")
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
    path = existing(path, expected, missing)
    if not zipfile.is_zipfile(path):
        raise UserError(f"The file is not an npz archive: {path}; fetch or save it again.")
    with told(no_arrays(path)), np.load(path, allow_pickle=False) as archive:
        for entry in archive.zip.infolist():
            if entry.filename.removesuffix(".npy") in names:
                check_unpacked(entry.file_size, entry.compress_size, f"{path}, {entry.filename}")
        fields = {name: archive[name] for name in names if name in archive.files}
        got = ", ".join(archive.files) or "none"
    for name in required:
        if name not in fields:
            raise UserError(f"{path} has no field {name!r}, got {got}; {remedy}.")
    if not all(isinstance(values, np.ndarray) for values in fields.values()):
        raise UserError(no_arrays(path))  # a zip archive of other files
    return fields


def labels_of_splits(
    folder: Path, split: str, key: str, label: np.ndarray | None
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Labels of a split in `{train,test}.npz` as numbers of classes that are the same in both; see `number_alike`.

    Args:
      folder: where the files are.
      split: `train` or `test`.
      key: name of the field of labels.
      label: those of the split, or None.

    Returns:
      (the labels, names of classes where they had to be numbered).
    """
    if label is None:
        return None, ()
    paths = (folder / f"{other}.npz" for other in ("train", "test") if other != split)
    others = [read_fields(path, (key,)).get(key) for path in paths if path.is_file()]
    return number_alike(label, others, str(folder / f"{split}.npz"))


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
    with told(unreadable), Image.open(existing(path), formats=IMAGE_FORMATS) as file:
        if orientation_of(file) != 1:
            raise UserError(
                f"{path} is to be turned by its EXIF orientation {orientation_of(file)}, which does not fit "
                "what is annotated: fetch it again."
            )
        stored, values = file.mode, np.asarray(file.convert(mode))
    if not stored.startswith(mode) or (size and values.shape[:2] != size):
        raise UserError(
            f"{path} has mode {stored} and (height, width) {values.shape[:2]}, expected mode {mode}"
            f"{f' and {size}' if size else ''}; fetch it again."
        )
    return values


def orientation_of(image: Any) -> int:
    """How a picture that was opened by Pillow is to be turned, 1 to 8; 1: not at all."""
    orientation = image.getexif().get(_ORIENTATION, 1)
    return orientation if orientation in range(1, 9) else 1


def no_arrays(path: Path) -> str:
    """NumPy's own message is left out, since it may advise to load pickled objects."""
    return f"{path} cannot be read: it is damaged, or holds something else than arrays of numbers."


@contextmanager
def open_hdf5(
    path: Path, shapes: Shapes, remedy: str = "fetch it again"
) -> Iterator[dict[str, Any]]:
    """Opens data sets of numbers in an HDF5 file.

    Args:
      path: the file.
      shapes: shape of every data set by its name. A last axis of 1 may be missing.
      remedy: what to do where one is missing, for the message.

    Yields:
      The data sets by name, of which nothing has been read.

    Raises:
      UserError: for a missing or damaged file, a missing data set, or another shape; also for damage
        that shows while data are read.
    """
    h5py = require("h5py", extra="shapes", what="Reading HDF5 files")

    unreadable = f"{path} cannot be read as HDF5: it is cut short, damaged or of another kind; fetch it again."
    with told(unreadable), h5py.File(existing(path), "r") as file:
        for name in shapes:
            _check_own(file, name, path)
        found = {name: file[name] for name in shapes if name in file}
        numbers = {
            name: data
            for name, data in found.items()
            if isinstance(data, h5py.Dataset) and data.dtype.kind in "fiu"
        }
        for name, data in numbers.items():
            packed = data.id.get_storage_size()
            check_unpacked(data.dtype.itemsize * math.prod(data.shape), packed, f"{path}, {name!r}")
        for name in shapes.keys() - numbers.keys():
            got = ", ".join(file) or "nothing"
            raise UserError(f"{path} has no array of numbers {name!r}, got {got}; {remedy}.")
        _check_data_sets(path, numbers, shapes)
        yield numbers


def _check_own(file: Any, name: str, path: Path) -> None:
    """Refuses data sets that lie elsewhere: behind links, in raw files, or in parts of other files."""
    import h5py

    link = file.get(name, getlink=True)
    if link is not None and not isinstance(link, h5py.HardLink):
        raise UserError(f"{path}: {name!r} is a link, and links are not followed; fetch it again.")
    data = file.get(name)
    if isinstance(data, h5py.Dataset) and (data.external or data.is_virtual):
        raise UserError(
            f"{path}: {name!r} lies in other files, which are not read; fetch it again."
        )


def _check_data_sets(path: Path, data: Mapping[str, Any], shapes: Shapes) -> None:
    """All data sets have their shapes."""
    lengths: dict[int | str, int] = {}
    for name, shape in shapes.items():
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
    """Every `.h5` file whose name has a pattern, with its arrays, in order of names; see `open_hdf5`."""
    paths = files_matching(root, pattern, ".h5")
    if not paths:
        raise UserError(
            f"data.dir = {str(root)!r}: there is no file {pattern}.h5; put it there or set data.dir."
        )
    for path in paths:
        yield path, read_hdf5(path, shapes)
