"""What tasks on point clouds share."""

from __future__ import annotations

from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.data.shapes.clouds import resample

CELLS = 8  # of the histogram along an axis


def as_clouds(inputs: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A user's clouds `[n, P, C]` with the number of points of the training, `[n, *shape]`.

    Clouds of another number of finite points are resampled, see `resample`: the draw depends on the
    cloud alone, and not on its place among others.

    Args:
      inputs: numbers `[n, P, C]`; rows with a value that is not finite are left out.
      shape: number of points and channels of the training.

    Returns:
      float32 `[n, *shape]`.

    Raises:
      UserError: for another rank or number of channels, or a cloud without a finite point.
    """
    try:
        clouds = np.asarray(inputs, np.float32)
    except ValueError:
        raise UserError(
            f"Clouds are one array of numbers [n, P, {shape[1]}], got none: encode clouds of "
            "different numbers of points one after the other."
        ) from None
    if clouds.ndim != 3 or clouds.shape[2] != shape[1]:
        raise UserError(f"Clouds are [n, P, {shape[1]}], got shape {clouds.shape}.")
    drawn = np.empty((len(clouds), *shape), np.float32)
    for i, cloud in enumerate(clouds):
        rng = np.random.default_rng(0)
        drawn[i] = cloud[resample(cloud, shape[0], rng, f"cloud {i}")]
    return drawn


def histograms(clouds: np.ndarray) -> np.ndarray:
    """Share of a cloud's points in each of 8³ cells of the cube around it.

    Args:
      clouds: floats `[n, P, C]`, x, y, z first.

    Returns:
      `[n, 512]`, x first, then y: rows of sum 1.
    """
    points = clouds[..., :3]
    low, high = points.min(axis=1, keepdims=True), points.max(axis=1, keepdims=True)
    side = np.maximum((high - low).max(axis=2, keepdims=True), 1e-12)
    cells = ((points - (low + high) / 2) / side + 0.5) * CELLS
    x, y, z = np.moveaxis(np.clip(cells.astype(int), 0, CELLS - 1), -1, 0)
    flat = (x * CELLS + y) * CELLS + z + np.arange(len(clouds))[:, None] * CELLS**3
    counts = np.bincount(flat.ravel(), minlength=len(clouds) * CELLS**3)
    return counts.reshape(len(clouds), -1) / points.shape[1]
