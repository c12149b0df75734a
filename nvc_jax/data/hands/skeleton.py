"""A kinematic right hand: bone lengths of persons, angles within anatomical limits, joints, capsules.

The hand's own axes are those of a camera that looks at its back, fingers up: x right, away from the thumb, y
down, toward the wrist, z forward, out of the palm; mm. The wrist is the origin. A finger has four angles:
flexion at its base (toward the palm), abduction (away from the middle finger), flexion of its second and
of its third joint. The thumb's are the swing of its base toward the palm and away from the index finger,
and the flexion of its two other joints.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from nvc_jax.geometry.joints import CHAINS, FINGERS, NUM_JOINTS, PARENTS

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


def about_x(angle: float) -> np.ndarray:
    """Rotation that turns −y toward z: flexion."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])


def about_y(angle: float) -> np.ndarray:
    """Rotation that turns z toward x."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])


def about_z(angle: float) -> np.ndarray:
    """Rotation that turns −y toward x: away from the thumb."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
