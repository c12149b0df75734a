"""Pictures of volumes and of points, for the figures of `plots` to arrange.

    plots.example_grid({"input": render_volumes(partial), "output": render_volumes(decoded)})
    plots.anchor_gallery(render_points(anchors), render_points(samples), counts)

The view is oblique, from above and without perspective, x to the right, y up and z toward the
viewer; what lies farther away is paler. The cube around an example fills its picture.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nvc_jax.core.errors import UserError
from nvc_jax.geometry.labels import UNKNOWN
from nvc_jax.plots import drawing as draw

SIZE = 96
"""Height and width of a picture in pixels."""

_FINE = 2 * SIZE
"""Pictures are drawn in this size, and averaged over squares of four pixels."""

_UNKNOWN_COLOR = np.array([0.6, 0.6, 0.6])
_BRIGHTNESS = np.array([0.5, 1.0, 0.78])
"""Of faces across the x, y and z axes: lit from above, and a little from the front."""

_HAZE = 0.5
"""Share of white in the color of what is farthest away."""

_DOT_RADIUS = 2.6
"""In fine pixels."""


def _make_view(azimuth: float, elevation: float) -> NDArray[np.float64]:
    """A matrix `[3, 3]` from points in the unit cube around 0 to (right, down, near).

    Each of the three is in [-0.5, 0.5], with the same scale for right and down.
    """
    near = np.array([np.sin(azimuth), np.tan(elevation), np.cos(azimuth)]) * np.cos(elevation)
    right = np.array([np.cos(azimuth), 0.0, -np.sin(azimuth)])
    view = np.stack([right, np.cross(right, near), near], axis=1)
    reach = np.abs(view).sum(axis=0)
    return view / [reach[:2].max(), reach[:2].max(), reach[2]]


# All of `near` is positive, so that a voxel is hidden only by voxels with larger indices.
_VIEW = _make_view(np.radians(32.0), np.radians(24.0))


def class_colors(classes: ArrayLike) -> NDArray[np.float64]:
    """Colors `[..., 3]` in [0, 1] of the classes of voxels, from 1 on: 20 colors, in turn."""
    return draw.PALETTE[(np.asarray(classes).astype(int) - 1) % 20]


def point_colors(labels: ArrayLike) -> NDArray[np.float64]:
    """Colors `[..., 3]` in [0, 1] of the labels of points, from 0 on: 20 colors, in turn; gray for 255, unknown."""
    numbers = np.asarray(labels).astype(int)
    return np.where(numbers[..., None] == UNKNOWN, _UNKNOWN_COLOR, draw.PALETTE[numbers % 20])


def render_volumes(volumes: ArrayLike) -> NDArray[np.float32]:
    """Draw the occupied voxels of volumes as shaded cubes, colored by class.

    Args:
      volumes: bool or integers `[..., X, Y, Z]`: 0 is empty and 255 unknown, neither is drawn;
        anything else is a class, with a color that is always the same (20 colors, in turn).

    Returns:
      Pictures `[..., 96, 96, 3]` in [0, 1]: `[..., SIZE, SIZE, 3]`.

    Raises:
      UserError: for floats, which need a threshold first, or fewer than three axes.
    """
    volumes = np.asarray(volumes)
    if volumes.ndim < 3 or volumes.dtype.kind not in "bui":
        raise UserError(
            f"volumes must be bool or integers [..., X, Y, Z], got {volumes.dtype} of shape "
            f"{volumes.shape}: compare probabilities with a threshold first."
        )
    pictures = [_draw_voxels(volume) for volume in _flat(volumes, 3)]
    return _stack(pictures, volumes.shape[:-3])


def render_points(
    points: ArrayLike, labels: ArrayLike | None = None, *, frame: ArrayLike | None = None
) -> NDArray[np.float32]:
    """Draw points as dots, the nearer over the farther.

    Args:
      points: `[..., P, C]`, C ≥ 3: x, y, z, then anything; points that are not finite are left out.
      labels: integers `[..., P]`, from 0, 255 unknown (gray): 20 colors, in turn. None: one color.
      frame: points `[..., Q, C]` whose bounding boxes set the views, so that an output can be shown
        at the scale of its target. None: `points`. What lies outside is cut off.

    Returns:
      Pictures `[..., 96, 96, 3]` in [0, 1]: `[..., SIZE, SIZE, 3]`.

    Raises:
      UserError: for shapes that do not fit.
    """
    points = np.asarray(points, np.float64)
    frame = points if frame is None else np.asarray(frame, np.float64)
    labels = np.zeros(points.shape[:-1], int) if labels is None else np.asarray(labels)
    outer = points.shape[:-2]
    if (
        min(points.ndim, frame.ndim) < 2
        or min(points.shape[-1], frame.shape[-1]) < 3
        or labels.shape != points.shape[:-1]
        or frame.shape[:-2] != outer
    ):
        raise UserError(
            "Expected points [..., P, 3], labels [..., P] and frame [..., Q, 3], got the shapes "
            f"{points.shape}, {labels.shape} and {frame.shape}."
        )
    arrays = (_flat(array, 2) for array in (points[..., :3], point_colors(labels), frame[..., :3]))
    pictures = [_draw_dots(*cloud) for cloud in zip(*arrays, strict=True)]
    return _stack(pictures, outer)


def _flat(array: NDArray, num_inner: int) -> NDArray:
    """The array with all axes but its last `num_inner` made one."""
    return array.reshape(math.prod(array.shape[:-num_inner]), *array.shape[-num_inner:])


def _draw_voxels(volume: NDArray) -> NDArray[np.float32]:
    """A picture of one volume `[X, Y, Z]`."""
    occupied = (volume != 0) & (volume != UNKNOWN)
    beside = np.pad(occupied, [(0, 1)] * 3)
    covered = beside[1:, :-1, :-1] & beside[:-1, 1:, :-1] & beside[:-1, :-1, 1:]
    voxels = np.argwhere(occupied & ~covered)
    longest = max(volume.shape)
    corners = (voxels + 1 - np.array(volume.shape) / 2) / longest @ _VIEW + 0.5
    nearest = corners[:, :2] * _FINE
    edges = _VIEW[:, :2] * _FINE / longest

    # Every pixel of a voxel's bounding box is tried against its three faces. A voxel reaches from
    # its nearest corner against the three edges.
    extent = np.abs(edges).sum(axis=0)
    first = np.floor(nearest - edges.clip(min=0).sum(axis=0)).astype(int)
    box = np.indices(np.ceil(extent).astype(int) + 1).reshape(2, -1).T
    away = (nearest - first - 0.5)[:, None] - box
    front = np.full(_FINE * _FINE, -1)
    for axis in range(3):
        along = away @ np.linalg.inv(np.delete(edges, axis, axis=0))
        voxel, pixel = np.nonzero(((along >= 0) & (along < 1)).all(axis=-1))
        column, row = (first[voxel] + box[pixel]).T
        # Voxels are in an order in which the later ones hide the earlier ones.
        np.maximum.at(front, row * _FINE + column, voxel * 3 + axis)

    base = class_colors(volume[tuple(voxels.T)])
    faces = _hazy(base[:, None] * _BRIGHTNESS[:, None], corners[:, None, 2:])
    return _picture(front, faces.reshape(-1, 3))


def _draw_dots(points: NDArray, colors: NDArray, frame: NDArray) -> NDArray[np.float32]:
    """A picture of points `[P, 3]` in their colors `[P, 3]`, seen in the cube around the frame."""
    framing = frame[np.isfinite(frame).all(axis=1)]
    finite = np.isfinite(points).all(axis=1)
    front = np.full(_FINE * _FINE, -1)
    if not len(framing) or not finite.any():
        return _picture(front, colors)
    low, high = framing.min(axis=0), framing.max(axis=0)
    seen = (points[finite] - (low + high) / 2) / ((high - low).max() or 1.0) @ _VIEW + 0.5
    order = np.argsort(seen[:, 2], kind="stable")
    seen, colors = seen[order], colors[finite][order]

    reach = np.arange(-int(_DOT_RADIUS), int(_DOT_RADIUS) + 1)
    disc = np.stack(np.meshgrid(reach, reach), axis=-1).reshape(-1, 2)
    slope = np.hypot(*disc.T) / _DOT_RADIUS
    disc, slope = disc[slope <= 1], slope[slope <= 1]
    pixels = np.floor(seen[:, None, :2] * _FINE).astype(int) + disc
    point, dot = np.nonzero(((pixels >= 0) & (pixels < _FINE)).all(axis=-1))
    column, row = pixels[point, dot].T
    np.maximum.at(front, row * _FINE + column, point * len(disc) + dot)
    # Every dot is a little ball, darker at its rim: neighbors of one color can be told apart.
    shaded = colors[:, None] * (1 - 0.3 * slope**2)[:, None]
    return _picture(front, _hazy(shaded, seen[:, None, 2:]).reshape(-1, 3))


def _hazy(colors: NDArray, nearness: NDArray) -> NDArray:
    """Colors mixed with white where the nearness, from 0 to 1, is small."""
    haze = _HAZE * (1 - nearness.clip(0, 1))
    return colors * (1 - haze) + haze


def _picture(front: NDArray, colors: NDArray) -> NDArray[np.float32]:
    """The picture of what is in front at each fine pixel: an index of `colors`, or -1."""
    white = np.ones((1, 3))
    fine = np.concatenate([colors, white])[front].reshape(SIZE, 2, SIZE, 2, 3)
    return fine.mean(axis=(1, 3)).astype(np.float32)


def _stack(pictures: list[NDArray[np.float32]], outer: tuple[int, ...]) -> NDArray[np.float32]:
    """Pictures as an array with the given outer axes, which may be empty."""
    return np.reshape(pictures, (*outer, SIZE, SIZE, 3)).astype(np.float32)
