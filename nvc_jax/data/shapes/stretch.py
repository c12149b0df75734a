"""More shapes to train on: copies of stored ones, stretched along their axes."""

from typing import Any

import numpy as np

from nvc_jax.core.options import Option
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.source import DerivedSource, Source

STRETCH_OPTIONS = (
    Option(
        "data.stretched_copies", 0, "of every training shape, beside the shape itself", at_least=0
    ),
    Option(
        "data.stretch",
        0.15,
        "axes of a copy are scaled by up to exp(+-this), then all to fit",
        at_least=0,
        at_most=1,
    ),
    shared.VIEW_SEED,
)
"""Of `with_stretched_copies`."""


class StretchedShapes(DerivedSource):
    """Shapes and stretched copies of them: example c·N + n is copy c of shape n of N.

    Copy 0 is the shape itself. In the others every axis has a factor of its own, `exp(u)` with u
    uniform in [−amount, amount]; then the shape is scaled, and placed in the middle, such that its
    longest side is as long as before. A copy is a function of the seed, c and n alone, and is made
    when it is asked for.

    Args:
      source: shapes with `voxels` `[X, Y, Z]` or `points` `[P, 3]`, or both.
      copies: stretched copies of every shape, 0 or more.
      amount: largest logarithm of a factor, from 0 to 1.
      seed: of the factors.
    """

    def __init__(self, source: Source, *, copies: int, amount: float, seed: int = 0):
        super().__init__(source, 1 + copies)
        self._amount, self._seed, self.spec = amount, seed, source.spec

    def gather(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """See `Source`."""
        copies, shapes = np.divmod(np.asarray(ids), len(self._source))
        batch = {name: values.copy() for name, values in self._source.gather(shapes).items()}
        for i in np.flatnonzero(copies):
            rng = np.random.default_rng((self._seed, int(shapes[i]), int(copies[i])))
            factors = np.exp(rng.uniform(-self._amount, self._amount, 3))
            if "voxels" in batch:
                batch["voxels"][i] = stretch_voxels(batch["voxels"][i], factors)
            if "points" in batch:
                batch["points"][i], scale = stretch_points(batch["points"][i], factors)
            if "normals" in batch:
                normals = batch["normals"][i] / scale
                length = np.linalg.norm(normals, axis=1, keepdims=True)
                batch["normals"][i] = normals / np.maximum(length, 1e-12)
        return batch


def with_stretched_copies(source: Source, options: Any, split: str) -> Source:
    """Adds the copies that `config.data` asks for, to the training split alone."""
    if split != "train" or options.stretched_copies == 0:
        return source
    copies, amount = options.stretched_copies, options.stretch
    return StretchedShapes(source, copies=copies, amount=amount, seed=options.view_seed)


def stretch_voxels(voxels: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Stretches what is occupied, in the middle of the volume, with its longest side as it was.

    Args:
      voxels: `[X, Y, Z]`, occupied where not 0.
      factors: `[3]`, above 0, of which only ratios matter.

    Returns:
      0 and 1, of the same shape and dtype. A side that would be longer than the volume ends at its
      walls.
    """
    solid = crop(voxels != 0)
    sides = np.array(solid.shape)
    stretched = sides * factors
    wanted = np.round(stretched * sides.max() / stretched.max())
    size = np.clip(wanted, 1, voxels.shape).astype(int)
    low = (np.array(voxels.shape) - size) // 2
    result = np.zeros_like(voxels)
    result[tuple(slice(a, a + n) for a, n in zip(low, size, strict=True))] = resize(solid, size)
    return result


def stretch_points(points: np.ndarray, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Stretches a cloud about the middle of its bounding box, with its longest side as it was.

    Args:
      points: floats `[P, 3]`.
      factors: `[3]`, above 0, of which only ratios matter.

    Returns:
      (points `[P, 3]` of the same dtype, what they were multiplied by, `[3]`).
    """
    low, high = points.min(axis=0), points.max(axis=0)
    middle, sides = (low + high) / 2, high - low
    longest = (sides * factors).max()
    scale: Any = factors * (sides.max() / longest if longest > 0 else 1.0)
    return ((points - middle) * scale + middle).astype(points.dtype), scale


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
