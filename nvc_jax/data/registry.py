"""From a config to a source: which reader, which split."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option
from nvc_jax.data.base import options as shared
from nvc_jax.data.base import tfds
from nvc_jax.data.base.source import Source, split_off
from nvc_jax.data.hands import icvl, msra15, nyu_hands, rhd, stb, synthetic
from nvc_jax.data.images import arrays, folder
from nvc_jax.data.planes import nyu_depth, plane_rcnn, planenet, rooms
from nvc_jax.data.shapes import (
    binvox,
    completion,
    epn,
    furniture,
    pointnet_hdf5,
    recgan,
    shapenet_part,
    shapes,
)
from nvc_jax.data.text import gettext_catalogs, iwslt14, parallel_text, phrases

SPLITS = ("train", "validation", "test")


class Reader(NamedTuple):
    """How one kind of data is read.

    Attributes:
      read: (`config.data`, split) → source.
      options: keys under `data.` that it reads.
      splits: the splits that the data have of their own; where validation is not among them, it is
        cut from the training split.
      needs_dir: whether `data.dir` has to be set.
      parts: of shapes with labeled parts, which parts each category has, bool `[K, C]`.
    """

    read: Callable[[Any, str], Source]
    options: tuple[Option, ...] = ()
    splits: tuple[str, ...] = ("train", "test")
    needs_dir: bool = True
    parts: np.ndarray | None = None

    @property
    def all_options(self) -> tuple[Option, ...]:
        """Its options, and the share of the validation split where that has to be cut."""
        cut = () if "validation" in self.splits else (shared.VALIDATION_FRACTION,)
        return (*self.options, *cut)


def _refuse_python(options: Any, split: str) -> Source:
    """There is nothing to open."""
    raise UserError(
        f"The model was trained on data given from Python, so that there is no {split} data to open: "
        "call nvc_jax.evaluation.evaluate with test_data and train_data, or name a source with "
        "--config.data.source."
    )


SOURCES: dict[str, Reader] = {
    "python": Reader(_refuse_python, splits=SPLITS, needs_dir=False),
    "digits": Reader(arrays.read_digits, (), needs_dir=False),
    "idx": Reader(arrays.read_idx, (shared.DIR,)),
    "npz": Reader(arrays.read_npz, arrays.OPTIONS),
    "npy": Reader(arrays.read_npy, arrays.OPTIONS),
    "folder": Reader(folder.read_folder, folder.OPTIONS),
    "tfds": Reader(tfds.read_tfds, tfds.OPTIONS, needs_dir=False),
    "furniture": Reader(
        furniture.read_furniture,
        furniture.OPTIONS,
        splits=SPLITS,
        needs_dir=False,
        parts=furniture.PARTS_OF_CLASS,
    ),
    "shapes": Reader(shapes.read_shapes, shapes.OPTIONS, splits=SPLITS),
    "pairs": Reader(shapes.read_pairs, shapes.PAIR_OPTIONS),
    "binvox": Reader(binvox.read_binvox, binvox.OPTIONS),
    "recgan": Reader(recgan.read_recgan, recgan.OPTIONS),
    "epn": Reader(epn.read_epn, epn.OPTIONS),
    "pcn": Reader(completion.read_pcn, completion.OPTIONS, splits=SPLITS),
    "completion3d": Reader(completion.read_completion3d, completion.OPTIONS),
    "modelnet_hdf5": Reader(pointnet_hdf5.read_modelnet_hdf5, pointnet_hdf5.MODELNET_OPTIONS),
    "shapenet_part": Reader(
        shapenet_part.read_shapenet_part,
        shapenet_part.OPTIONS,
        splits=SPLITS,
        parts=shapenet_part.part_table(),
    ),
    "s3dis": Reader(pointnet_hdf5.read_s3dis, pointnet_hdf5.S3DIS_OPTIONS),
    "phrases": Reader(phrases.read_phrases, phrases.OPTIONS, splits=SPLITS, needs_dir=False),
    "parallel_text": Reader(parallel_text.read_parallel, parallel_text.OPTIONS, splits=SPLITS),
    "iwslt14": Reader(iwslt14.read_iwslt14, iwslt14.OPTIONS, splits=SPLITS),
    "gettext": Reader(gettext_catalogs.read_gettext, gettext_catalogs.OPTIONS, splits=SPLITS),
    "tfds_text": Reader(
        parallel_text.read_tfds_text, parallel_text.TFDS_OPTIONS, splits=SPLITS, needs_dir=False
    ),
    "rooms": Reader(rooms.read_rooms, rooms.OPTIONS, splits=SPLITS, needs_dir=False),
    "planenet": Reader(planenet.read_planenet, planenet.OPTIONS),
    "plane_rcnn": Reader(plane_rcnn.read_plane_rcnn, plane_rcnn.OPTIONS),
    "nyu_depth": Reader(nyu_depth.read_nyu_depth, nyu_depth.OPTIONS, needs_dir=False),
    "hands": Reader(synthetic.read_hands, synthetic.OPTIONS, splits=SPLITS, needs_dir=False),
    "rhd": Reader(rhd.read_rhd, rhd.OPTIONS),
    "stb": Reader(stb.read_stb, stb.OPTIONS),
    "msra15": Reader(msra15.read_msra15, msra15.OPTIONS),
    "nyu_hands": Reader(nyu_hands.read_nyu_hands, nyu_hands.OPTIONS),
    "icvl": Reader(icvl.read_icvl, icvl.OPTIONS),
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
    if options.source not in SOURCES:
        raise UserError(
            f"data.source is {options.source!r}: use one of {', '.join(sorted(SOURCES))}."
        )
    if split not in SPLITS:
        raise UserError(f"The split is {split!r}: use 'train', 'validation' or 'test'.")
    reader = SOURCES[options.source]
    if reader.needs_dir and not options.dir:
        raise UserError(f"data.source = {options.source!r} needs data.dir, where the files are.")
    if split == "test" or "validation" in reader.splits:
        return reader.read(options, split)
    source = reader.read(options, "train")
    return split_off(
        source,
        options.validation_fraction,
        held_out=split == "validation",
        name="data.validation_fraction",
    )
