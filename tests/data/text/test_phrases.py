"""The synthetic phrases: German and English grammar, and splits that share no sentence."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from nvc_jax.data.text.phrases import read_phrases
from tests.refusals import refused
from tests.sources import everything

SPLITS = ("train", "validation", "test")
VERB = r"\b(?:hat|habe|haben|will|wollen|muss|müssen|wird|werde|werden)\b"


def text(split, source="de", target="en"):
    """The pairs of a split, their labels and the source."""
    options = SimpleNamespace(source_language=source, target_language=target)
    phrases = read_phrases(options, split)
    batch = everything(phrases)
    return list(zip(batch["source_text"], batch["target_text"])), batch["label"], phrases


def test_sizes_topics_and_no_sentence_in_two_splits():
    parts = {split: text(split) for split in SPLITS}
    assert [len(parts[split][0]) for split in SPLITS] == [5000, 500, 500]
    for side in (0, 1):
        sentences = [pair[side] for pairs, _, _ in parts.values() for pair in pairs]
        assert len(set(sentences)) == 6000
    for _, label, source in parts.values():
        assert np.bincount(label).tolist() == [len(label) // 4] * 4
        assert source.class_names == ("home", "travel", "work", "food")


def test_the_other_direction_swaps_the_sides():
    pairs, label, _ = text("test")
    swapped, same_label, _ = text("test", "en", "de")
    assert swapped == [(english, german) for german, english in pairs]
    np.testing.assert_array_equal(label, same_label)
    refused("'de' to 'en'", text, "test", "de", "fr")


def test_sentences_look_like_sentences():
    pairs, _, _ = text("train")
    for german, english in pairs:
        for sentence in (german, english):
            assert re.fullmatch(r"[A-ZÄÖÜ][A-Za-zÄÖÜäöüß', ]*[.?]", sentence), sentence
            assert "  " not in sentence and " ," not in sentence
        assert german[-1] == english[-1]
        assert (" not " in english) == bool(re.search(r"\b(nicht|keine?n?)\b", german))
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", english.lower()), english


NUMBER = "(zwei|drei|vier|fünf|sechs|sieben|zwölf)"
# Of nouns of each gender: what may stand before them, with an adjective between.
AGREEMENT = {
    "Fenster": r"(das|dieses) \w+e|(kein|ein|mein|unser) \w+es|" rf"{NUMBER} \w+e",
    "Suppe": r"(die|diese|keine|eine|meine|unsere) \w+e",
    "Koffer": r"(den|diesen|keinen|einen|meinen|unseren) \w+en|" rf"{NUMBER} \w+e",
    "Koch": r"(der|dieser) \w+e|(ein|mein|unser) \w+er",
    "Ärztin": r"(die|diese|eine|meine|unsere) \w+e",
    "Mädchen": r"(das|dieses) \w+e|(ein|mein|unser) \w+es|(die|diese|meine|unsere) \w+en",
    "Kunden": r"(die|diese|meine|unsere) \w+en",
}


@pytest.mark.parametrize("noun", AGREEMENT)
def test_articles_and_adjectives_agree(noun):
    pairs, _, _ = text("train")
    found = {m[1].lower() for s, _ in pairs for m in re.finditer(rf"(\w+ [a-zäöüß]+) {noun}\b", s)}
    adjectives = r"(neu|alt|groß|klein|schön|frisch|warm|kalt|jung|freundlich|klug)\w*$"
    phrases = {phrase for phrase in found if re.search(rf" {adjectives}", phrase)}
    assert len(phrases) >= 5
    assert [p for p in phrases if not re.fullmatch(AGREEMENT[noun], p)] == []


def test_the_verb_stands_where_it_belongs():
    pairs, _, _ = text("train")
    dependent = [
        s for s, _ in pairs if re.match(r"Ich glaube, dass|Er fragt, warum|Weißt du, ob", s)
    ]
    after_clause = [s for s, _ in pairs if re.match(r"(Weil|Obwohl) ", s)]
    yes_no = [s for s, _ in pairs if s.endswith("?") and re.match(VERB, s[0].lower() + s[1:])]
    assert min(map(len, (dependent, after_clause, yes_no))) > 100
    for sentence in dependent:
        auxiliary = re.search(VERB, sentence)
        assert auxiliary is None or auxiliary.end() == len(sentence) - 1, sentence
    for sentence in after_clause:
        assert re.match(VERB, sentence.split(", ")[1]), sentence


SEPARABLE = {
    "auf": "räumt|macht|isst",
    "zu": "macht",
    "an": "streicht|sieht",
    "mit": "nimmt|bringt",
    "aus": "packt|füllt",
    "ab": "holt|schickt",
    "vor": "liest",
}


@pytest.mark.parametrize("prefix", SEPARABLE)
def test_prefixes_come_off_in_main_clauses_alone(prefix):
    sentences = [german for german, _ in text("train")[0]]
    apart = rf"(?i)\b({SEPARABLE[prefix]})\b.* {prefix}[.?]$"
    joined = rf"\b{prefix}({SEPARABLE[prefix]})[.?]$"
    found = [[s for s in sentences if re.search(kind, s)] for kind in (apart, joined)]
    assert found[0] and found[1]
    assert not any(re.search(", (dass|ob|warum) ", s) for s in found[0])
    assert all(re.search(", (dass|ob|warum) ", s) for s in found[1])


EXPECTED = """
Meine Großmutter streicht das neue Zimmer an.
  My grandmother paints the new room.
Montags streicht meine freundliche Mutter die Tür nicht an.
  On Mondays my friendly mother does not paint the door.
Warum schickt dieser Kunde im Sommer meinen Vertrag nicht ab?
  Why does this customer not send off my contract in summer?
Ein kluger Bauer will heute keinen großen Fisch probieren.
  A clever farmer does not want to try a large fish today.
Weißt du, ob er abends diesen Koffer in Italien auspackt?
  Do you know whether he unpacks this suitcase in Italy in the evening?
Weil es spät war, hat ein Gast den Koffer gesucht.
  Because it was late, a guest looked for the suitcase.
Obwohl es spät ist, muss der Bruder drei Fische kochen.
  Although it is late, the brother has to cook three fish.
Um acht Uhr wird unser Gast die Stadt in den Bergen besuchen.
  At eight o'clock our guest will visit the city in the mountains.
Wo muss der kluge Kunde unsere Nachricht abschicken?
  Where does the clever customer have to send off our message?
Hat unser Bruder einen Apfel geschnitten?
  Did our brother cut an apple?
Sie müssen zwölf Karten mitnehmen.
  They have to take along twelve maps.
Ich probiere diese frische Suppe.
  I try this fresh soup.
"""


def test_translations_of_every_kind_of_sentence():
    """Read by a person; the draw of the training split has them."""
    lines = [line.strip() for line in EXPECTED.strip().splitlines()]
    assert set(zip(lines[::2], lines[1::2])) <= set(text("train")[0])
