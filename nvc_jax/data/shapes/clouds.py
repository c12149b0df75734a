"""What the readers of point clouds share: sampling, tables of numbers, and pairs of files."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.data.base.files import FileSource, existing


def normalize(points: np.ndarray, where: str = "the cloud") -> tuple[np.ndarray, int]:
    """Moves a cloud into the unit ball: (p − mean) / max ‖p − mean‖; points at one place become 0.

    Args:
      points: floats `[n, 3]`; rows with a value that is not finite are left out.
      where: what the cloud is called in messages.

    Returns:
      float32 `[m, 3]` and n − m, the number of rows left out.

    Raises:
      UserError: if no point is finite.
    """
    kept = points[_finite_rows(points, where)].astype(np.float64)
    centered = kept - kept.mean(axis=0)
    radius = np.linalg.norm(centered, axis=1).max()
    # What the mean of equal points is off by must not be blown up to a cloud of radius 1.
    divisor = radius if radius > 1e-12 * np.abs(kept).max() else 1.0
    return (centered / divisor).astype(np.float32), len(points) - len(kept)


def resample(
    points: np.ndarray, count: int, rng: np.random.Generator, where: str = "the cloud"
) -> np.ndarray:
    """Draws rows of a cloud: without repeats where they are enough, else each as often as others.

    Args:
      points: floats `[n, C]`; rows with a value that is not finite are never drawn.
      count: number of rows to draw.
      rng: source of the draw.
      where: what the cloud is called in messages.

    Returns:
      Numbers of rows, int64 `[count]`, in order; `arange(n)` for n = count finite rows.

    Raises:
      UserError: if no point is finite.
    """
    ids = _finite_rows(points, where)
    rounds = -(-count // len(ids))
    return np.sort(np.concatenate([rng.permutation(ids) for _ in range(rounds)])[:count])


def _finite_rows(points: np.ndarray, where: str) -> np.ndarray:
    """Numbers of the rows whose values are finite; at least one."""
    ids = np.flatnonzero(np.isfinite(points).all(axis=1))
    if not len(ids):
        raise UserError(
            f"{where} is empty: got {len(points)} points of which none is finite, expected one or "
            "more; remove it or fetch it again."
        )
    return ids


def generator_of(name: str) -> np.random.Generator:
    """Draws for the example of that name: the same whenever and wherever it is read."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def completion_source(
    options: Any,
    folders: Sequence[str],
    *,
    splits: Sequence[str],
    target: str,
    suffix: str,
    parse: Callable[[Path], np.ndarray],
) -> FileSource:
    """Pairs `partial/<class>/<model>` and `partial/<class>/<model>/<view>` with the complete model.

    Args:
      options: `config.data`.
      folders: names of the split's folder, of which the first that exists is read.
      splits: folders whose classes are numbered, so that one that a split lacks shifts no label.
      target: folder of the complete clouds, beside `partial`.
      suffix: of the files.
      parse: path → floats `[n, 3]`; a function of a module.

    Returns:
      `partial` and `complete`, float32 `[num_points, 3]`, and `label`.

    Raises:
      UserError: for a folder, a file or a partner that is missing, or a damaged file.
    """
    root, count = Path(options.dir), options.num_points
    found = [root / name for name in folders if (root / name / "partial").is_dir()]
    if not found:
        remedy = "put them there or set data.dir"
        if any(root.glob("*.lmdb")):
            remedy = "the .lmdb files hold pickled objects, which are never opened: convert them"
        raise UserError(
            f"data.dir = {str(root)!r}: there is no folder {' or '.join(folders)} with a folder "
            f"partial in it, expected partial/<class>/ and {target}/<class>/ with {suffix} files; "
            f"{remedy}."
        )
    parts = [root / name / "partial" for name in splits]
    classes = sorted({p.name for part in parts for p in part.glob("*") if p.is_dir()})
    items = _pairs(found[0] / "partial", found[0] / target, suffix)
    return FileSource(
        items,
        partial(_read_pair, parse=parse, count=count),
        label=[classes.index(name.partition("/")[0]) for _, _, name in items],
        class_names=classes,
        num_threads=options.num_threads,
    )


def _pairs(inputs: Path, targets: Path, suffix: str) -> list[tuple[Path, Path, str]]:
    """File of every partial cloud, in order, that of the complete one, and the example's name."""
    pairs, used = [], set()
    for path in sorted(inputs.glob(f"*/*{suffix}")) + sorted(inputs.glob(f"*/*/*{suffix}")):
        name = path.relative_to(inputs).as_posix().removesuffix(suffix)
        model = targets / ("/".join(name.split("/")[:2]) + suffix)
        if model not in used:
            used.add(existing(model))
        pairs.append((path, model, name))
    alone = sorted(set(targets.glob(f"*/*{suffix}")) - used)
    if alone:
        raise UserError(f"{alone[0]} has no partner in {inputs}; add it or remove the file.")
    if not pairs:
        raise UserError(f"There is no {suffix} file in {inputs}/<class>/; put them there.")
    return pairs


def _read_pair(
    inputs: Path, target: Path, name: str, *, parse: Callable[[Path], np.ndarray], count: int
) -> dict[str, np.ndarray]:
    """Both clouds of an example, resampled."""
    rng, fields = generator_of(name), {}
    for field, path in (("partial", inputs), ("complete", target)):
        points = parse(path)
        points = points[(points != 0).any(axis=1)]  # points at the origin are padding
        ids = resample(points, count, rng, str(path))
        fields[field] = points[ids].astype(np.float32)
    return fields


def whole_numbers(values: np.ndarray, low: int, high: int, where: str) -> np.ndarray:
    """Values as int64, checked to be whole numbers from `low` to below `high`."""
    wrong = ~((values >= low) & (values < high) & (values == np.floor(values)))
    if wrong.any():
        raise UserError(
            f"{where}: labels here are whole numbers from {low} to {high - 1}, got "
            f"{values[wrong][0]:g}; fetch it again."
        )
    return values.astype(np.int64)


def parse_table(content: bytes, columns: int, where: str) -> np.ndarray:
    """Numbers separated by spaces, float64 `[lines, columns]`; else a `UserError`."""
    if not content.strip():
        return np.empty((0, columns))
    try:
        table = np.loadtxt(io.BytesIO(content), ndmin=2, comments=None)
    except ValueError:
        raise UserError(
            f"{where} is cut short or damaged: expected {columns} numbers on every line; fetch it "
            "again."
        ) from None
    if table.shape[1] != columns:
        raise UserError(f"{where} has {table.shape[1]} numbers a line, expected {columns}.")
    return table
