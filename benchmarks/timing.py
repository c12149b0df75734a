"""Timing of calls, which waits for the device, and of whole runs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import jax


def seconds(function: Callable[[], object]) -> float:
    """Return the wall-clock seconds of one call, its results included."""
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def run_clock() -> float:
    """Seconds to compare runs by.

    On a CPU those of all cores together, which other work on the machine does not lengthen; where an
    accelerator computes, wall-clock time.
    """
    return time.process_time() if jax.default_backend() == "cpu" else time.perf_counter()


def median_seconds(functions: Sequence[Callable[[], object]], num_rounds: int) -> list[float]:
    """Return each function's median seconds over rounds that call all of them in turn.

    Taking turns exposes all of them to the same noise of a shared machine, so their ratios hold. One
    round before the clock starts compiles and warms up.
    """
    for function in functions:
        jax.block_until_ready(function())
    rounds = [[seconds(function) for function in functions] for _ in range(num_rounds)]
    return [statistics.median(times) for times in zip(*rounds, strict=True)]
