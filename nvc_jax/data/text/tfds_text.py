"""Translation data sets prepared by TensorFlow Datasets, such as `wmt14_translate/de-en`."""

from __future__ import annotations

from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.source import FieldSpec, Source
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


class TextRecords:
    """Random access to the sentences of a `tfds.data_source`, read as they are asked for.

    Args:
      records: the data source.
      languages: names of the features: source and target.
      where: what the data are called in messages.

    Raises:
      UserError: if there is no such feature.
    """

    def __init__(self, records: Any, languages: tuple[str, str], where: str):
        self._records, self._languages = records, languages
        first = records[0]
        for language in languages:
            if language not in first:
                raise UserError(
                    f"{where} has no feature {language!r}, got {', '.join(sorted(first))}; set "
                    "data.source_language and data.target_language."
                )
        text = FieldSpec((), np.dtype(object))
        label = FieldSpec((), np.dtype(np.int32))
        self.spec = {"source_text": text, "target_text": text, "label": label}

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self._records)

    def gather(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """See `Source`."""
        rows = self._records.__getitems__([int(i) for i in ids])
        source, target = ([row[name].decode() for row in rows] for name in self._languages)
        return {
            "source_text": np.array(source, object),
            "target_text": np.array(target, object),
            "label": np.full(len(ids), -1, np.int32),
        }


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
        options,
        own_names.get(split, split),
        lambda records, where: TextRecords(records, languages, where),
    )
    return clean_pairs(source, options, split, where=f"data.name = {options.name!r}")
