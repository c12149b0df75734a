"""Where rays meet cuboids, ellipsoids and columns. Axes of the world: x right, y down, z forward.

Rays start at one place, `origin + t·direction`; t is depth where directions come from `pixel_rays`.
"""

from __future__ import annotations

import numpy as np

FACES = 6
"""Of a cuboid: 2·axis, and one more on the side where the axis ends."""

_FAR = np.float32(np.inf)


def cast_cuboids(
    origin: np.ndarray, rays: np.ndarray, center: np.ndarray, size: np.ndarray, yaw: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each ray enters each cuboid; of one that holds the origin, where it leaves it.

    Args:
      origin: floats `[3]`.
      rays: floats `[R, 3]`.
      center: floats `[N, 3]`.
      size: floats `[N, 3]`, whole sides.
      yaw: floats `[N]`, radians that each is turned about y.

    Returns:
      (t `[N, R]`, inf where they do not meet; face `[N, R]`, from 0 to 5; origin and ray in the
      cuboids' own axes, for what lies on their faces: `[N, 3]` and `[N, R, 3]`).
    """
    turn = yaw_rotation(yaw)
    start = np.einsum("nc,ncd->nd", origin - center, turn)[:, None]
    along = np.einsum("rc,ncd->nrd", rays, turn)
    inverse = 1 / np.where(np.abs(along) < 1e-9, 1e-9, along)
    half = size[:, None] / 2
    middle, reach = -start * inverse, half * np.abs(inverse)
    first, last = middle - reach, middle + reach
    enter, leave = first.max(axis=-1), last.min(axis=-1)
    inside = (np.abs(start) < half).all(axis=-1)
    t = np.where(inside, leave, enter)
    axis = np.where(inside, last.argmin(axis=-1), first.argmax(axis=-1))
    moving = np.take_along_axis(along, axis[..., None], axis=-1)[..., 0] > 0
    face = 2 * axis + (moving == inside)
    return np.where((enter <= leave) & (t > 0), t, _FAR), face, np.concatenate([start, along], 1)


def cast_ellipsoids(
    origin: np.ndarray, rays: np.ndarray, center: np.ndarray, radius: np.ndarray
) -> np.ndarray:
    """Where each ray enters each ellipsoid.

    Args:
      origin: floats `[3]`, outside.
      rays: floats `[R, 3]`.
      center: floats `[N, 3]`.
      radius: floats `[N, 3]`, along each axis; inf along y makes an endless column.

    Returns:
      t `[N, R]`, inf where they do not meet.
    """
    start, along = (origin - center) / radius, rays / radius[:, None]
    a = np.square(along).sum(axis=-1)
    b = np.einsum("nrc,nc->nr", along, start)
    c = np.square(start).sum(axis=-1)[:, None] - 1
    discriminant = b * b - a * c
    t = (-b - np.sqrt(np.maximum(discriminant, 0))) / a
    return np.where((discriminant > 0) & (t > 0), t, _FAR)


def yaw_rotation(yaw: np.ndarray) -> np.ndarray:
    """Turns about y, `[..., 3, 3]`, whose columns are the turned axes, of angles `[...]`."""
    cosine, sine, zero = np.cos(yaw), np.sin(yaw), np.zeros_like(yaw)
    rows = [[cosine, zero, sine], [zero, zero + 1, zero], [-sine, zero, cosine]]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
