"""Data sets prepared by TensorFlow Datasets, read without TensorFlow."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.extras import require
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.source import FieldSpec, Source

OPTIONS = (
    shared.DIR,
    shared.NAME,
    shared.TRAIN_SPLIT,
    shared.TEST_SPLIT,
    shared.IMAGE_KEY,
    shared.LABEL_KEY,
)


class RecordSource:
    """Random access to a `tfds.data_source`."""

    def __init__(self, records: Any, image_key: str, label_key: str, where: str):
        self._records, self._where = records, where
        self._image_key, self._label_key = image_key, label_key
        first = records[0]
        if image_key not in first:
            raise UserError(
                f"{where} has no feature {image_key!r}, got {', '.join(sorted(first))}; set "
                "data.image_key."
            )
        image = np.asarray(first[image_key])
        self.spec = {
            "image": FieldSpec(image.shape, image.dtype),
            "label": FieldSpec((), np.dtype(np.int32)),
        }

    def __len__(self) -> int:
        """Number of examples."""
        return len(self._records)

    def gather(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """See `Source`."""
        rows = self._records.__getitems__([int(i) for i in ids])
        images = [np.asarray(row[self._image_key]) for row in rows]
        for image in images:
            if image.shape != self.spec["image"].shape:
                raise UserError(
                    f"{self._where}: images differ in size, {self.spec['image'].shape} and "
                    f"{image.shape}; use a data set of one size."
                )
        return {
            "image": np.stack(images),
            "label": np.array([row.get(self._label_key, -1) for row in rows], np.int32),
        }


def read_tfds(options: Any, split: str) -> Source:
    """Opens a data set that was prepared in the `array_record` format.

    Args:
      options: `config.data`; `name`, `dir` and the names of the splits are used.
      split: `train` or `test`.

    Returns:
      The source.

    Raises:
      UserError: if the data set is unknown or not prepared; tells how to prepare it.
    """
    name = {"train": options.train_split, "test": options.test_split}[split]
    return open_prepared(
        options,
        name,
        lambda records, where: RecordSource(records, options.image_key, options.label_key, where),
    )


def open_prepared(options: Any, split: str, make: Callable[[Any, str], Source]) -> Source:
    """Opens a split of a data set that was prepared in the `array_record` format.

    Args:
      options: `config.data`; `name` and `dir` are used.
      split: TFDS's name of the split.
      make: (`tfds.data_source`, what it is called in messages) → source.

    Returns:
      What `make` returned.

    Raises:
      UserError: if the data set is unknown or not prepared; tells how to prepare it.
    """
    # Imports no TensorFlow until it prepares a data set.
    tfds = require("tensorflow_datasets", extra="data", what="Reading data sets of TFDS")

    where = f"data.name = {options.name!r}, data.dir = {options.dir!r}"
    if not options.name:
        raise UserError("TFDS needs data.name, the name of a data set, such as mnist.")
    try:
        records = tfds.data_source(
            options.name, split=split, data_dir=options.dir or None, download=False
        )
        source = make(records, where)
        _hide_gpus_from_tensorflow()
        return source
    except UserError:
        raise
    except Exception as error:  # TFDS raises many kinds, some from a failed import of TensorFlow
        folder = Path(options.dir or "~/tensorflow_datasets") / options.name
        reason = (str(error).splitlines() or ["no message"])[0]
        raise UserError(
            f"{where}: split {split!r} cannot be read ({type(error).__name__}: {reason[:160]}); "
            f"expected {folder}/VERSION/dataset_info.json and *.array_record files, made by: pip "
            "install tensorflow && tfds build --file_format=array_record "
            f"{options.name}."
        ) from None


def _hide_gpus_from_tensorflow() -> None:
    """If something imported TensorFlow, it would take the GPUs' memory at its first operation."""
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None:
        tensorflow.config.set_visible_devices([], "GPU")
