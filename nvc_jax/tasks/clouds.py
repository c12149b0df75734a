"""What tasks on point clouds share."""

import numpy as np

CELLS = 8  # of the histogram along an axis


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
