"""Parallel files: lines as counted elsewhere, and a cleaning that tells what it left out."""

import gzip
import logging

import numpy as np
import pytest

from nvc_jax.core.errors import UserError
from nvc_jax.data.text.parallel_text import (
    clean_pairs,
    iterate_pairs,
    pair_source,
    read_parallel,
    read_text_lines,
)

TRAIN = ["Guten Tag", "", "eins zwei drei vier fünf", "Ja", "ein sehr sehr langer", "so"]
TRAIN_EN = ["Good day", "x", "one two three four five", " ", "long", "so so"]


@pytest.fixture
def text_options(options):
    def make(**changes):
        own = {"max_words": 4, "max_length_ratio": 3.0, "validation_fraction": 0.5}
        return options("parallel_text", **{**own, **changes})

    return make


def write(folder, **files):
    for name, lines in files.items():
        content = "".join(f"{line}\n" for line in lines).encode()
        path = folder / name.replace("_", ".", 1).replace("_gz", ".gz")
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def files(tmp_path):
    write(tmp_path, train_de=TRAIN, train_en_gz=TRAIN_EN)
    write(tmp_path, valid_de=TRAIN, valid_en=TRAIN_EN, test_de_gz=TRAIN, test_en=TRAIN_EN)
    return tmp_path


def pairs(source):
    return list(iterate_pairs(source, size=2))


def test_training_is_cleaned_and_the_log_tells(files, text_options, caplog):
    with caplog.at_level(logging.INFO, "nvc_jax"):
        source = read_parallel(text_options(), "train")
    assert pairs(source) == [("Guten Tag", "Good day"), ("so", "so so")]
    (line,) = caplog.messages
    assert line.startswith(f"{files}/train.de and {files}/train.en.gz: 2 pairs, left out ")
    assert "2 with an empty side (first at line 2)" in line
    assert "1 of more than 4 words (first at line 3)" in line
    assert "1 of a length ratio above 3 (first at line 5)" in line


@pytest.mark.parametrize("split", ["validation", "test"])
def test_other_splits_keep_all_but_empty_pairs(files, text_options, split):
    kept = [(a, b) for a, b in zip(TRAIN, TRAIN_EN) if a.strip() and b.strip()]
    assert pairs(read_parallel(text_options(), split)) == kept
    turned = text_options(source_language="en", target_language="de")
    assert pairs(read_parallel(turned, split)) == [(b, a) for a, b in kept]


def test_source_follows_the_schema(files, text_options):
    source = read_parallel(text_options(max_words=0, max_length_ratio=0.0), "train")
    batch = source.gather(np.array([3, 1]))
    assert batch["source_text"].tolist() == ["so", "eins zwei drei vier fünf"]
    assert batch["label"].tolist() == [-1, -1]
    assert {k: (v.shape[1:], v.dtype) for k, v in batch.items()} == source.spec


def test_without_validation_files_pairs_are_cut_from_training(tmp_path, text_options):
    lines = [f"Satz {i}" for i in range(10)]
    write(tmp_path, train_de=lines, train_en=lines, test_de=lines, test_en=lines)
    train, held_out = (read_parallel(text_options(), split) for split in ("train", "validation"))
    assert len(train) == len(held_out) == 5
    assert sorted(a for s in (train, held_out) for a, _ in pairs(s)) == lines


def test_both_files_of_a_pair_have_one_name(tmp_path, text_options):
    write(tmp_path, train_de=["a"], train_en=["A"], valid_de=["b"], valid_en=["B"])
    assert pairs(read_parallel(text_options(), "validation")) == [("b", "B")]
    write(tmp_path, dev_en=["C"])  # alone it is neither a pair with valid.de nor to be passed over
    with pytest.raises(UserError, match=r"there is no file dev\.de, plain or with \.gz"):
        read_parallel(text_options(), "validation")
    assert pairs(read_parallel(text_options(), "train")) == [("a", "A")]


def test_lines_end_at_newlines_alone(tmp_path):
    odd = ["a\u2028b", "c\x0bd\x0ce", "f\x85g\x1ch", "i\rj", "", "k"]
    path = tmp_path / "odd.de"
    path.write_bytes(("\ufeff" + "\r\n".join(odd)).encode())
    assert read_text_lines(path) == odd
    path.write_bytes(("\n".join(odd) + "\n").encode())
    assert read_text_lines(path) == odd
    path.write_bytes(b"")
    assert read_text_lines(path) == []


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("train.de", lambda p: p.unlink(), r"there is no file train\.de, plain or with \.gz"),
        (
            "train.de",
            lambda p: p.write_text("a\n" * 5),
            r"train\.de has 5 and .*train\.en\.gz has 6",
        ),
        ("train.de", lambda p: p.write_bytes(b"a\nb\n\xff"), r"train\.de, line 3: .* not UTF-8"),
        ("train.en.gz", cut, r"train\.en\.gz is damaged, or no gzip file"),
        ("train.en.gz", lambda p: p.write_text("a"), r"train\.en\.gz is damaged, or no gzip file"),
        ("train.de", lambda p: p.write_text("\n" * 6), "no pair of sentences is left; left out 6"),
    ],
)
def test_mistakes_are_told(files, text_options, name, change, message):
    change(files / name)
    with pytest.raises(UserError, match=message) as error:
        read_parallel(text_options(), "train")
    assert str(files) in str(error.value) and "\n" not in str(error.value)


def test_every_damage_of_a_compressed_file_is_told(tmp_path, messages):
    def read(content):
        (tmp_path / "text.gz").write_bytes(content)
        # In its header a changed byte may mean nothing.
        assert read_text_lines(tmp_path / "text.gz") == ["Guten Tag"]

    assert messages(gzip.compress(b"Guten Tag\n", mtime=0), read)


def test_one_language_is_no_pair(files, text_options):
    with pytest.raises(UserError, match="are both 'de'"):
        read_parallel(text_options(target_language="de"), "test")


def test_a_senseless_limit_is_told(text_options):
    source = pair_source(["a"], ["b"], where="here")
    with pytest.raises(UserError, match="use 0 for no limit"):
        clean_pairs(source, text_options(max_length_ratio=0.5), "train", where="here")
