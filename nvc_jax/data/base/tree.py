"""What lies below `data.dir`, but for what no person put there, and nothing from elsewhere."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from nvc_jax.core.errors import UserError

_logger = logging.getLogger("nvc_jax")


def is_visible(name: str) -> bool:
    """Whether a person put a file or a folder of that name there.

    Names that begin with a dot are those of programs (`.ipynb_checkpoints`, `.DS_Store`, `._photo.png`), and so
    is `__MACOSX`.
    """
    return not name.startswith(".") and name != "__MACOSX"


def files_below(folder: Path, suffixes: Sequence[str] = ()) -> list[Path]:
    """All visible files below a folder, sorted.

    Args:
      folder: the folder, whose own name does not matter.
      suffixes: in small letters, of which a file has one in any letters; (): any file.

    Returns:
      Their paths. Folders that are links are not followed, and named in a warning.
    """
    found, links = [], []
    for base, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if is_visible(name)]
        links += [path for name in folders if os.path.islink(path := os.path.join(base, name))]
        found += [
            path
            for name in names
            if is_visible(name) and (not suffixes or os.path.splitext(name)[1].lower() in suffixes)
            if os.path.isfile(path := os.path.join(base, name))
        ]
    if links:
        _logger.warning(
            "Left out %d folders that are links: %s; put folders there.",
            len(links),
            ", ".join(links),
        )
    return sorted(map(Path, found))


def folders_in(folder: Path) -> list[Path]:
    """The visible folders in a folder, sorted; none where it is missing."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in found if is_visible(path.name) and path.is_dir())


def files_matching(folder: Path, pattern: str, suffix: str = "") -> list[Path]:
    """The visible files that a pattern of pathlib finds in a folder, sorted.

    Args:
      folder: the folder.
      pattern: without a suffix, such as `*/*`.
      suffix: in small letters, which the files have in any letters; "": any.
    """
    start = len(folder.parts)
    return sorted(
        path
        for path in folder.glob(pattern)
        if all(map(is_visible, path.parts[start:]))
        and (not suffix or path.suffix.lower() == suffix)
        and path.is_file()
    )


def inside(root: Path, name: str, listing: Path) -> Path:
    """The path of a name that a list has.

    Args:
      root: the folder that names are told from.
      name: what the list has, with either kind of slashes.
      listing: the list, for the message.

    Returns:
      The path below `root`.

    Raises:
      UserError: for a name that leads out of the folder.
    """
    parts = PureWindowsPath(name).parts
    absolute = PureWindowsPath(name).anchor or PurePosixPath(name).is_absolute()
    if absolute or not parts or ".." in parts or "\0" in name:
        raise UserError(
            f"{listing} names {name!r}: files lie below {root}, and are named from there without '..'."
        )
    return root.joinpath(*parts)
