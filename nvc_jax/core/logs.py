"""The library's messages, above a progress bar."""

import contextlib
import logging
import sys
from typing import Any

from tqdm import tqdm

from nvc_jax.core.errors import printable

logger = logging.getLogger("nvc_jax")


def setup_logging(process_index: int = 0) -> None:
    """Sends the library's messages to the standard error, above a progress bar.

    Args:
      process_index: rank among the processes of a run; all but the first only warn.
    """

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
            lines = self.format(record).split("\n")
            with contextlib.suppress(OSError, ValueError):  # nobody listens any more
                tqdm.write(prefix + "\n".join(map(printable, lines)), file=sys.stderr)

    if not logger.handlers:
        logger.addHandler(Handler())
    logger.setLevel(logging.INFO if process_index == 0 else logging.WARNING)
    logger.propagate = False
    # What orbax's threads report there is raised in the main thread, and told by it, as well.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    sys.unraisablehook = _pass_over_late_callbacks


def _pass_over_late_callbacks(raised: Any) -> None:
    """Silences what tensorstore says of the other writes after one of them failed."""
    if str(raised.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(raised)
