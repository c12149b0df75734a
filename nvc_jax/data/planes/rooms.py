"""Synthetic rooms: walls, floor, ceiling, boxes, tables and rounded things, seen by a camera.

They are generated, and look like it: cuboids with patterns on them, without shadows. Textures of
validation and test rooms never occur in training rooms. A room is a function of its split, its number and
`data.view_seed` alone; it is drawn when it is asked for, once, and stays in memory (27 KiB for one of
48 × 64 pixels).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.source import FieldSpec, Source
from nvc_jax.data.planes.room_scenes import TEXTURES, draw_room, look_at, plane_numbers, shade
from nvc_jax.geometry.planes import MAX_PLANES, keep_largest, pixel_rays

OPTIONS = (
    shared.NUM_SCENES,
    shared.NUM_HELDOUT_SCENES,
    shared.IMAGE_SIZE,
    shared.VIEW_SEED,
)

IMAGE_SIZE = (48, 64)
"""Height and width where `data.image_size` says nothing."""

FOCAL_LENGTH = (0.85, 0.95)
"""Over the width of the image."""

LEAST_SHARE = 0.004
"""Of all pixels; faces with fewer count as non-planar."""


class Rooms:
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

    in_memory = True

    def __init__(self, split: str, number: int, size: tuple[int, int] = IMAGE_SIZE, seed: int = 0):
        if min(size) < 8:
            raise UserError(
                f"data.image_size is {tuple(size)}: rooms have 8 pixels or more along both sides."
            )
        self._split, self._number, self._size, self._seed = split, number, tuple(size), seed
        self._drawn: dict[int, dict[str, np.ndarray]] = {}
        kinds = {
            "image": ((*size, 3), np.uint8),
            "planes": ((MAX_PLANES, 3), np.float32),
            "segmentation": (tuple(size), np.uint8),
            "depth": (tuple(size), np.float32),
            "camera": ((4,), np.float32),
            "label": ((), np.int32),
        }
        self.spec = {
            name: FieldSpec(shape, np.dtype(dtype)) for name, (shape, dtype) in kinds.items()
        }

    def __len__(self) -> int:
        """Number of rooms."""
        return self._number

    def gather(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """See `Source`."""
        rooms = [self._room(int(i)) for i in ids]
        fields = {
            name: np.stack([room[name] for room in rooms]) if rooms else np.zeros((0, *field.shape))
            for name, field in self.spec.items()
            if name != "label"
        }
        return {**fields, "label": np.full(len(rooms), -1, np.int32)}

    def _room(self, number: int) -> dict[str, np.ndarray]:
        if number not in self._drawn:
            split = list(TEXTURES).index(self._split)
            self._drawn[number] = self._draw(np.random.default_rng((self._seed, split, number)))
        return self._drawn[number]

    def _draw(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """The fields of one room but its label."""
        height, width = self._size
        focal = rng.uniform(*FOCAL_LENGTH) * width
        middle = [(width - 1) / 2, (height - 1) / 2]
        camera = np.array([focal, focal, *middle], np.float32)
        rays = pixel_rays(camera, height, width).reshape(-1, 3)
        room = draw_room(rng, TEXTURES[self._split])
        view = look_at(room, rays)
        fewest = max(round(LEAST_SHARE * height * width), 1)
        planes, number = plane_numbers(room, view, fewest)
        kept, segmentation = keep_largest(planes, number.reshape(height, width))
        return {
            "image": shade(room, view, 1 / focal, rng).reshape(height, width, 3),
            "planes": kept,
            "segmentation": segmentation,
            "depth": view.depth.reshape(height, width).astype(np.float32),
            "camera": camera,
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
