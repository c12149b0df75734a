"""Data sets prepared by TensorFlow Datasets, read without TensorFlow."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.extras import require
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.files import told
from nvc_jax.data.base.source import MOST_LABEL, FieldSpec, Source, stack_examples

OPTIONS = (
    shared.DIR,
    shared.NAME,
    shared.TRAIN_SPLIT,
    shared.TEST_SPLIT,
    shared.IMAGE_KEY,
    shared.LABEL_KEY,
)


class RecordSource:
    """Random access to a `tfds.data_source`, whose records become examples as they are asked for.

    Args:
      records: the data source.
      make: record → arrays by field, of equal shapes for all; a function of a module, or a partial of
        one. `label` may be missing.
      features: what a record has to have.
      where: what the data are called in messages.
      remedy: what to do where a feature is missing.

    Raises:
      UserError: if there is no such feature.
    """

    def __init__(
        self,
        records: Any,
        make: Callable[[Any], dict[str, Any]],
        features: Sequence[str],
        where: str,
        remedy: str,
    ):
        first = records[0]
        for name in features:
            if name not in first:
                raise UserError(
                    f"{where} has no feature {name!r}, got {', '.join(sorted(first))}; {remedy}."
                )
        self._records, self._make, self._where = records, make, where
        fields = {name: np.asarray(values) for name, values in make(first).items()}
        self.spec = {name: FieldSpec(v.shape, v.dtype) for name, v in fields.items()}
        self.spec["label"] = FieldSpec((), np.dtype(np.int32))

    def __len__(self) -> int:
        return len(self._records)

    def gather(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """See `Source`."""
        with told(
            f"{self._where}: a record cannot be read, it is damaged: prepare the data set again."
        ):
            rows = self._records.__getitems__([int(i) for i in ids])
            examples = [{"label": -1, **self._make(row)} for row in rows]
        for example in examples:
            label = np.asarray(example["label"])
            if label.dtype.kind not in "uib" or label.shape or not -1 <= label <= MOST_LABEL:
                raise UserError(
                    f"{self._where}: a label is {label.tolist()!r}, expected an integer from -1 (none) to "
                    f"{MOST_LABEL}; set data.label_key."
                )
        for name, (shape, _) in self.spec.items():
            for other in (np.shape(example[name]) for example in examples):
                if other != shape:
                    raise UserError(
                        f"{self._where}: examples differ in size, {name} has {shape} and {other}; use "
                        "a data set of one size."
                    )
        return stack_examples(examples, self.spec)


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
    return open_prepared(
        options.name,
        options.dir,
        {"train": options.train_split, "test": options.test_split}[split],
        partial(_image, image_key=options.image_key, label_key=options.label_key),
        features=[options.image_key],
        remedy="set data.image_key",
    )


def _image(row: Any, image_key: str, label_key: str) -> dict[str, Any]:
    """An image and its label."""
    return {"image": row[image_key], "label": row.get(label_key, -1)}


def open_prepared(
    name: str,
    folder: str,
    split: str,
    make: Callable[[Any], dict[str, Any]],
    *,
    features: Sequence[str],
    remedy: str,
) -> RecordSource:
    """Opens a split of a data set that was prepared in the `array_record` format.

    Args:
      name: `data.name`.
      folder: `data.dir`; "" for TFDS's own.
      split: TFDS's name of the split.
      make: see `RecordSource`, as `features` and `remedy`.
      features: what a record has to have.
      remedy: what to do where it has not.

    Returns:
      The examples.

    Raises:
      UserError: if the data set is unknown or not prepared; tells how to prepare it.
    """
    # Imports no TensorFlow until it prepares a data set.
    tfds = require("tensorflow_datasets", extra="data", what="Reading data sets of TFDS")

    where = f"data.name = {name!r}, data.dir = {folder!r}"
    if not name:
        raise UserError("TFDS needs data.name, the name of a data set, such as mnist.")
    try:
        records = tfds.data_source(name, split=split, data_dir=folder or None, download=False)
        source = RecordSource(records, make, features, where, remedy)
        _hide_gpus_from_tensorflow()
        return source
    except UserError:
        raise
    except Exception as error:  # TFDS raises many kinds, some from a failed import of TensorFlow
        path = Path(folder or "~/tensorflow_datasets") / name
        reason = (str(error).splitlines() or ["no message"])[0]
        raise UserError(
            f"{where}: split {split!r} cannot be read ({type(error).__name__}: {reason[:160]}); "
            f"expected {path}/VERSION/dataset_info.json and *.array_record files, made by: pip "
            f"install tensorflow && tfds build --file_format=array_record {name}."
        ) from None


def _hide_gpus_from_tensorflow() -> None:
    """If something imported TensorFlow, it would take the GPUs' memory at its first operation."""
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None:
        tensorflow.config.set_visible_devices([], "GPU")
