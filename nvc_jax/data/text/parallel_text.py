"""Pairs of sentences: plain parallel files, data sets of TFDS, and what all readers of text share.

A source of text has `source_text` and `target_text`, strings as stored, and `label`, the corpus of
origin.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.files import plain_or_packed, read_unpacked, unmarked
from nvc_jax.data.base.source import FieldSource, Source, split_off, subset
from nvc_jax.data.base.tfds import open_prepared

PAIR_OPTIONS = (
    Option(
        "data.max_words", 100, "longer training sentences are left out; 0: no limit", at_least=0
    ),
    Option(
        "data.max_length_ratio",
        0.0,
        "of words of both sides of a training pair; 0: no limit",
        at_least=0,
    ),
)
"""Of `clean_pairs`."""

OPTIONS = (
    shared.DIR,
    shared.SOURCE_LANGUAGE,
    shared.TARGET_LANGUAGE,
    shared.VALIDATION_FRACTION,
    *PAIR_OPTIONS,
)

TFDS_OPTIONS = (
    shared.DIR,
    shared.NAME,
    shared.TRAIN_SPLIT,
    shared.TEST_SPLIT,
    shared.SOURCE_LANGUAGE,
    shared.TARGET_LANGUAGE,
    *PAIR_OPTIONS,
)

_NAMES = {"train": ("train",), "validation": ("dev", "valid", "validation"), "test": ("test",)}
_logger = logging.getLogger("nvc_jax")


def read_parallel(options: Any, split: str) -> Source:
    """Reads two files that hold a sentence and its translation in lines of the same number.

    They are `{train,dev,test}.{de,en}`, plain or with `.gz`; `valid` and `validation` stand for
    `dev` too. Without such files validation pairs are cut from the training pairs.

    Args:
      options: `config.data`; `source_language` and `target_language` are the suffixes, and the
        training pairs are cleaned, see `clean_pairs`.
      split: `train`, `validation` or `test`.

    Returns:
      The pairs, without labels.

    Raises:
      UserError: for a missing or damaged file, text that is not UTF-8, unequal numbers of lines, or
        no pair left.
    """
    has_validation = any(_candidates(options, "validation").values())
    own_split = split != "validation" or has_validation
    source = _read_pair_of_files(options, split if own_split else "train")
    if split == "test" or has_validation:
        return source
    return split_off(
        source,
        options.validation_fraction,
        held_out=split == "validation",
        name="data.validation_fraction",
    )


def _read_pair_of_files(options: Any, split: str) -> Source:
    """The pairs of one split, cleaned."""
    languages = different_languages(options)
    # The first name of which there is a file: two files of different names are no pair.
    candidates = _candidates(options, split)
    name = next((name for name, found in candidates.items() if found), _NAMES[split][0])
    for language in languages:
        if language not in candidates[name]:
            raise UserError(
                f"data.dir = {options.dir!r}: there is no file {name}.{language}, plain or with "
                ".gz; put it there, or set data.source_language and data.target_language."
            )
    paths = [candidates[name][language] for language in languages]
    files = {str(path): read_text_lines(path) for path in paths}
    check_aligned(files)
    where = " and ".join(files)
    return clean_pairs(pair_source(*files.values(), where=where), options, split, where=where)


def different_languages(options: Any) -> tuple[str, str]:
    """`source_language` and `target_language` of `config.data`.

    Raises:
      UserError: if they are the same.
    """
    languages = (options.source_language, options.target_language)
    if languages[0] == languages[1]:
        raise UserError(f"data.source_language and data.target_language are both {languages[0]!r}.")
    return languages


def german_and_english(options: Any, what: str) -> tuple[str, str]:
    """`source_language` and `target_language`, which are `de` and `en` or the other way round.

    Args:
      options: `config.data`.
      what: what is translated, as the begin of the message.

    Raises:
      UserError: for other languages.
    """
    languages = (options.source_language, options.target_language)
    if sorted(languages) != ["de", "en"]:
        raise UserError(
            f"data.source_language and data.target_language are {languages}: {what} are from 'de' to "
            "'en', or from 'en' to 'de'."
        )
    return languages


def _candidates(options: Any, split: str) -> dict[str, dict[str, Path]]:
    """The files of a split that there are, by name and language."""
    candidates: dict[str, dict[str, Path]] = {}
    for name in _NAMES[split]:
        candidates[name] = {}
        for language in (options.source_language, options.target_language):
            path = plain_or_packed(Path(options.dir) / f"{name}.{language}")
            if path is not None:
                candidates[name][language] = path
    return candidates


def read_text_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file, plain or with `.gz`, as stored but for a byte order mark.

    A line ends at "\\n" or "\\r\\n" alone: other characters that break lines, such as U+2028 or a
    form feed, stand within sentences, and to cut there would shift all lines below.

    Raises:
      UserError: for a missing or damaged file, or text that is not UTF-8; names the line.
    """
    content = unmarked(read_unpacked(path), path)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}: the text is not UTF-8; convert it, for example by iconv."
        ) from None
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def check_aligned(files: Mapping[str, Sequence[str]]) -> None:
    """Two files have the same number of lines.

    Args:
      files: the lines by the path, in words.

    Raises:
      UserError: naming both files and their numbers of lines.
    """
    counts = [len(lines) for lines in files.values()]
    if counts[0] != counts[1]:
        listing = " and ".join(f"{path} has {len(lines)}" for path, lines in files.items())
        raise UserError(
            f"The two files of a pair have one number of lines, but {listing}: some line is "
            "missing, so fetch or align them again."
        )


def pair_source(
    source_text: Sequence[str],
    target_text: Sequence[str],
    *,
    where: str,
    label: Sequence[int] | np.ndarray | None = None,
    class_names: Sequence[str] = (),
) -> FieldSource:
    """Sentences and their translations as a source.

    Args:
      source_text: N sentences.
      target_text: their translations.
      where: what they are called in messages.
      label: corpus of origin, integers `[N]`, into `class_names`; None: not known.
      class_names: names of the corpora.

    Returns:
      The source.

    Raises:
      UserError: for unequal lengths, or no pair.
    """
    fields = {
        "source_text": np.array(source_text, object),
        "target_text": np.array(target_text, object),
    }
    if label is not None:
        fields["label"] = np.asarray(label, np.int32)
    return FieldSource(fields, where, class_names)


def clean_pairs(
    source: Source, options: Any, split: str, *, where: str, lines: Sequence[int] | None = None
) -> Source:
    """Leaves out what cannot be learned from, and tells in one line of the log what that was.

    In all splits these are pairs with an empty side; in training also those with a side of more
    than `max_words` words, or more than `max_length_ratio` times as many words on one side as on
    the other. Validation and test keep these, so that scores compare.

    Args:
      source: pairs of text.
      options: `config.data`; `max_words` and `max_length_ratio` are used, 0 for no limit.
      split: `train`, `validation` or `test`.
      where: what the pairs are called in messages.
      lines: number of every pair in its file, from 1; None: they follow each other.

    Returns:
      The pairs that stay, in order.

    Raises:
      UserError: for a ratio below 1, or if no pair stays.
    """
    max_words, max_ratio = options.max_words, options.max_length_ratio
    if 0 < max_ratio < 1:
        raise UserError(
            f"data.max_length_ratio is {max_ratio}: use 0 for no limit, or a ratio from 1."
        )
    if split != "train":
        max_words, max_ratio = 0, 0.0
    kinds = {
        "with an empty side": lambda few, many: few == 0,
        f"of more than {max_words} words": lambda few, many: 0 < max_words < many,
        f"of a length ratio above {max_ratio:g}": lambda few, many: 0 < max_ratio * few < many,
    }
    left_out: dict[str, list[int]] = {kind: [] for kind in kinds}
    kept: list[int] = []
    for i, pair in enumerate(iterate_pairs(source)):
        few, many = sorted(len(text.split()) for text in pair)
        kind = next((kind for kind, applies in kinds.items() if applies(few, many)), None)
        (kept if kind is None else left_out[kind]).append(i)
    told = [
        f"{len(ids)} {kind} (first at line {lines[ids[0]] if lines else ids[0] + 1})"
        for kind, ids in left_out.items()
        if ids
    ]
    if not kept:
        raise UserError(f"{where}: no pair of sentences is left; left out {', '.join(told)}.")
    if not told:
        return source
    _logger.info("%s: %d pairs, left out %s.", where, len(kept), ", ".join(told))
    return subset(source, np.array(kept))


def iterate_pairs(source: Source, size: int = 4096) -> Iterator[tuple[str, str]]:
    """All pairs (source text, target text) of a source, read `size` at a time."""
    for start in range(0, len(source), size):
        batch = source.gather(np.arange(start, min(start + size, len(source))))
        yield from zip(batch["source_text"], batch["target_text"], strict=True)


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
