"""Depth and shaded color of capsules, by casting a ray through every pixel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_NOTHING = np.float32(0)


class View(NamedTuple):
    """What rays meet first.

    Attributes:
      depth: float32 `[R]`, z in mm; 0 where there is nothing.
      normal: float32 `[R, 3]`, unit vectors out of the surface; 0 where there is nothing.
    """

    depth: np.ndarray
    normal: np.ndarray


def cast_capsules(
    rays: np.ndarray, starts: np.ndarray, ends: np.ndarray, radii: np.ndarray
) -> View:
    """Where rays from the origin first meet capsules: all points within r of a segment.

    Args:
      rays: floats `[R, 3]`, whose third component is 1.
      starts: floats `[C, 3]`, first end of every segment, mm; z above the radius.
      ends: floats `[C, 3]`, the other end, elsewhere.
      radii: floats `[C]`, r, mm.

    Returns:
      The view.
    """
    rays, a, b, r = (np.asarray(x, np.float32) for x in (rays, starts, ends, radii))
    near = _in_bounds(rays, a, b, r)
    capsule, ray = np.nonzero(near)
    t = np.full(near.shape, np.inf, np.float32)
    t[near] = _distances(rays[ray], a[capsule], (b - a)[capsule], r[capsule])
    first = t.argmin(axis=0)
    depth = np.take_along_axis(t, first[None], axis=0)[0]
    hit = np.isfinite(depth)
    depth = np.where(hit, depth, _NOTHING)
    point, a, axis = depth[:, None] * rays, a[first], (b - a)[first]
    share = np.clip(_dot(point - a, axis) / _dot(axis, axis), 0, 1)
    normal = (point - a - share[:, None] * axis) / r[first, None]
    return View(depth, np.where(hit[:, None], normal, _NOTHING))


def _in_bounds(rays: np.ndarray, a: np.ndarray, b: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Whether rays pass the box around the image of each capsule, bool `[C, R]`.

    A capsule is the convex hull of its spheres; the slopes x / z of a sphere's tangents are
    `(x·z ± r·√(x² + z² − r²)) / (z² − r²)`.
    """
    near = np.ones((len(r), len(rays)), bool)
    for i in (0, 1):
        slopes = []
        for x, z in ((a[:, i], a[:, 2]), (b[:, i], b[:, 2])):
            reach = r * np.sqrt(x * x + z * z - r * r)
            slopes += [(x * z - reach) / (z * z - r * r), (x * z + reach) / (z * z - r * r)]
        near &= rays[:, i] >= np.min(slopes, axis=0)[:, None]
        near &= rays[:, i] <= np.max(slopes, axis=0)[:, None]
    return near


def _distances(ray: np.ndarray, a: np.ndarray, axis: np.ndarray, r: np.ndarray) -> np.ndarray:
    """t of the first point t·ray within r of the segment from a to a + axis; inf if there is none.

    All are float32 `[P, 3]`, r `[P]`; so is the result.
    """
    length, along, start = _dot(axis, axis), _dot(axis, ray), _dot(axis, a)
    toward, square, away = _dot(a, ray), _dot(ray, ray), _dot(a, a) - r * r
    # |t·ray − a|² less the square of the part along the axis is r² on the cylinder.
    quadratic = length * square - along * along
    linear = length * toward - start * along
    discriminant = linear * linear - quadratic * (length * away - start * start)
    # A ray along the axis (quadratic = 0) meets the end that is nearer: any t will do for that.
    t = (linear - np.sqrt(np.maximum(discriminant, 0))) / np.where(quadratic > 0, quadratic, np.inf)
    place = t * along - start
    # Beyond the ends of the cylinder the surface is that of a sphere.
    last = place >= length
    toward = toward + np.where(last, along, 0)
    away = away + np.where(last, 2 * start + length, 0)
    sphere = toward * toward - square * away
    on_side = (discriminant > 0) & (place > 0) & (place < length)
    t = np.where(on_side, t, (toward - np.sqrt(np.maximum(sphere, 0))) / square)
    return np.where(on_side | (sphere > 0), t, np.inf)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Products of vectors `[P, 3]`, `[P]`."""
    return np.einsum("pc,pc->p", a, b)


def shade(view: View, side: int, skin: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Colors under one lamp, on a background that changes from one color to another.

    Args:
      view: what is seen by the pixels.
      side: of the image.
      skin: color of the hand, `[3]`, from 0 to 1.
      rng: source of lamp, background and noise.

    Returns:
      uint8 `[side, side, 3]`.
    """
    lamp = np.array([*rng.uniform(-0.8, 0.8, 2), -1.0])
    lamp /= np.linalg.norm(lamp)
    ambient, gain = rng.uniform(0.25, 0.5), rng.uniform(0.8, 1.1)
    light = gain * (ambient + (1 - ambient) * np.maximum(view.normal @ lamp, 0))
    first, second = rng.uniform(0, 0.8, (2, 3))
    direction = rng.normal(size=2)
    direction /= np.linalg.norm(direction)
    places = np.stack(np.divmod(np.arange(side * side), side), 1) / (side - 1) - 0.5
    share = np.clip(0.5 + places @ direction, 0, 1)[:, None]
    background = (1 - share) * first + share * second
    color = np.where(view.depth[:, None] > 0, light[:, None] * skin, background)
    color = color + rng.normal(0, 0.015, color.shape)
    return np.rint(255 * np.clip(color, 0, 1)).astype(np.uint8).reshape(side, side, 3)
