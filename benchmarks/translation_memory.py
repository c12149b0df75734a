"""Translation without training: what a memory of the training sentences gives, and the source itself.

    python -m benchmarks.translation_memory --data=FOLDER

The folder holds train and test, as train.de and train.en or with .gz behind. The memory answers with the
translation of the training sentence that is nearest to the one asked for: by the cosine of TF-IDF
vectors of words of two letters or more in their case, which scikit-learn cuts and weighs by its defaults.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nvc_jax import metrics
from nvc_jax.config import load_config
from nvc_jax.data.text.parallel_text import iterate_pairs, read_parallel
from nvc_jax.programs import cli

Pairs = tuple[list[str], list[str]]
"""Source sentences, and their translations."""

BLOCK = 100
"""Sentences that are compared with the whole memory at a time."""


def read_pairs(folder: Path, split: str) -> Pairs:
    """Read all pairs of a split that have two sides."""
    options = load_config("translation").data
    options.update({"dir": str(folder), "validation_fraction": 0.0, "max_words": 0})
    source, target = zip(*iterate_pairs(read_parallel(options, split)), strict=True)
    return list(source), list(target)


def nearest_sentences(queries: Sequence[str], known: Sequence[str]) -> np.ndarray:
    """Find the known sentence nearest to each query, int `[N]`; the first of equals, or of no word."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # slow to import

    vectorizer = TfidfVectorizer(lowercase=False)
    memory = vectorizer.fit_transform(known).T.tocsr()
    asked = vectorizer.transform(queries)
    found = [
        np.asarray((asked[start : start + BLOCK] @ memory).argmax(axis=1)).reshape(-1)
        for start in range(0, asked.shape[0], BLOCK)
    ]
    return np.concatenate(found)


def translation_baselines(train: Pairs, test: Pairs) -> dict[str, dict[str, metrics.Score]]:
    """Score the source itself and the memory's answers on the test sentences.

    Args:
      train: the memory's sentences, at least one of them with a word.
      test: at least one sentence.

    Returns:
      `bleu` and `chrf` by the baseline's name.
    """
    (known, translations), (queries, references) = train, test
    answers = {
        "source itself": queries,
        "translation memory": [translations[i] for i in nearest_sentences(queries, known)],
    }
    return {
        name: {
            "bleu": metrics.bleu(hypotheses, references),
            "chrf": metrics.chrf(hypotheses, references),
        }
        for name, hypotheses in answers.items()
    }


def main(arguments: list[str]) -> int:
    """Print a row for each baseline, and what the scores are; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder of parallel text")
    flags = parser.parse_args(arguments)
    train, test = (read_pairs(flags.data, split) for split in ("train", "test"))
    began = time.perf_counter()
    rows = translation_baselines(train, test)
    taken = time.perf_counter() - began
    print(f"{len(train[0]):,} training and {len(test[0]):,} test sentences, {taken:.1f} s.\n")
    print("| baseline | BLEU | chrF |\n|---|---:|---:|")
    for name, scores in rows.items():
        print(f"| {name} | {scores['bleu'].value:.1f} | {scores['chrf'].value:.1f} |")
    print(f"\nBLEU {scores['bleu'].signature}; chrF {scores['chrf'].signature}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
