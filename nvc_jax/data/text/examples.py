"""Examples of pairs of sentences: a vocabulary, tokens, and batches of like lengths."""

from collections.abc import Callable
from typing import Any

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option
from nvc_jax.data.base.examples import NOTHING, Examples, Learned, Spec
from nvc_jax.data.base.source import Source
from nvc_jax.data.text.buckets import BucketedBatches, TokenPairs
from nvc_jax.data.text.parallel_text import iterate_pairs, pair_source
from nvc_jax.data.text.twins import without_twins
from nvc_jax.data.text.vocabulary import Vocabulary, train_vocabulary

VOCABULARY_FILE = "vocabulary.model"


class SentencePairs(Examples):
    """Pairs as tokens of one vocabulary, which is learned from the training pairs alone."""

    options = (
        Option("data.vocab_size", 4000, "pieces of words, of both languages together", at_least=1),
        Option("data.max_source_tokens", 64, "longer sentences are cut", at_least=2),
        Option("data.max_target_tokens", 64, "longer sentences are cut", at_least=2),
        Option(
            "data.leave_out_test_twins",
            False,
            "training pairs whose source is a validation or test source, but for case, digits and "
            "punctuation, are not learned from",
        ),
        Option("data.num_buckets", 4, "shapes of training batches, by length", at_least=1),
        Option("train.tokens_per_batch", 2000, "target tokens, in place of batch_size", at_least=1),
        Option(
            "train.batch_multiple", 8, "a batch's size is one of it; devices divide it", at_least=1
        ),
    )

    @classmethod
    def trained_on(cls, source: Source, config: Any, open_split: Callable[[str], Source]) -> Source:
        """The pairs without twins of validation and test pairs, see `without_twins`."""
        validates = config.data.get("validation_fraction", 1.0) > 0
        splits = ("validation", "test") if validates else ("test",)
        leave_out = config.data.leave_out_test_twins
        return without_twins(source, open_split, splits, leave_out=leave_out)

    @classmethod
    def learn(cls, source: Source, config: Any) -> dict[str, bytes]:
        """The vocabulary of both languages."""
        sentences = (text for pair in iterate_pairs(source) for text in pair)
        return {VOCABULARY_FILE: train_vocabulary(sentences, config.data.vocab_size)}

    @classmethod
    def make(cls, source: Source, config: Any, split: str, learned: Learned = NOTHING) -> Source:
        """Pairs as tokens; those of the training in batches of like lengths."""
        data, longest = config.data, (config.data.max_source_tokens, config.data.max_target_tokens)
        pairs = TokenPairs(source, learned_vocabulary(learned), *longest)
        if split != "train":
            return pairs
        return BucketedBatches(
            pairs,
            config.train.tokens_per_batch,
            seed=config.seed,
            unit=config.train.batch_multiple,
            num_buckets=data.num_buckets,
        )

    @classmethod
    def from_arrays(cls, inputs: Any, spec: Spec, learned: Learned = NOTHING) -> Source:
        """Sentences of the source language, a sequence of strings, as a source."""
        if isinstance(inputs, str) or not all(isinstance(text, str) for text in inputs):
            raise UserError("Sentences to translate are a sequence of strings.")
        unknown = [""] * len(inputs)
        source = pair_source(list(inputs), unknown, where="the sentences")
        longest = [spec[name].shape[0] for name in ("source", "target")]
        return TokenPairs(source, learned_vocabulary(learned), *longest)


def learned_vocabulary(learned: Learned) -> Vocabulary:
    """The vocabulary among what was learned.

    Raises:
      UserError: if there is none.
    """
    if VOCABULARY_FILE not in learned:
        raise UserError(
            f"The task translation needs its vocabulary, {VOCABULARY_FILE}: train first, or restore it."
        )
    return Vocabulary(learned[VOCABULARY_FILE], VOCABULARY_FILE)
