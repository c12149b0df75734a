"""Folders with MNIST's four IDX files, plain or gzipped: MNIST, Fashion-MNIST, EMNIST."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.source import ArraySource, Source

OPTIONS = (shared.DIR,)

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
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
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
      UserError: if it is not gzip, not IDX, of another rank, or cut short.
    """
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            what = "cut short or damaged" if content[:2] == b"\x1f\x8b" else "not a gzip archive"
            raise UserError(f"The file is {what}: {path}; fetch it again.") from None
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
