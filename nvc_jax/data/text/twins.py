"""Twins: training pairs whose source is one of the validation or test pairs as well."""

import logging
import unicodedata
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.data.base.source import Source, subset
from nvc_jax.data.text.parallel_text import iterate_pairs

_logger = logging.getLogger("nvc_jax")


def twin_key(sentence: str) -> str:
    """What two sentences have alike that are equal but for case, digits and punctuation.

    The letters, with the marks that go with them, in Unicode's compatible form (NFKC) without case; of a
    sentence without letters, all of its characters but blanks.

    Args:
      sentence: any text.

    Returns:
      The key.

    Example:
      >>> twin_key("Öffne 3 Dateien …") == twin_key("_ÖFFNE 12 DATEIEN!")
      True
      >>> twin_key("50 %"), twin_key("50%"), twin_key("60 %")
      ('50%', '50%', '60%')
    """
    folded = unicodedata.normalize("NFKC", sentence).casefold()
    letters = "".join(c for c in folded if unicodedata.category(c)[0] in "LM")
    return letters or "".join(folded.split())


def without_twins(
    source: Source,
    open_split: Callable[[str], Source],
    splits: Sequence[str] = ("validation", "test"),
    *,
    leave_out: bool = True,
) -> Source:
    """Training pairs without those whose source has the `twin_key` of a validation or test source.

    One line of the log tells how many were left out. Where they stay, a warning tells how many validation
    and test sources have a twin. Another one tells of a split that cannot be opened: it has no twins then.

    Args:
      source: the training pairs.
      open_split: opens one of the splits.
      splits: those that are held out.
      leave_out: whether twins are left out.

    Returns:
      The pairs that stay, in order.

    Raises:
      UserError: if no pair stays.
    """
    held_out = {name: keys for name in splits if (keys := _held_out_keys(name, open_split))}
    own = _keys(source)
    if not leave_out:
        known = set(own)
        twins = {name: sum(key in known for key in keys) for name, keys in held_out.items()}
        if any(twins.values()):
            _logger.warning(
                "%s are training sources too, but for case, digits and punctuation: their scores tell "
                "what was learned by heart; set data.leave_out_test_twins=true.",
                " and ".join(
                    f"{count} of {len(held_out[name])} {name} sources"
                    for name, count in twins.items()
                    if count
                ),
            )
        return source
    others = {key for keys in held_out.values() for key in keys}
    kept = [i for i, key in enumerate(own) if key not in others]
    if len(kept) == len(own):
        return source
    if not kept:
        raise UserError(
            f"All {len(own)} training sources are validation or test sources too, but for case, digits and "
            "punctuation: use other text, or data.leave_out_test_twins=false to learn them by heart."
        )
    _logger.info(
        "Left out %d of %d training pairs whose source is that of a validation or test pair, but for "
        "case, digits and punctuation.",
        len(own) - len(kept),
        len(own),
    )
    return subset(source, np.array(kept))


def _held_out_keys(name: str, open_split: Callable[[str], Source]) -> list[str]:
    """Keys of the sources of a split; none if it cannot be opened."""
    try:
        return _keys(open_split(name))
    except UserError as error:
        _logger.warning("Twins of %s sources are not looked for: %s", name, error)
        return []


def _keys(source: Source) -> list[str]:
    """The key of every source sentence."""
    sentences: Iterable[str] = (text for text, _ in iterate_pairs(source))
    return list(map(twin_key, sentences))
