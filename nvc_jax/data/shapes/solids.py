"""Volumes of one solid: the part that is occupied, and the same part in another size."""

from __future__ import annotations

import numpy as np


def crop(solid: np.ndarray) -> np.ndarray:
    """The part of a volume that is occupied.

    Args:
      solid: bool `[X, Y, Z]`.

    Returns:
      bool, a view; one empty voxel of an empty volume.
    """
    if not solid.any():
        return solid[:1, :1, :1]
    bounds = [np.flatnonzero(solid.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    return solid[tuple(slice(b[0], b[-1] + 1) for b in bounds)]


def resize(solid: np.ndarray, size: np.ndarray) -> np.ndarray:
    """A volume in another size, by nearest neighbors.

    They are looked for both ways: thin parts outlive shrinking, and growing leaves no gaps.

    Args:
      solid: bool `[X, Y, Z]`.
      size: integers `[3]`, 1 or more.

    Returns:
      bool of that size.
    """
    sampled, spread = solid, solid.astype(np.float32)
    for axis, (old, new) in enumerate(zip(solid.shape, size, strict=True)):
        sampled = np.take(sampled, ((np.arange(new) + 0.5) * old / new).astype(int), axis)
        target = ((np.arange(old) + 0.5) * new / old).astype(int)
        matrix = (target == np.arange(new)[:, None]).astype(np.float32)
        # The contracted axis goes and the new one comes first, so that three times restore the order.
        spread = np.tensordot(spread, matrix, axes=(0, 1))
    return sampled | (spread > 0)
