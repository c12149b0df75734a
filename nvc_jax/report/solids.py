"""The part of a page that can be turned by hand: solids as numbers of few bytes, in colors that are seen."""

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nvc_jax.report.palette import GROUNDS, readable

if TYPE_CHECKING:  # matplotlib is slow to import
    from nvc_jax.plots.solids import Solid

BUDGET = 600_000
"""Characters: with all else the page stays below 10 MB."""

_STEPS = 65535
"""Places along each axis of a scene, in two bytes."""

_MOST_COLORS, _LEVELS = 256, 5
"""More colors than one byte can tell apart are rounded to six levels of red, green and blue."""


def scenes_data(scenes: Mapping[str, Mapping[str, "Solid"]]) -> dict[str, Any]:
    """Scenes as JSON can hold them, as many as there is room for.

    Args:
      scenes: by name, what is seen side by side in one frame, by its name.

    Returns:
      `scenes` with `name` and `panes`, how many are `left_out`, and `colors` by ground. A pane has `kind`, `text`, `points` in the cube around
      its scene as uint16 `[P, 3]` from 0 to 65535, the `side` of a voxel in the same unit, and of every point its
      place in `colors` and, of voxels, its `faces`, as uint8; all of these arrays in base64, little endian.
    """
    known = [
        (scene, name, solid, np.isfinite(solid.points).all(axis=1))
        for scene, panes in scenes.items()
        for name, solid in panes.items()
    ]
    unique, places = _numbered([np.asarray(solid.colors)[kept] for _, _, solid, kept in known])
    found: dict[str, list[dict[str, Any]]] = {}
    frames = {scene: _frame(list(panes.values())) for scene, panes in scenes.items()}
    for (scene, name, solid, kept), color in zip(known, places, strict=True):
        low, extent = frames[scene]
        faces = _faces(solid)[kept] if solid.kind == "voxels" else np.zeros(0)
        cells = (np.asarray(solid.points, np.float64)[kept] - low) / extent * _STEPS
        found.setdefault(scene, []).append({
            "name": name, "text": solid.text, "kind": solid.kind,
            "side": solid.side / extent * _STEPS, "points": _encoded(cells.round(), "<u2"),
            "colors": _encoded(color, "u1"), "faces": _encoded(faces, "u1"),
        })  # fmt: skip
    fitting = _fitting(found)
    return {
        "scenes": [{"name": scene, "panes": panes} for scene, panes in fitting.items()],
        "left_out": len(found) - len(fitting),
        "colors": {ground: [readable(color, ground) for color in unique] for ground in GROUNDS},
    }


def _faces(solid: "Solid") -> np.ndarray:
    """Bits of the faces of voxels, all of them where they are not told."""
    return np.full(len(solid.points), 63) if solid.faces is None else np.asarray(solid.faces)


def _fitting(scenes: Mapping[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """The first scenes, as many as there is room for."""
    left, kept = BUDGET, {}
    for name, panes in scenes.items():
        left -= sum(len(pane[part]) for pane in panes for part in ("points", "colors", "faces"))
        if left < 0:
            break
        kept[name] = panes
    return kept


def _numbered(colors: Sequence[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """All colors, 256 at most, and the place of every point's among them, solid by solid."""
    ends = np.cumsum([len(color) for color in colors])
    together = np.concatenate([np.zeros((0, 3)), *colors]).clip(0, 1)
    for levels in (255, _LEVELS):
        unique, place = np.unique(np.round(together * levels), axis=0, return_inverse=True)
        if len(unique) <= _MOST_COLORS:
            break
    return unique / levels, np.split(place.reshape(-1), ends[:-1])[: len(colors)]


def _frame(solids: Sequence["Solid"]) -> tuple[np.ndarray, float]:
    """The lowest corner `[3]` and the side of the cube around all of them."""
    corners = [np.zeros((0, 3))]
    for solid in solids:
        points = np.asarray(solid.points, np.float64)
        half = solid.side / 2 if solid.kind == "voxels" else 0.0
        finite = points[np.isfinite(points).all(axis=1)]
        corners += [finite - half, finite + half]
    together = np.concatenate(corners)
    if not len(together):
        return np.zeros(3), 1.0
    low, high = together.min(axis=0), together.max(axis=0)
    extent = float((high - low).max()) or 1.0
    return (low + high - extent) / 2, extent


def _encoded(values: np.ndarray, kind: str) -> str:
    """Integers as base64."""
    return base64.b64encode(np.asarray(values).astype(kind).tobytes()).decode()
