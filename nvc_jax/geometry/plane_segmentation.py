"""From what is predicted for every pixel to planes and their masks, on the host, without labels.

Planes are found one after the other: of many candidates that with the most pixels on it is taken, its
pixels are taken away, and so on, until the best has too few. Candidates are what the network predicts for
single pixels, or planes through three points of a depth map.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from nvc_jax.geometry.planes import (
    MAX_PLANES,
    NON_PLANAR,
    fit_plane,
    invert_planes,
    points_of_depth,
    split_planes,
)

CANDIDATES = 48
"""Tried for every plane."""

LEAST_SHARE = 0.004
"""Of all pixels that a plane has at least."""

_SEED = 0


class Planes(NamedTuple):
    """Planes of an image.

    Attributes:
      planes: float32 `[20, 3]`, `n·d`; rows of 0 are unused.
      segmentation: uint8 `[H, W]`: rows of `planes`, or 20.
    """

    planes: np.ndarray
    segmentation: np.ndarray


def planes_of_map(
    plane_map: np.ndarray,
    planar: np.ndarray,
    rays: np.ndarray,
    *,
    tolerance: float = 0.15,
    angle: float = 30.0,
) -> Planes:
    """Planes of a map that holds a plane for every pixel.

    A pixel lies on a candidate if the depths of both there differ by less than a share of the depth, and
    their normals by less than an angle. A plane found is the mean `n/d` of its pixels.

    Args:
      plane_map: floats `[H, W, 3]`, `n/d`.
      planar: bool `[H, W]`; other pixels lie on no plane.
      rays: floats `[H, W, 3]`.
      tolerance: share of the depth.
      angle: in degrees.

    Returns:
      The planes, from the first one found.
    """
    values, rays = plane_map[planar].astype(np.float64), rays[planar]
    inverse_depth = np.maximum(np.einsum("pc,pc->p", values, rays), 1e-3)
    normal = split_planes(values)[0]

    def members(chosen: np.ndarray, left: np.ndarray) -> np.ndarray:
        """Which of the pixels `left` lie on the planes of the pixels `chosen`, bool `[C, P]`."""
        ratio = values[chosen] @ rays[left].T / inverse_depth[left]
        close = np.abs(ratio - 1) < tolerance
        return close & (normal[chosen] @ normal[left].T > np.cos(np.radians(angle)))

    def candidates(left: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return members(rng.choice(left, min(CANDIDATES, len(left)), replace=False), left)

    def refine(pixels: np.ndarray) -> np.ndarray:
        return invert_planes(values[pixels].mean(axis=0))

    return _one_by_one(planar, candidates, refine)


def planes_of_depth(
    depth: np.ndarray, planar: np.ndarray, rays: np.ndarray, *, tolerance: float = 0.03
) -> Planes:
    """Planes of a depth map by sequential RANSAC: candidates pass through three of its points.

    The three lie within an eighth of the image from each other. A plane found is fitted to its points.

    Args:
      depth: floats `[H, W]`, m.
      planar: bool `[H, W]`; other pixels lie on no plane.
      rays: floats `[H, W, 3]`.
      tolerance: a point lies on a plane if it is nearer than this share of its depth.

    Returns:
      The planes, from the first one found.

    Reference: Fischler and Bolles, "Random sample consensus", 1981.
    """
    place = np.argwhere(planar)
    points = points_of_depth(depth, rays)[planar].astype(np.float64)
    reach = max(max(depth.shape) // 8, 1)

    def candidates(left: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        at = np.full(planar.shape, -1)
        at[tuple(place[left].T)] = left
        first = rng.choice(left, CANDIDATES)
        near = place[first] + rng.integers(-reach, reach, (2, CANDIDATES, 2), endpoint=True)
        second, third = at[tuple(np.moveaxis(near.clip(0, np.array(planar.shape) - 1), -1, 0))]
        corner = points[first]
        across = np.cross(points[second] - corner, points[third] - corner)
        length = np.linalg.norm(across, axis=1)
        chosen = (second >= 0) & (third >= 0) & (length > 1e-9)
        normal, corner = across[chosen] / length[chosen, None], corner[chosen]
        off = np.abs(normal @ points[left].T - np.sum(normal * corner, axis=1)[:, None])
        return off < tolerance * points[left, 2]

    return _one_by_one(planar, candidates, lambda pixels: fit_plane(points[pixels]))


def _one_by_one(
    planar: np.ndarray,
    candidates: Callable[[np.ndarray, np.random.Generator], np.ndarray],
    refine: Callable[[np.ndarray], np.ndarray],
) -> Planes:
    """Takes the candidate with the most pixels, again and again.

    Args:
      planar: bool `[H, W]`, with P true pixels.
      candidates: (pixels left, int `[p]`, rng) → which of them lie on each candidate, bool `[C, p]`.
      refine: (pixels of a plane, int `[p]`) → `n·d`.
    """
    rng = np.random.default_rng(_SEED)
    fewest = max(round(LEAST_SHARE * planar.size), 3)
    owner = np.full(np.count_nonzero(planar), NON_PLANAR, np.uint8)
    planes = np.zeros((MAX_PLANES, 3), np.float32)
    for number in range(MAX_PLANES):
        left = np.flatnonzero(owner == NON_PLANAR)
        on_plane = candidates(left, rng) if len(left) >= fewest else np.zeros((0, 0), bool)
        count = on_plane.sum(axis=1)
        if count.max(initial=0) < fewest:
            break
        pixels = left[on_plane[count.argmax()]]
        planes[number] = refine(pixels)
        owner[pixels] = number
    segmentation = np.full(planar.shape, NON_PLANAR, np.uint8)
    segmentation[planar] = owner
    return Planes(planes, segmentation)
