"""Synthetic hands: gestures of persons of different bones, as depth, shaded color or both.

They are generated, and look like it: capsules around the bones of a kinematic hand, with its palm to the
camera, more or less. Persons of the validation and of the test never occur in training. A hand is a
function of its split, its number and `data.view_seed` alone; it is drawn when it is asked for, once, and
stays in memory (2.6 KiB with a depth image of 48 × 48).

The hand's own axes are those of a camera that looks at its back, fingers up: x right, away from the thumb, y
down, toward the wrist, z forward, out of the palm; mm. The wrist is the origin. A finger has four angles:
flexion at its base (toward the palm), abduction (away from the middle finger), flexion of its second and
of its third joint. The thumb's are the swing of its base toward the palm and away from the index finger,
and the flexion of its two other joints.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.source import DrawnSource, FieldSpec, Source
from nvc_jax.data.hands.crops import crop_camera, crop_side, encode_depth, surface_center
from nvc_jax.geometry.joints import CHAINS, FINGERS, NUM_JOINTS, PARENTS
from nvc_jax.geometry.planes import pixel_rays
from nvc_jax.geometry.rotations import about_x, about_y, about_z

OPTIONS = (
    shared.NUM_SCENES,
    shared.NUM_HELDOUT_SCENES,
    shared.IMAGE_SIZE,
    shared.CHANNELS,
    shared.VIEW_SEED,
)

SIDE = 48
"""Of the images where `data.image_size` says nothing."""

PERSONS = {"train": 200, "validation": 20, "test": 20}
"""Different hands of every split."""

CHANNELS = {1: ("depth",), 3: ("color",), 4: ("color", "depth")}
"""What an image of so many channels shows."""

DEPTH = (450.0, 800.0)
"""Least and largest distance of the wrist, mm."""

TILT, ROLL = np.deg2rad([45, 60])
"""Largest turns: out of the image about its axes, and within it."""

DEPTH_NOISE = 1.5
"""Standard deviation of measured depths, mm."""

_OFF_AXIS = 0.25  # x and y of the wrist, over its distance
_COARSE = 24  # side of the image that the center is measured in


class Hands(DrawnSource):
    """Synthetic hands; see `Source`.

    Fields: `image` uint8 `[S, S, C]`, depth as of `encode_depth` in nvc_jax/data/hands/crops.py, color, or
    color then depth; `joints` float32 `[21, 3]`, mm in camera axes; `camera` float32 `[4]` of the crop;
    `center` float32 `[3]`, mm, the mean of the surface that is seen; `visible`, which is always True; and
    `label`, the gesture, of which `class_names` are the names.

    Args:
      split: whose persons they are of: `train`, `validation` or `test`.
      number: how many.
      side: `S`.
      channels: `C`: 1 depth, 3 color, 4 both.
      seed: of all that is random.

    Raises:
      UserError: for a side below 8.
    """

    def __init__(self, split: str, number: int, side: int = SIDE, channels: int = 1, seed: int = 0):
        if side < 8:
            raise UserError(
                f"data.image_size is {(side, side)}: hands have a side of 8 pixels or more."
            )
        self.class_names = tuple(GESTURES)
        self._channels, self._seed = CHANNELS[channels], (seed, list(PERSONS).index(split))
        self._persons = PERSONS[split]
        spec = {
            "image": FieldSpec((side, side, channels), np.dtype(np.uint8)),
            "joints": FieldSpec((NUM_JOINTS, 3), np.dtype(np.float32)),
            "camera": FieldSpec((4,), np.dtype(np.float32)),
            "center": FieldSpec((3,), np.dtype(np.float32)),
            "visible": FieldSpec((NUM_JOINTS,), np.dtype(bool)),
            "label": FieldSpec((), np.dtype(np.int32)),
        }
        super().__init__(number, spec)

    def _draw(self, number: int) -> dict[str, Any]:
        of_person = np.random.default_rng((*self._seed, 0, number % self._persons))
        person, skin = draw_person(of_person), _draw_skin(of_person)
        rng = np.random.default_rng((*self._seed, 1, number))
        angles, gesture = draw_angles(rng)
        joints = _place(forward_kinematics(person, angles), rng)
        flesh = capsules(person, joints)
        middle = joints.mean(axis=0)
        coarse = crop_camera(middle, _COARSE)
        seen = _view(coarse, _COARSE, flesh)
        center = surface_center(seen.depth.reshape(_COARSE, _COARSE), coarse, middle)
        side = self.spec["image"].shape[0]
        camera = crop_camera(center, side)
        view = _view(camera, side, flesh)
        return {
            "image": self._image(view, center, skin, rng),
            "joints": joints,
            "camera": camera,
            "center": center,
            "visible": np.ones(NUM_JOINTS, bool),
            "label": gesture,
        }

    def _image(
        self, view: View, center: np.ndarray, skin: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """What the channels show, uint8 `[S, S, C]`."""
        side = self.spec["image"].shape[0]
        parts = []
        if "color" in self._channels:
            parts.append(shade(view, side, skin, rng))
        if "depth" in self._channels:
            noise = rng.normal(0, DEPTH_NOISE, view.depth.shape)
            depth = np.where(view.depth > 0, view.depth + noise, 0)
            parts.append(encode_depth(depth, float(center[2])).reshape(side, side, 1))
        return np.concatenate(parts, axis=-1)


def read_hands(options: Any, split: str) -> Source:
    """Synthetic hands, which need no files.

    Args:
      options: `config.data`, of which `num_scenes`, `num_heldout_scenes`, `image_size`, `channels` (0:
        depth) and `view_seed` are used.
      split: `train`, `validation` or `test`.

    Returns:
      The hands.

    Raises:
      UserError: as `Hands`, and for images that are not square.
    """
    number = options.num_scenes if split == "train" else options.num_heldout_scenes
    side = crop_side(options, SIDE)
    return Hands(split, number, side, options.channels or 1, options.view_seed)


def _place(joints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Joints in the axes of a camera that sees the palm, `[21, 3]`."""
    pitch, yaw = rng.uniform(-TILT, TILT, 2)
    turn = about_z(rng.uniform(-ROLL, ROLL)) @ about_x(pitch) @ about_y(np.pi + yaw)
    distance = rng.uniform(*DEPTH)
    x, y = distance * rng.uniform(-_OFF_AXIS, _OFF_AXIS, 2)
    return joints @ turn.T + [x, y, distance]


def _view(camera: np.ndarray, side: int, flesh: tuple[np.ndarray, np.ndarray, np.ndarray]) -> View:
    """What the pixels of a square image see of capsules, row by row."""
    return cast_capsules(pixel_rays(camera, side, side).reshape(-1, 3), *flesh)


def _draw_skin(rng: np.random.Generator) -> np.ndarray:
    """Color of a person's skin, `[3]`, from 0 to 1."""
    dark, light = np.array([0.35, 0.22, 0.16]), np.array([0.95, 0.78, 0.68])
    return dark + rng.uniform() * (light - dark)


ANGLES = 4
"""Of every finger."""

LIMITS = np.deg2rad(
    [
        [[-10, 45], [-10, 25], [-10, 55], [-10, 80]],  # thumb
        *[[[-20, 90], [-15, 20], [0, 110], [0, 75]]] * 4,
    ]
)
"""Least and largest angle, `[5, 4, 2]`, radians. Those of fingers are within the ones of Lin, Wu and Huang,
"Modeling the Constraints of Human Hand Motion", 2000 (0 to 90°, ±15°, 0 to 110°, 0 to 90°), but for 20° of
extension and 5° of abduction more; those of the thumb are estimates."""

_STRAIGHT, _BENT = (0, 2, 5, 2), (75, 0, 95, 55)
_OUT, _ACROSS, _SIDE = (0, 18, 0, 0), (40, -5, 35, 45), (5, 5, 5, 5)  # of the thumb

GESTURES = {
    "open": (_OUT, *[(-5, 14, 5, 2)] * 4),
    "flat": (_SIDE, *[(5, 1, 5, 2)] * 4),
    "fist": (_ACROSS, *[_BENT] * 4),
    "point": (_ACROSS, _STRAIGHT, *[_BENT] * 3),
    "two": (_ACROSS, (0, 14, 4, 2), (0, 6, 4, 2), _BENT, _BENT),
    "three": (_OUT, (0, 12, 4, 2), (0, 4, 4, 2), _BENT, _BENT),
    "four": (_ACROSS, *[(0, 10, 4, 2)] * 4),
    "thumb_up": (_OUT, *[_BENT] * 4),
    "horns": (_ACROSS, (0, 5, 4, 2), _BENT, _BENT, (0, 8, 4, 2)),
    "call": (_OUT, _BENT, _BENT, _BENT, (0, 14, 4, 2)),
    "pinch": ((35, 5, 25, 25), (50, 0, 55, 30), *[(15, 8, 15, 8)] * 3),
    "claw": ((15, 20, 20, 30), *[(5, 8, 65, 40)] * 4),
}
"""Angles of every finger in degrees, `[5, 4]`, by the name of the gesture."""

_BASES = np.array(
    [(-22, -22, 9), (-26, -88, 0), (-3, -90, -2), (17, -83, 0), (34, -73, 4)], np.float64
)
_LENGTHS = np.array([(44, 33, 27), (43, 25, 22), (48, 29, 23), (45, 28, 23), (35, 20, 20)], float)
_RADII = np.array([(13, 10, 9), (9.5, 8.5, 7.5), (9.5, 8.5, 7.5), (9, 8, 7), (8, 7, 6.5)])
_ABDUCTION = np.array([0, -1, -0.25, 0.5, 1])  # sign and share: fingers spread like a fan
_THUMB_REST = np.deg2rad([-38, 20])  # turn in the plane of the palm, and out of it
_THUMB_ROLL = np.deg2rad(60)  # so that it bends across the palm


class Person(NamedTuple):
    """A hand's size, mm.

    Attributes:
      bases: `[5, 3]`, first joint of every finger.
      lengths: `[5, 3]`, of the bones from there.
      radii: `[5, 3]`, of the flesh around them.
      palm: radius of the flesh around the bones of the palm.
    """

    bases: np.ndarray
    lengths: np.ndarray
    radii: np.ndarray
    palm: float


def draw_person(rng: np.random.Generator) -> Person:
    """A person: a size, proportions of bones and thickness that vary independently."""
    size = np.exp(rng.normal(0, 0.08))
    finger = np.exp(rng.normal(0, 0.04, (5, 1)))
    bone = np.exp(rng.normal(0, 0.04, (5, 3)))
    palm = size * np.exp(rng.normal(0, 0.05, 3))
    thick = size * np.exp(rng.normal(0, 0.08))
    return Person(_BASES * palm, _LENGTHS * size * finger * bone, _RADII * thick, 11.0 * thick)


def draw_angles(rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """A pose: a gesture, in part mixed with another one, with noise, within the limits.

    Returns:
      (angles, radians `[5, 4]`; number of the gesture that has the larger part).
    """
    templates = np.deg2rad(np.array(list(GESTURES.values()), np.float64))
    first, second = rng.choice(len(templates), 2, replace=False)
    share = 0.5 * rng.beta(1.0, 2.0, (5, 1))  # fingers are not equally far
    angles = (1 - share) * templates[first] + share * templates[second]
    angles = angles + np.deg2rad(rng.normal(0, (8, 4, 10, 6), (5, ANGLES)))
    return np.clip(angles, LIMITS[..., 0], LIMITS[..., 1]), int(first)


def forward_kinematics(person: Person, angles: np.ndarray) -> np.ndarray:
    """Joints of a pose.

    Args:
      person: the hand's size.
      angles: radians `[5, 4]`.

    Returns:
      float64 `[21, 3]`, mm, in the hand's axes.
    """
    joints = np.zeros((NUM_JOINTS, 3))
    for finger, name in enumerate(FINGERS):
        base, *rest = CHAINS[name]
        flexion, abduction, second, third = angles[finger]
        if name == "thumb":
            turn, lift = _THUMB_REST - [abduction, -flexion]
            frame = about_z(turn) @ about_x(lift) @ about_y(_THUMB_ROLL)
            bends = (0.0, second, third)
        else:
            frame, bends = about_z(_ABDUCTION[finger] * abduction), (flexion, second, third)
        joints[base] = person.bases[finger]
        for joint, bend, length in zip(rest, bends, person.lengths[finger], strict=True):
            frame = frame @ about_x(bend)
            joints[joint] = joints[joint - 1] + frame @ [0, -length, 0]
    return joints


def capsules(person: Person, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The hand's flesh: capsules around its bones, between the bones of the palm, and a forearm.

    Args:
      person: the hand's size.
      joints: floats `[21, 3]`, in any axes.

    Returns:
      (starts `[C, 3]`, ends `[C, 3]`, radii `[C]`).
    """
    starts, ends, radii = [], [], []

    def add(start: np.ndarray, end: np.ndarray, radius: float) -> None:
        starts.append(start)
        ends.append(end)
        radii.append(radius)

    for finger, name in enumerate(FINGERS):
        base = CHAINS[name][0]
        for joint, radius in zip(CHAINS[name][1:], person.radii[finger], strict=True):
            add(joints[PARENTS[joint]], joints[joint], radius)
        add(0.12 * joints[base] + 0.88 * joints[0], joints[base], person.palm)
    wrist, knuckles = joints[0], joints[[CHAINS[name][0] for name in FINGERS]]
    for left, right in itertools.pairwise(knuckles[1:]):
        for share in (0.65, 0.95):
            add(wrist + share * (left - wrist), wrist + share * (right - wrist), person.palm)
    add(knuckles[0], wrist + 0.6 * (knuckles[1] - wrist), person.palm)
    down = wrist - knuckles[1:].mean(axis=0)
    across = knuckles[4] - knuckles[1]
    for side in (-0.2, 0.2):
        add(wrist + side * across, wrist + side * across + 0.9 * down, 1.7 * person.palm)
    return np.array(starts), np.array(ends), np.array(radii)


_NOTHING = np.float32(0)


class View(NamedTuple):
    """What rays meet first.

    Attributes:
      depth: float32 `[R]`, z in mm; 0 where there is nothing.
      normal: float32 `[R, 3]`, unit vectors out of the surface; 0 where there is nothing.
    """

    depth: np.ndarray
    normal: np.ndarray


def cast_capsules(
    rays: np.ndarray, starts: np.ndarray, ends: np.ndarray, radii: np.ndarray
) -> View:
    """Where rays from the origin first meet capsules: all points within r of a segment.

    Args:
      rays: floats `[R, 3]`, whose third component is 1.
      starts: floats `[C, 3]`, first end of every segment, mm; z above the radius.
      ends: floats `[C, 3]`, the other end, elsewhere.
      radii: floats `[C]`, r, mm.

    Returns:
      The view.
    """
    rays, a, b, r = (np.asarray(x, np.float32) for x in (rays, starts, ends, radii))
    near = _in_bounds(rays, a, b, r)
    capsule, ray = np.nonzero(near)
    t = np.full(near.shape, np.inf, np.float32)
    t[near] = _distances(rays[ray], a[capsule], (b - a)[capsule], r[capsule])
    first = t.argmin(axis=0)
    depth = np.take_along_axis(t, first[None], axis=0)[0]
    hit = np.isfinite(depth)
    depth = np.where(hit, depth, _NOTHING)
    point, a, axis = depth[:, None] * rays, a[first], (b - a)[first]
    share = np.clip(_dot(point - a, axis) / _dot(axis, axis), 0, 1)
    normal = (point - a - share[:, None] * axis) / r[first, None]
    return View(depth, np.where(hit[:, None], normal, _NOTHING))


def _in_bounds(rays: np.ndarray, a: np.ndarray, b: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Whether rays pass the box around the image of each capsule, bool `[C, R]`.

    A capsule is the convex hull of its spheres; the slopes x / z of a sphere's tangents are
    `(x·z ± r·√(x² + z² − r²)) / (z² − r²)`.
    """
    near = np.ones((len(r), len(rays)), bool)
    for i in (0, 1):
        slopes = []
        for x, z in ((a[:, i], a[:, 2]), (b[:, i], b[:, 2])):
            reach = r * np.sqrt(x * x + z * z - r * r)
            slopes += [(x * z - reach) / (z * z - r * r), (x * z + reach) / (z * z - r * r)]
        near &= rays[:, i] >= np.min(slopes, axis=0)[:, None]
        near &= rays[:, i] <= np.max(slopes, axis=0)[:, None]
    return near


def _distances(ray: np.ndarray, a: np.ndarray, axis: np.ndarray, r: np.ndarray) -> np.ndarray:
    """t of the first point t·ray within r of the segment from a to a + axis; inf if there is none.

    All are float32 `[P, 3]`, r `[P]`; so is the result.
    """
    length, along, start = _dot(axis, axis), _dot(axis, ray), _dot(axis, a)
    toward, square, away = _dot(a, ray), _dot(ray, ray), _dot(a, a) - r * r
    # |t·ray − a|² less the square of the part along the axis is r² on the cylinder.
    quadratic = length * square - along * along
    linear = length * toward - start * along
    discriminant = linear * linear - quadratic * (length * away - start * start)
    # A ray along the axis (quadratic = 0) meets the end that is nearer: any t will do for that.
    t = (linear - np.sqrt(np.maximum(discriminant, 0))) / np.where(quadratic > 0, quadratic, np.inf)
    place = t * along - start
    # Beyond the ends of the cylinder the surface is that of a sphere.
    last = place >= length
    toward = toward + np.where(last, along, 0)
    away = away + np.where(last, 2 * start + length, 0)
    sphere = toward * toward - square * away
    on_side = (discriminant > 0) & (place > 0) & (place < length)
    t = np.where(on_side, t, (toward - np.sqrt(np.maximum(sphere, 0))) / square)
    return np.where(on_side | (sphere > 0), t, np.inf)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Products of vectors `[P, 3]`, `[P]`."""
    return np.einsum("pc,pc->p", a, b)


def shade(view: View, side: int, skin: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Colors under one lamp, on a background that changes from one color to another.

    Args:
      view: what is seen by the pixels.
      side: of the image.
      skin: color of the hand, `[3]`, from 0 to 1.
      rng: source of lamp, background and noise.

    Returns:
      uint8 `[side, side, 3]`.
    """
    lamp = np.array([*rng.uniform(-0.8, 0.8, 2), -1.0])
    lamp /= np.linalg.norm(lamp)
    ambient, gain = rng.uniform(0.25, 0.5), rng.uniform(0.8, 1.1)
    light = gain * (ambient + (1 - ambient) * np.maximum(view.normal @ lamp, 0))
    first, second = rng.uniform(0, 0.8, (2, 3))
    direction = rng.normal(size=2)
    direction /= np.linalg.norm(direction)
    places = np.stack(np.divmod(np.arange(side * side), side), 1) / (side - 1) - 0.5
    share = np.clip(0.5 + places @ direction, 0, 1)[:, None]
    background = (1 - share) * first + share * second
    color = np.where(view.depth[:, None] > 0, light[:, None] * skin, background)
    color = color + rng.normal(0, 0.015, color.shape)
    return np.rint(255 * np.clip(color, 0, 1)).astype(np.uint8).reshape(side, side, 3)
