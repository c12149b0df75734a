"""Synthetic rooms: walls, floor, ceiling, boxes, tables and rounded things, seen by a camera.

They are generated, and look like it: cuboids with patterns on them, without shadows. Textures of
validation and test rooms never occur in training rooms. A room is a function of its split, its number and
`data.view_seed` alone; it is drawn when it is asked for, once, and stays in memory (27 KiB for one of
48 × 64 pixels).

Axes of the world: x right, y down, z forward, in meters; the floor is y = 0, the camera above it. Rays start at
one place, `origin + t·direction`; t is depth where directions come from `pixel_rays`.
"""

from typing import Any, NamedTuple

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.source import DrawnSource, FieldSpec, Source
from nvc_jax.geometry.planes import MAX_PLANES, join_planes, keep_largest, pixel_rays
from nvc_jax.geometry.rotations import about_x, about_y, about_z

OPTIONS = (shared.NUM_SCENES, shared.NUM_HELDOUT_SCENES, shared.IMAGE_SIZE, shared.VIEW_SEED)

IMAGE_SIZE = (48, 64)
"""Height and width where `data.image_size` says nothing."""

FOCAL_LENGTH = (0.85, 0.95)
"""Over the width of the image."""

LEAST_SHARE = 0.004
"""Of all pixels; faces with fewer count as non-planar."""


class Rooms(DrawnSource):
    """Synthetic rooms; see `Source`.

    Fields, as of every source of planes (conventions in nvc_jax/geometry/planes.py): `image` uint8
    `[H, W, 3]`, `planes` float32 `[20, 3]`, `segmentation` uint8 `[H, W]`, `depth` float32 `[H, W]` (0
    unknown), `camera` float32 `[4]`, and `label`, −1.

    Args:
      split: whose textures they have: `train`, `validation` or `test`.
      number: how many.
      size: height and width of the images.
      seed: of all that is random.

    Raises:
      UserError: for a size below 8.
    """

    def __init__(self, split: str, number: int, size: tuple[int, int] = IMAGE_SIZE, seed: int = 0):
        if min(size) < 8:
            raise UserError(
                f"data.image_size is {tuple(size)}: rooms have 8 pixels or more along both sides."
            )
        self._size, self._textures = size, TEXTURES[split]
        self._seed = (seed, list(TEXTURES).index(split))
        fields = {
            "image": ((*size, 3), np.uint8),
            "planes": ((MAX_PLANES, 3), np.float32),
            "segmentation": (size, np.uint8),
            "depth": (size, np.float32),
            "camera": ((4,), np.float32),
            "label": ((), np.int32),
        }
        spec = {name: FieldSpec(shape, np.dtype(dtype)) for name, (shape, dtype) in fields.items()}
        super().__init__(number, spec)

    def _draw(self, number: int) -> dict[str, Any]:
        rng = np.random.default_rng((*self._seed, number))
        height, width = self._size
        focal = rng.uniform(*FOCAL_LENGTH) * width
        middle = [(width - 1) / 2, (height - 1) / 2]
        camera = np.array([focal, focal, *middle], np.float32)
        rays = pixel_rays(camera, height, width).reshape(-1, 3)
        room = draw_room(rng, self._textures)
        view = look_at(room, rays)
        fewest = max(round(LEAST_SHARE * height * width), 1)
        planes, plane = plane_numbers(room, view, fewest)
        kept, segmentation = keep_largest(planes, plane.reshape(height, width))
        return {
            "image": shade(room, view, 1 / focal, rng).reshape(height, width, 3),
            "planes": kept,
            "segmentation": segmentation,
            "depth": view.depth.reshape(height, width),
            "camera": camera,
            "label": -1,
        }


def read_rooms(options: Any, split: str) -> Source:
    """Synthetic rooms, which need no files.

    Args:
      options: `config.data`, of which `num_scenes`, `num_heldout_scenes`, `image_size` and
        `view_seed` are used.
      split: `train`, `validation` or `test`.

    Returns:
      The rooms.

    Raises:
      UserError: as `Rooms`.
    """
    number = options.num_scenes if split == "train" else options.num_heldout_scenes
    size = tuple(options.image_size)
    return Rooms(split, number, size if any(size) else IMAGE_SIZE, options.view_seed)


TEXTURES = {"train": range(300), "validation": range(300, 350), "test": range(350, 400)}
"""Numbers of the textures of each split; no texture occurs in two of them."""

PATTERNS = ("plain", "stripes", "checks", "tiles", "grain", "dots", "clouds")

CAMERA_HEIGHT = 1.5
"""Above the floor, m. A single image does not tell its scale: this does."""

_TEXTURE_SEED = 11
_PLACES = 30  # tries to find a place for one thing
_SPACE_AROUND_CAMERA = 1.0  # m, without a thing


class Room(NamedTuple):
    """Cuboids, of which the first is the room itself, and rounded things.

    Attributes:
      center: float `[N, 3]`, of cuboids.
      size: float `[N, 3]`.
      yaw: float `[N]`.
      rounded_center: float `[M, 3]`.
      rounded_radius: float `[M, 3]`, inf along y for columns.
      texture: int `[6·N + M]`, of every face and then of every rounded thing.
      lights: float `[L, 3]`, their places.
      origin: float `[3]`, the camera's place.
      rotation: float `[3, 3]`, whose columns are the camera's axes.
    """

    center: np.ndarray
    size: np.ndarray
    yaw: np.ndarray
    rounded_center: np.ndarray
    rounded_radius: np.ndarray
    texture: np.ndarray
    lights: np.ndarray
    origin: np.ndarray
    rotation: np.ndarray


class _Furnisher:
    """Puts things on the floor of a room, apart from each other and from the camera."""

    def __init__(self, size: np.ndarray, origin: np.ndarray, rng: np.random.Generator):
        self._rng, self._size = rng, size
        self._taken = [(origin[[0, 2]], _SPACE_AROUND_CAMERA)]
        self.cuboids: list[tuple[np.ndarray, np.ndarray, float]] = []
        self.rounded: list[tuple[np.ndarray, np.ndarray]] = []

    def _place(self, radius: float) -> np.ndarray | None:
        """A free place on the floor, x and z, for what fits into a circle."""
        reach = self._size[[0, 2]] / 2 - radius
        if (reach <= 0).any():
            return None
        for place in self._rng.uniform(-reach, reach, (_PLACES, 2)):
            if all(np.hypot(*(place - at)) > radius + other for at, other in self._taken):
                self._taken.append((place, radius))
                return place
        return None

    def _yaw(self) -> float:
        """Along the walls more often than not."""
        return 0.0 if self._rng.random() < 0.6 else float(self._rng.uniform(0, np.pi / 2))

    def add_box(self) -> None:
        """A cabinet, a bed, a chest: a cuboid."""
        size = self._rng.uniform([0.4, 0.3, 0.4], [1.6, 1.8, 1.2])
        place, yaw = self._place(float(np.hypot(size[0], size[2])) / 2), self._yaw()
        if place is not None:
            center = np.array([place[0], -size[1] / 2, place[1]])
            self.cuboids.append((center, size, yaw))

    def add_table(self) -> None:
        """A board on four legs."""
        size = self._rng.uniform([0.7, 0.5, 0.6], [1.8, 0.9, 1.1])
        place, yaw = self._place(float(np.hypot(size[0], size[2])) / 2), self._yaw()
        if place is None:
            return
        board, leg = self._rng.uniform(0.03, 0.1), self._rng.uniform(0.04, 0.1)
        middle = np.array([place[0], 0, place[1]])
        top = np.array([size[0], board, size[2]])
        self.cuboids.append((middle - [0, size[1] - board / 2, 0], top, yaw))
        height = size[1] - board
        for x in (-0.5, 0.5):
            for z in (-0.5, 0.5):
                corner = np.array([x * (size[0] - leg), -height / 2, z * (size[2] - leg)])
                turned = about_y(yaw) @ corner
                self.cuboids.append((middle + turned, np.array([leg, height, leg]), yaw))

    def add_rounded(self) -> None:
        """A ball, an egg on the floor, or a column."""
        if self._rng.random() < 0.3:
            radius = np.full(3, self._rng.uniform(0.1, 0.25))
            radius[1] = np.inf
            height = 0.0
        else:
            radius = self._rng.uniform(0.15, 0.5, 3)
            height = radius[1]
        place = self._place(float(max(radius[0], radius[2])))
        if place is not None:
            self.rounded.append((np.array([place[0], -height, place[1]]), radius))


def draw_room(rng: np.random.Generator, textures: range) -> Room:
    """A room with things in it, lights, and a camera that looks at them.

    Args:
      rng: of all that is random.
      textures: numbers to choose from.
    """
    size = rng.uniform([3.0, 2.3, 3.0], [7.0, 3.0, 7.0])
    # Far from the middle, which the camera looks at, so that it sees much of the room.
    place = rng.uniform(-1, 1, 2)
    place[rng.integers(2)] = rng.choice([-1, 1]) * rng.uniform(0.6, 1)
    x, z = place * (size[[0, 2]] / 2 - 0.4)
    origin = np.array([x, -CAMERA_HEIGHT, z])
    furnisher = _Furnisher(size, origin, rng)
    for add, most in ((furnisher.add_box, 4), (furnisher.add_table, 2), (furnisher.add_rounded, 3)):
        for _ in range(rng.integers(most, endpoint=True)):
            add()
    cuboids = [(np.array([0, -size[1] / 2, 0]), size, 0.0), *furnisher.cuboids]
    center, sizes, yaw = (np.array(column, float) for column in zip(*cuboids, strict=True))
    rounded = np.array(furnisher.rounded, float).reshape(-1, 2, 3)
    lights = rng.uniform([-0.4, 0.75, -0.4], [0.4, 0.95, 0.4], (rng.integers(1, 3), 3)) * size
    return Room(
        center=center,
        size=sizes,
        yaw=yaw,
        rounded_center=rounded[:, 0],
        rounded_radius=rounded[:, 1],
        texture=_choose_textures(rng, textures, len(cuboids), len(rounded)),
        lights=lights * [1, -1, 1],
        origin=origin,
        rotation=_look(rng, origin),
    )


def _choose_textures(
    rng: np.random.Generator, textures: range, num_cuboids: int, num_rounded: int
) -> np.ndarray:
    """One for all four walls, one for each other face of the room, one for each thing."""
    things = rng.choice(textures, num_cuboids + num_rounded + 2)
    of_faces = np.repeat(things[:num_cuboids, None], FACES, axis=1)
    of_faces[0, 2:4] = things[-2:]  # ceiling, floor
    return np.concatenate([of_faces.reshape(-1), things[num_cuboids:-2]])


def _look(rng: np.random.Generator, origin: np.ndarray) -> np.ndarray:
    """Axes of a camera that looks about the middle of the room, a little down, hardly tilted."""
    toward = np.arctan2(-origin[0], -origin[2])
    yaw = toward + rng.uniform(-0.5, 0.5)
    pitch, roll = rng.uniform(0.1, 0.5), rng.normal(0, 0.02)
    return about_y(yaw) @ about_x(pitch) @ about_z(roll)


class View(NamedTuple):
    """What the rays of a camera meet first.

    Attributes:
      depth: float `[R]`, m.
      surface: int `[R]`: `6·cuboid + face`, or after those the rounded thing.
      place: float `[R, 3]`, in world axes.
      normal: float `[R, 3]`, in world axes, toward the camera.
      texture_place: float `[R, 2]`, m, on the surface.
    """

    depth: np.ndarray
    surface: np.ndarray
    place: np.ndarray
    normal: np.ndarray
    texture_place: np.ndarray


def look_at(room: Room, rays: np.ndarray) -> View:
    """Casts rays `[R, 3]`, in the camera's axes, into a room."""
    world = rays @ room.rotation.T
    distance, face, local = cast_cuboids(room.origin, world, room.center, room.size, room.yaw)
    ray = np.arange(len(rays))
    nearest = distance.argmin(axis=0)
    depth = distance[nearest, ray]
    surface = FACES * nearest + face[nearest, ray]
    axis = face[nearest, ray] // 2
    on_face = local[nearest, 0] + depth[:, None] * local[nearest, 1 + ray]
    texture_place = np.stack([on_face[ray, (axis + 1) % 3], on_face[ray, (axis + 2) % 3]], axis=-1)
    normal = about_y(room.yaw)[nearest, :, axis]
    if len(room.rounded_center):
        t = cast_ellipsoids(room.origin, world, room.rounded_center, room.rounded_radius)
        which = t.argmin(axis=0)
        front = t[which, ray] < depth
        which = which[front]
        depth[front] = t.min(axis=0)[front]
        surface[front] = FACES * len(room.center) + which
        hit = room.origin + depth[front, None] * world[front] - room.rounded_center[which]
        normal[front] = hit / np.square(room.rounded_radius[which])
        around = np.arctan2(hit[:, 0], hit[:, 2]) * room.rounded_radius[which, 0]
        texture_place[front] = np.stack([around, hit[:, 1]], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    normal *= -np.sign(np.einsum("rc,rc->r", normal, world))[:, None]
    place = room.origin + depth[:, None] * world
    return View(depth, surface, place, normal, texture_place)


def plane_numbers(room: Room, view: View, fewest: int) -> tuple[np.ndarray, np.ndarray]:
    """The planes of a view's faces that have enough pixels.

    Args:
      room: the room.
      view: of a camera in it.
      fewest: pixels; faces with fewer count as non-planar, as rounded things do.

    Returns:
      (planes `n·d` in the camera's axes, float `[N, 3]`; rows of them for each ray, or −1, `[R]`).
    """
    count = np.bincount(view.surface, minlength=len(room.texture))
    count[FACES * len(room.center) :] = 0
    kept = np.flatnonzero(count >= fewest)
    number = np.full(len(room.texture), -1)
    number[kept] = np.arange(len(kept))
    cuboid, face = kept // FACES, kept % FACES
    normal = about_y(room.yaw[cuboid])[np.arange(len(kept)), :, face // 2]
    side = (face % 2 - 0.5) * room.size[cuboid, face // 2]
    distance = side + np.einsum("nc,nc->n", room.center[cuboid] - room.origin, normal)
    return join_planes(normal @ room.rotation, distance), number[view.surface]


def shade(room: Room, view: View, pixel: float, rng: np.random.Generator) -> np.ndarray:
    """Colors of a view: texture times light, with a little noise.

    Args:
      room: the room.
      view: of a camera in it.
      pixel: side of a pixel at a depth of 1 m, in m: patterns finer than that are blurred.
      rng: of the strength of lights, and of noise.

    Returns:
      uint8 `[R, 3]`.
    """
    color = np.empty((len(view.depth), 3))
    footprint = pixel * view.depth
    texture = room.texture[view.surface]
    for number in np.unique(texture):
        at = texture == number
        color[at] = paint(int(number), view.texture_place[at], footprint[at])
    light = np.full(len(color), rng.uniform(0.25, 0.5))
    for source in room.lights:
        toward = source - view.place
        distance = np.linalg.norm(toward, axis=-1)
        facing = np.einsum("rc,rc->r", toward, view.normal) / np.maximum(distance, 1e-6)
        light += rng.uniform(0.5, 1.2) * np.maximum(facing, 0) / (1 + np.square(distance / 3))
    color *= light[:, None] * rng.uniform(0.9, 1.1, 3)
    color = np.clip(color, 0, 1) ** (1 / 1.8) + rng.normal(0, 0.01, color.shape)
    return np.rint(color.clip(0, 1) * 255).astype(np.uint8)


def paint(number: int, place: np.ndarray, footprint: np.ndarray) -> np.ndarray:
    """Colors of a texture, which is a function of its number alone.

    Args:
      number: of the texture.
      place: floats `[R, 2]`, m, on the surface.
      footprint: floats `[R]`, m: what one pixel covers.

    Returns:
      floats `[R, 3]`, from 0 to 1.
    """
    rng = np.random.default_rng((_TEXTURE_SEED, number))
    pattern = PATTERNS[number % len(PATTERNS)]
    first, second = rng.uniform(0.15, 0.95, (2, 3))
    period, angle, share = rng.uniform(0.12, 0.6), rng.uniform(0, np.pi), rng.uniform(0.1, 0.5)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    phase = place @ turn / period
    cell = phase % 1
    if pattern == "plain":
        mix = np.zeros(len(place))
    elif pattern == "stripes":
        mix = cell[:, 0] < share
    elif pattern == "checks":
        mix = (cell < 0.5).sum(axis=1) == 1
    elif pattern == "tiles":
        mix = (cell < 0.12).any(axis=1)
    elif pattern == "dots":
        mix = np.hypot(*(cell - 0.5).T) < share
    else:
        mix = _waves(phase, rng, stretch=8.0 if pattern == "grain" else 1.0)
    sharpness = np.exp(-np.square(1.5 * footprint / period))
    weight = sharpness * (mix - share) + share
    return first + weight[:, None] * (second - first)


def _waves(phase: np.ndarray, rng: np.random.Generator, stretch: float) -> np.ndarray:
    """A sum of waves in random directions, from 0 to 1: clouds, or the grain of wood."""
    direction = rng.normal(size=(2, 6)) * np.array([[1.0], [1.0 / stretch]])
    waves = np.sin(2 * np.pi * (phase @ direction) + rng.uniform(0, 2 * np.pi, 6))
    return 0.5 + 0.5 * np.tanh(waves.sum(axis=1))


FACES = 6
"""Of a cuboid: 2·axis, and one more on the side where the axis ends."""

_FAR = np.float32(np.inf)


def cast_cuboids(
    origin: np.ndarray, rays: np.ndarray, center: np.ndarray, size: np.ndarray, yaw: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each ray enters each cuboid; of one that holds the origin, where it leaves it.

    Args:
      origin: floats `[3]`.
      rays: floats `[R, 3]`.
      center: floats `[N, 3]`.
      size: floats `[N, 3]`, whole sides.
      yaw: floats `[N]`, radians that each is turned about y.

    Returns:
      (t `[N, R]`, inf where they do not meet; face `[N, R]`, from 0 to 5; origin and ray in the
      cuboids' own axes, for what lies on their faces: `[N, 3]` and `[N, R, 3]`).
    """
    turn = about_y(yaw)
    start = np.einsum("nc,ncd->nd", origin - center, turn)[:, None]
    along = np.einsum("rc,ncd->nrd", rays, turn)
    inverse = 1 / np.where(np.abs(along) < 1e-9, 1e-9, along)
    half = size[:, None] / 2
    middle, reach = -start * inverse, half * np.abs(inverse)
    first, last = middle - reach, middle + reach
    enter, leave = first.max(axis=-1), last.min(axis=-1)
    inside = (np.abs(start) < half).all(axis=-1)
    t = np.where(inside, leave, enter)
    axis = np.where(inside, last.argmin(axis=-1), first.argmax(axis=-1))
    moving = np.take_along_axis(along, axis[..., None], axis=-1)[..., 0] > 0
    face = 2 * axis + (moving == inside)
    return np.where((enter <= leave) & (t > 0), t, _FAR), face, np.concatenate([start, along], 1)


def cast_ellipsoids(
    origin: np.ndarray, rays: np.ndarray, center: np.ndarray, radius: np.ndarray
) -> np.ndarray:
    """Where each ray enters each ellipsoid.

    Args:
      origin: floats `[3]`, outside.
      rays: floats `[R, 3]`.
      center: floats `[N, 3]`.
      radius: floats `[N, 3]`, along each axis; inf along y makes an endless column.

    Returns:
      t `[N, R]`, inf where they do not meet.
    """
    start, along = (origin - center) / radius, rays / radius[:, None]
    a = np.square(along).sum(axis=-1)
    b = np.einsum("nrc,nc->nr", along, start)
    c = np.square(start).sum(axis=-1)[:, None] - 1
    discriminant = b * b - a * c
    t = (-b - np.sqrt(np.maximum(discriminant, 0))) / a
    return np.where((discriminant > 0) & (t > 0), t, _FAR)
