"""IWSLT14: tags go, every 23rd pair validates, test sentences match by document and segment."""

import gzip
import logging

import pytest

from nvc_jax.data.text.parallel_text import iterate_pairs
from tests.refusals import refused
from tests.sources import everything

SETS = ["TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012"]


def train_file(language, count=50):
    """A talk as published; the reviewer is named on one side alone."""
    head = [
        "<url>http://www.ted.com/talks/x</url>",
        "<keywords>talks, art</keywords>",
        "<speaker>Ann</speaker>",
        "<talkid>7</talkid>",
        f"<title>Title {language}</title>",
        f"<description>About {language}</description>",
    ]
    tail = ['<reviewer href="x">Bob</reviewer>'] if language == "de" else []
    return [*head, *(f" <i>{language}</i> {i} & so" for i in range(count)), *tail]


def xml_file(documents):
    """Not well-formed, as published."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<mteval>", '<refset setid="x">']
    for name, segments in documents.items():
        lines += [f'<doc docid="{name}" genre="lectures">', "<title>A & B</title>"]
        lines += [f'<seg id="{i}"> {text} </seg>' for i, text in segments.items()]
        lines += ["</doc>"]
    return [*lines, "</refset>", "</mteval>"]


@pytest.fixture
def folder(tmp_path):
    for language in ("de", "en"):
        path = tmp_path / f"train.tags.de-en.{language}"
        path.write_text("\n".join(train_file(language)) + "\n")
        for name in SETS:
            documents = {
                "7": {1: f"{name} {language} 1", 2: f"R&D &amp; &quot;<b>&quot; {language}"}
            }
            path = tmp_path / f"IWSLT14.{name}.de-en.{language}.xml"
            path.write_text("\n".join(xml_file(documents)))
    return tmp_path


@pytest.fixture
def texts(folder, read):
    """Reads the pairs of a split."""
    return lambda split: list(
        iterate_pairs(read("iwslt14", split, max_words=175, max_length_ratio=1.5))
    )


def test_tags_go_and_every_23rd_pair_validates(texts):
    clean = [("Title de", "Title en"), ("About de", "About en")]
    clean += [(f" <i>de</i> {i} & so", f" <i>en</i> {i} & so") for i in range(50)]
    assert texts("validation") == [clean[22], clean[45]]
    assert texts("train") == [pair for i, pair in enumerate(clean) if i not in (22, 45)]


def test_what_is_left_out_is_named_by_its_line_in_the_file(folder, texts, caplog):
    lines = train_file("de")
    lines[10] = ""
    (folder / "train.tags.de-en.de").write_text("\n".join(lines))
    with caplog.at_level(logging.INFO, "nvc_jax"):
        validation = texts("validation")
    assert "1 with an empty side (first at line 11)" in caplog.text
    assert validation[0][0] == " <i>de</i> 21 & so"


def test_test_sets_are_joined_in_order(texts, read):
    second = ('R&D & "<b>" de', 'R&D & "<b>" en')
    assert texts("test") == [pair for s in SETS for pair in ((f"{s} de 1", f"{s} en 1"), second)]
    source = read("iwslt14", "test")
    assert source.class_names == tuple(SETS)
    assert everything(source)["label"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_segments_are_matched_by_document_and_number(folder, texts, caplog):
    de = {"1": {1: "a", 2: "b", 3: "c"}, "2": {1: "d"}}
    en = {"2": {1: "D", 2: "E"}, "1": {1: "A", 3: "C"}}
    for language, documents in (("de", de), ("en", en)):
        path = folder / f"IWSLT14.TEDX.dev2012.de-en.{language}.xml"
        path.unlink()
        content = "\n".join(xml_file(documents)).encode()
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content))
    assert texts("test")[2:5] == [("a", "A"), ("c", "C"), ("d", "D")]
    german, english = caplog.messages
    assert "dev2012.de-en.de.xml.gz: left out 1 segments" in german and german.endswith(": 2:2.")
    assert "dev2012.de-en.en.xml.gz: left out 1 segments" in english and english.endswith(": 1:2.")


def test_open_segment_swallows_no_other(folder, texts):
    path = folder / "IWSLT14.TED.tst2010.de-en.de.xml"
    path.write_text(path.read_text().replace("tst2010 de 1 </seg>", "tst2010 de 1"))
    assert [a for a, _ in texts("test")][4:6] == ['R&D & "<b>" de', "TED.tst2011 de 1"]


TRAIN = "train.tags.de-en.en"
WRONG = [
    (TRAIN, None, r"train\.tags\.de-en\.en is missing"),
    (TRAIN, b"a\nb", "tags has 52 and .*en without tags has 2"),
]
WRONG_TEST = [
    ("IWSLT14.TED.tst2011.de-en.de.xml", b"<html>", r"tst2011\.de-en\.de\.xml has no line <seg"),
]


def test_missing_and_other_files_are_told(folder, refuses):
    refuses(WRONG, "iwslt14", "train")
    refuses(WRONG_TEST, "iwslt14", "test")


def test_other_languages_are_told(folder, read):
    refused("from 'de' to 'en'", read, "iwslt14", "train", target_language="fr")
