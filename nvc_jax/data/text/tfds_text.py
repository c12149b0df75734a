"""Translation data sets prepared by TensorFlow Datasets, such as `wmt14_translate/de-en`."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from nvc_jax.data.base import options as shared
from nvc_jax.data.base.source import Source
from nvc_jax.data.base.tfds import open_prepared
from nvc_jax.data.text.parallel_text import PAIR_OPTIONS, clean_pairs

OPTIONS = (
    shared.DIR,
    shared.NAME,
    shared.TRAIN_SPLIT,
    shared.TEST_SPLIT,
    shared.SOURCE_LANGUAGE,
    shared.TARGET_LANGUAGE,
    *PAIR_OPTIONS,
)


def read_tfds_text(options: Any, split: str) -> Source:
    """Opens a translation data set that was prepared in the `array_record` format.

    Training pairs are read once at the start to be cleaned, see `clean_pairs`.

    Args:
      options: `config.data`; `name`, such as `wmt14_translate/de-en`, `dir`, `source_language`,
        `target_language`, `train_split` and `test_split`.
      split: `train`, `validation` (the TFDS split of this name) or `test`.

    Returns:
      The pairs, without labels.

    Raises:
      UserError: if the data set is unknown or not prepared; tells how to prepare it.
    """
    own_names = {"train": options.train_split, "test": options.test_split}
    languages = (options.source_language, options.target_language)
    source = open_prepared(
        options.name,
        options.dir,
        own_names.get(split, split),
        partial(_sentences, languages=languages),
        features=languages,
        remedy="set data.source_language and data.target_language",
    )
    return clean_pairs(source, options, split, where=f"data.name = {options.name!r}")


def _sentences(row: Any, languages: tuple[str, str]) -> dict[str, Any]:
    """A sentence and its translation."""
    source, target = (np.array(row[name].decode(), object) for name in languages)
    return {"source_text": source, "target_text": target}
