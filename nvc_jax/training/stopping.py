"""Stopping a run from outside: SIGTERM, Ctrl-C, or after a given number of steps."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class StopRequest:
    """Whether somebody asked the run to stop, and why."""

    def __init__(self, stop_after: int | None = None):
        self.reason: str | None = None
        self._stop_after = stop_after

    def asked(self, step: int) -> bool:
        """Whether to stop at this step, before the next one is begun."""
        if self.reason is None and self._stop_after is not None and step >= self._stop_after:
            self.reason = f"--stop_after={self._stop_after}"
        return self.reason is not None


@contextlib.contextmanager
def listen_for_stop(stop_after: int | None) -> Iterator[StopRequest]:
    """Turns the first SIGTERM or SIGINT into a request; a second SIGINT interrupts at once."""
    request = StopRequest(stop_after)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def note(number: int, frame: FrameType | None) -> None:
        request.reason = signal.Signals(number).name
        signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        for number in before:
            signal.signal(number, note)
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
