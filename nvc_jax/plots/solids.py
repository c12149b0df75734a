"""Volumes, point clouds and skeletons as arrays that a page can turn: what is drawn of them, in which colors.

Axes are those of the pictures of `plots.shapes`: x to the right, y up, z toward the viewer.
"""

import dataclasses
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nvc_jax.core.errors import UserError
from nvc_jax.geometry.labels import UNKNOWN
from nvc_jax.plots.shapes import class_colors, point_colors

MOST_VOXELS, MOST_DOTS = 5000, 2048
"""That are drawn of one volume or cloud."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Solid:
    """Something to turn by hand.

    Attributes:
      kind: what the points are: centers of `voxels`, places of `dots`, or ends of `bones`, two after each other.
      points: floats `[P, 3]`; dots and bones that are not finite are not drawn.
      colors: red, green and blue of each point, `[P, 3]` from 0 to 1.
      faces: uint8 `[P]`, the faces of a voxel that can be seen, one bit each: 1 at −x, 2 at +x, 4 at −y, 8 at +y,
        16 at −z, 32 at +z. None: all six.
      side: of a voxel, in the unit of the points.
      text: what it is, in a few words, such as "1,024 points".

    Raises:
      UserError: if arrays disagree about the number of points.
    """

    kind: Literal["voxels", "dots", "bones"]
    points: np.ndarray
    colors: np.ndarray
    faces: np.ndarray | None = None
    side: float = 1.0
    text: str = ""

    def __post_init__(self) -> None:
        number = len(self.points)
        expected = {"points": (number, 3), "colors": (number, 3), "faces": (number,)}
        arrays = {"points": self.points, "colors": self.colors, "faces": self.faces}
        got = {name: np.shape(array) for name, array in arrays.items() if array is not None}
        if any(expected[name] != shape for name, shape in got.items()):
            raise UserError(
                f"A solid has points [P, 3], colors [P, 3] and faces [P] or None, got {got}."
            )


def solid_volume(volume: ArrayLike, most: int = MOST_VOXELS) -> Solid:
    """The surface of a volume; too fine a one is made coarser, by half a side at a time.

    Args:
      volume: bool or integers `[X, Y, Z]`, as of `render_volumes`: 0 is empty and 255 unknown.
      most: voxels drawn.

    Returns:
      Voxels with a face that touches an empty one or the outside, in the unit of the volume's own voxels.
    """
    classes = np.asarray(volume).astype(np.uint8)
    classes = np.where(classes == UNKNOWN, 0, classes)
    number, side = int(np.count_nonzero(classes)), 1
    faces = _outer_faces(classes > 0)
    while np.count_nonzero(faces) > most:
        classes, side = _halved(classes), 2 * side
        faces = _outer_faces(classes > 0)
    cells = np.argwhere(faces)
    place = tuple(cells.T)
    coarser = f", drawn {side} voxels a side" if side > 1 else ""
    return Solid(
        kind="voxels",
        points=(cells + 0.5) * side,
        colors=class_colors(classes[place]),
        faces=faces[place],
        side=side,
        text=f"{number:,} voxel{'s' * (number != 1)}{coarser}",
    )


def solid_cloud(
    points: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    colors: ArrayLike | None = None,
    most: int = MOST_DOTS,
) -> Solid:
    """A cloud of points; of too many some, drawn at random and the same for every cloud of that size.

    Args:
      points: floats `[P, C]`, C ≥ 3: x, y, z, then anything.
      labels: integers `[P]`, as of `render_points`.
      colors: `[P, 3]` from 0 to 1, in place of those of the labels.
      most: dots drawn.
    """
    points = np.asarray(points)[:, :3]
    if colors is None:
        colors = point_colors(np.zeros(len(points), int) if labels is None else labels)
    kept = np.arange(len(points))
    if len(kept) > most:
        kept = np.sort(np.random.default_rng(0).choice(len(points), most, replace=False))
    drawn = f", {most:,} drawn" if len(points) > most else ""
    return Solid(
        kind="dots",
        points=points[kept],
        colors=np.asarray(colors)[kept],
        text=f"{len(points):,} point{'s' * (len(points) != 1)}{drawn}",
    )


def _outer_faces(occupied: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The bits of `Solid.faces` `[X, Y, Z]`, 0 for what is empty or inside."""
    padded = np.pad(occupied, 1)
    inside = (slice(1, -1),) * 3
    bits = np.zeros(occupied.shape, np.uint8)
    for axis in range(3):
        for bit, toward in ((1, -1), (2, 1)):
            beside = np.roll(padded, -toward, axis)[inside]
            bits |= (occupied & ~beside).astype(np.uint8) * np.uint8(bit << 2 * axis)
    return bits


def _halved(classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Volumes of half the sides: a block of eight voxels has the highest class in it."""
    even = np.pad(classes, [(0, side % 2) for side in classes.shape])
    x, y, z = (side // 2 for side in even.shape)
    return even.reshape(x, 2, y, 2, z, 2).max(axis=(1, 3, 5))
