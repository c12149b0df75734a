"""Rotations about the axes of a camera: x right, y down, z forward. Their columns are the turned axes."""

import numpy as np
from numpy.typing import ArrayLike


def about_x(angle: ArrayLike) -> np.ndarray:
    """Rotations `[..., 3, 3]`, by angles `[...]`, of −y toward z."""
    return _rotations(angle, 1, 2)


def about_y(angle: ArrayLike) -> np.ndarray:
    """Rotations `[..., 3, 3]`, by angles `[...]`, of z toward x."""
    return _rotations(angle, 0, 2)


def about_z(angle: ArrayLike) -> np.ndarray:
    """Rotations `[..., 3, 3]`, by angles `[...]`, of −y toward x."""
    return _rotations(angle, 1, 0)


def _rotations(angle: ArrayLike, first: int, second: int) -> np.ndarray:
    """Rotations in the plane of two axes: of the second toward the first."""
    cos, sin = np.cos(angle), np.sin(angle)
    turned = np.zeros((*np.shape(angle), 3, 3))
    turned[...] = np.eye(3)
    turned[..., first, first] = turned[..., second, second] = cos
    turned[..., first, second], turned[..., second, first] = sin, -sin
    return turned
