"""Solid occupancy of triangle meshes, watertight or not."""

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

_FINE = 4  # lines per voxel side on which touched voxels are looked for; even
_STEPS = 3  # from an open voxel into the corner of a room, through voxels that its walls touch
_MAX_ROWS = 1 << 16  # scan lines handled at a time, which bounds the memory
_TIE = 1e-6  # in voxels: keeps a flat surface between two layers of voxels in one of them


def solid_voxels(triangles: np.ndarray, resolution: int) -> np.ndarray:
    """Voxels of the solid that a surface encloses.

    Voxel (i, j, k) is the cube from −½ + (i, j, k) / R of side 1 / R. A voxel is solid if

    1. its center is enclosed. Voxels that the surface does not touch and that a 6-connected flood
       fill reaches from outside are open; from them the fill goes on through touched voxels, at
       most 3 steps from center to center, where the surface is not in between. All others are
       enclosed. So the volume has no bias, and openings smaller than a voxel do no harm;
    2. or it is where the surface crosses the way between two adjacent centers neither of which is
       enclosed (the mean, if there are several crossings), as at a part thinner than a voxel;
    3. or the surface touches it at a point that has no solid voxel by 1 and 2 among the 8 centers
       around it, as at a wire or a tip;
    4. or the surface touches it and it joins separate parts: of the voxels by 1 to 3 around it,
       not all are 26-connected.

    Larger openings let the fill in: the walls remain, one voxel thick. The surface is looked for
    where it meets lines along x, y and z: through the centers for the crossings, 4 × 4 a voxel for
    what it touches. The winding of the triangles does not matter.

    Args:
      triangles: corners float `[F, 3, 3]`, in [−½, ½].
      resolution: voxels along a side, R.

    Returns:
      bool `[R, R, R]`.
    """
    corners = (np.asarray(triangles, np.float64) + 0.5) * resolution
    ways, touched = _crossed_ways(corners, resolution)
    half_voxels = _touched_half_voxels(corners, resolution)
    touched |= half_voxels.reshape(*[resolution, 2] * 3).any((1, 3, 5))
    # One more voxel on every side, so that what is outside is connected.
    solid = ~_open_voxels(np.pad(touched, 1), [counts > 0 for counts, _ in ways])
    _add_thin_parts(solid, ways)
    _add_lost_parts(solid, half_voxels)
    return solid[1:-1, 1:-1, 1:-1] | (touched & _between_parts(solid))


def _crossed_ways(
    corners: np.ndarray, resolution: int
) -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray]:
    """Crossings of the surface with the lines through the centers.

    Args:
      corners: float64 `[F, 3, 3]` in voxels, from 0 to R.
      resolution: `R`.

    Returns:
      For every axis, number and mean coordinate of the crossings on the ways from center to center
      along it, the first and last of which come from outside: R + 1 along the axis, R along others;
      and the voxels that the crossings lie in, bool `[R, R, R]`.
    """
    ways = []
    touched = np.zeros((resolution,) * 3, bool)
    for axis in range(3):
        shape = tuple(resolution + (i == axis) for i in range(3))
        counts, total = np.zeros(np.prod(shape)), np.zeros(np.prod(shape))
        for lines, depth in _meet_lines(corners, axis):
            number = np.floor(depth + 0.5).clip(0, resolution).astype(np.int64)
            way = np.insert(lines, axis, number, axis=0)
            flat = np.ravel_multi_index(tuple(way), shape)
            np.add.at(counts, flat, 1)
            np.add.at(total, flat, depth)
            touched[_cells(lines, axis, depth, resolution)] = True
        mean = total / np.maximum(counts, 1)
        ways.append((counts.reshape(shape), mean.reshape(shape)))
    return ways, touched


def _touched_half_voxels(corners: np.ndarray, resolution: int) -> np.ndarray:
    """Cells of half a voxel, bool `[2R, 2R, 2R]`, in which lines meet the surface."""
    touched = np.zeros((2 * resolution,) * 3, bool)
    for axis in range(3):
        for lines, depth in _meet_lines(corners * _FINE, axis):
            cells = _cells(lines * 2 // _FINE, axis, depth * 2 / _FINE, 2 * resolution)
            touched[cells] = True
    return touched


def _cells(lines: np.ndarray, axis: int, depth: np.ndarray, size: int) -> tuple[np.ndarray, ...]:
    """Indices of the cells that hold the points at `depth` on lines along an axis."""
    along = np.floor(depth + _TIE).clip(0, size - 1).astype(np.int64)
    return tuple(np.insert(lines, axis, along, axis=0))


def _meet_lines(corners: np.ndarray, axis: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Where triangles meet the lines along an axis at (i + ½, j + ½) on the two others.

    A triangle takes the lines in a half-open area and adjacent ones cut their common edge at the
    same numbers, so that no line passes between them or meets both.

    Args:
      corners: float64 `[F, 3, 3]`.
      axis: of the lines.

    Yields:
      lines: (i, j) of every point, int64 `[2, n]`.
      depth: coordinate of the point on the axis, float64 `[n]`.
    """
    u, v = (i for i in range(3) if i != axis)
    corners = corners[..., [u, v, axis]]
    # Rows: pairs of a triangle and a number i for which it meets the plane u = i + ½.
    first = np.ceil(corners[..., 0].min(1) - 0.5).astype(np.int64)
    rows = np.ceil(corners[..., 0].max(1) - 0.5).astype(np.int64) - first
    start = 0
    ends = np.cumsum(rows)
    while start < len(rows):
        done = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, done + _MAX_ROWS, side="right")), start + 1)
        triangle, step = _expand(rows[start:stop])
        row = first[start:stop][triangle] + step
        left, right = _cut(corners[start:stop][triangle], row + 0.5)
        column = np.ceil(left[:, 0] - 0.5).astype(np.int64)
        cut, step = _expand(np.ceil(right[:, 0] - 0.5).astype(np.int64) - column)
        column = column[cut] + step
        left, right = left[cut], right[cut]
        share = (column + 0.5 - left[:, 0]) / (right[:, 0] - left[:, 0])
        yield (np.stack([row[cut], column]), left[:, 1] + share * (right[:, 1] - left[:, 1]))
        start = stop


def _expand(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every number i `counts[i]` times, and how often it came before."""
    index = np.repeat(np.arange(len(counts)), counts)
    return index, np.arange(len(index)) - (np.cumsum(counts) - counts)[index]


def _cut(corners: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ends (v, depth), `[n, 2]` each, of triangles `[n, 3, 3]` cut at a u that each spans."""
    # Both triangles of an edge see it in the same direction and thus round alike.
    order = np.lexsort(np.moveaxis(corners[..., ::-1], -1, 0), axis=1)
    low, middle, high = np.moveaxis(np.take_along_axis(corners, order[..., None], 1), 1, 0)
    past = u >= middle[:, 0]
    ends = [
        _interpolate(low, high, u),
        _interpolate(
            np.where(past[:, None], middle, low), np.where(past[:, None], high, middle), u
        ),
    ]
    swap = (ends[0][:, 0] > ends[1][:, 0])[:, None]
    return np.where(swap, ends[1], ends[0]), np.where(swap, ends[0], ends[1])


def _interpolate(low: np.ndarray, high: np.ndarray, u: np.ndarray) -> np.ndarray:
    """(v, depth) at u on the edge from `low` to `high`, `[n, 3]` each."""
    share = ((u - low[:, 0]) / (high[:, 0] - low[:, 0]))[:, None]
    return low[:, 1:] + share * (high[:, 1:] - low[:, 1:])


def _open_voxels(touched: np.ndarray, crossed: list[np.ndarray]) -> np.ndarray:
    """Voxels whose center is outside, see 1 of `solid_voxels`.

    Args:
      touched: bool `[R + 2, R + 2, R + 2]`.
      crossed: bool for every axis: whether the surface is between the centers, see `_crossed_ways`.

    Returns:
      bool `[R + 2, R + 2, R + 2]`.
    """
    regions = ndimage.label(~touched)[0]
    reached = regions == regions[0, 0, 0]
    for _ in range(_STEPS):
        before = reached.copy()
        for axis, closed in enumerate(crossed):
            lower, upper = _ends(reached, axis)
            came_lower, came_upper = _ends(before, axis)
            touched_lower, touched_upper = _ends(touched, axis)
            upper |= came_lower & ~closed & touched_upper
            lower |= came_upper & ~closed & touched_lower
    return reached


def _ends(padded: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Views of a volume `[R + 2, R + 2, R + 2]` at the lower and the upper end of every way."""
    views = []
    for along in (slice(None, -1), slice(1, None)):
        index = [slice(1, -1)] * 3
        index[axis] = along
        views.append(padded[tuple(index)])
    return views[0], views[1]


def _add_thin_parts(solid: np.ndarray, ways: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Adds 2 of `solid_voxels` to the padded volume, in place."""
    size, thin = len(solid) - 2, []
    for axis, (counts, mean) in enumerate(ways):
        lower, upper = _ends(solid, axis)
        way = np.stack(np.nonzero((counts > 0) & ~lower & ~upper))
        thin.append(_cells(np.delete(way, axis, axis=0), axis, mean[tuple(way)], size))
    for cells in thin:
        solid[1:-1, 1:-1, 1:-1][cells] = True


def _add_lost_parts(solid: np.ndarray, half_voxels: np.ndarray) -> None:
    """Adds 3 of `solid_voxels` to the padded volume, in place."""
    around = solid  # for every cube between 8 centers, [R + 1, R + 1, R + 1], in the end
    for axis in range(3):
        around = np.delete(around, 0, axis) | np.delete(around, -1, axis)
    half = np.stack(np.nonzero(half_voxels))
    lost = half[:, ~around[tuple((half + 1) // 2)]] // 2
    solid[1:-1, 1:-1, 1:-1][tuple(lost)] = True


def _between_parts(solid: np.ndarray) -> np.ndarray:
    """Whether voxels of a padded volume are beside two parts that are not 26-connected."""
    parts = ndimage.label(solid, np.ones((3, 3, 3)))[0]
    highest = ndimage.maximum_filter(parts, 3)
    lowest = ndimage.minimum_filter(np.where(solid, parts, parts.max() + 1), 3)
    return ((highest > 0) & (highest != lowest))[1:-1, 1:-1, 1:-1]
