"""Stopping a run from outside: SIGTERM, Ctrl-C, or after a given number of steps."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from nvc_jax.training import parallel


class StopRequest:
    """Whether somebody asked the run to stop, and why."""

    def __init__(self, stop_after: int | None = None):
        self.reason: str | None = None
        self._stop_after = stop_after
        self._several = parallel.process_count() > 1

    def asked(self, step: int) -> bool:
        """Whether to stop at this step, before the next one is begun; the same on all processes."""
        if self.reason is None and self._stop_after is not None and step >= self._stop_after:
            self.reason = f"--stop_after={self._stop_after}"
        if self._several and parallel.preempted(step) and self.reason is None:
            self.reason = "SIGTERM"
        return self.reason is not None


@contextlib.contextmanager
def listen_for_stop(stop_after: int | None) -> Iterator[StopRequest]:
    """Turns the first SIGTERM or SIGINT into a request; a second SIGINT interrupts at once.

    Where a run has several processes, SIGTERM to any of them is JAX's own affair, which finds the
    step at which all can stop; SIGINT is handed on as SIGTERM.
    """
    several = parallel.process_count() > 1
    request = StopRequest(stop_after)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    numbers = (signal.SIGINT,) if several else (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}

    def note(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if several:
            signal.raise_signal(signal.SIGTERM)
        else:
            request.reason = signal.Signals(number).name

    try:
        for number in before:
            signal.signal(number, note)
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
