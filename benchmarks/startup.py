"""Time from the command of a training run to its first step, with and without compiled functions.

    python -m benchmarks.startup

Off: no compilation cache. Cold: an empty one, which the run fills. Warm: the one that the cold run
filled. Each is a process of its own, on the digits, stopped after one step.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
RUNS = {
    "MLP of configs/digits.py": [],
    "the same with model.network=conv": ["--config.model.network=conv"],
}
CACHES = ("off", "cold", "warm")


class Seconds(NamedTuple):
    """Wall-clock seconds from the start of a process."""

    first_step: float
    end: float


def run(flags: Sequence[str]) -> Seconds:
    """Trains for one step; the program tells when that was done."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "train.py", "--config=configs/digits.py", "--stop_after=1"]
        start = time.perf_counter()
        process = subprocess.Popen(
            [*command, f"--workdir={directory}/run", *flags],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        first_step, told = float("nan"), []
        for line in process.stderr:
            told.append(line)
            if line.startswith("First step"):
                first_step = time.perf_counter() - start
        if process.wait():
            raise SystemExit(f"{' '.join(command)} failed:\n{''.join(told)}")
        return Seconds(first_step, time.perf_counter() - start)


def measure(flags: Sequence[str], num_rounds: int) -> dict[str, Seconds]:
    """Medians for every state of the cache, over rounds that take all of them in turn."""
    found: dict[str, list[Seconds]] = {name: [] for name in CACHES}
    for _ in range(num_rounds):
        with tempfile.TemporaryDirectory() as cache:
            for name in CACHES:
                directory = "off" if name == "off" else cache
                found[name].append(run([*flags, f"--compilation_cache={directory}"]))
    return {
        name: Seconds(*map(statistics.median, zip(*rounds, strict=True)))
        for name, rounds in found.items()
    }


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--num_rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"Seconds from the command; medians of {options.num_rounds}.\n")
    print("| run | compilation cache | first step | / off | end | / off |")
    print("|---|---|---:|---:|---:|---:|")
    for name, flags in RUNS.items():
        medians = measure(flags, options.num_rounds)
        off = medians["off"]
        for cache, seconds in medians.items():
            first = f"{seconds.first_step:.1f} | {seconds.first_step / off.first_step:.2f}"
            end = f"{seconds.end:.1f} | {seconds.end / off.end:.2f}"
            print(f"| {name} | {cache} | {first} | {end} |", flush=True)


if __name__ == "__main__":
    main()
