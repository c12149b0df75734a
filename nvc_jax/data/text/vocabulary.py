"""Words and parts of words as numbers: byte-pair encoding by sentencepiece."""

import io
import re
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.extras import require

PADDING_ID = 0
UNKNOWN_ID = 1
BEGIN_ID = 2
END_ID = 3

# Field 200 of the model, 32 bits, which sentencepiece itself skips: it opens damaged models.
_CHECKSUM_TAG = b"\xc5\x0c"


def _sentencepiece() -> Any:
    """The package, which is slow to import."""
    return require("sentencepiece", extra="text", what="The vocabulary of translation")


def train_vocabulary(sentences: Iterable[str], size: int) -> bytes:
    """Learns byte-pair encoding: the most frequent pair of pieces becomes a piece, over and over.

    The same sentences give the same bytes: nothing is drawn, and all sentences are used. Text is
    taken as it is but for spaces, of which runs count as one. Every character of it is a piece, and
    others become unknown.

    Args:
      sentences: the text of all languages together; only training text, for scores to hold.
      size: number of pieces V, with padding (0), unknown (1), begin (2) and end (3).

    Returns:
      A model of sentencepiece, with a checksum at its end.

    Raises:
      UserError: for no text, or a size that the text does not fill or that is too small for its
        characters; tells the limit.

    Reference: Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", 2016;
      Kudo and Richardson, "SentencePiece", 2018.
    """
    sentencepiece = _sentencepiece()

    lines = [line for line in sentences if line.strip()]
    if not lines:
        raise UserError("A vocabulary is learned from sentences, and there is no text in them.")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type="bpe",
            vocab_size=size,
            character_coverage=1.0,
            normalization_rule_name="identity",
            max_sentence_length=max(10, *(len(line.encode()) + 1 for line in lines)),
            num_threads=1,
            minloglevel=3,
            pad_id=PADDING_ID,
            unk_id=UNKNOWN_ID,
            bos_id=BEGIN_ID,
            eos_id=END_ID,
        )
    except (RuntimeError, OSError) as error:
        raise _size_error(size, str(error)) from None
    return model.getvalue() + _checksum(model.getvalue())


def _checksum(model: bytes) -> bytes:
    """The field that ends a model."""
    return _CHECKSUM_TAG + struct.pack("<I", zlib.crc32(model))


def _size_error(size: int, reason: str) -> UserError:
    """What sentencepiece says of a size that does not fit the text."""
    largest = re.search(r"value <= (\d+)", reason)
    if largest:
        return UserError(
            f"A vocabulary of {size} pieces is too large for this text: use at most {largest[1]}."
        )
    smallest = re.search(r"smaller than required_chars\. \d+ vs (\d+)", reason)
    if smallest:
        return UserError(
            f"A vocabulary of {size} pieces is too small for the characters of this text: use "
            f"at least {smallest[1]}."
        )
    return UserError(f"No vocabulary of {size} pieces can be learned: {reason.splitlines()[-1]}")


class Vocabulary:
    """Encodes sentences as numbers and decodes these.

    Args:
      model: what `train_vocabulary` returned.
      where: what the model is called in messages.

    Raises:
      UserError: for damaged bytes, or a model from elsewhere.
    """

    def __init__(self, model: bytes, where: str = "the vocabulary"):
        sentencepiece = _sentencepiece()

        if model[-6:] != _checksum(model[:-6]):
            raise UserError(
                f"{where} is damaged, or was not made by this program: restore it or train it "
                "again."
            )
        self._pieces = sentencepiece.SentencePieceProcessor(model_proto=model)

    @property
    def size(self) -> int:
        """Number of pieces V."""
        return self._pieces.get_piece_size()

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Numbers of the pieces of every sentence, in [0, V), without begin and end."""
        return self._pieces.encode(list(sentences))

    def decode(self, rows: Sequence[Sequence[int]] | np.ndarray) -> list[str]:
        """Text of every row of numbers, up to its first end; padding and begin are left out."""
        return [self._pieces.decode(_content(row)) for row in rows]


def _content(row: Sequence[int] | np.ndarray) -> list[int]:
    """The numbers that stand for text."""
    ids = [int(i) for i in row]
    end = ids.index(END_ID) if END_ID in ids else len(ids)
    return [i for i in ids[:end] if i not in (PADDING_ID, BEGIN_ID)]
