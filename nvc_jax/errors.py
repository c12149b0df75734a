"""The one exception that stands for a user's mistake."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake in the caller's options or data, told in one sentence.

    `train.py` and `eval.py` print the sentence without a traceback and exit with a code that is not 0.
    """
