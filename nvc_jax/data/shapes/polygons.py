"""Polygons as triangles: a fan where it fits, else ears cut in the polygon's plane."""

from collections.abc import Sequence
from itertools import chain

import numpy as np

_SLIGHT = 1e-6
"""Share of a polygon's area by which triangles of a fan may be turned over: rounding, and no gap."""
_MOST_CORNERS = 4000
"""Of polygons that are not convex: cutting them takes the square of it, at least."""


def cut_polygons(
    vertices: np.ndarray, polygons: Sequence[Sequence[float]] | np.ndarray
) -> np.ndarray:
    """Cuts polygons into triangles, which have the polygons' area, whatever the first corner.

    Args:
      vertices: floats `[V, 3]`.
      polygons: rows of `vertices`, in order around each polygon, or an array `[P, n]` of them; those of fewer
        than 3 corners have no triangle.

    Returns:
      Rows of `vertices`, int64 `[F, 3]`, in the order of the polygons, n − 2 for one of n corners.

    Raises:
      ValueError: for a corner that is none of the vertices, or a polygon that crosses itself.
    """
    if isinstance(polygons, np.ndarray):
        sizes = np.full(len(polygons), polygons.shape[1])
        corners = polygons.ravel().astype(np.int64)
    else:
        sizes = np.array([len(polygon) for polygon in polygons], np.int64)
        corners = np.fromiter(map(int, chain.from_iterable(polygons)), np.int64, int(sizes.sum()))
    if corners.size and not 0 <= corners.min() <= corners.max() < len(vertices):
        raise ValueError("a face has a corner that is none of the vertices")
    if (sizes == 3).all():
        return corners.reshape(-1, 3)
    starts = np.cumsum(sizes) - sizes
    counts = np.maximum(sizes - 2, 0)
    firsts = np.cumsum(counts) - counts
    triangles = np.empty((int(counts.sum()), 3), np.int64)
    for size in np.unique(sizes[sizes > 2]):
        chosen = np.flatnonzero(sizes == size)
        rings = corners[starts[chosen, None] + np.arange(size)]
        fans = np.stack(
            [np.broadcast_to(rings[:, :1], (len(rings), size - 2)), rings[:, 1:-1], rings[:, 2:]],
            -1,
        )
        for i in np.flatnonzero(~_fits(vertices[fans])) if size > 3 else ():
            fans[i] = rings[i][cut_ears(vertices[rings[i]])]
        triangles[firsts[chosen, None] + np.arange(size - 2)] = fans
    return triangles


def _fits(fans: np.ndarray) -> np.ndarray:
    """Whether no triangle of a fan `[m, n − 2, 3, 3]` is turned over, bool `[m]`: it then fills its polygon."""
    vectors = np.cross(fans[:, :, 1] - fans[:, :, 0], fans[:, :, 2] - fans[:, :, 0])
    normals = vectors.sum(axis=1)
    areas = np.linalg.norm(vectors, axis=-1).sum(axis=-1)
    along = np.einsum("mtk,mk->mt", vectors, normals)
    length = np.linalg.norm(normals, axis=-1)
    # Without a normal there is either no area at all, or as much of it on the one side as on the other.
    return (along >= -_SLIGHT * (areas * length)[:, None]).all(axis=1) & (length >= _SLIGHT * areas)


def cut_ears(corners: np.ndarray) -> np.ndarray:
    """Cuts one polygon into triangles: over and over a corner whose triangle no other corner lies in.

    Args:
      corners: floats `[n, 3]`, in order around the polygon, seen in the plane of its mean normal.

    Returns:
      Numbers of corners, int64 `[n − 2, 3]`, turned as the polygon is.

    Raises:
      ValueError: for a polygon that crosses itself, or has too many corners.

    Reference: Meisters, "Polygons have ears", 1975.
    """
    if len(corners) > _MOST_CORNERS:
        raise ValueError(f"a polygon that is not convex has {len(corners)} corners: cut it first")
    flat, area = _in_plane(corners)
    edges = np.roll(flat, -1, axis=0) - flat
    before = np.roll(edges, 1, axis=0)
    turns = np.arctan2(_cross(before, edges), (before * edges).sum(axis=1))
    if turns.sum() > 3 * np.pi:  # once around is 2π
        raise ValueError("a polygon crosses itself")
    ring, triangles = list(range(len(corners))), []
    while len(ring) > 3:
        place = _ear(flat[ring], 1e-12 * area)
        triangles.append([ring[place - 1], ring[place], ring[(place + 1) % len(ring)]])
        del ring[place]
    return np.array([*triangles, ring], np.int64)


def _in_plane(corners: np.ndarray) -> tuple[np.ndarray, float]:
    """(corners `[n, 2]` in the plane of the mean normal, twice the area)."""
    centered = corners - corners.mean(axis=0)
    parts = np.cross(centered, np.roll(centered, -1, axis=0))
    normal = parts.sum(axis=0)
    area = float(np.linalg.norm(normal))
    if not area > 1e-9 * np.linalg.norm(parts, axis=1).sum():
        raise ValueError("a polygon crosses itself, or has no area")
    normal /= area
    first = np.cross(normal, np.eye(3)[np.abs(normal).argmin()])
    first /= np.linalg.norm(first)
    return centered @ np.stack([first, np.cross(normal, first)], axis=1), area


def _ear(ring: np.ndarray, slight: float) -> int:
    """Place of an ear in a ring of corners `[n, 2]`, counterclockwise; of a corner without area first."""
    before, after = np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0)
    turn = _cross(ring - before, after - ring)
    if (np.abs(turn) <= slight).any():
        return int(np.argmax(np.abs(turn) <= slight))
    others = ring[turn < 0]  # only they can lie in the triangle of an ear
    for place in np.flatnonzero(turn > 0):
        triangle = before[place], ring[place], after[place]
        sides = [
            _cross(b - a, others - a) >= -slight
            for a, b in zip(triangle, (*triangle[1:], triangle[0]), strict=True)
        ]
        # A hole's bridge passes the same corner twice.
        is_corner = np.any([(others == corner).all(axis=1) for corner in triangle], axis=0)
        if not (np.all(sides, axis=0) & ~is_corner).any():
            return int(place)
    raise ValueError("a polygon crosses itself")


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The third component of the cross product of vectors in a plane."""
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
