"""Folders of binvox files."""

import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.files import FileSource, check_unpacked, existing_folder, read_content
from nvc_jax.data.base.source import Source
from nvc_jax.data.base.tree import files_below

OPTIONS = (shared.DIR,)

_HEADER_BYTES = 4096  # more than any header has
_DATA = b"\ndata\n"


def read_binvox(options: Any, split: str) -> Source:
    """Reads a tree of `.binvox` files, such as ShapeNetVox32's `<class>/<id>/model.binvox`.

    The class is the first sub-folder. Of the files of every class, sorted by name, the first 80 %
    are for training.

    Args:
      options: `config.data`; `dir` is the folder.
      split: `train` or `test`.

    Returns:
      `voxels` uint8 `[X, Y, Z]`, read as they are asked for.

    Raises:
      UserError: for a missing folder, no file, or files of different sizes.

    Reference: the split is that of 3D-R2N2 (Choy et al., ECCV 2016).
    """
    folder = existing_folder(Path(options.dir))
    classes: dict[str, list[Path]] = defaultdict(list)
    for path in files_below(folder, (".binvox",)):
        inside = path.relative_to(folder).parts
        classes[inside[0] if len(inside) > 1 else ""].append(path)
    class_names = sorted(classes.keys() - {""})
    ids = {name: i for i, name in enumerate(class_names)}
    chosen = []
    for name in sorted(classes):
        cut = len(classes[name]) * 4 // 5
        paths = classes[name][:cut] if split == "train" else classes[name][cut:]
        chosen += [(path, ids.get(name, -1)) for path in paths]
    if not chosen:
        raise UserError(
            f"data.dir = {str(folder)!r}: there are {sum(map(len, classes.values()))} .binvox files "
            f"in it, too few for the {split} split."
        )
    shapes = [(p, _parse_header(read_content(p, _HEADER_BYTES), p)[0]) for p, _ in chosen]
    for path, shape in shapes:
        if shape != shapes[0][1]:
            raise UserError(
                f"Volumes differ in size: {shapes[0][0]} is {shapes[0][1]}, {path} is {shape}; keep "
                "files of one size."
            )
    return FileSource(
        [(path,) for path, _ in chosen],
        _read_voxels,
        label=[label for _, label in chosen],
        class_names=class_names,
        num_threads=options.num_threads,
    )


def parse_binvox(data: bytes, where: object) -> np.ndarray:
    """Decodes a binvox file.

    After the text header come pairs of bytes (value, count). Voxel (x, y, z) of dimensions
    (X, Y, Z) has the position (x Z + z) Y + y: y runs fastest, then z, then x. The header gives the
    dimensions in the order x, y, z; the format asks for cubes, so that programs differ there.

    Args:
      data: content of the file.
      where: what the file is called in messages.

    Returns:
      uint8 `[X, Y, Z]`, 1 where the value is not 0: version 2 has values up to 255.

    Raises:
      UserError: for another format, or voxels too few or too many.

    Reference: https://www.patrickmin.com/binvox/binvox.html
    """
    shape, start = _parse_header(data, where)
    if (len(data) - start) % 2:
        raise UserError(f"{where} is cut short: its last (value, count) pair is incomplete.")
    pairs = np.frombuffer(data, np.uint8, offset=start).reshape(-1, 2)
    check_unpacked(math.prod(shape), len(data), where)
    count, expected = int(pairs[:, 1].sum(dtype=np.int64)), math.prod(shape)
    if count != expected:
        raise UserError(
            f"{where} is cut short or too long: expected {expected} voxels for dim {shape}, got "
            f"{count}; fetch it again."
        )
    x, y, z = shape
    solid = np.repeat((pairs[:, 0] > 0).astype(np.uint8), pairs[:, 1])
    return np.ascontiguousarray(solid.reshape(x, z, y).transpose(0, 2, 1))


def _read_voxels(path: Path) -> dict[str, np.ndarray]:
    """One example."""
    return {"voxels": parse_binvox(read_content(path), path)}


def _parse_header(data: bytes, where: object) -> tuple[tuple[int, int, int], int]:
    """(Dimensions in the order x, y, z; where the pairs begin)."""
    if not data.startswith((b"#binvox 1\n", b"#binvox 2\n")):
        raise UserError(
            f"{where} is not a binvox file: expected it to begin with '#binvox 1' or '#binvox 2', "
            f"got {data[:10]!r}."
        )
    end = data.find(_DATA)
    lines = [line.split() for line in data[:end].split(b"\n")] if end >= 0 else []
    dims = [line[1:] for line in lines if line[:1] == [b"dim"]]
    if (
        len(dims) != 1
        or len(dims[0]) != 3
        or not all(d.isdigit() and len(d) < 8 and int(d) for d in dims[0])
    ):
        raise UserError(
            f"{where} has a damaged header: expected the lines 'dim' with 3 sizes and 'data'."
        )
    x, y, z = map(int, dims[0])
    return (x, y, z), end + len(_DATA)
