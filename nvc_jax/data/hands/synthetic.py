"""Synthetic hands: gestures of persons of different bones, as depth, shaded color or both.

They are generated, and look like it: capsules around the bones of a kinematic hand, with its palm to the
camera, more or less. Persons of the validation and of the test never occur in training. A hand is a
function of its split, its number and `data.view_seed` alone; it is drawn when it is asked for, once, and
stays in memory (2.6 KiB with a depth image of 48 × 48).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.source import FieldSpec, Source
from nvc_jax.data.hands.crops import crop_camera, crop_side, encode_depth, surface_center
from nvc_jax.data.hands.renderer import View, cast_capsules, shade
from nvc_jax.data.hands.skeleton import (
    GESTURES,
    about_x,
    about_y,
    about_z,
    capsules,
    draw_angles,
    draw_person,
    forward_kinematics,
)
from nvc_jax.geometry.joints import NUM_JOINTS
from nvc_jax.geometry.planes import pixel_rays

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


class Hands:
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

    in_memory = True

    def __init__(self, split: str, number: int, side: int = SIDE, channels: int = 1, seed: int = 0):
        if side < 8:
            raise UserError(
                f"data.image_size is {(side, side)}: hands have a side of 8 pixels or more."
            )
        self.class_names = tuple(GESTURES)
        self._channels, self._seed = CHANNELS[channels], (seed, list(PERSONS).index(split))
        self._persons = PERSONS[split]
        self.spec = {
            "image": FieldSpec((side, side, channels), np.dtype(np.uint8)),
            "joints": FieldSpec((NUM_JOINTS, 3), np.dtype(np.float32)),
            "camera": FieldSpec((4,), np.dtype(np.float32)),
            "center": FieldSpec((3,), np.dtype(np.float32)),
            "visible": FieldSpec((NUM_JOINTS,), np.dtype(bool)),
            "label": FieldSpec((), np.dtype(np.int32)),
        }
        self._fields = {
            name: np.zeros((number, *field.shape), field.dtype) for name, field in self.spec.items()
        }
        self._drawn = np.zeros(number, bool)

    def __len__(self) -> int:
        """Number of hands."""
        return len(self._drawn)

    def gather(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """See `Source`."""
        for number in np.asarray(ids)[~self._drawn[ids]]:
            for name, values in self._draw(int(number)).items():
                self._fields[name][number] = values
            self._drawn[number] = True
        return {name: values[ids] for name, values in self._fields.items()}

    def _draw(self, number: int) -> dict[str, Any]:
        """The fields of one hand."""
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
            "visible": True,
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
