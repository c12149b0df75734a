"""Exceptions that a sentence explains."""


class UserError(ValueError):
    """A mistake in the caller's options or data, told in one sentence.

    `train.py` and `eval.py` print the sentence without a traceback and exit with a code that is not 0.
    """


class DivergedError(UserError):
    """A training that was ended because its steps were not finite any more; sweeps may go on with the next."""
