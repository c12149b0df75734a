"""NumPy files: `train.npz` and `test.npz`, or memory-mapped `train_image.npy` and so on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.files import existing, no_arrays, read_fields
from nvc_jax.data.base.source import ArraySource, Source

OPTIONS = (
    shared.DIR,
    shared.IMAGE_KEY,
    shared.LABEL_KEY,
)

_MAGIC = b"\x93NUMPY"


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
    return ArraySource(fields[image], fields.get(label), str(path))


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
    label = folder / f"{split}_{options.label_key}.npy"
    return _MappedSource(image, label if label.is_file() else None)


class _MappedSource(ArraySource):
    """Memory-mapped files; a reader process gets their paths and not their content."""

    in_memory = False

    def __init__(self, image: Path, label: Path | None):
        self._paths = image, label
        super().__init__(_map(image), None if label is None else _map(label), str(image))

    def __reduce__(self) -> tuple[Any, ...]:
        return _MappedSource, self._paths


def _map(path: Path) -> np.ndarray:
    """Memory-maps one file."""
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise UserError(f"The file is not an npy array: {path}; fetch or save it again.")
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception:  # NumPy raises many kinds
        raise no_arrays(path) from None
