"""Catalogs: `.mo` compiled by hand, `.po` as written, and no text in two splits."""

import gettext
import io
import struct

import pytest

from nvc_jax.data.base.source import class_names_of
from nvc_jax.data.text.gettext_catalogs import read_gettext
from nvc_jax.data.text.parallel_text import iterate_pairs
from tests.refusals import refused
from tests.sources import damage_told, everything, put

HEADER = {"": "Content-Type: text/plain; charset=UTF-8\n"}
NUMBERS = ["eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht"]


def mo(messages, order="<", charset="utf-8"):
    """A compiled catalog, as `msgfmt` writes it."""
    rows = sorted(messages.items())
    texts = [[side.encode(charset) for side in row] for row in rows]
    start = 28 + 16 * len(rows)
    data, tables = b"", []
    for side in (0, 1):
        for row in texts:
            tables += [len(row[side]), start + len(data)]
            data += row[side] + b"\0"
    header = [0x950412DE, 0, len(rows), 28, 28 + 8 * len(rows), 0, start]
    return struct.pack(f"{order}{len(header) + len(tables)}I", *header, *tables) + data


@pytest.fixture
def read(tmp_path, options):
    """Reads catalogs, and returns the pairs of all splits together by name of the catalog."""

    def run(files, split="", **changes):
        for name, content in files.items():
            put(tmp_path / name, content)
        data = options("gettext", **{"max_words": 0, "holdout_every": 3, **changes})
        sources = [read_gettext(data, s) for s in ([split] if split else SPLITS)]
        return [
            (*pair, class_names_of(source)[label])
            for source in sources
            for pair, label in zip(iterate_pairs(source), everything(source)["label"])
        ]

    return run


SPLITS = ("train", "validation", "test")
FILLER = {f"{name} in English": f"{name} auf Deutsch" for name in NUMBERS[:3]}
FILLED = [(german, english, "a") for english, german in FILLER.items()]


@pytest.mark.parametrize("order", ["<", ">"])
def test_compiled_catalogs_of_both_byte_orders(read, order):
    messages = {
        **HEADER,
        **FILLER,
        "%d file\0%d files": "%d Datei\0%d Dateien",
        "menu\4Open": "Öffnen",
        "not translated": "",
        "charset=none": "charset=none",
        "%s: {name} <b/>": "{name}: %s <b/>",
        "two\n  lines\n": "zwei\n  Zeilen\n",
    }
    content = mo(messages, order)
    # The standard library reads the file the same way.
    oracle = gettext.GNUTranslations(io.BytesIO(content))
    assert oracle.pgettext("menu", "Open") == "Öffnen"
    assert oracle.ngettext("%d file", "%d files", 1) == "%d Datei"
    expected = [("%d Datei", "%d file", "a"), ("Öffnen", "Open", "a")]
    expected += [("charset=none", "charset=none", "a")]
    expected += [("zwei Zeilen", "two lines", "a"), *FILLED]
    assert sorted(read({"de/LC_MESSAGES/a.mo": content})) == sorted(expected)


PO = r'''
# translator's comment
msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\n"

#: file.c:3
msgctxt "menu"
msgid "Open \"it\"\tnow"
msgstr "Öffne "
"»es« jetzt\n"

#, fuzzy, c-format
msgid "fuzzy one"
msgstr "unscharf"

#, c-format
#| msgid "earlier"
msgid "%d file"
msgid_plural "%d files"
msgstr[0] "%d Datei"
msgstr[1] "%d Dateien"

#, fuzzy
#~ msgid "obsolete one"
#~ msgstr "veraltet"
msgid "without a line between"
msgstr "ohne Leer\x7aeile, \303"
msgid "not translated"
msgstr ""
msgid "last"
msgstr "letzte"'''
PO_PAIRS = [
    ("Öffne »es« jetzt", 'Open "it" now'),
    ("%d Datei", "%d file"),
    ("ohne Leerzeile, Ã", "without a line between"),
    ("letzte", "last"),
]


@pytest.mark.parametrize(
    ("name", "origin"),
    [("de.po", None), ("po/de.po", None), ("tool/po/de.po", "tool"), ("x/de/deep/tool.po", "tool")],
)
def test_catalogs_in_source_form(tmp_path, read, name, origin):
    expected = [(*pair, origin or tmp_path.name) for pair in PO_PAIRS]
    assert sorted(read({name: PO, "fr.po": PO, "readme.txt": "x"})) == sorted(expected)


def test_either_side_may_be_english_and_others_are_joined_by_it(read):
    french = {key: f"fr {i}{key}" for i, key in enumerate(FILLER)}
    files = {
        "de/LC_MESSAGES/a.mo": mo({**HEADER, **FILLER, "German only": "nur deutsch"}),
        "fr/LC_MESSAGES/a.mo": mo({**HEADER, **french, "French only": "seulement"}),
        "fr/LC_MESSAGES/b.mo": mo({**HEADER, "German only": "other program"}),
    }
    turned = read(files, source_language="en", target_language="de")
    assert sorted(turned) == sorted(
        (english, german, "a")
        for german, english, _ in [*FILLED, ("nur deutsch", "German only", "a")]
    )
    joined = read(files, source_language="fr", target_language="de")
    assert sorted(joined) == sorted((french[key], FILLER[key], "a") for key in FILLER)


def test_no_text_is_in_two_splits(read):
    messages = {f"{name} in English": f"{name} auf Deutsch" for name in NUMBERS}
    copies = {f"_{name} in English:": f"{name.upper()} auf Deutsch …" for name in NUMBERS}
    other = {f"{name} differently": f"{name} auf Deutsch" for name in NUMBERS}
    files = {
        "de/a.mo": mo({**HEADER, **messages}),
        "de/b.mo": mo({**HEADER, **copies}),
        "de/c.po": "".join(f'msgid "{a}"\nmsgstr "{b}"\n' for a, b in other.items()),
    }
    rows = {split: read(files, split) for split in SPLITS}
    assert {split: len(rows[split]) for split in SPLITS} == {"train": 2, "validation": 3, "test": 3}
    words = [row[0].lower().split()[0] for split in SPLITS for row in rows[split]]
    assert sorted(words) == sorted(NUMBERS)
    # Sorted, then in turn.
    together = sorted(row for split in SPLITS for row in rows[split])
    assert together[0::3] == rows["test"] and together[1::3] == rows["validation"]


def test_charset_of_the_header_counts(read):
    header = {"": "Content-Type: text/plain; charset=ISO-8859-1\n"}
    source = "".join(
        f'msgid "{a}"\nmsgstr "{b}"\n' for a, b in {**header, **FILLER, "x y": "äö"}.items()
    )
    source = source.replace("1\n", "1\\n", 1)
    compiled = mo({**header, **FILLER, "green": "grün"}, charset="latin-1")
    rows = read({"de/a.mo": compiled, "de/a.po": source.encode("latin-1")})
    assert {("grün", "green", "a"), ("äö", "x y", "a")} <= set(rows)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("de/a.mo", b"<html>", "a.mo is no compiled catalog"),
        ("de/a.mo", mo({**HEADER, **FILLER})[:-20], "a.mo is cut short or damaged"),
        ("de/a.po", b'msgid "a"\nmsgstr "\xff"\n', "a.po, line 2: the text is not of the charset"),
        ("de/a.po", 'msgid "a"\nmsgstr "b\n', "a.po, line 2: expected msgid or msgstr"),
        ("de/a.po", '"Content-Type: charset=klingon\\n"', "is in an unknown charset 'klingon'"),
        ("de/a.po", '"Content-Type: charset=rot13\\n"', "a.po is in an unknown charset 'rot13'"),
        ("fr/a.po", 'msgid "a"\nmsgstr "b"\n', r"of 1 catalogs .* none has translations to 'de'"),
        ("de/a.po", 'msgid "%s"\nmsgstr "%s"\n', "no message is in both 'de' and 'en'"),
    ],
)
def test_damaged_and_missing_catalogs_are_told(tmp_path, read, name, content, message):
    assert str(tmp_path) in refused(message, read, {name: content}, "train")


def test_every_damage_of_a_compiled_catalog_is_read_or_told(read):
    good = mo({**HEADER, "a b": "c d"})
    assert damage_told(good, lambda content: read({"de/a.mo": content}, "test"))


def test_one_language_twice_is_told(read):
    refused("are both 'de'", read, {"de/a.mo": mo(FILLER)}, "train", target_language="de")


def test_catalogs_that_ask_for_much_are_read_at_once_or_told(tmp_path, read):
    long = "%" + "0" * 40_000 + "1" * 40_000
    po = f'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\nmsgid "one two"\nmsgstr "{long} Wort"\n'
    header = "Content-Type:" * 20_000
    pieces = 'msgid "three"\nmsgstr ""\n' + '"ab "\n' * 20_000
    rows = "".join(f'msgid "{n} of it"\nmsgstr "{n} ß"\n\n' for n in NUMBERS)
    pairs = read({"de/LC_MESSAGES/a.po": po + pieces + "\n" + rows, "de/b.po": f"# {header}\n{po}"})
    assert len(pairs) == len(NUMBERS) + 2


def test_texts_that_overlap_are_refused(tmp_path, read):
    count = 2000  # each of which would be the whole file
    size = 28 + 16 * count + 10_000
    entries = [number for _ in range(2 * count) for number in (size, 0)]
    content = struct.pack(
        f"<7I{4 * count}I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, 0, *entries
    )
    message = "is cut short or damaged"
    refused(message, read, {"de/LC_MESSAGES/a.mo": content + bytes(10_000)})


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_marks_of_byte_order_and_capitals(encoding, read):
    rows = "".join(f'msgid "{n} of it"\nmsgstr "{n} ß"\n\n' for n in NUMBERS)
    text = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=ISO-8859-1\\n"\n\n' + rows
    assert len(read({"de/LC_MESSAGES/a.PO": text.encode(encoding)})) == len(NUMBERS)
    assert len(read({"de/LC_MESSAGES/b.MO": mo({**HEADER, "another": "eine andere"})})) == 1 + len(
        NUMBERS
    )
