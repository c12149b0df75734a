"""What the readers of point clouds share: sampling, tables of numbers, and pairs of files."""

import io
import zlib

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.data.base.files import told


def normalize(points: np.ndarray, where: str = "the cloud") -> np.ndarray:
    """Moves a cloud into the unit ball: (p − mean) / max ‖p − mean‖; points at one place become 0.

    Args:
      points: floats `[n, 3]`; rows with a value that is not finite are left out.
      where: what the cloud is called in messages.

    Returns:
      float32 `[m, 3]`.

    Raises:
      UserError: if no point is finite.
    """
    kept = points[_finite_rows(points, where)].astype(np.float64)
    centered = kept - kept.mean(axis=0)
    radius = np.linalg.norm(centered, axis=1).max()
    # What the mean of equal points is off by must not be blown up to a cloud of radius 1.
    divisor = radius if radius > 1e-12 * np.abs(kept).max() else 1.0
    return (centered / divisor).astype(np.float32)


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
    with told(
        f"{where} is cut short or damaged: expected {columns} numbers on every line; fetch it again."
    ):
        table = np.loadtxt(io.BytesIO(content), ndmin=2, comments=None)
    if table.shape[1] != columns:
        raise UserError(f"{where} has {table.shape[1]} numbers a line, expected {columns}.")
    return table
