"""How well a corpus is translated: BLEU and chrF by sacreBLEU, each with its signature.

The numbers called BLEU differ by points with the tokenizer, the case and the segmentation that they
are computed on, so a score always travels with the signature that tells these. sacreBLEU is slow to
import and loads at the first score; nothing is downloaded.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from nvc_jax.core.errors import UserError
from nvc_jax.core.extras import require


class Score(NamedTuple):
    """A corpus score from 0 to 100, and sacreBLEU's signature: the settings behind it."""

    value: float
    signature: str


def bleu(hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """Corpus BLEU of detokenized text, as sacreBLEU computes it by default.

    `100·BP·exp(¼ Σ_{n≤4} log p_n)` with `BP = min(1, e^{1 − r/c})`, where p_n is the share of the
    n-grams of all hypotheses that are in their references, r and c the tokens of both. Counts are
    summed over the corpus before they are divided: it is no mean over sentences.

    Args:
      hypotheses: N translations as a reader would see them: detokenized, pieces joined, cased. An
        empty one counts as a translation without words.
      references: N references, as they stand in the file.

    Returns:
      Score from 0 to 100; signature `nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:…`.

    Raises:
      UserError: for no sentence, numbers of sentences that differ, or something else than text.

    Reference: Papineni et al., 2002; Post, "A Call for Clarity in Reporting BLEU Scores", 2018.
    """
    return _corpus_score(_sacrebleu().BLEU(tokenize="13a"), hypotheses, references)


def bleu_tokenized_lowercase(hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """Corpus BLEU of text that is tokenized already, in lower case: the custom for IWSLT14.

    The formula of `bleu`, of words as spaces separate them. The value depends on who tokenized, so
    that it can be compared only with values of the same tokenizer, and never with those of `bleu`.

    Args:
      hypotheses: N translations with spaces between tokens, pieces joined; case is removed here.
      references: N references, tokenized in the same way.

    Returns:
      Score from 0 to 100; signature `nrefs:1|case:lc|eff:no|tok:none|smooth:exp|version:…`.

    Raises:
      UserError: as `bleu`.
    """
    # force: no warning that the text looks tokenized.
    metric = _sacrebleu().BLEU(tokenize="none", lowercase=True, force=True)
    return _corpus_score(metric, hypotheses, references)


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """Corpus chrF2 of detokenized text, as sacreBLEU computes it by default.

    `100·5·P·R / (4·P + R)` with precision P and recall R of character n-grams, each the mean over
    n ≤ 6, of counts summed over the corpus; spaces do not count.

    Args:
      hypotheses: as for `bleu`.
      references: as for `bleu`.

    Returns:
      Score from 0 to 100; signature `nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:…`.

    Raises:
      UserError: as `bleu`.

    Reference: Popović, "chrF: character n-gram F-score for automatic MT evaluation", 2015.
    """
    return _corpus_score(_sacrebleu().CHRF(), hypotheses, references)


def _sacrebleu() -> Any:
    """sacreBLEU's metrics, which are slow to import."""
    return require("sacrebleu.metrics", extra="text", what="BLEU and chrF")


def _corpus_score(metric: Any, hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """Scores a checked corpus: sacreBLEU itself cuts what is longer, and reads a str by letters."""
    for name, sentences in (("hypotheses", hypotheses), ("references", references)):
        if isinstance(sentences, str) or not all(isinstance(text, str) for text in sentences):
            raise UserError(f"The {name} are no sequence of texts: give a list of str, one each.")
    if len(hypotheses) != len(references) or not len(references):
        raise UserError(
            f"There are {len(hypotheses)} hypotheses and {len(references)} references: give one "
            "reference for every hypothesis, and at least one of both."
        )
    value = metric.corpus_score(list(hypotheses), [list(references)]).score
    return Score(min(float(value), 100.0), str(metric.get_signature()))  # 100 can come out rounded
