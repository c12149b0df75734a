"""Synthetic furniture: generated models as volumes and as points with labels of parts.

Eight classes in random proportions and styles. What is out of sight from one side (how deep a
cabinet is, whether there is a second armrest) is drawn independently of what is in sight.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from nvc_jax.core.options import Option
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.source import FieldSource, Source, every_nth
from nvc_jax.data.shapes.furniture_models import GENERATORS, PARTS
from nvc_jax.data.shapes.primitives import fit, sample_surface, voxelize

OPTIONS = (
    shared.HOLDOUT_EVERY,
    Option("data.num_models", 480, "of the synthetic furniture", at_least=1),
)

CLASS_NAMES = tuple(PARTS)
"""Name of every `label`."""

PART_NAMES = tuple(f"{name} {part}" for name, parts in PARTS.items() for part in parts)
"""Name of every `point_label`."""

PARTS_OF_CLASS = np.array([[part.split()[0] == name for part in PART_NAMES] for name in PARTS])
"""Which parts the models of a class can have, bool `[classes, parts]`."""

NUM_VOXELS = 32
"""Voxels along every axis of a volume."""

NUM_POINTS = 2048
"""Points of a cloud."""

_SEED = 3


def read_furniture(options: Any, split: str) -> Source:
    """Synthetic furniture, which needs no files.

    Model i is a function of i alone: more models leave the first ones as they are.

    Args:
      options: `config.data`, of which `num_models` and `holdout_every` are used.
      split: `train`, `validation` or `test`, see `every_nth`.

    Returns:
      Models with `voxels` uint8 `[32, 32, 32]`, solid, longest side 32 (31 where it ends in a corner
      that no center of a voxel hits); `points` and `normals` float32 `[2048, 3]` on the outer
      surface, in [−0.5, 0.5]; `point_label` uint8 `[2048]`, into `PART_NAMES`; and `label`, into
      `CLASS_NAMES`. They are centered, y is up, the front is at +z.

    Raises:
      UserError: if there is no model in the split.
    """
    return every_nth(_all_models(options.num_models), split, options.holdout_every)


@functools.lru_cache(maxsize=1)
def _all_models(count: int) -> FieldSource:
    fields: dict[str, np.ndarray] = {
        "voxels": np.empty((count, *(NUM_VOXELS,) * 3), np.uint8),
        "points": np.empty((count, NUM_POINTS, 3), np.float32),
        "normals": np.empty((count, NUM_POINTS, 3), np.float32),
        "point_label": np.empty((count, NUM_POINTS), np.uint8),
        "label": np.array([_class_of(i) for i in range(count)], np.int32),
    }
    for i, label in enumerate(fields["label"]):
        rng = np.random.default_rng((_SEED, i))
        name = CLASS_NAMES[label]
        pieces = fit(GENERATORS[name](rng))
        points, normals, piece = sample_surface(pieces, NUM_POINTS, rng)
        part = np.array([PART_NAMES.index(f"{name} {p.part}") for p in pieces])
        fields["voxels"][i] = voxelize(pieces, NUM_VOXELS)
        fields["points"][i], fields["normals"][i] = points, normals
        fields["point_label"][i] = part[piece]
    return FieldSource(fields, "furniture", CLASS_NAMES, PART_NAMES)


def _class_of(model: int) -> int:
    """Sum of the digits to base 8: classes take turns, and no step from model to model skips any."""
    places = 1 + int(np.log2(model + 1)) // 3
    return sum(model // 8**place for place in range(places)) % 8
