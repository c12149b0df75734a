"""Files that are written whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

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
            partial.write_bytes(content)
            os.replace(partial, path)
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise


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
