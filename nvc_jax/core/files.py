"""Files that are written whole or not at all."""

import contextlib
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np

from nvc_jax.core.errors import UserError


def replace_file(path: Path, content: bytes, *, make_folders: bool = False) -> None:
    """Writes a file in one piece: a reader sees the old file or the new one.

    Raises:
      UserError: if the system refuses.
    """
    partial = path.with_name(f"partial.{path.name}")
    with explained(path):
        if make_folders:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # What lies there is left of a process that was killed, or a link that somebody planted.
            partial.unlink(missing_ok=True)
            with open_new(partial) as file:
                file.write(content)
            os.replace(partial, path)
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise


def replace_arrays(
    path: Path, arrays: Mapping[str, np.ndarray], *, make_folders: bool = False
) -> None:
    """Writes arrays to a compressed npz file, in one piece as `replace_file`, and without pickled objects.

    Raises:
      UserError: if the system refuses.
    """
    content = io.BytesIO()
    fields: dict[str, Any] = {**arrays}  # Any: NumPy's types take every keyword for `allow_pickle`
    np.savez_compressed(content, allow_pickle=False, **fields)
    replace_file(path, content.getvalue(), make_folders=make_folders)


def open_new(path: Path) -> BinaryIO:
    """Opens a file for writing that is not there yet, not even as a link; else an OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o666), "wb")


def open_to_append(path: Path) -> TextIO:
    """Opens a text file for appending, but never through a link; that is an OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o666), "a", encoding="utf-8")


def refuse_links(folder: Path, names: Iterable[str]) -> None:
    """Checks that nothing which is going to be written into is a link to elsewhere.

    Args:
      folder: where it lies; itself it may be a link.
      names: of files and folders in it, which may be missing.

    Raises:
      UserError: for a link.
    """
    for name in names:
        path = folder / name
        if path.is_symlink():
            raise UserError(
                f"{path} is a link to {os.readlink(path)}, and nothing is written through links: remove "
                "it, or use another directory."
            )


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Tells why something could not be written."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path} could not be written ({error.strerror or error}): other files are untouched; "
            "check space and permissions."
        ) from error
