"""IWSLT14 German–English: TED talks, training lines between tags and test sets in XML."""

import logging
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import unescape

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.files import existing, plain_or_packed
from nvc_jax.data.base.source import Source, subset
from nvc_jax.data.text.parallel_text import (
    PAIR_OPTIONS,
    check_aligned,
    clean_pairs,
    german_and_english,
    pair_source,
    read_text_lines,
)

OPTIONS = (shared.DIR, shared.SOURCE_LANGUAGE, shared.TARGET_LANGUAGE, *PAIR_OPTIONS)

_TEST_SETS = ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012")
_EVERY = 23

# Titles and descriptions are text in both languages; what else is in tags is not.
_DROPPED = re.compile(r"\s*</?(?:url|talkid|keywords|speaker|reviewer|translator|doc|transcript)\b")
_KEPT = re.compile(r"</?(?:title|description)>")

_DOCUMENT_OR_SEGMENT = re.compile(
    r'<doc\b[^<>]{0,400}?\bdocid="([^"]{0,200})"'
    r'|<seg\b[^<>]{0,400}?\bid="([^"]{0,200})"[^<>]{0,400}>((?:(?!<seg\b|</seg>|</doc>).)*)</seg>',
    re.DOTALL,
)
_logger = logging.getLogger("nvc_jax")


def read_iwslt14(options: Any, split: str) -> Source:
    """Reads the files of the evaluation campaign, as they come in `de-en.tgz`.

    - `train.tags.de-en.{de,en}`: lines of tags (`<url>`, `<talkid>`, `<keywords>`, `<speaker>` …)
      are left out, `<title>` and `<description>` lose theirs. Of the pairs that the cleaning
      leaves, every 23rd validates and the others train.
    - `IWSLT14.X.de-en.{de,en}.xml` with X = TED.dev2010, TEDX.dev2012, TED.tst2010, TED.tst2011 and
      TED.tst2012: the test split, joined in this order. Sentences are matched by document and
      segment; those that one side lacks are left out and named. In dev2012 as published 72 German
      sentences stand at the number of a neighbor, which nothing in the files tells.

    Files may have `.gz` at the end. Text is kept as stored: not tokenized, not lowercased.

    Args:
      options: `config.data`; `source_language` and `target_language` are `de` and `en` or the other
        way round; training and validation are cleaned, see `clean_pairs`.
      split: `train`, `validation` or `test`.

    Returns:
      The pairs; in the test split labels are the test sets, else there are none.

    Raises:
      UserError: for a missing or damaged file, or unequal numbers of training lines.

    Reference: Cettolo et al., "Report on the 11th IWSLT Evaluation Campaign", 2014; splits as in
      fairseq's `prepare-iwslt14.sh`.
    """
    folder, languages = Path(options.dir), german_and_english(options, "the pairs of IWSLT14")
    if split == "test":
        return _read_test_sets(folder, languages, options)
    paths = [_existing(folder / f"train.tags.de-en.{language}") for language in languages]
    sides = [_training_lines(path) for path in paths]
    check_aligned(
        {f"{p} without tags": list(s.values()) for p, s in zip(paths, sides, strict=True)}
    )
    where = " and ".join(map(str, paths))
    pairs = pair_source(*(list(side.values()) for side in sides), where=where)
    # Validation pairs are chosen among what the cleaning leaves, so both are cleaned alike.
    source = clean_pairs(pairs, options, "train", where=where, lines=list(sides[0]))
    chosen = (np.arange(1, len(source) + 1) % _EVERY == 0) == (split == "validation")
    if not chosen.any():
        raise UserError(
            f"{where}: {len(source)} pairs are too few, the 23rd is the first to validate."
        )
    return subset(source, np.flatnonzero(chosen))


def _existing(path: Path) -> Path:
    """The file, or its compressed form."""
    return plain_or_packed(path) or existing(path)


def _training_lines(path: Path) -> dict[int, str]:
    """The sentences of a training file by the number of their line, from 1."""
    return {
        number: _KEPT.sub("", line)
        for number, line in enumerate(read_text_lines(path), 1)
        if not _DROPPED.match(line)
    }


def _read_test_sets(folder: Path, languages: tuple[str, str], options: Any) -> Source:
    """The five test sets, joined."""
    pairs: list[tuple[str, str]] = []
    label: list[int] = []
    for number, name in enumerate(_TEST_SETS):
        paths = [_existing(folder / f"IWSLT14.{name}.de-en.{lang}.xml") for lang in languages]
        first, second = (_segments(path) for path in paths)
        for path, side, other in zip(paths, (first, second), (second, first), strict=True):
            _tell_missing(path, side, other)
        pairs += [(text, second[key]) for key, text in first.items() if key in second]
        label += [number] * (len(pairs) - len(label))
    if not pairs:
        raise UserError(
            f"data.dir = {str(folder)!r}: no segment of a test set is in both languages."
        )
    where = f"the test sets in {folder}"
    texts = zip(*pairs, strict=True)
    source = pair_source(*map(list, texts), where=where, label=label, class_names=_TEST_SETS)
    return clean_pairs(source, options, "test", where=where)


_Key = tuple[str, str, int]


def _segments(path: Path) -> dict[_Key, str]:
    """Text by (document, segment, which of those with this name); no well-formed XML is needed."""
    segments: dict[_Key, str] = {}
    seen: Counter[tuple[str, str]] = Counter()
    document = ""
    for match in _DOCUMENT_OR_SEGMENT.finditer("\n".join(read_text_lines(path))):
        name, segment, text = match.groups()
        if segment is None:
            document = name
            continue
        key = (document, segment)
        lines = (line.strip(" \t") for line in text.strip(" \t\n").split("\n"))
        text = " ".join(line for line in lines if line)
        segments[(*key, seen[key])] = unescape(text, {"&quot;": '"', "&apos;": "'"})
        seen[key] += 1
    if not segments:
        raise UserError(
            f'{path} has no line <seg id="…">…</seg>: it is another file, fetch it again.'
        )
    return segments


def _tell_missing(path: Path, side: Mapping[_Key, str], other: Mapping[_Key, str]) -> None:
    """Logs the segments that only the other language has."""
    missing = [f"{document}:{segment}" for document, segment, _ in other.keys() - side.keys()]
    if missing:
        _logger.warning(
            "%s: left out %d segments that it lacks (document:segment): %s.",
            path,
            len(missing),
            ", ".join(sorted(missing)[:20]) + (" …" if len(missing) > 20 else ""),
        )
