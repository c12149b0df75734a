"""Byte-pair encoding: there and back, limits told, damage noticed."""

import numpy as np
import pytest

from nvc_jax.data.text.vocabulary import BEGIN_ID, END_ID, PADDING_ID, Vocabulary, train_vocabulary
from tests.processes import run_python
from tests.refusals import refused
from tests.sources import damaged

SENTENCES = [
    "Der Hund läuft im Park.",
    "Die Katze schläft auf dem Sofa …",
    "The dog runs in the park; the cat's asleep.",
    "Straße ½ ﬁne ①",  # nothing is normalized
    "line\u2028separator",
]


@pytest.fixture(scope="module")
def model():
    return train_vocabulary(SENTENCES, 80)


def test_there_and_back(model, capfd):
    vocabulary = Vocabulary(model)
    rows = vocabulary.encode(SENTENCES)
    assert vocabulary.size == 80 and all(3 < i < 80 for row in rows for i in row)
    assert vocabulary.decode(rows) == SENTENCES
    assert vocabulary.encode([]) == [] == vocabulary.decode([])
    assert vocabulary.encode([""]) == [[]] and vocabulary.decode([[]]) == [""]
    assert "".join(capfd.readouterr()) == ""


def test_decoding_stops_at_the_end_and_skips_padding_and_begin(model):
    vocabulary = Vocabulary(model)
    first, second = vocabulary.encode(SENTENCES[:2])
    rows = np.zeros((2, 80), np.int32)
    rows[0, : len(first) + 2] = [BEGIN_ID, *first, END_ID]
    rows[0, len(first) + 2 :] = second[0]
    rows[1, : len(second)] = second
    assert vocabulary.decode(rows) == SENTENCES[:2]
    assert vocabulary.decode([[END_ID, *first], [PADDING_ID]]) == ["", ""]


def test_frequent_pairs_become_pieces():
    # 4 special pieces, 3 characters, and the pairs by frequency: ab, then ▁ab.
    vocabulary = Vocabulary(train_vocabulary(["abx ab ab ab", "ab"], 4 + 4 + 2))
    rows = vocabulary.encode(["ab", "ab ab", "abx", "xa", "ba"])
    assert [len(row) for row in rows] == [1, 2, 2, 3, 3]


def test_same_bytes_for_the_same_text_whatever_the_threads(model):
    code = (
        "from nvc_jax.data.text.vocabulary import train_vocabulary;"
        f"print(train_vocabulary(iter({SENTENCES!r}), 80).hex())"
    )
    assert run_python("-c", code, OMP_NUM_THREADS="7").stdout.strip() == model.hex()


def test_characters_outside_are_unknown(model):
    assert Vocabulary(model).encode(["Ω"])[0][-1] == 1


def test_long_sentences_count():
    text = " ".join(f"wort{i}" for i in range(2000))
    assert "4" in "".join(Vocabulary(train_vocabulary([text], 30)).decode([[i] for i in range(30)]))


def test_sizes_that_do_not_fit_are_told():
    for sentences, size, message in [
        (SENTENCES, 1000, r"1000 pieces is too large for this text: use at most \d+\.$"),
        (SENTENCES, 20, r"20 pieces is too small .*: use at least \d+\.$"),
        (["a"], 100, "too large"),
        ([], 100, "no text"),
        (["", " "], 100, "no text"),
    ]:
        told = refused(message, train_vocabulary, sentences, size)
        if sentences is SENTENCES:  # the limit that is told works
            limit = int(told.rstrip(".").split()[-1])
            assert Vocabulary(train_vocabulary(sentences, limit)).size == limit


def test_all_damage_is_told(model):
    for content in damaged(model):
        refused(r"vocab\.model is damaged", Vocabulary, content, "vocab.model")
