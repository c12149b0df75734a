"""Boxes, cylinders, ellipsoids, and shapes that are unions of them: as volumes and as points.

A primitive is the image of a unit shape, inside of [−1, 1]³, under u ↦ center + axes · u. All of
them are convex.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

SEGMENTS = 24
"""Sides of the polygon that stands for a circle where surfaces are sampled."""

MIN_HALF_WIDTH = {"box": 0.5, "cylinder": 0.71, "ellipsoid": 0.71}
"""In voxels: what is thinner is thickened, so that no leg falls between the voxels' centers."""


class Primitive(NamedTuple):
    """One piece of a shape.

    Attributes:
      kind: box, cylinder (its axis is the second of `axes`) or ellipsoid.
      part: name of the part that it belongs to.
      center: `[3]`.
      axes: `[3, 3]`, half axes in columns.
      ends: width at the lower and upper end of the second axis, of boxes and cylinders, from 0 to 1.
    """

    kind: str
    part: str
    center: np.ndarray
    axes: np.ndarray
    ends: tuple[float, float] = (1.0, 1.0)


def box(part: str, center: ArrayLike, size: ArrayLike) -> Primitive:
    """A box along the axes."""
    return Primitive("box", part, np.array(center, float), np.diag(np.array(size, float) / 2))


def ellipsoid(part: str, center: ArrayLike, size: ArrayLike) -> Primitive:
    """An ellipsoid along the axes."""
    return box(part, center, size)._replace(kind="ellipsoid")


def rod(
    part: str,
    bottom: ArrayLike,
    top: ArrayLike,
    width: float,
    depth: float | None = None,
    *,
    kind: str = "box",
    ends: tuple[float, float] = (1.0, 1.0),
) -> Primitive:
    """A box or a cylinder between two points.

    Args:
      part: name of the part.
      bottom: center of one end, `[3]`.
      top: center of the other, `[3]`.
      width: across, along x as far as the rod allows it (along z, of rods that go along x).
      depth: across, at right angles with the width; equal to it by default.
      kind: `box` or `cylinder`.
      ends: shares of the width and depth at the bottom and at the top.

    Returns:
      The primitive.
    """
    low, high = np.array(bottom, float), np.array(top, float)
    along = (high - low) / 2
    length = np.linalg.norm(along)
    aside = np.eye(3)[0 if abs(along[0]) < 0.9 * length else 2]
    aside -= along * (aside @ along) / length**2
    aside *= width / 2 / np.linalg.norm(aside)
    across = np.cross(aside, along)
    across *= (width if depth is None else depth) / 2 / np.linalg.norm(across)
    return Primitive(kind, part, (low + high) / 2, np.stack([aside, along, across], 1), ends)


def fit(primitives: Sequence[Primitive]) -> list[Primitive]:
    """Moves and scales a shape into [−0.5, 0.5]³: centered, longest side 1."""
    corners = np.concatenate([_triangles(p).reshape(-1, 3) for p in primitives])
    low, high = corners.min(0), corners.max(0)
    scale = 1 / (high - low).max()
    return [
        p._replace(center=(p.center - (low + high) / 2) * scale, axes=p.axes * scale)
        for p in primitives
    ]


def contains(primitive: Primitive, points: np.ndarray) -> np.ndarray:
    """Which of the points `[..., 3]` lie in a primitive: bool `[...]`."""
    offset = points - primitive.center
    x, y, z = (offset @ row for row in np.linalg.inv(primitive.axes))
    if primitive.kind == "ellipsoid":
        return x * x + y * y + z * z <= 1
    low, high = primitive.ends
    width = (high + low) / 2 + y * (high - low) / 2
    if primitive.kind == "box":
        across = np.maximum(abs(x), abs(z)) <= width
    else:
        across = x * x + z * z <= width * width
    return across & (abs(y) <= 1)


def voxelize(primitives: Sequence[Primitive], size: int) -> np.ndarray:
    """The voxels of [−0.5, 0.5]³ whose center lies in a shape: uint8 `[size, size, size]`."""
    volume = np.zeros((size,) * 3, np.uint8)
    centers = (np.arange(size) + 0.5) / size - 0.5
    for piece in map(functools.partial(_thicken, size=size), primitives):
        reach = abs(piece.axes).sum(1)
        low = np.clip(np.floor((piece.center - reach + 0.5) * size), 0, size).astype(int)
        high = np.clip(np.ceil((piece.center + reach + 0.5) * size), 0, size).astype(int)
        crop = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        grid = np.stack(np.meshgrid(*(centers[c] for c in crop), indexing="ij"), -1)
        volume[crop] |= contains(piece, grid)
    return volume


def _thicken(primitive: Primitive, size: int) -> Primitive:
    """At least a voxel of 1 / size wide everywhere."""
    least = MIN_HALF_WIDTH[primitive.kind] / size
    half = np.linalg.norm(primitive.axes, axis=0)
    wide = np.maximum(half, least)
    low, high = np.minimum(1, np.maximum(primitive.ends, least / min(wide[0], wide[2])))
    return primitive._replace(axes=primitive.axes * (wide / half), ends=(low, high))


def sample_surface(
    primitives: Sequence[Primitive], size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws points on the outer surface of a shape, uniformly by area.

    Args:
      primitives: the pieces; surfaces inside of another piece are left out.
      size: number of points.
      rng: what draws.

    Returns:
      points float64 `[size, 3]`; normals float64 `[size, 3]`, outward, of length 1; and the piece
      of every point, int64 `[size]`.
    """
    meshes = [_triangles(p) for p in primitives]
    owner = np.repeat(np.arange(len(meshes)), [len(m) for m in meshes])
    corner, second, third = np.moveaxis(np.concatenate(meshes), 1, 0)
    normal = np.cross(second - corner, third - corner)
    area = np.linalg.norm(normal, axis=1, keepdims=True)
    normal = normal / np.maximum(area, 1e-12)
    total = np.cumsum(area)
    found: list[np.ndarray] = []
    count = 0
    while count < size:
        tries = 2 * (size - count)
        triangle = np.searchsorted(total, rng.random(tries) * total[-1])
        a, b = rng.random((2, tries, 1))
        a, b = np.where(a + b > 1, 1 - a, a), np.where(a + b > 1, 1 - b, b)
        points = (1 - a - b) * corner[triangle] + a * second[triangle] + b * third[triangle]
        # A little outside, where it touches another piece, a surface is inside of that.
        inside = np.zeros(len(points), bool)
        for number, piece in enumerate(primitives):
            others = owner[triangle] != number
            inside |= others & contains(piece, points + 1e-3 * normal[triangle])
        outer = np.flatnonzero(~inside)
        columns = [points[outer], normal[triangle][outer], owner[triangle][outer, None]]
        found.append(np.concatenate(columns, axis=1))
        count += len(outer)
    drawn = np.concatenate(found)[:size]
    return drawn[:, :3], drawn[:, 3:6], drawn[:, 6].astype(np.int64)


def _triangles(primitive: Primitive) -> np.ndarray:
    """Surface of a primitive, `[n, 3, 3]`: corners of triangles, counterclockwise from outside."""
    corners = _unit_mesh(primitive.kind)
    low, high = primitive.ends
    if (low, high) != (1.0, 1.0):
        width = (high + low) / 2 + corners[..., 1:2] * (high - low) / 2
        corners = corners * np.concatenate([width, np.ones_like(width), width], -1)
    return corners @ primitive.axes.T + primitive.center


@functools.cache
def _unit_mesh(kind: str) -> np.ndarray:
    """Triangles `[n, 3, 3]` of the unit box, cylinder or ball: rings of corners, closed by fans."""
    sides = 4 if kind == "box" else SEGMENTS
    angle = 2 * np.pi * (np.arange(sides) + 0.5) / sides
    ring = np.stack([np.cos(angle), np.zeros(sides), np.sin(angle)], 1)
    if kind == "box":
        ring *= np.sqrt(2)
    polar = np.linspace(-np.pi / 2, np.pi / 2, sides // 2 + 1)[1:-1]
    up = np.array([0.0, 1.0, 0.0])
    rings = (
        [ring * np.cos(p) + up * np.sin(p) for p in polar]
        if kind == "ellipsoid"
        else [ring - up, ring + up]
    )
    triangles = []
    for low, high in itertools.pairwise(rings):
        low_next, high_next = np.roll(low, -1, 0), np.roll(high, -1, 0)
        triangles += [
            np.stack([low, high, low_next], 1),
            np.stack([high, high_next, low_next], 1),
        ]
    for end, height, turn in ((rings[0], -1.0, 1), (rings[-1], 1.0, -1)):
        tip = np.broadcast_to([0.0, height, 0.0], end.shape)
        fan = np.stack([tip, end, np.roll(end, -1, 0)], 1)
        triangles.append(fan[:, ::turn])
    return np.concatenate(triangles)
