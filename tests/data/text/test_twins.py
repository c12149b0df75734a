"""Twins of sentences: what counts as one, what is left out of training, and what is told."""

import logging
from functools import partial

import pytest

from nvc_jax.config import load_config, make_config
from nvc_jax.data import open_source
from nvc_jax.data.text.examples import SentencePairs
from nvc_jax.data.text.parallel_text import iterate_pairs
from nvc_jax.data.text.twins import twin_key
from nvc_jax.tasks import open_examples, open_training
from tests.refusals import refused

TRAIN = [
    "Datei öffnen",
    "datei ÖFFNEN …",
    "Straße 7",
    "12 %",
    "?!",
    "Neues Fenster",
    "Ende",
    "Haus",
]
DEV = ["STRASSE", "Hilfe"]
TEST = ["_Datei öffnen (3)!", "!?", "12%", "Haustür"]


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("Speichern unter …", "speichern  UNTER...", True),
        ("Seite 3 von 10", "Seite von", True),
        ("e\u0301te\u0301", "ÉTÉ", True),  # marks apart or not
        ("ﬁle", "FILE", True),  # a ligature
        ("Größe", "GRÖSSE", True),
        ("été", "ete", False),  # another letter
        ("Дом 5", "дом", True),
        ("हिंदी", "हंदी", False),  # a vowel that is a mark
        ("文件 1", "文件。", True),
        ("Menü", "Menüs", False),
        ("1 : 2", "1:2", True),  # without letters everything but blanks counts
        ("1:2", "1:3", False),
        ("...", "!!!", False),
        ("", "   ", True),
    ],
)
def test_sentences_are_alike_but_for_case_digits_and_punctuation(one, other, alike):
    assert (twin_key(one) == twin_key(other)) == alike


@pytest.fixture
def config(tmp_path):
    def make(**data):
        for name, lines in {"train": TRAIN, "dev": DEV, "test": TEST}.items():
            for language in ("de", "en"):
                (tmp_path / f"{name}.{language}").write_text("\n".join(lines) + "\n")
        settings = {"source": "parallel_text", "dir": str(tmp_path), "vocab_size": 60, **data}
        settings |= {"max_source_tokens": 40, "max_target_tokens": 40}
        return make_config({"task": "translation", "data": settings, "train.batch_multiple": 1})

    return make


def test_they_are_left_out_of_training_and_of_the_vocabulary(config, caplog):
    with caplog.at_level(logging.INFO, "nvc_jax"):
        source, learned = open_training(config(leave_out_test_twins=True, vocab_size=45))
    told = [line for line in caplog.messages if "Left out" in line]
    assert told == [
        "Left out 4 of 8 training pairs whose source is that of a validation or test pair, but for case, "
        "digits and punctuation."
    ]
    assert len(source) == 4  # "?!", "Neues Fenster", "Ende", "Haus"
    chosen = config(leave_out_test_twins=True)
    assert len(open_examples(chosen, "train", learned)) == 4  # in an evaluation too
    assert len(open_examples(chosen, "test", learned)) == len(TEST)
    assert len(open_training(config())[0]) == len(TRAIN)


def test_a_run_that_keeps_them_warns(config, caplog):
    open_training(config())
    (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert line.startswith("1 of 2 validation sources and 2 of 4 test sources are training sources")
    caplog.clear()
    open_training(config(leave_out_test_twins=True, vocab_size=45))
    assert not [r for r in caplog.records if r.levelno == logging.WARNING]


def test_a_split_that_is_not_there_has_none_and_nothing_left_is_an_error(config, tmp_path, caplog):
    chosen = config(leave_out_test_twins=True, vocab_size=45)
    (tmp_path / "test.de").unlink()
    assert len(open_training(chosen)[0]) == len(TRAIN) - 1
    assert "Twins of test sources are not looked for" in caplog.text
    for language in ("de", "en"):
        (tmp_path / f"dev.{language}").write_text("\n".join(TRAIN) + "\n")
    refused("All 8 training sources are validation or test sources too", open_training, chosen)


def test_recipes_of_text_leave_them_out():
    for name in ("translation", "translation:iwslt"):
        assert load_config(name).data.leave_out_test_twins
    config = load_config("phrases")
    open_split = partial(open_source, config.data)
    source = SentencePairs.trained_on(open_split("train"), config, open_split)
    learned, tested = (
        {twin_key(text) for text, _ in iterate_pairs(x)} for x in (source, open_split("test"))
    )
    assert learned and not learned & tested
