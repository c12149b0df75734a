"""NumPy files: `train.npz` and `test.npz`, or memory-mapped `train_image.npy` and so on."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.data.source import ArraySource, Source
from nvc_jax.errors import UserError


def _existing(path: Path) -> Path:
    """The path, if there is a file."""
    if not path.is_file():
        raise UserError(f"data.dir = {str(path.parent)!r}: there is no file {path.name} in it.")
    return path


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
    path = _existing(Path(options.dir) / f"{split}.npz")
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not hasattr(archive, "files"):
                raise UserError(f"The file is not an npz archive: {path}.")
            if options.image_key not in archive.files:
                raise UserError(
                    f"{path} has no field {options.image_key!r}, got {', '.join(archive.files)}; "
                    "set data.image_key."
                )
            image = archive[options.image_key]
            label = archive[options.label_key] if options.label_key in archive.files else None
    except UserError:
        raise
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as error:
        raise UserError(f"The file is not an npz archive: {path} ({_first_line(error)}).") from None
    return ArraySource(image, label, str(path))


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
    folder = Path(options.dir)
    image = _open_npy(_existing(folder / f"{split}_{options.image_key}.npy"))
    label_path = folder / f"{split}_{options.label_key}.npy"
    label = _open_npy(label_path) if label_path.is_file() else None
    return ArraySource(image, label, str(folder / f"{split}_{options.image_key}.npy"))


def _open_npy(path: Path) -> np.ndarray:
    """Memory-maps one file."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"The file is not an npy array: {path} ({_first_line(error)}).") from None


def _first_line(error: Exception) -> str:
    """First line of an error's message."""
    return (str(error).splitlines() or ["no message"])[0].rstrip(".")
