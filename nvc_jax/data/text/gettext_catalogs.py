"""Translations of programs, from gettext catalogs: real text on any Linux machine."""

import codecs
import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nvc_jax.core.errors import UserError
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.files import existing_folder, read_content, unmarked
from nvc_jax.data.base.source import Source, every_nth
from nvc_jax.data.base.tree import files_below
from nvc_jax.data.text.parallel_text import (
    PAIR_OPTIONS,
    clean_pairs,
    different_languages,
    pair_source,
)

OPTIONS = (
    shared.DIR,
    shared.HOLDOUT_EVERY,
    shared.SOURCE_LANGUAGE,
    shared.TARGET_LANGUAGE,
    *PAIR_OPTIONS,
)

_UNTRANSLATED = "en"
_GENERIC = {"po", "locale", "locales", "lang", "LC_MESSAGES"}  # folders of catalogs of any program
_MAGIC = {b"\xde\x12\x04\x95": "<", b"\x95\x04\x12\xde": ">"}

# What stands in for something else (%s, {name}) and markup. Without bounds it could take the square of a text.
_FORMAT = re.compile(
    r"%(?:\d{1,4}\$|\(\w{1,80}\))?[-+#0']{0,6}[\d.*]{0,12}(?:hh|h|ll|l|L|q|j|z|t)?[a-zA-Z%]"
    r"|\{[^{}]*\}|<[^<>]*>"
)
_PARTS = ("msgctxt", "msgid", "msgstr")
_STRING = r'"((?:[^"\\]|\\.)*)"'
_PO_LINE = re.compile(rf"(?:(msgctxt|msgid_plural|msgid|msgstr(?:\[\d+\])?)\s*)?{_STRING}\s*$")
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{1,2})|([0-7]{1,3})|(.))")
_CHARSET = re.compile(rb"Content-Type:[^\n]{0,200}?charset=([\w.:-]{1,60})")


class _Message(NamedTuple):
    """What identifies a message: its context (empty where there is none) and the English text."""

    context: str
    text: str


def read_gettext(options: Any, split: str) -> Source:
    """Reads catalogs of messages, `.mo` and `.po`, below one folder.

    A catalog of a language lies in a folder of its name or is called by it:
    `de/LC_MESSAGES/NAME.mo`, as in /usr/share/locale, `de/NAME.po`, `NAME/po/de.po`. The language
    `en` is the untranslated text in the catalogs of the other one; any two others are joined by it.
    Of a plural the first form is read. Entries that are fuzzy, obsolete or not translated are left
    out, and those without a word beside placeholders and markup. Runs of spaces and line breaks
    become one space.

    Pairs are sorted by their text, and of those that agree in the letters and digits of either side
    only the first stays, so that no text lies in two splits.

    Args:
      options: `config.data`; `source_language` and `target_language`; `holdout_every` for the
        split, see `every_nth`; training pairs are cleaned, see `clean_pairs`.
      split: `train`, `validation` or `test`.

    Returns:
      The pairs; `label` is the catalog's name, the same in all splits.

    Raises:
      UserError: for a missing folder, no catalog of a language, or a damaged catalog.
    """
    root = existing_folder(Path(options.dir))
    languages = different_languages(options)
    translated = [name for name in languages if name != _UNTRANSLATED]
    catalogs = [_read_language(root, language) for language in translated]
    keys = [key for key in catalogs[0] if all(key in catalog for catalog in catalogs[1:])]
    texts = {_UNTRANSLATED: {key: key[1].text for key in keys}}
    texts.update(zip(translated, catalogs, strict=True))
    rows = sorted((*(_one_line(texts[name][key]) for name in languages), key[0]) for key in keys)
    rows = list(_distinct(rows))
    where = f"the catalogs below {root}"
    if not rows:
        raise UserError(f"{where}: no message is in both {languages[0]!r} and {languages[1]!r}.")
    names = sorted({row[2] for row in rows})
    number = {name: i for i, name in enumerate(names)}
    source = pair_source(
        [row[0] for row in rows],
        [row[1] for row in rows],
        where=where,
        label=[number[row[2]] for row in rows],
        class_names=names,
    )
    return clean_pairs(every_nth(source, split, options.holdout_every), options, split, where=where)


def _one_line(text: str) -> str:
    """The text with single spaces."""
    return " ".join(text.split())


def _distinct(rows: list[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """The rows whose texts hold words, and agree with no earlier row on either side."""
    seen: tuple[set[str], set[str]] = (set(), set())
    for row in rows:
        words = [re.sub(r"[\W_]+", " ", _FORMAT.sub(" ", text)).strip() for text in row[:2]]
        if not all(re.search(r"[^\W\d]", text) for text in words):
            continue
        key = [re.sub(r"[\W_]+", "", text).casefold() for text in row[:2]]
        if key[0] not in seen[0] and key[1] not in seen[1]:
            yield row
        for known, text in zip(seen, key, strict=True):
            known.add(text)


def _read_language(root: Path, language: str) -> dict[tuple[str, _Message], str]:
    """Translations by (catalog's name, message), of all catalogs of a language."""
    found: dict[tuple[str, _Message], str] = {}
    paths = files_below(root, (".mo", ".po"))
    for path in paths:
        folders = path.relative_to(root).parts[:-1]
        if path.stem == language:
            named = [name for name in (root.name, *folders) if name not in {*_GENERIC, language}]
            domain = named[-1] if named else root.name
        elif language in folders:
            domain = path.stem
        else:
            continue
        read = _read_mo if path.suffix.lower() == ".mo" else _read_po
        for message, text in read(path):
            if message.text and text:  # without a text it is the catalog's header
                found.setdefault((domain, message), text)
    if found:
        return found
    raise UserError(
        f"data.dir = {str(root)!r}: of {len(paths)} catalogs (.mo, .po) none has translations to "
        f"{language!r}, such as {language}/LC_MESSAGES/NAME.mo; set data.dir or the languages."
    )


def _read_mo(path: Path) -> Iterator[tuple[_Message, str]]:
    """Messages of a compiled catalog; its integers are of either byte order."""
    content = read_content(path)
    order = _MAGIC.get(content[:4])
    if order is None:
        raise UserError(f"{path} is no compiled catalog of messages: remove it or fetch it again.")
    try:
        count, *tables = struct.unpack_from(f"{order}3I", content, 8)
        entries = [struct.unpack_from(f"{order}{2 * count}I", content, table) for table in tables]
        if sum(map(sum, (entry[::2] for entry in entries))) > 2 * len(content):
            raise struct.error("texts overlap")
        originals, translations = (list(_texts(content, entry)) for entry in entries)
        header = dict(zip(originals, translations, strict=True)).get(b"", b"")
        charset = _charset(header, path)
        for original, translation in zip(originals, translations, strict=True):
            context, _, text = original.decode(charset).rpartition("\4")
            yield _Message(context, text), translation.decode(charset)
    except (struct.error, UnicodeDecodeError):
        raise UserError(f"{path} is cut short or damaged: fetch it again or remove it.") from None


def _texts(content: bytes, entries: Sequence[int]) -> Iterator[bytes]:
    """The texts that a table of lengths and offsets points to; of a plural the first form."""
    for length, start in zip(entries[::2], entries[1::2], strict=True):
        if start + length > len(content):
            raise struct.error("a text ends after the file")
        yield content[start : start + length].split(b"\0")[0]


def _read_po(path: Path) -> Iterator[tuple[_Message, str]]:
    """Messages of a catalog in source form."""
    stored = read_content(path)
    content = unmarked(stored, path)
    try:  # what begins with a mark is in UTF-8 now, whatever its header says
        text = content.decode("utf-8" if content != stored else _charset(content, path))
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {number}: the text is not of the charset it tells."
        ) from None
    entry: dict[str, list[str]] = {}
    fuzzy, key = False, ""
    for number, line in enumerate([*text.split("\n"), "#"], 1):  # a comment ends the last entry
        line = line.strip()
        match = _PO_LINE.match(line)
        begins = line.startswith("#") or (match and match[1] in ("msgctxt", "msgid"))
        if begins and any(name.startswith("msgstr") for name in entry):
            if not fuzzy:
                parts = {name: "".join(entry.get(name, ())) for name in (*_PARTS, "msgstr[0]")}
                yield (
                    _Message(parts["msgctxt"], parts["msgid"]),
                    parts["msgstr"] or parts["msgstr[0]"],
                )
            entry, fuzzy, key = {}, False, ""
        if line.startswith("#,"):
            fuzzy = fuzzy or "fuzzy" in line
        elif line.startswith("#~"):  # the flag stood at an obsolete entry
            fuzzy = False
        elif match and (match[1] or key):
            key = match[1] or key
            entry.setdefault(key, []).append(_ESCAPE.sub(_unescape, match[2]))
        elif line and not line.startswith("#"):
            raise UserError(
                f'{path}, line {number}: expected msgid or msgstr and a text in "", got '
                f"{line[:40]!r}."
            )


def _unescape(match: re.Match[str]) -> str:
    """The character that an escape in a `.po` file stands for."""
    if match[1] or match[2]:
        return chr(int(match[1], 16) if match[1] else int(match[2], 8))
    return {"n": "\n", "t": "\t", "r": "\r"}.get(match[3], match[3])


def _charset(content: bytes, path: Path) -> str:
    """The charset that a catalog's header tells."""
    found = _CHARSET.search(content)
    name = found[1].decode("ascii") if found else "utf-8"
    if name == "CHARSET":  # of a template that nobody has filled in
        return "utf-8"
    try:
        codecs.lookup(name)
        "".encode(name)
    except (LookupError, ValueError):
        raise UserError(f"{path} is in an unknown charset {name!r}: convert it to UTF-8.") from None
    return name
