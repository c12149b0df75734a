"""What one sees of a shape from one side: partial volumes, partial clouds, and sources of them.

A camera is a rotation `[3, 3]` from world to camera axes: its rows are the directions right, down
and forward (the direction of sight) in world coordinates, of which y is up.
"""

from collections.abc import Sequence

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.source import DerivedSource, FieldSpec, Source
from nvc_jax.data.shapes.clouds import resample

OBLIQUE_VIEWS = Option(
    "data.oblique_views", 0, "of every shape from above, each of a random azimuth", at_least=0
)
VIEW_OPTIONS = (
    Option("data.side_views", True, "shapes are seen from four sides: level, along an axis"),
    OBLIQUE_VIEWS,
    shared.VIEW_SEED,
)

SIDES = ("+x", "-x", "+z", "-z")
"""The four level views along an axis."""

ELEVATION = (10.0, 50.0)
"""How far above the horizon an oblique camera stands, in degrees."""

DISTANCE = 4.0
"""From the center of a cloud to an oblique viewpoint, in diagonals of its bounding box."""

FLIP_RADIUS = 100.0
"""Radius of the sphere that points are flipped over, in distances of the farthest one."""


def side_view(voxels: np.ndarray, direction: str) -> np.ndarray:
    """Surface of volumes as seen along an axis.

    Of the occupied voxels on every line parallel to the axis, the one nearest to the camera.

    Args:
      voxels: `[..., X, Y, Z]`, occupied where not 0.
      direction: the side where the camera stands: `+x` looks toward −x and sees the occupied voxels
        of largest x; likewise `-x`, `+y`, `-y`, `+z` and `-z`.

    Returns:
      uint8 `[..., X, Y, Z]`, 1 where a surface was seen.

    Raises:
      UserError: for another direction.
    """
    if direction not in ("+x", "-x", "+y", "-y", "+z", "-z"):
        raise UserError(f"The view is {direction!r}: use +x, -x, +y, -y, +z or -z.")
    axis = "xyz".index(direction[1]) - 3
    order = slice(None, None, -1 if direction[0] == "+" else 1)
    occupied = np.moveaxis(voxels != 0, axis, 0)[order]
    seen = np.zeros(voxels.shape, bool)
    layers = np.moveaxis(seen, axis, 0)[order]
    free = np.ones(occupied.shape[1:], bool)
    for layer, out in zip(occupied, layers, strict=True):
        out[...] = layer & free
        free &= ~layer
    return seen.view(np.uint8)


def oblique_view(voxels: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Surface of a volume as an orthographic camera sees it from any direction.

    A voxel is seen if the center of one of its faces is: if the line from there to the camera meets
    no occupied voxel. As lines start at voxels, and not at pixels, no resolution leaves holes.

    Args:
      voxels: `[X, Y, Z]`, occupied where not 0.
      rotation: the camera `[3, 3]`, of which only the direction of sight matters.

    Returns:
      uint8 `[X, Y, Z]`, 1 where a surface was seen.
    """
    backward = -np.asarray(rotation, np.float64)[2]
    # Flipped such that lines go up every axis, and padded such that they end before they wrap.
    flip = tuple(slice(None, None, -1 if b < 0 else 1) for b in backward)
    backward = np.where(np.abs(backward) < 1e-9, 0.0, np.abs(backward))
    padded = np.pad(voxels[flip] != 0, [(0, n) for n in voxels.shape])
    strides = np.array(padded.strides)
    occupied = padded.ravel()
    seen = np.zeros(occupied.shape, np.uint8)
    for axis in np.flatnonzero(backward):
        on_the_way = _passed(int(axis), backward, voxels.shape) @ strides
        inner = np.flatnonzero(occupied)
        faces = inner[~occupied[inner + strides[axis]]]
        hidden = occupied[faces + on_the_way[:, None]].any(axis=0)
        seen[faces[~hidden]] = 1
    return seen.reshape(padded.shape)[tuple(slice(n) for n in voxels.shape)][flip]


def _passed(axis: int, direction: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Voxels `[n, 3]` that a line from the upper face of voxel 0 passes until it leaves the volume.

    Lines are parallel, so that all pass the same sequence of voxels relative to their own.
    """
    start = np.full(3, 0.5)
    start[axis] = 1.0
    moving = direction > 0
    # A line comes into another voxel where one of its coordinates is an integer.
    walls = np.arange(1, max(shape) + 1)[:, None]
    times = np.sort(((walls - start[moving]) / direction[moving]).ravel())
    length = np.diff(times)
    middle = (times[:-1] + length / 2)[length > 1e-9]  # nothing between walls that meet in an edge
    passed = np.floor(start + middle[:, None] * direction).astype(int)
    return passed[(passed < shape).all(axis=1)]


def visible_points(points: np.ndarray, viewpoint: np.ndarray) -> np.ndarray:
    """Points of a surface that are seen from a viewpoint.

    Every point is flipped over a sphere around the viewpoint, p ↦ p + 2 (R − ‖p‖) p / ‖p‖; seen are
    those that come to lie on the convex hull of the flipped points and the viewpoint. R is
    `FLIP_RADIUS` = 100 times the largest ‖p‖, as in the authors' code and, from a diagonal away, in
    Open3D's example of `hidden_point_removal`. A larger one hides fewer points in hollows and more
    of the far side shines through where points are sparse.

    Args:
      points: `[P, 3]`.
      viewpoint: `[3]`, outside of the points.

    Returns:
      int64 `[n]`, their numbers in ascending order; all where there are fewer than 4 points or they
      lie in one plane, and nothing hides another.

    Reference: Katz, Tal, Basri, Direct visibility of point sets, SIGGRAPH 2007.
    """
    from scipy.spatial import ConvexHull, QhullError  # slow to import

    everything = np.arange(len(points))
    points = np.asarray(points, np.float64)
    if len(points) < 4 or np.linalg.matrix_rank(points - points.mean(0), rtol=1e-6) < 3:
        return everything
    relative = points - viewpoint
    distance = np.maximum(np.linalg.norm(relative, axis=1, keepdims=True), 1e-12)
    flipped = relative * (2 * FLIP_RADIUS * distance.max() / distance - 1)
    try:
        hull = ConvexHull(np.concatenate([flipped, np.zeros((1, 3))]))
    except QhullError:
        return everything
    return np.sort(hull.vertices[hull.vertices < len(points)]).astype(np.int64)


def camera(azimuth: float, elevation: float) -> np.ndarray:
    """A camera that looks at the origin and keeps the horizon level.

    Args:
      azimuth: where it stands, radians from +x toward +z.
      elevation: how far above the horizon, radians, below π/2.

    Returns:
      float64 `[3, 3]`.
    """
    level = np.array([np.cos(azimuth), 0.0, np.sin(azimuth)])
    forward = -np.cos(elevation) * level - np.array([0.0, np.sin(elevation), 0.0])
    right = np.array([np.sin(azimuth), 0.0, -np.cos(azimuth)])
    return np.stack([right, np.cross(forward, right), forward])


def oblique_rotation(example_id: int, view: int, seed: int) -> np.ndarray:
    """A camera that looks down on the origin, drawn for one view of one example.

    Azimuth is uniform over the circle, elevation over `ELEVATION`.

    Args:
      example_id: number of the example.
      view: number of the view.
      seed: seed of all views.

    Returns:
      float64 `[3, 3]`, a function of the arguments alone.
    """
    rng = np.random.default_rng((seed, example_id, view))
    return camera(rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(*ELEVATION)))


def oblique_viewpoint(points: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Where a camera `[3, 3]` stands that has points `[P, 3]` in the middle of its view."""
    low, high = points.min(0), points.max(0)
    return (low + high) / 2 - DISTANCE * np.linalg.norm(high - low) * rotation[2]


def require_field(source: Source, name: str, shape: str, rank: int) -> FieldSpec:
    """The spec of a field that views are made of.

    Raises:
      UserError: if the source has no such field or one of another rank.
    """
    field = source.spec.get(name)
    if field is None or len(field.shape) != rank:
        got = ", ".join(f"{k} {list(v.shape)}" for k, v in sorted(source.spec.items()))
        raise UserError(f"Views need shapes with a field {name} {shape}, got {got}.")
    return field


class PartialVolumes(DerivedSource):
    """Models as volumes, each from several sides: example n·V + v is model n in view v of V.

    Fields: `partial` (the surface seen) and `complete`, uint8 `[X, Y, Z]`, and `label`.

    Args:
      source: shapes with `voxels`.
      views: sides where a camera stands, see `side_view`.
      num_oblique: views from above beside these, see `oblique_rotation`.
      seed: of the oblique views.

    Raises:
      UserError: for a source without volumes, or no view at all.
    """

    def __init__(
        self, source: Source, *, views: Sequence[str] = SIDES, num_oblique: int = 0, seed: int = 0
    ):
        field = require_field(source, "voxels", "[X, Y, Z]", 3)
        if len(views) + num_oblique < 1:
            raise UserError("There is no view of the volumes: name one or ask for oblique ones.")
        super().__init__(source, len(views) + num_oblique)
        self._views, self._seed = tuple(views), seed
        volume = FieldSpec(field.shape, np.dtype(np.uint8))
        self.spec = {"partial": volume, "complete": volume, "label": source.spec["label"]}

    def gather(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """See `Source`."""
        models, views = np.divmod(np.asarray(ids), self._times)
        batch = self._source.gather(models)
        complete = batch["voxels"].astype(np.uint8)
        partial = np.empty_like(complete)
        for view, side in enumerate(self._views):
            partial[views == view] = side_view(complete[views == view], side)
        for i in np.flatnonzero(views >= len(self._views)):
            rotation = oblique_rotation(int(models[i]), int(views[i]), self._seed)
            partial[i] = oblique_view(complete[i], rotation)
        return {"partial": partial, "complete": complete, "label": batch["label"]}


class PartialClouds(DerivedSource):
    """Models as point clouds, each from several viewpoints above: n·V + v is model n in view v.

    Fields: `partial` float32 `[N, 3]` (drawn from the points that are seen, see `resample`),
    `complete` float32 `[P, 3]`, and `label`. What is seen is computed when it is asked for, once:
    4 N bytes an example stay in memory.

    Args:
      source: shapes with `points`.
      num_views: `V`.
      num_points: `N`.
      seed: of the viewpoints and draws.

    Raises:
      UserError: for a source without points, or where V or N is below 1.
    """

    def __init__(self, source: Source, *, num_views: int, num_points: int, seed: int = 0):
        field = require_field(source, "points", "[P, 3]", 2)
        if min(num_views, num_points) < 1:
            raise UserError(
                f"Partial clouds have 1 or more views and points, got {num_views} and {num_points}."
            )
        super().__init__(source, num_views)
        self._seed, self._num_points = seed, num_points
        self._drawn: dict[int, np.ndarray] = {}
        self.spec = {
            "partial": FieldSpec((num_points, 3), np.dtype(np.float32)),
            "complete": FieldSpec((field.shape[0], 3), np.dtype(np.float32)),
            "label": source.spec["label"],
        }

    def gather(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """See `Source`."""
        ids = np.asarray(ids)
        batch = self._source.gather(ids // self._times)
        complete = batch["points"][..., :3].astype(np.float32)
        drawn = [self._draw(int(i), cloud) for i, cloud in zip(ids, complete, strict=True)]
        shape = (len(ids), self._num_points)
        partial = np.take_along_axis(complete, np.reshape(drawn, (*shape, 1)).astype(int), 1)
        return {"partial": partial, "complete": complete, "label": batch["label"]}

    def _draw(self, example: int, cloud: np.ndarray) -> np.ndarray:
        """Numbers `[N]` of points of a cloud that are seen in an example; computed once."""
        if example not in self._drawn:
            model, view = divmod(example, self._times)
            rotation = oblique_rotation(model, view, self._seed)
            seen = visible_points(cloud, oblique_viewpoint(cloud, rotation))
            rng = np.random.default_rng((self._seed, model, view, 1))
            drawn = seen[resample(cloud[seen], self._num_points, rng)]
            self._drawn[example] = drawn.astype(np.int32)
        return self._drawn[example]
