"""Synthetic furniture: generated models as volumes and as points with labels of parts.

Eight classes in random proportions and styles. What is out of sight from one side (how deep a
cabinet is, whether there is a second armrest) is drawn independently of what is in sight.

A model is a union of primitives: boxes, cylinders and ellipsoids. A primitive is the image of a unit shape, inside
of [−1, 1]³, under u ↦ center + axes · u; all of them are convex. Models are made in centimeters: y is up from the
floor at 0, the front is at +z.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from nvc_jax.core.options import Option
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.source import FieldSource, Source, every_nth

OPTIONS = (
    shared.HOLDOUT_EVERY,
    Option("data.num_models", 480, "of the synthetic furniture", at_least=1),
)

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
        triangles += [np.stack([low, high, low_next], 1), np.stack([high, high_next, low_next], 1)]
    for end, height, turn in ((rings[0], -1.0, 1), (rings[-1], 1.0, -1)):
        tip = np.broadcast_to([0.0, height, 0.0], end.shape)
        fan = np.stack([tip, end, np.roll(end, -1, 0)], 1)
        triangles.append(fan[:, ::turn])
    return np.concatenate(triangles)


PARTS = {
    "bed": ("mattress", "frame", "board", "leg", "pillow"),
    "cabinet": ("body", "front", "handle", "leg"),
    "chair": ("seat", "back", "leg", "arm"),
    "lamp": ("base", "pole", "shade"),
    "shelf": ("board", "side", "back"),
    "sofa": ("seat", "back", "arm", "leg"),
    "stool": ("seat", "leg", "bar"),
    "table": ("top", "leg", "apron", "shelf"),
}
"""Parts by class; no model has to have all of them."""


def _happens(rng: np.random.Generator, chance: float = 0.5) -> bool:
    return bool(rng.random() < chance)


def _kind(rng: np.random.Generator) -> str:
    return "cylinder" if _happens(rng) else "box"


def _slab(part: str, kind: str, width: float, low: float, high: float, depth: float) -> Primitive:
    """A level plate or block in the middle."""
    return rod(part, (0, low, 0), (0, high, 0), width, depth, kind=kind)


def _legs(
    rng: np.random.Generator, width: float, depth: float, height: float, *, bars: str = "leg"
) -> list[Primitive]:
    """What carries a thing of some width and depth: three to five legs, two panels, a column."""
    style = rng.choice(["corners", "around", "panels", "column"], p=[0.5, 0.2, 0.1, 0.2])
    narrow = min(width, depth)
    thick = narrow * rng.uniform(0.06, 0.11)
    kind = _kind(rng)
    if style == "panels":
        x, panel = width * rng.uniform(0.35, 0.47), depth * rng.uniform(0.6, 0.95)
        return [box("leg", (side * x, height / 2, 0), (thick, height, panel)) for side in (-1, 1)]
    if style == "column":
        foot = narrow * rng.uniform(0.28, 0.45)
        column = rod("leg", (0, thick / 2, 0), (0, height, 0), thick * rng.uniform(1, 2), kind=kind)
        if _happens(rng):
            return [column, _slab("leg", kind, 2 * foot, 0, thick, 2 * foot)]
        tips = _ring(int(rng.integers(3, 6)), foot, foot, thick / 2, rng.random())
        return [column, *(rod("leg", (0, thick / 2, 0), tip, thick) for tip in tips)]
    if style == "around":
        count, start = int(rng.integers(3, 6)), rng.random()
        feet = _ring(count, 0.42 * width, 0.42 * depth, 0, start)
    else:
        x, z = (width - thick) / 2, (depth - thick) / 2
        feet = [(x, 0.0, z), (-x, 0.0, z), (-x, 0.0, -z), (x, 0.0, -z)]
    inward = 1 - float(rng.choice([0, rng.uniform(0, 0.3)]))
    tops = [(x * inward, height, z * inward) for x, _, z in feet]
    ends = (rng.uniform(0.5, 1), 1.0)
    pieces = [
        rod("leg", foot, top, thick, kind=kind, ends=ends)
        for foot, top in zip(feet, tops, strict=True)
    ]
    if _happens(rng, 0.7 if bars == "bar" else 0.25):
        share = rng.uniform(0.2, 0.6)
        nodes = [
            np.add(np.multiply(f, 1 - share), np.multiply(t, share))
            for f, t in zip(feet, tops, strict=True)
        ]
        pairs = list(zip(nodes, nodes[1:] + nodes[:1], strict=True))
        pieces += [rod(bars, a, b, 0.6 * thick) for a, b in pairs[:: int(rng.integers(1, 3))]]
    return pieces


def _ring(
    count: int, radius_x: float, radius_z: float, y: float, start: float
) -> list[tuple[float, float, float]]:
    angles = 2 * np.pi * (np.arange(count) / count + start)
    return [(float(radius_x * np.cos(a)), y, float(radius_z * np.sin(a))) for a in angles]


def _table(rng: np.random.Generator) -> list[Primitive]:
    height, thick = rng.uniform(38, 80), rng.uniform(2.5, 7)
    width, depth = rng.uniform(70, 190), rng.uniform(50, 100)
    kind = "cylinder" if _happens(rng, 0.35) else "box"
    if kind == "cylinder" and _happens(rng, 0.6):
        width = depth
    inner = 0.66 if kind == "cylinder" else rng.uniform(0.85, 0.97)
    pieces = [_slab("top", kind, width, height - thick, height, depth)]
    pieces += _legs(rng, inner * width, inner * depth, height - thick)
    if _happens(rng, 0.4):
        low = height - thick - rng.uniform(6, 16)
        pieces.append(
            _slab("apron", kind, 0.9 * inner * width, low, height - thick, 0.9 * inner * depth)
        )
    if _happens(rng, 0.3):
        y, share = height * rng.uniform(0.15, 0.4), rng.uniform(0.7, 0.95) * inner
        pieces.append(_slab("shelf", kind, share * width, y, y + 2.5, share * depth))
    return pieces


def _stool(rng: np.random.Generator) -> list[Primitive]:
    height, width, thick = rng.uniform(35, 80), rng.uniform(28, 45), rng.uniform(3, 9)
    depth = width * rng.uniform(0.75, 1)
    kind = _kind(rng)
    inner = 0.72 if kind == "cylinder" else 0.92
    legs = _legs(rng, inner * width, inner * depth, height - thick, bars="bar")
    if _happens(rng, 0.3):
        cushion = ellipsoid("seat", (0, height - thick, 0), (width, 3 * thick, depth))
        return [cushion, *legs]
    return [_slab("seat", kind, width, height - thick, height, depth), *legs]


def _chair(rng: np.random.Generator) -> list[Primitive]:
    width, depth = rng.uniform(40, 60), rng.uniform(38, 56)
    height, thick = rng.uniform(36, 52), rng.uniform(3, 10)
    kind = "cylinder" if _happens(rng, 0.2) else "box"
    inner = 0.72 if kind == "cylinder" else rng.uniform(0.85, 1)
    pieces = [_slab("seat", kind, width, height - thick, height, depth)]
    pieces += _legs(rng, inner * width, inner * depth, height - thick)
    pieces += _chair_back(rng, inner * width, inner * depth, height)
    for side in _arms(rng, none=0.4):
        pieces += _chair_arm(rng, side * width / 2, depth, height)
    return pieces


def _arms(rng: np.random.Generator, none: float) -> tuple[int, ...]:
    """Sides with an arm; now and then one, so that one side does not tell about the other."""
    if _happens(rng, none):
        return ()
    return (-1, 1) if _happens(rng, 0.7) else (int(rng.choice([-1, 1])),)


def _chair_back(
    rng: np.random.Generator, width: float, depth: float, low: float
) -> list[Primitive]:
    high = low + rng.uniform(28, 65)
    thick = rng.uniform(2.5, 6)
    z = thick / 2 - depth / 2
    lean = rng.uniform(0, 12)

    def at(x: float, share: float) -> tuple[float, float, float]:
        return (x, low + share * (high - low), z - share * lean)

    style = rng.choice(["panel", "slats", "rails"], p=[0.5, 0.25, 0.25])
    if style == "panel":
        start = float(rng.choice([0, rng.uniform(0.15, 0.4)]))
        pieces = [rod("back", at(0, start), at(0, 1), width, thick)]
        if start:
            posts = [0.0] if _happens(rng) else [-0.35 * width, 0.35 * width]
            pieces += [rod("back", at(x, 0), at(x, start), thick) for x in posts]
        return pieces
    x = (width - thick) / 2
    pieces = [rod("back", at(-x, 0), at(-x, 1), thick), rod("back", at(x, 0), at(x, 1), thick)]
    if style == "slats":
        pieces.append(rod("back", at(-x, 0.95), at(x, 0.95), thick, 1.5 * thick))
        for place in np.linspace(-x, x, int(rng.integers(4, 7)))[1:-1]:
            pieces.append(rod("back", at(place, 0), at(place, 0.95), 0.7 * thick))
        return pieces
    tall = rng.uniform(0.1, 0.18)
    for share in np.linspace(1 - tall / 2, rng.uniform(0.2, 0.4), int(rng.integers(2, 5))):
        pieces.append(rod("back", at(0, share - tall / 2), at(0, share + tall / 2), 2 * x, thick))
    return pieces


def _chair_arm(rng: np.random.Generator, x: float, depth: float, seat: float) -> list[Primitive]:
    high, thick = seat + rng.uniform(15, 26), rng.uniform(3, 6)
    if _happens(rng, 0.3):
        return [box("arm", (x, (seat + high) / 2 - 3, 0), (thick, high - seat + 6, depth))]
    front = depth * rng.uniform(0.2, 0.45)
    return [
        rod("arm", (x, high, -depth / 2), (x, high, front + thick), thick, 0.7 * thick),
        rod("arm", (x, seat - 4, front), (x, high, front), 0.7 * thick),
    ]


def _sofa(rng: np.random.Generator) -> list[Primitive]:
    width, depth = rng.uniform(110, 230), rng.uniform(70, 105)
    foot, seat = rng.uniform(3, 14), rng.uniform(36, 48)
    back, thick = seat + rng.uniform(22, 50), rng.uniform(12, 24)
    cushion = rng.uniform(8, 18)
    base = seat - cushion
    pieces = [box("seat", (0, (foot + base) / 2, 0), (width, base - foot, depth))]
    behind = thick / 2 - depth / 2
    tilt = rng.uniform(0, 8)
    pieces.append(rod("back", (0, foot, behind), (0, back, behind - tilt), width, thick))
    count = int(rng.integers(1, 5))
    share = width / count
    loose = _happens(rng)
    chaise = int(rng.choice([0, count - 1])) if _happens(rng, 0.25) else -1
    reach = depth * rng.uniform(0.5, 0.9)
    for i in range(count):
        x = (i + 0.5) * share - width / 2
        long = depth - thick + (reach if i == chaise else 0)
        z = thick - depth / 2 + long / 2
        pieces.append(box("seat", (x, base + cushion / 2, z), (share - 2, cushion, long)))
        if i == chaise:
            pieces.append(box("seat", (x, (foot + base) / 2, z), (share, base - foot, long)))
        if loose:
            size = (share - 5, (back - seat) * 0.8, 12)
            pieces.append(box("back", (x, seat + size[1] / 2, thick - depth / 2 + 5), size))
    arm, top, round_arm = rng.uniform(8, 22), seat + rng.uniform(5, 22), _happens(rng, 0.4)
    for side in _arms(rng, none=0.15):
        x = side * (width + arm) / 2
        pieces.append(box("arm", (x, (foot + top) / 2, 0), (arm, top - foot, depth)))
        if round_arm:
            ends = ((x, top, -depth / 2), (x, top, depth / 2 + 1))
            pieces.append(rod("arm", *ends, 1.3 * arm, kind="cylinder"))
    kind = _kind(rng)
    for x in (-0.45 * width, 0.45 * width):
        for z in (-0.42 * depth, 0.42 * depth):
            pieces.append(rod("leg", (x, 0, z), (x, foot, z), 6, kind=kind))
    return pieces


def _bed(rng: np.random.Generator) -> list[Primitive]:
    width, length = rng.uniform(85, 190), rng.uniform(185, 215)
    low, frame = rng.uniform(4, 25), rng.uniform(8, 20)
    mattress = rng.uniform(12, 26)
    top = low + frame + mattress
    pieces = [
        box("frame", (0, low + frame / 2, 0), (width, frame, length)),
        box("mattress", (0, top - mattress / 2, 0), (0.94 * width, mattress, 0.96 * length)),
    ]
    pieces += _end_board(rng, width, -length / 2, top + rng.uniform(15, 70))
    if _happens(rng, 0.45):
        pieces += _end_board(rng, width, length / 2, top + rng.uniform(-5, 25))
    high = top + rng.uniform(60, 130) if _happens(rng, 0.15) else low + 1  # a four-poster
    thick, kind = rng.uniform(5, 10), _kind(rng)
    x, z = (width - thick) / 2, (length - thick) / 2
    corners = [(x, z), (-x, z), (-x, -z), (x, -z)]
    pieces += [rod("leg", (x, 0, z), (x, high, z), thick, kind=kind) for x, z in corners]
    if high > top:
        for (x, z), (x_next, z_next) in zip(corners, corners[1:] + corners[:1], strict=True):
            pieces.append(rod("leg", (x, high, z), (x_next, high, z_next), thick))
    count = 2 if width > 120 else 1
    soft, thick = _happens(rng), rng.uniform(8, 14)
    for i in range(count):
        size = (width / count * rng.uniform(0.6, 0.85), thick, rng.uniform(30, 45))
        center = (width / count * (i - (count - 1) / 2), top + 0.3 * thick, 27 - length / 2)
        pieces.append((ellipsoid if soft else box)("pillow", center, size))
    return pieces


def _end_board(rng: np.random.Generator, width: float, z: float, high: float) -> list[Primitive]:
    thick = rng.uniform(4, 10)
    if _happens(rng, 0.65):
        return [box("board", (0, high / 2 + 2, z), (width, high - 4, thick))]
    x = (width - thick) / 2
    places = np.linspace(-x, x, int(rng.integers(4, 9)))
    bars = [rod("board", (p, 2, z), (p, high, z), thick if abs(p) == x else 4) for p in places]
    return [*bars, rod("board", (-x, high, z), (x, high, z), thick)]


def _shelf(rng: np.random.Generator) -> list[Primitive]:
    width, height, depth = rng.uniform(45, 150), rng.uniform(70, 210), rng.uniform(20, 48)
    thick = rng.uniform(2, 5)
    count = int(rng.integers(3, 8))
    style = rng.choice(["panels", "posts", "ladder"], p=[0.6, 0.25, 0.15])
    x, z = (width - thick) / 2, (depth - thick) / 2
    lean = depth * rng.uniform(0.4, 0.8) if style == "ladder" else 0.0
    pieces: list[Primitive] = []
    for y in np.linspace(rng.uniform(0, 12) + thick / 2, height - thick / 2, count):
        deep = depth - lean * y / height
        pieces.append(box("board", (0, y, (deep - depth) / 2), (width, thick, deep)))
    for side in (-x, x):
        if style == "panels":
            pieces.append(box("side", (side, height / 2, 0), (thick, height, depth)))
            continue
        pieces.append(rod("side", (side, 0, z), (side, height, z - lean), thick))
        pieces.append(rod("side", (side, 0, -z), (side, height, -z), thick))
    if style != "ladder" and _happens(rng, 0.5):
        pieces.append(box("back", (0, height / 2, -z), (width, height, 0.6 * thick)))
    if _happens(rng, 0.35):
        walls = np.linspace(-x, x, int(rng.integers(3, 5)))[1:-1]
        deep = depth - lean
        for place in walls:
            pieces.append(
                box("side", (place, height / 2, (deep - depth) / 2), (thick, height - 15, deep))
            )
    return pieces


def _lamp(rng: np.random.Generator) -> list[Primitive]:
    height, foot = rng.uniform(40, 160), rng.uniform(22, 40)
    thick, kind = rng.uniform(1.5, 5), _kind(rng)
    plate = rng.uniform(2, 6)
    pieces = [_slab("base", kind, foot, 0, plate, foot)]
    if _happens(rng, 0.35):
        tips = _ring(int(rng.integers(3, 5)), 0.7 * foot, 0.7 * foot, thick / 2, rng.random())
        pieces = [rod("base", tip, (0, 0.4 * height, 0), thick) for tip in tips]
        plate = 0.3 * height
    top = np.array([0, height, 0])
    if _happens(rng, 0.35):  # bent over to one side
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 0.6) * height
        knee, top = top, top + reach * np.array([np.cos(angle), -0.1, np.sin(angle)])
        pieces.append(rod("pole", knee, top, thick, kind=kind))
        pieces.append(rod("pole", (0, plate - 1, 0), knee, thick, kind=kind))
    else:
        pieces.append(rod("pole", (0, plate - 1, 0), top, thick, kind=kind))
        if _happens(rng, 0.25):
            belly = foot * rng.uniform(0.6, 0.9)
            size = (belly, height * rng.uniform(0.3, 0.6), belly)
            pieces.append(ellipsoid("pole", (0, plate + size[1] / 2, 0), size))
    wide, tall = rng.uniform(20, 55), rng.uniform(16, 40)
    if _happens(rng, 0.3):
        return [*pieces, ellipsoid("shade", top, (wide, rng.uniform(0.6, 1) * wide, wide))]
    up = np.array([0, tall, 0])
    ends = (1.0, rng.uniform(0.4, 1)) if _happens(rng, 0.85) else (rng.uniform(0.4, 0.8), 1.0)
    return [*pieces, rod("shade", top - 0.6 * up, top + 0.4 * up, wide, kind=_kind(rng), ends=ends)]


def _cabinet(rng: np.random.Generator) -> list[Primitive]:
    width, height, depth = rng.uniform(40, 170), rng.uniform(45, 190), rng.uniform(30, 70)
    low = float(rng.choice([0, rng.uniform(4, 25)]))
    pieces = [box("body", (0, (low + height) / 2, 0), (width, height - low, depth))]
    if _happens(rng, 0.5):
        rim = rng.uniform(2, 8)
        pieces.append(box("body", (0, height, 0), (width + rim, 4, depth + rim)))
    columns, rows = int(rng.integers(1, 4)), int(rng.integers(1, 5))
    gap, thick = rng.uniform(2, 5), rng.uniform(3, 6)
    grip = rng.choice(["knob", "bar", "none"])
    wide, tall = (width - gap) / columns, (height - low - gap) / rows
    for column in range(columns):
        for row in range(rows):
            if _happens(rng, 0.1):
                continue  # an open place
            x = (column + 0.5) * wide - (width - gap) / 2
            y = low + gap / 2 + (row + 0.5) * tall
            pieces.append(box("front", (x, y, depth / 2), (wide - gap, tall - gap, thick)))
            at = np.array([x, y, (depth + thick) / 2 + 1])
            if grip == "knob":
                pieces.append(ellipsoid("handle", at, (5, 5, 5)))
            elif grip == "bar":
                half = np.array([0.2 * wide, 0, 0])
                pieces.append(rod("handle", at - half, at + half, 3))
    if low:
        thick, kind = rng.uniform(4, 8), _kind(rng)
        for x in (-0.45 * width, 0.45 * width):
            for z in (-0.42 * depth, 0.42 * depth):
                pieces.append(rod("leg", (x, 0, z), (x, low, z), thick, kind=kind))
    return pieces


GENERATORS: dict[str, Callable[[np.random.Generator], list[Primitive]]] = {
    "bed": _bed,
    "cabinet": _cabinet,
    "chair": _chair,
    "lamp": _lamp,
    "shelf": _shelf,
    "sofa": _sofa,
    "stool": _stool,
    "table": _table,
}
"""What makes a model of every class."""


CLASS_NAMES = tuple(PARTS)
"""Name of every `label`."""

PART_NAMES = tuple(f"{name} {part}" for name, parts in PARTS.items() for part in parts)
"""Name of every `point_label`."""

PARTS_OF_CLASS = np.array([[part.split()[0] == name for part in PART_NAMES] for name in PARTS])
"""Which parts the models of a class can have, bool `[classes, parts]`."""

NUM_VOXELS = 32
"""Voxels along every axis of a volume."""

NUM_POINTS = 2048
"""Points of a cloud."""

_SEED = 3


def read_furniture(options: Any, split: str) -> Source:
    """Synthetic furniture, which needs no files.

    Model i is a function of i alone: more models leave the first ones as they are.

    Args:
      options: `config.data`, of which `num_models` and `holdout_every` are used.
      split: `train`, `validation` or `test`, see `every_nth`.

    Returns:
      Models with `voxels` uint8 `[32, 32, 32]`, solid, longest side 32 (31 where it ends in a corner
      that no center of a voxel hits); `points` and `normals` float32 `[2048, 3]` on the outer
      surface, in [−0.5, 0.5]; `point_label` uint8 `[2048]`, into `PART_NAMES`; and `label`, into
      `CLASS_NAMES`. They are centered, y is up, the front is at +z.

    Raises:
      UserError: if there is no model in the split.
    """
    return every_nth(_all_models(options.num_models), split, options.holdout_every)


@functools.lru_cache(maxsize=1)
def _all_models(count: int) -> FieldSource:
    fields: dict[str, np.ndarray] = {
        "voxels": np.empty((count, *(NUM_VOXELS,) * 3), np.uint8),
        "points": np.empty((count, NUM_POINTS, 3), np.float32),
        "normals": np.empty((count, NUM_POINTS, 3), np.float32),
        "point_label": np.empty((count, NUM_POINTS), np.uint8),
        "label": np.array([_class_of(i) for i in range(count)], np.int32),
    }
    for i, label in enumerate(fields["label"]):
        rng = np.random.default_rng((_SEED, i))
        name = CLASS_NAMES[label]
        pieces = fit(GENERATORS[name](rng))
        points, normals, piece = sample_surface(pieces, NUM_POINTS, rng)
        part = np.array([PART_NAMES.index(f"{name} {p.part}") for p in pieces])
        fields["voxels"][i] = voxelize(pieces, NUM_VOXELS)
        fields["points"][i], fields["normals"][i] = points, normals
        fields["point_label"][i] = part[piece]
    return FieldSource(fields, "furniture", CLASS_NAMES, PART_NAMES)


def _class_of(model: int) -> int:
    """Sum of the digits to base 8: classes take turns, and no step from model to model skips any."""
    places = 1 + int(np.log2(model + 1)) // 3
    return sum(model // 8**place for place in range(places)) % 8
