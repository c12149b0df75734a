"""Synthetic phrases: German sentences with their English translations, made by a small grammar.

Words change places between the languages: German verbs stand second, first or last and come apart,
articles and adjectives follow gender and case. The sentences are grammatical, and nobody said them.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from nvc_jax.data.base import options as shared
from nvc_jax.data.base.source import FieldSource, Source, subset
from nvc_jax.data.text.parallel_text import german_and_english, pair_source

OPTIONS = (shared.SOURCE_LANGUAGE, shared.TARGET_LANGUAGE)

_T = TypeVar("_T")
_Pair = tuple[str, str]  # German, English
_NONE: _Pair = ("", "")
_SIZES = {"train": 5000, "validation": 500, "test": 500}
_SEED = 7

# German: gender, singular, plural; English: singular, plural.
_NOUN_ROWS = """
m Vater Väter father fathers; f Mutter Mütter mother mothers; n Kind Kinder child children;
m Nachbar Nachbarn neighbor neighbors; f Großmutter Großmütter grandmother grandmothers;
m Tisch Tische table tables; m Stuhl Stühle chair chairs; f Lampe Lampen lamp lamps;
m Teppich Teppiche carpet carpets; n Zimmer Zimmer room rooms; n Fenster Fenster window windows;
f Tür Türen door doors; m Schrank Schränke wardrobe wardrobes; n Regal Regale shelf shelves;
n Fahrrad Fahrräder bicycle bicycles; m Tourist Touristen tourist tourists;
m Fahrer Fahrer driver drivers; f Pilotin Pilotinnen pilot pilots; m Gast Gäste guest guests;
n Mädchen Mädchen girl girls; m Koffer Koffer suitcase suitcases; m Zug Züge train trains;
m Bus Busse bus buses; n Hotel Hotels hotel hotels; f Karte Karten map maps;
f Tasche Taschen bag bags; f Brücke Brücken bridge bridges; f Kirche Kirchen church churches;
n Museum Museen museum museums; f Stadt Städte city cities; m Turm Türme tower towers;
f Insel Inseln island islands; n Schloss Schlösser castle castles; m Chef Chefs boss bosses;
f Kollegin Kolleginnen colleague colleagues; m Ingenieur Ingenieure engineer engineers;
f Ärztin Ärztinnen doctor doctors; m Kunde Kunden customer customers;
m Brief Briefe letter letters; m Vertrag Verträge contract contracts;
m Bericht Berichte report reports; m Plan Pläne plan plans; f Frage Fragen question questions;
f Rechnung Rechnungen invoice invoices; f Liste Listen list lists; n Formular Formulare form forms;
n Buch Bücher book books; f Nachricht Nachrichten message messages; m Koch Köche cook cooks;
f Kellnerin Kellnerinnen waitress waitresses; m Bauer Bauern farmer farmers;
f Tante Tanten aunt aunts; m Bruder Brüder brother brothers; m Apfel Äpfel apple apples;
n Brötchen Brötchen roll rolls; m Kuchen Kuchen cake cakes; f Suppe Suppen soup soups;
m Fisch Fische fish fish; n Ei Eier egg eggs; f Tomate Tomaten tomato tomatoes;
f Kartoffel Kartoffeln potato potatoes; f Birne Birnen pear pears; m Salat Salate salad salads
"""
_NOUNS = {row.split()[1]: row.split() for row in _NOUN_ROWS.split(";")}

# Topic: people, places, adjectives, verbs. A verb: the prefix that comes off, infinitive, third
# person, participle; English infinitive, third person, past; what it is done to.
_TOPICS: dict[str, tuple[str, str, str, str]] = {
    "home": (
        "Vater Mutter Kind Nachbar Großmutter",
        "im Haus=in the house; in der Wohnung=in the apartment; im Keller=in the basement",
        "neu=new; alt=old; groß=large; klein=small",
        """auf räumen räumt geräumt=tidy up,tidies up,tidied up=Zimmer Schrank Regal Tisch;
        auf machen macht gemacht=open,opens,opened=Tür Fenster Schrank;
        zu machen macht gemacht=close,closes,closed=Tür Fenster Schrank;
        an streichen streicht gestrichen=paint,paints,painted=Zimmer Tür Regal Tisch Stuhl;
        - reparieren repariert repariert=repair,repairs,repaired=Stuhl Lampe Fahrrad Tür Schrank;
        - putzen putzt geputzt=clean,cleans,cleaned=Fenster Zimmer Tisch Lampe Fahrrad;
        - verkaufen verkauft verkauft=sell,sells,sold=Tisch Stuhl Lampe Teppich Fahrrad""",
    ),
    "travel": (
        "Tourist Fahrer Pilotin Gast Mädchen",
        "in Italien=in Italy; am Meer=by the sea; in den Bergen=in the mountains",
        "schön=beautiful; alt=old; groß=large; klein=small",
        """mit nehmen nimmt genommen=take along,takes along,took along=Koffer Karte Tasche;
        aus packen packt gepackt=unpack,unpacks,unpacked=Koffer Tasche;
        ab holen holt geholt=pick up,picks up,picked up=Koffer Karte Tasche;
        an sehen sieht gesehen=look at,looks at,looked at=Kirche Turm Karte Brücke Schloss;
        - besuchen besucht besucht=visit,visits,visited=Stadt Museum Kirche Insel Schloss;
        - fotografieren fotografiert fotografiert=photograph,photographs,photographed=Zug Turm;
        - suchen sucht gesucht=look for,looks for,looked for=Hotel Koffer Museum Bus Kirche""",
    ),
    "work": (
        "Chef Kollegin Ingenieur Ärztin Kunde",
        "im Büro=in the office; in der Bibliothek=in the library; bei der Bank=at the bank",
        "wichtig=important; lang=long; kurz=short; neu=new",
        """aus füllen füllt gefüllt=fill out,fills out,filled out=Formular Liste;
        ab schicken schickt geschickt=send off,sends off,sent off=Brief Nachricht Rechnung Vertrag;
        vor lesen liest gelesen=read out,reads out,read out=Brief Bericht Liste Nachricht;
        - schreiben schreibt geschrieben=write,writes,wrote=Brief Bericht Liste Buch Rechnung;
        - unterschreiben unterschreibt unterschrieben=sign,signs,signed=Vertrag Brief Formular;
        - beantworten beantwortet beantwortet=answer,answers,answered=Frage Brief Nachricht;
        - prüfen prüft geprüft=check,checks,checked=Rechnung Plan Bericht Liste Vertrag""",
    ),
    "food": (
        "Koch Kellnerin Bauer Tante Bruder",
        "auf dem Markt=at the market; im Restaurant=in the restaurant; zu Hause=at home",
        "frisch=fresh; warm=warm; kalt=cold; groß=large",
        """auf essen isst gegessen=eat up,eats up,ate up=Kuchen Suppe Salat Fisch;
        mit bringen bringt gebracht=bring along,brings along,brought along=Kuchen Salat Apfel;
        - essen isst gegessen=eat,eats,ate=Apfel Brötchen Fisch Ei Birne Tomate;
        - schneiden schneidet geschnitten=cut,cuts,cut=Apfel Tomate Kuchen Kartoffel Birne;
        - kochen kocht gekocht=cook,cooks,cooked=Ei Kartoffel Suppe Fisch;
        - kaufen kauft gekauft=buy,buys,bought=Apfel Ei Tomate Birne Kartoffel Brötchen;
        - probieren probiert probiert=try,tries,tried=Suppe Kuchen Salat Fisch""",
    ),
}
# Auxiliary verb for I, for he or she, for we or they; English; times; clauses to begin with.
_TENSE_ROWS = """\
||abends=in the evening; montags=on Mondays; im Sommer=in summer\
|wenn es regnet=when it rains; wenn die Sonne scheint=when the sun shines
habe hat haben|did|gestern=yesterday; letzte Woche=last week; vor zwei Tagen=two days ago\
|weil es spät war=because it was late; obwohl es kalt war=although it was cold
werde wird werden|will|morgen=tomorrow; am Freitag=on Friday; um acht Uhr=at eight o'clock\
|wenn es schneit=if it snows; wenn die Zeit reicht=if there is enough time
will will wollen|want|heute=today; am Montag=on Monday; um neun Uhr=at nine o'clock\
|weil es warm ist=because it is warm; obwohl es dunkel ist=although it is dark
muss muss müssen|have|jetzt=now; heute Abend=this evening; nächste Woche=next week\
|weil der Winter kommt=because winter is coming; obwohl es spät ist=although it is late"""
_TENSES = [row.split("|") for row in _TENSE_ROWS.split("\n")]
_FRAMES = """ich glaube, dass {}.=I believe that {}.; wir wissen, dass {}.=we know that {}.;
es ist gut, dass {}.=it is good that {}.; weißt du, ob {}?=do you know whether {}?;
er fragt, warum {}.=he asks why {}."""
_PRONOUNS = (
    ("ich", "I", 0),
    ("er", "he", 1),
    ("sie", "she", 1),
    ("wir", "we", 2),
    ("sie", "they", 2),
)
_PEOPLE_ARE = "alt=old; jung=young; freundlich=friendly; klug=clever"
_NUMBERS = "zwei=two; drei=three; vier=four; fünf=five; sechs=six; sieben=seven; zwölf=twelve"
_DETERMINERS = {"d": "the", "dies": "this", "ein": "a", "kein": "a", "mein": "my", "unser": "our"}
# What shows the gender (or plural, p) in the nominative and the accusative.
_ENDINGS = {"m": ("er", "en"), "f": ("e", "e"), "n": ("es", "es"), "p": ("e", "e")}
_ARTICLES = {"er": "der", "en": "den", "e": "die", "es": "das"}


class _Clause(NamedTuple):
    """Parts of a clause in German and English."""

    subject: _Pair
    object: _Pair
    time: _Pair
    place: _Pair
    negation: _Pair
    german: tuple[str, str, str]  # the verb: in second place, at the end; both where it stands last
    english: tuple[str, str, str]  # in a statement; the auxiliary of others, and what follows it

    def main(self, front: str = "") -> str:
        """German: the verb stands second after `front`, or first without it."""
        subject = "" if front == self.subject[0] else self.subject[0]
        return _join(front, self.german[0], subject, self._middle(), self.german[1])

    def dependent(self) -> str:
        """German: the verb stands last."""
        return _join(self.subject[0], self._middle(), self.german[2])

    def _middle(self) -> str:
        return _join(self.time[0], self.object[0], self.negation[0], self.place[0])

    def stated(self) -> str:
        """English: subject, verb and the rest."""
        statement, *others = self.english
        verb = " not ".join(others) if self.negation[1] else statement
        return _join(self.subject[1], verb, self.object[1], self.place[1], self.time[1])

    def asked(self, word: str) -> str:
        """English: the auxiliary stands before the subject."""
        _, auxiliary, verb = self.english
        question = _join(word, auxiliary, self.subject[1], self.negation[1], verb)
        return _join(question, self.object[1], self.place[1], self.time[1])


def read_phrases(options: Any, split: str) -> Source:
    """Synthetic phrases on four topics, which need no files.

    No sentence, of either language, is in two splits, or twice in one.

    Args:
      options: `config.data`, of which `source_language`, `de` or `en`, is used.
      split: `train` (5,000 pairs), `validation` (500) or `test` (500).

    Returns:
      German sentences and their translations, or the other way round; the label is the topic.

    Raises:
      UserError: for other languages.
    """
    languages = german_and_english(options, "phrases")
    splits = list(_SIZES)
    start = sum(_SIZES[name] for name in splits[: splits.index(split)])
    return subset(_all_phrases(languages[0] == "en"), np.arange(start, start + _SIZES[split]))


@functools.lru_cache(maxsize=2)
def _all_phrases(from_english: bool) -> FieldSource:
    rng = np.random.default_rng(_SEED)
    pairs: dict[str, str] = {}
    label = []
    while len(pairs) < sum(_SIZES.values()):
        topic = len(pairs) % len(_TOPICS)
        german, english = _sentence(*list(_TOPICS.values())[topic], rng)
        if german not in pairs:
            pairs[german] = english
            label.append(topic)
    sides = [list(pairs), list(pairs.values())]
    source, target = reversed(sides) if from_english else sides
    return pair_source(source, target, where="phrases", label=label, class_names=list(_TOPICS))


def _sentence(
    people: str, places: str, adjectives: str, verbs: str, rng: np.random.Generator
) -> _Pair:
    """A sentence and its translation."""
    auxiliary, english, times, causes = _pick(_TENSES, rng)
    negated = rng.random() < 0.25
    kind = rng.choice(5, p=[0.3, 0.15, 0.2, 0.2, 0.15])
    verb, things = _pick(verbs.split(";"), rng).strip().rsplit("=", 1)
    subject, person = _subject(people, rng)
    thing, negation = _object(things, adjectives, negated, rng)
    clause = _Clause(
        subject=subject,
        object=thing,
        time=_pick(_pairs(times), rng) if kind not in (1, 4) and rng.random() < 0.4 else _NONE,
        place=_pick(_pairs(places), rng) if not negated and rng.random() < 0.3 else _NONE,
        negation=negation,
        german=_german_verb(verb.split("=")[0], auxiliary.split(), person),
        english=_english_verb(verb.split("=")[1], english, person),
    )
    if kind == 0:
        pair = f"{clause.main(subject[0])}.", f"{clause.stated()}."
    elif kind == 1:  # the time comes first
        time = _pick(_pairs(times), rng)
        pair = f"{clause.main(time[0])}.", f"{time[1]} {clause.stated()}."
    elif kind == 2:
        pair = _question(clause, rng)
    elif kind == 3:
        frame = _pick(_pairs(_FRAMES), rng)
        pair = frame[0].format(clause.dependent()), frame[1].format(clause.stated())
    else:  # another clause comes first, and the verb next
        cause = _pick(_pairs(causes), rng)
        pair = f"{cause[0]}, {clause.main()}.", f"{cause[1]}, {clause.stated()}."
    return pair[0][0].upper() + pair[0][1:], pair[1][0].upper() + pair[1][1:]


def _question(clause: _Clause, rng: np.random.Generator) -> _Pair:
    """Whether, why, when or where."""
    words = [_NONE, ("warum", "why"), ("wann", "when"), ("wo", "where")]
    word = words[rng.integers(2 if clause.negation[1] else 4)]
    if word[0] == "wann":
        clause = clause._replace(time=_NONE)
    if word[0] == "wo":
        clause = clause._replace(place=_NONE)
    return f"{clause.main(word[0])}?", f"{clause.asked(word[1])}?"


def _subject(people: str, rng: np.random.Generator) -> tuple[_Pair, int]:
    """Who does it, and the person: 0 I, 1 he or she, 2 we or they."""
    if rng.random() < 0.3:
        german, english, person = _pick(_PRONOUNS, rng)
        return (german, english), person
    plural = bool(rng.random() < 0.25)
    word = _pick(["d", "d", "dies", "mein", "unser", *([] if plural else ["ein"])], rng)
    adjective = _pick(_pairs(_PEOPLE_ARE), rng) if rng.random() < 0.3 else _NONE
    determiner = (word, _DETERMINERS[word])
    noun = _pick(people.split(), rng)
    return _noun_phrase(noun, determiner, adjective, accusative=False, plural=plural), int(
        plural
    ) + 1


def _object(
    things: str, adjectives: str, negated: bool, rng: np.random.Generator
) -> tuple[_Pair, _Pair]:
    """What it is done to, and the words of negation beside it."""
    noun = _pick(things.split(), rng)
    adjective = _pick(_pairs(adjectives), rng) if rng.random() < 0.4 else _NONE
    plural = not negated and bool(rng.random() < 0.2)
    if plural:
        determiner = _pick(_pairs(_NUMBERS), rng)
    else:
        word = _pick(["d", "d", "dies", "mein", "unser", *["kein" if negated else "ein"] * 3], rng)
        determiner = (word, _DETERMINERS[word])
    negation = ("" if determiner[0] == "kein" else "nicht", "not") if negated else _NONE
    return _noun_phrase(noun, determiner, adjective, accusative=True, plural=plural), negation


def _noun_phrase(
    name: str, determiner: _Pair, adjective: _Pair, *, accusative: bool, plural: bool
) -> _Pair:
    """Determiner, adjective and noun."""
    gender, *nouns = _NOUNS[name]
    ending = _ENDINGS["p" if plural else gender][accusative]
    word, english = determiner
    german = word
    if word == "d":
        german = _ARTICLES[ending]
    elif word == "dies" or (word in _DETERMINERS and ending in ("e", "en")):
        german = word + ending
    if german != word:  # the determiner shows the gender, so the adjective does not
        ending = "en" if plural or ending == "en" else "e"
    described = _join(adjective[1], nouns[2 + plural])
    if english == "this" and plural:
        english = "these"
    if english == "a" and described[0] in "aeiou":
        english = "an"
    return _join(
        german, adjective[0] and adjective[0] + ending, nouns[plural]
    ), f"{english} {described}"


def _german_verb(forms: str, auxiliary: Sequence[str], person: int) -> tuple[str, str, str]:
    """See `_Clause.german`."""
    prefix, infinitive, third, participle = forms.split()
    prefix = prefix.strip("-")
    if not auxiliary:
        finite = (infinitive[:-1], third, infinitive)[person]
        return finite, prefix, prefix + finite
    end = prefix + (participle if auxiliary[1] == "hat" else infinitive)
    return auxiliary[person], end, f"{end} {auxiliary[person]}"


def _english_verb(forms: str, auxiliary: str, person: int) -> tuple[str, str, str]:
    """See `_Clause.english`."""
    base, third, past = forms.split(",")
    do = "does" if person == 1 else "do"
    if auxiliary == "did":
        return past, "did", base
    if auxiliary == "will":
        return f"will {base}", "will", base
    if not auxiliary:
        return third if person == 1 else base, do, base
    finite = {"want": "wants", "have": "has"}[auxiliary] if person == 1 else auxiliary
    return f"{finite} to {base}", do, f"{auxiliary} to {base}"


def _join(*words: str) -> str:
    """The words that are not empty, with spaces."""
    return " ".join(word for word in words if word)


def _pairs(text: str) -> list[_Pair]:
    """German and English of a list."""
    return [
        (german, english) for german, english in (s.strip().split("=") for s in text.split(";"))
    ]


def _pick(values: Sequence[_T], rng: np.random.Generator) -> _T:
    return values[int(rng.integers(len(values)))]
