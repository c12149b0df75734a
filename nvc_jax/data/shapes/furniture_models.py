"""Pieces of synthetic furniture: a function a class, from random numbers to primitives.

Lengths are centimeters. y is up from the floor at 0, the front is at +z.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nvc_jax.data.shapes.primitives import Primitive, box, ellipsoid, rod

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
