"""What it says about planes that the camera's height above the floor is known, and that walls stand upright, on the host.

A plane that is found in an image has a normal from many pixels and a distance that is little more than a guess: one
image does not tell its scale. The floor's distance is the camera's height. Where a wall rises from the floor, the ray
through that place meets the floor at a known point, which lies on both; and so on, from the wall to the ceiling.
"""

import numpy as np

from nvc_jax.geometry.plane_segmentation import Planes
from nvc_jax.geometry.planes import NON_PLANAR, split_planes

_UPRIGHT = np.cos(np.radians(20.0))
"""Of horizontal planes: their normal lies so near to the vertical."""
_ACROSS = np.sin(np.radians(20.0))
"""Of upright ones: theirs lies so near to the horizontal."""
_FEWEST = 4
"""Columns in which a plane meets the floor."""
_TRUSTED = 1.5
"""A distance by the floor is at most so many times as large or as small as that of before."""
_ROUNDS = 3


def stand_upright(
    found: Planes, inverse_depth: np.ndarray, rays: np.ndarray, camera_height: float
) -> Planes:
    """Planes of an image whose camera stands upright, more or less, at a known height above the floor.

    The vertical `u` is the direction that horizontal planes (within 20°) have for a normal and upright ones
    have not: the first eigenvector of `Σ_horizontal N·n·nᵀ − Σ_upright N·n·nᵀ` with their numbers of pixels N.
    Both kinds are turned so that their normals fit it, and their distances refitted to the depth of their pixels,
    `1/d = Σ w·(n·r) / Σ (n·r)²`. The lowest of the large planes below the camera is the floor, at `camera_height`.
    A plane that meets another of known distance in the image, in four columns or more, has the median distance of what
    that one tells there, unless that is 1.5 times as large or as small as before; see `_spread_from`.

    Args:
      found: the planes.
      inverse_depth: floats `[H, W]`, w in 1/m, predicted for every pixel.
      rays: floats `[H, W, 3]`, see `pixel_rays`.
      camera_height: in m.

    Returns:
      The planes with the same masks; as they were, where no horizontal plane is below the camera.
    """
    normal, distance = split_planes(found.planes.astype(np.float64))
    size = np.bincount(found.segmentation.ravel(), minlength=NON_PLANAR + 1)[: len(normal)]
    size = np.where(distance > 0, size, 0)
    up = _vertical(normal, size)
    along = normal @ up
    level, upright = (size > 0) & (np.abs(along) > _UPRIGHT), (size > 0) & (np.abs(along) < _ACROSS)
    below = level & (along < 0)
    if not below.any():
        return found
    turned = np.where(level[:, None], np.sign(along)[:, None] * up, normal)
    across = normal - along[:, None] * up
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
    turned = np.where(upright[:, None], across, turned)
    for row in np.flatnonzero(level | upright):
        distance[row] = _refitted(
            turned[row], distance[row], found.segmentation == row, inverse_depth, rays
        )
    large = below & (size >= 0.2 * size[below].max())
    floor = int(np.argmax(np.where(large, distance, 0)))
    distance[floor] = camera_height
    _spread_from(floor, found.segmentation, turned, distance, (level, upright), rays)
    planes = np.where((size > 0)[:, None], turned * distance[:, None], found.planes)
    return Planes(planes.astype(np.float32), found.segmentation)


def _vertical(normal: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The direction up, float64 `[3]`: against y of the camera, more or less."""
    up = np.array([0.0, -1.0, 0.0])
    down = np.radians(40.0)  # that the camera looks at most
    reach = (np.cos(down), np.sin(down))
    for _ in range(_ROUNDS):
        along = np.abs(normal @ up)
        weight = size * ((along > reach[0]).astype(float) - (along < reach[1]))
        if not (weight > 0).any():
            return up
        first = np.linalg.eigh((weight[:, None] * normal).T @ normal)[1][:, -1]
        up = first if first[1] < 0 else -first
        reach = (_UPRIGHT, _ACROSS)
    return up


def _refitted(
    normal: np.ndarray,
    distance: float,
    mask: np.ndarray,
    inverse_depth: np.ndarray,
    rays: np.ndarray,
) -> float:
    """The distance of a plane with this normal whose depth fits that of its pixels best."""
    slope = rays[mask] @ normal
    square = float(np.sum(np.square(slope)))
    fitted = float(np.sum(inverse_depth[mask] * slope)) / max(square, 1e-12)
    return 1.0 / fitted if fitted > 1e-3 else distance


def _spread_from(
    floor: int,
    segmentation: np.ndarray,
    normal: np.ndarray,
    distance: np.ndarray,
    kinds: tuple[np.ndarray, np.ndarray],
    rays: np.ndarray,
) -> None:
    """Sets distances of planes that meet others whose distance is known, from the floor on.

    An upright plane with the floor just below it in the image rises from it, and where an upright plane is just
    below a horizontal one they share an edge: the ceiling's, or the near edge of a board. Other neighbors may
    lie one behind the other.
    """
    level, upright = kinds
    above, below = segmentation[:-1], segmentation[1:]
    ray = (rays[:-1] + rays[1:]) / 2  # between the two pixels
    known = {floor}
    for _ in range(_ROUNDS):
        for row in map(int, np.flatnonzero(level | upright)):
            if row in known:
                continue
            told: list[np.ndarray] = []
            for other in known:
                if (upright[row] and other == floor) or (level[row] and upright[other]):
                    meets = (above == row) & (below == other)
                elif upright[row] and level[other]:
                    meets = (above == other) & (below == row)
                else:
                    continue
                toward = ray[meets] @ normal[other]
                ahead = toward > 1e-3
                points = ray[meets][ahead] * (distance[other] / toward[ahead])[:, None]
                told.append(points @ normal[row])
            values = np.concatenate(told) if told else np.zeros(0)
            before = distance[row]
            after = float(np.median(values)) if len(values) >= _FEWEST else 0.0
            if before / _TRUSTED < after < before * _TRUSTED:
                distance[row] = after
                known.add(row)
