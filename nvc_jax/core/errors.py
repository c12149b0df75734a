"""Exceptions that a sentence explains."""

import re

_MOST = 5000  # characters; a path may have 4,096
_LONG_NUMBER = re.compile(r"\d{50,}")


def printable(text: str) -> str:
    """Text for one line of a terminal: what would control that is escaped, and long numbers are shortened.

    Names and values in messages come from files that strangers may have written.

    Example:
      >>> printable("no file a\\x1b[2J.png")
      'no file a\\\\x1b[2J.png'
    """
    text = _LONG_NUMBER.sub(lambda found: f"{found[0][:10]}…({len(found[0])} digits)", text)
    if not text.isprintable():
        escaped = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
        text = "".join(escaped)
    return text if len(text) <= _MOST else f"{text[: _MOST // 2]} … {text[-_MOST // 4 :]}"


class UserError(ValueError):
    """A mistake in the caller's options or data, told in one sentence.

    `train.py` and `eval.py` print the sentence without a traceback and exit with a code that is not 0.
    """

    def __init__(self, message: str):
        super().__init__(printable(message))


class DivergedError(UserError):
    """A training that was ended because its steps were not finite any more; sweeps may go on with the next."""
