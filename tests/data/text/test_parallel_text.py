"""Parallel files: lines as counted elsewhere, a cleaning that tells what it left out, and pairs of TFDS."""

import gzip
import logging

import pytest

from nvc_jax.data.text.parallel_text import (
    clean_pairs,
    iterate_pairs,
    pair_source,
    read_text_lines,
)
from tests import tfrecords
from tests.refusals import refused
from tests.sources import damage_told, take

TRAIN = ["Guten Tag", "", "eins zwei drei vier fünf", "Ja", "ein sehr sehr langer", "so"]
TRAIN_EN = ["Good day", "x", "one two three four five", " ", "long", "so so"]


LIMITS = {"max_words": 4, "max_length_ratio": 3.0, "validation_fraction": 0.5}


def text(lines):
    return "".join(f"{line}\n" for line in lines).encode()


def write(folder, **files):
    for name, lines in files.items():
        content = text(lines)
        path = folder / name.replace("_", ".", 1).replace("_gz", ".gz")
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def files(tmp_path):
    write(tmp_path, train_de=TRAIN, train_en_gz=TRAIN_EN)
    write(tmp_path, valid_de=TRAIN, valid_en=TRAIN_EN, test_de_gz=TRAIN, test_en=TRAIN_EN)
    return tmp_path


def pairs(source):
    return list(iterate_pairs(source, size=2))


def test_training_is_cleaned_and_the_log_tells(files, read, caplog):
    with caplog.at_level(logging.INFO, "nvc_jax"):
        source = read("parallel_text", "train", **LIMITS)
    assert pairs(source) == [("Guten Tag", "Good day"), ("so", "so so")]
    (line,) = caplog.messages
    assert line.startswith(f"{files}/train.de and {files}/train.en.gz: 2 pairs, left out ")
    assert "2 with an empty side (first at line 2)" in line
    assert "1 of more than 4 words (first at line 3)" in line
    assert "1 of a length ratio above 3 (first at line 5)" in line


@pytest.mark.parametrize("split", ["validation", "test"])
def test_other_splits_keep_all_but_empty_pairs(files, read, split):
    kept = [(a, b) for a, b in zip(TRAIN, TRAIN_EN) if a.strip() and b.strip()]
    assert pairs(read("parallel_text", split, **LIMITS)) == kept
    turned = {"source_language": "en", "target_language": "de", **LIMITS}
    assert pairs(read("parallel_text", split, **turned)) == [(b, a) for a, b in kept]


def test_source_follows_the_schema(files, read):
    batch = take(read("parallel_text", "train", max_words=0, max_length_ratio=0.0), 3, 1)
    assert batch["source_text"].tolist() == ["so", "eins zwei drei vier fünf"]
    assert batch["label"].tolist() == [-1, -1]


def test_without_validation_files_pairs_are_cut_from_training(tmp_path, read):
    lines = [f"Satz {i}" for i in range(10)]
    write(tmp_path, train_de=lines, train_en=lines, test_de=lines, test_en=lines)
    train, held_out = (read("parallel_text", split, **LIMITS) for split in ("train", "validation"))
    assert len(train) == len(held_out) == 5
    assert sorted(a for s in (train, held_out) for a, _ in pairs(s)) == lines


def test_both_files_of_a_pair_have_one_name(tmp_path, read):
    write(tmp_path, train_de=["a"], train_en=["A"], valid_de=["b"], valid_en=["B"])
    assert pairs(read("parallel_text", "validation", **LIMITS)) == [("b", "B")]
    write(tmp_path, dev_en=["C"])  # alone it is neither a pair with valid.de nor to be passed over
    message = r"there is no file dev\.de, plain or with \.gz"
    refused(message, read, "parallel_text", "validation", **LIMITS)
    assert pairs(read("parallel_text", "train", **LIMITS)) == [("a", "A")]


def test_lines_end_at_newlines_alone(tmp_path):
    odd = ["a\u2028b", "c\x0bd\x0ce", "f\x85g\x1ch", "i\rj", "", "k"]
    path = tmp_path / "odd.de"
    path.write_bytes(("\ufeff" + "\r\n".join(odd)).encode())
    assert read_text_lines(path) == odd
    path.write_bytes(("\n".join(odd) + "\n").encode())
    assert read_text_lines(path) == odd
    path.write_bytes(b"")
    assert read_text_lines(path) == []


WRONG = [
    ("train.de", None, r"there is no file train\.de, plain or with \.gz"),
    ("train.de", b"a\n" * 5, r"train\.de has 5 and .*train\.en\.gz has 6"),
    ("train.de", b"a\nb\n\xff", r"train\.de, line 3: .* not UTF-8"),
    (
        "train.en.gz",
        gzip.compress(text(TRAIN_EN))[:-9],
        r"train\.en\.gz is damaged, or no gzip file",
    ),
    ("train.en.gz", b"a", r"train\.en\.gz is damaged, or no gzip file"),
    ("train.de", b"\n" * 6, "no pair of sentences is left; left out 6"),
]


def test_mistakes_are_told(files, refuses):
    refuses(WRONG, "parallel_text", "train", **LIMITS)


def test_every_damage_of_a_compressed_file_is_told(tmp_path):
    def read(content):
        (tmp_path / "text.gz").write_bytes(content)
        # In its header a changed byte may mean nothing.
        assert read_text_lines(tmp_path / "text.gz") == ["Guten Tag"]

    assert damage_told(gzip.compress(b"Guten Tag\n", mtime=0), read)


def test_one_language_is_no_pair(files, read):
    refused("are both 'de'", read, "parallel_text", "test", target_language="de")


def test_a_senseless_limit_is_told(options):
    source = pair_source(["a"], ["b"], where="here")
    short = options("parallel_text", max_length_ratio=0.5)
    refused("use 0 for no limit", clean_pairs, source, short, "train", where="here")


OF_TFDS = [("Grüße", "Greetings"), ("", "empty"), ("eins zwei drei", "one two three")]


def record_of(pair):
    texts = {name: text.encode() for name, text in zip(("de", "en"), pair)}
    return tfrecords.example({name: tfrecords.bytes_list(text) for name, text in texts.items()})


@pytest.fixture
def folder(tmp_path):
    """Writes `tiny/de-en` with three splits."""
    languages = {"languages": ["de", "en"], "variableLanguagesPerExample": False}
    features = tfrecords.feature("translation_feature.Translation", translation=languages)
    rows = [record_of(pair) for pair in OF_TFDS]
    splits = {"train": rows, "validation": rows[:1], "test": rows[:2]}
    tfrecords.write_data_set(tmp_path, "tiny", features, splits, config="de-en")
    return tmp_path


@pytest.fixture
def tiny(folder, read):
    """Reads a split of it."""
    settings = {"name": "tiny/de-en", "max_words": 2}
    return lambda split, **changes: read("tfds_text", split, **{**settings, **changes})


def test_pairs_of_all_splits_of_tfds(tiny):
    source = tiny("train", max_words=0)
    assert list(iterate_pairs(source)) == [OF_TFDS[0], OF_TFDS[2]]
    batch = take(source, 1, 0)
    assert batch["target_text"].tolist() == ["one two three", "Greetings"]
    assert list(iterate_pairs(tiny("train"))) == [OF_TFDS[0]]
    turned = tiny("validation", source_language="en", target_language="de")
    assert list(iterate_pairs(turned)) == [OF_TFDS[0][::-1]]
    assert list(iterate_pairs(tiny("test", test_split="train"))) == [OF_TFDS[0], OF_TFDS[2]]


def test_mistakes_with_tfds_are_told(tiny):
    for changes, message in [
        ({"name": ""}, "needs data.name"),
        ({"name": "absent/de-en"}, "expected .*absent/de-en/VERSION/dataset_info.json"),
        ({"train_split": "other"}, "split 'other' cannot be read"),
        ({"target_language": "fr"}, "no feature 'fr', got de, en; set data.source_language"),
    ]:
        refused(message, tiny, "train", **changes)
