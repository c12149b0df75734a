"""Images in arrays: scikit-learn's digits, MNIST's four IDX files, and files of NumPy."""

import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.examples import NOTHING, Examples, Learned, Spec
from nvc_jax.data.base.files import (
    existing,
    labels_of_splits,
    no_arrays,
    plain_or_packed,
    read_fields,
    read_unpacked,
    told,
)
from nvc_jax.data.base.source import ArraySource, Source, check_numbers, number_alike, split_off

OPTIONS = (shared.DIR, shared.IMAGE_KEY, shared.LABEL_KEY)

_MAGIC = b"\x93NUMPY"


class ImageExamples(Examples):
    """The images as they are."""

    @classmethod
    def from_arrays(cls, inputs: Any, spec: Spec, learned: Learned = NOTHING) -> Source:
        """Images `[N, H, W, C]` or `[N, H, W]` as a source."""
        return ArraySource(np.asarray(inputs))


def read_npz(options: Any, split: str) -> Source:
    """Reads `{split}.npz` with the fields `image_key` and, if present, `label_key`.

    Args:
      options: `config.data`.
      split: `train` or `test`.

    Returns:
      The images with their labels, read into memory.

    Raises:
      UserError: for a missing or damaged file or field. Pickled objects are never opened.
    """
    path, image, label = Path(options.dir) / f"{split}.npz", options.image_key, options.label_key
    fields = read_fields(
        path,
        (image, label),
        required=(image,),
        remedy="set data.image_key",
        expected="train.npz and test.npz",
    )
    check_numbers(fields[image], f"{path}: the images")
    labels, names = labels_of_splits(Path(options.dir), split, label, fields.get(label))
    return ArraySource(fields[image], labels, str(path), names)


def read_npy(options: Any, split: str) -> Source:
    """Opens `{split}_{image_key}.npy`, memory-mapped, and `{split}_{label_key}.npy` if present.

    Args:
      options: `config.data`.
      split: `train` or `test`.

    Returns:
      The images; only those asked for are read from disk.

    Raises:
      UserError: for a missing or damaged file. Pickled objects are never opened.
    """
    folder, names = Path(options.dir), [f"{s}_{options.image_key}.npy" for s in ("train", "test")]
    image = existing(folder / f"{split}_{options.image_key}.npy", " and ".join(names))
    label, *others = (
        folder / f"{name}_{options.label_key}.npy"
        for name in sorted(("train", "test"), key=lambda name: name != split)
    )
    if not label.is_file():
        return _MappedSource(image)
    return _MappedSource(image, label, [path for path in others if path.is_file()])


class _MappedSource(ArraySource):
    """Memory-mapped files; a reader process gets their paths and not their content.

    Args:
      image: file of the images.
      label: file of their labels, if there is one.
      others: files of the labels of other splits.
    """

    in_memory = False

    def __init__(self, image: Path, label: Path | None = None, others: Sequence[Path] = ()):
        self._paths = image, label, others
        numbered: tuple[np.ndarray | None, tuple[str, ...]] = None, ()
        if label is not None:
            numbered = number_alike(_map(label), [_map(path) for path in others], str(label))
        super().__init__(_map(image), numbered[0], str(image), numbered[1])

    def __reduce__(self) -> tuple[Any, ...]:
        return _MappedSource, self._paths

    def gather(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """See `Source`."""
        batch = super().gather(ids)
        check_numbers(batch["image"], f"{self._paths[0]}: the images of a batch")
        return batch


def _map(path: Path) -> np.ndarray:
    """Memory-maps one file."""
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise UserError(f"The file is not an npy array: {path}; fetch or save it again.")
    with told(no_arrays(path)):
        return np.load(path, mmap_mode="r", allow_pickle=False)


_PREFIX = {"train": "train", "test": "t10k"}
_UINT8 = 0x08


def read_idx(options: Any, split: str) -> Source:
    """Reads images and labels of one split.

    Args:
      options: `config.data`; `dir` is the folder.
      split: `train` or `test`.

    Returns:
      uint8 images `[H, W, 1]` with labels.

    Raises:
      UserError: for missing, damaged or mismatched files.

    Reference: the format's description on Y. LeCun's MNIST page.
    """
    folder = Path(options.dir)
    names = [f"{_PREFIX[split]}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1")]
    paths = [_find(folder, name) for name in names]
    image, label = read_idx_file(paths[0], 3), read_idx_file(paths[1], 1)
    return ArraySource(image, label, str(paths[0]))


def _find(folder: Path, name: str) -> Path:
    """The file of that name, plain or gzipped."""
    if (path := plain_or_packed(folder / name)) is not None:
        return path
    state = "the folder is missing" if not folder.is_dir() else "the folder lacks this file"
    raise UserError(
        f"data.dir = {str(folder)!r}: {state}, expected {name} or {name}.gz (MNIST's four files: "
        "train- and t10k-, images-idx3-ubyte and labels-idx1-ubyte); put them there or set data.dir."
    )


def read_idx_file(path: Path, rank: int) -> np.ndarray:
    """Reads one IDX file of bytes.

    Args:
      path: the file; `.gz` is decompressed.
      rank: the expected number of axes.

    Returns:
      uint8 array.

    Raises:
      UserError: if it is missing, not gzip, not IDX, of another rank, or cut short.
    """
    content = read_unpacked(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UINT8 or content[3] != rank:
        raise UserError(
            f"{path} is not an IDX file of bytes with {rank} axes: expected it to begin with "
            f"{bytes([0, 0, _UINT8, rank]).hex()}, got {content[:4].hex() or 'an empty file'}."
        )
    start = 4 + 4 * rank
    if len(content) < start:
        raise UserError(f"{path} is cut short: its header is incomplete; fetch it again.")
    shape = struct.unpack(f">{rank}I", content[4:start])
    expected = math.prod(shape)
    if len(content) - start != expected:
        raise UserError(
            f"{path} is cut short or too long: expected {expected} bytes for shape {shape}, got "
            f"{len(content) - start}; fetch it again."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_digits(options: Any, split: str) -> Source:
    """Reads the digits; a fifth of them, by a fixed permutation, is the test split.

    Args:
      options: `config.data`, of which nothing is used.
      split: `train` or `test`.

    Returns:
      1,438 or 359 images, float32 `[8, 8, 1]` from 0 to 1.

    Reference: `sklearn.datasets.load_digits` (UCI optical recognition of handwritten digits).
    """
    from sklearn.datasets import load_digits  # slow to import

    bunch = load_digits()
    image = (bunch.images / 16.0).astype(np.float32)
    source = ArraySource(image, bunch.target.astype(np.int32), "digits")
    return split_off(source, 0.2, held_out=split == "test", name="the share of test digits")
