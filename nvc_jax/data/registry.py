"""From a config to a source: which reader, which split."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.data.base.source import Source, split_off
from nvc_jax.data.base.tfds import read_tfds
from nvc_jax.data.hands.icvl import read_icvl
from nvc_jax.data.hands.msra15 import read_msra15
from nvc_jax.data.hands.nyu_hands import read_nyu_hands
from nvc_jax.data.hands.rhd import read_rhd
from nvc_jax.data.hands.stb import read_stb
from nvc_jax.data.hands.synthetic import read_hands
from nvc_jax.data.images.arrays import read_npy, read_npz
from nvc_jax.data.images.digits import read_digits
from nvc_jax.data.images.folder import read_folder
from nvc_jax.data.images.idx import read_idx
from nvc_jax.data.planes.nyu_depth import read_nyu_depth
from nvc_jax.data.planes.plane_rcnn import read_plane_rcnn
from nvc_jax.data.planes.planenet import read_planenet
from nvc_jax.data.planes.rooms import read_rooms
from nvc_jax.data.shapes.binvox import read_binvox
from nvc_jax.data.shapes.completion3d import read_completion3d
from nvc_jax.data.shapes.epn import read_epn
from nvc_jax.data.shapes.furniture import PARTS_OF_CLASS, read_furniture
from nvc_jax.data.shapes.modelnet_hdf5 import read_modelnet_hdf5
from nvc_jax.data.shapes.pcn import read_pcn
from nvc_jax.data.shapes.recgan import read_recgan
from nvc_jax.data.shapes.s3dis import read_s3dis
from nvc_jax.data.shapes.shapenet_part import part_table, read_shapenet_part
from nvc_jax.data.shapes.shapes import read_pairs, read_shapes
from nvc_jax.data.text.gettext_catalogs import read_gettext
from nvc_jax.data.text.iwslt14 import read_iwslt14
from nvc_jax.data.text.parallel_text import read_parallel
from nvc_jax.data.text.phrases import read_phrases
from nvc_jax.data.text.tfds_text import read_tfds_text

SPLITS = ("train", "validation", "test")


class Reader(NamedTuple):
    """How one kind of data is read.

    Attributes:
      read: (`config.data`, split) → source.
      splits: the splits that the data have of their own; where validation is not among them, it is
        cut from the training split.
      needs_dir: whether `data.dir` has to be set.
      parts: of shapes with labeled parts, which parts each category has, bool `[K, C]`.
    """

    read: Callable[[Any, str], Source]
    splits: tuple[str, ...] = ("train", "test")
    needs_dir: bool = True
    parts: np.ndarray | None = None


SOURCES: dict[str, Reader] = {
    "digits": Reader(read_digits, needs_dir=False),
    "idx": Reader(read_idx),
    "npz": Reader(read_npz),
    "npy": Reader(read_npy),
    "folder": Reader(read_folder),
    "tfds": Reader(read_tfds, needs_dir=False),
    "furniture": Reader(read_furniture, splits=SPLITS, needs_dir=False, parts=PARTS_OF_CLASS),
    "shapes": Reader(read_shapes, splits=SPLITS),
    "pairs": Reader(read_pairs),
    "binvox": Reader(read_binvox),
    "recgan": Reader(read_recgan),
    "epn": Reader(read_epn),
    "pcn": Reader(read_pcn, splits=SPLITS),
    "completion3d": Reader(read_completion3d),
    "modelnet_hdf5": Reader(read_modelnet_hdf5),
    "shapenet_part": Reader(read_shapenet_part, splits=SPLITS, parts=part_table()),
    "s3dis": Reader(read_s3dis),
    "phrases": Reader(read_phrases, splits=SPLITS, needs_dir=False),
    "parallel_text": Reader(read_parallel, splits=SPLITS),
    "iwslt14": Reader(read_iwslt14, splits=SPLITS),
    "gettext": Reader(read_gettext, splits=SPLITS),
    "tfds_text": Reader(read_tfds_text, splits=SPLITS, needs_dir=False),
    "rooms": Reader(read_rooms, splits=SPLITS, needs_dir=False),
    "planenet": Reader(read_planenet),
    "plane_rcnn": Reader(read_plane_rcnn),
    "nyu_depth": Reader(read_nyu_depth, needs_dir=False),
    "hands": Reader(read_hands, splits=SPLITS, needs_dir=False),
    "rhd": Reader(read_rhd),
    "stb": Reader(read_stb),
    "msra15": Reader(read_msra15),
    "nyu_hands": Reader(read_nyu_hands),
    "icvl": Reader(read_icvl),
}
"""Readers by the name in `data.source`."""


def open_source(options: Any, split: str) -> Source:
    """Opens one split of the data that a config names.

    Args:
      options: `config.data`.
      split: `train`, `validation` (where the data have none, it is cut from the training split by
        `validation_fraction`) or `test`.

    Returns:
      The source.

    Raises:
      UserError: for an unknown source or split, for files that are missing or damaged, and where the
        data came from Python.
    """
    if options.from_python:
        raise UserError(
            f"The model was trained on data given from Python, so that there is no {split} data to open: "
            "call nvc_jax.evaluation.results.evaluate with test_data and train_data, or name a source with "
            "--config.data.source and set --config.data.from_python=false."
        )
    if options.source not in SOURCES:
        raise UserError(
            f"data.source is {options.source!r}: use one of {', '.join(sorted(SOURCES))}."
        )
    if split not in SPLITS:
        raise UserError(f"The split is {split!r}: use 'train', 'validation' or 'test'.")
    reader = SOURCES[options.source]
    if not options.dir and reader.needs_dir:
        raise UserError(f"data.source = {options.source!r} needs data.dir, where the files are.")
    if split == "test" or "validation" in reader.splits:
        return reader.read(options, split)
    source = reader.read(options, "train")
    fraction = options.validation_fraction
    held_out = split == "validation"
    if fraction == 0 and not held_out:
        return source
    return split_off(source, fraction, held_out=held_out, name="data.validation_fraction")
