"""BLEU and chrF against values computed by hand, and against the numbers they get mistaken for."""

import math

import numpy as np
import pytest

from nvc_jax import metrics
from tests.refusals import refused

HYPOTHESES = ["The cat sat on the mat, did it?", 'He said: "go home" and left.']
REFERENCES = ["The cat sat on the mat, didn't it?", 'He said: "go home!" and left.']
SCORES = (metrics.bleu, metrics.bleu_tokenized_lowercase, metrics.chrf)


def settings(score):
    """The signature without the release of sacreBLEU."""
    return score.signature.partition("|version:")[0]


def test_bleu_by_hand():
    # `The cat sat on the mat , did it ?`, where the reference has `didn't`, and
    # `He said : " go home " and left .`, where it has `home ! "`: 20 tokens for 21.
    expected = 100 * math.exp(1 - 21 / 20) * (19 / 20 * 15 / 18 * 11 / 16 * 8 / 14) ** 0.25
    score = metrics.bleu(HYPOTHESES, REFERENCES)
    assert score.value == pytest.approx(expected, abs=1e-9)
    assert score.value == pytest.approx(71.036, abs=5e-4)
    assert settings(score) == "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp"
    assert "|version:" in score.signature


def test_bleu_is_none_of_the_numbers_it_is_mistaken_for():
    value = metrics.bleu(HYPOTHESES, REFERENCES).value
    by_spaces = metrics.bleu_tokenized_lowercase(HYPOTHESES, REFERENCES).value
    pairs = zip(HYPOTHESES, REFERENCES)
    of_sentences = sum(metrics.bleu([one], [other]).value for one, other in pairs) / 2
    repeated = metrics.bleu(
        HYPOTHESES + HYPOTHESES[-1:] * 6, REFERENCES + REFERENCES[-1:] * 6
    ).value
    assert by_spaces == pytest.approx(57.212, abs=5e-4)
    assert of_sentences == pytest.approx(70.899, abs=5e-4)
    assert repeated == pytest.approx(71.098, abs=5e-4)
    assert min(abs(value - wrong) for wrong in (by_spaces, of_sentences, repeated)) > 0.05


def test_tokenized_lowercase_bleu_is_of_words_between_spaces_in_any_case(caplog):
    score = metrics.bleu_tokenized_lowercase(["The cat is here ."], ["the Cat IS here ."])
    assert score.value == pytest.approx(100.0)
    assert settings(score) == "nrefs:1|case:lc|eff:no|tok:none|smooth:exp"
    # The comma belongs to its word; of no 4-gram out of 2, half a one is said to be found.
    score = metrics.bleu_tokenized_lowercase(["a b, c d e"], ["A b c d e"])
    assert score.value == pytest.approx(100 * (4 / 5 * 2 / 4 * 1 / 3 * 1 / 4) ** 0.25)
    metrics.bleu_tokenized_lowercase(["a tokenized sentence ."] * 200, ["another one ."] * 200)
    assert not caplog.records


def test_chrf_by_hand():
    # 2 of 3 letters, 1 of 2 pairs, 0 of 1 triple; longer n-grams are in neither text.
    score = metrics.chrf(["a bc"], ["a bd"])
    assert score.value == pytest.approx(100 * (2 / 3 + 1 / 2 + 0) / 3)
    assert settings(score) == "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no"
    # Orders that both texts have count: n = 1, 2, 3. Recall weighs four times as much as precision.
    long, short = metrics.chrf(["abcd"], ["abc"]).value, metrics.chrf(["abc"], ["abcd"]).value
    precision, recall = (3 / 4 + 2 / 3 + 1 / 2) / 3, 1.0
    assert long == pytest.approx(100 * 5 * precision * recall / (4 * precision + recall))
    assert short == pytest.approx(100 * 5 * precision * recall / (4 * recall + precision))


@pytest.mark.parametrize("score", SCORES)
def test_degenerate_corpora(score):
    perfect = ["a sentence of five words", "Über den Wolken, 50 %!"]
    assert score(perfect, perfect).value == pytest.approx(100.0)
    assert score(perfect, perfect).value <= 100.0
    assert score(np.array(perfect, object), tuple(perfect)).value == pytest.approx(100.0)
    assert score(["", ""], perfect).value == 0.0
    assert score([""], [""]).value == 0.0
    assert 0.0 < score(["", perfect[1]], perfect).value < 100.0


@pytest.mark.parametrize("score", SCORES)
def test_mistakes(score):
    refused("2 hypotheses and 1 references", score, ["a", "b"], ["a"])
    refused("0 hypotheses", score, [], [])
    refused("hypotheses are no sequence", score, "ab", ["a", "b"])
    refused("references are no sequence", score, ["a"], [None])
