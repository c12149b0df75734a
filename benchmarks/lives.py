"""One life of a training program: started, watched and ended from outside.

Nothing here looks into the program: only its output, its files and its exit code are used.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nvc_jax.training.checkpoint import BEST, LATEST, Checkpoints
from nvc_jax.training.logging import METRICS_FILE

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 600
"""Seconds without an end after which a life counts as hanging."""


class Program:
    """A run of train.py whose output goes to a file.

    Args:
      arguments: its flags.
      workdir: its work directory.
      log: file for what it prints.
      cache: directory of compiled functions.
      num_processes: more than 1 goes through `scripts/launch_local.sh`.
    """

    def __init__(
        self, arguments: Sequence[str], workdir: Path, log: Path, cache: Path, num_processes: int
    ):
        self.workdir, self._log = workdir, log
        self.several = num_processes > 1
        self.half_written_before = self.half_written()
        program = [sys.executable, str(ROOT / "train.py")]
        if self.several:
            launcher = ROOT / "scripts" / "launch_local.sh"
            program = [str(launcher), str(num_processes), str(ROOT / "train.py")]
        flags = [*arguments, f"--workdir={workdir}"]
        environment = {
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            "PYTHON": sys.executable,
        }
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                [*program, *flags],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """Everything printed so far."""
        return self._log.read_text(errors="replace")

    @property
    def is_stepping(self) -> bool:
        """Whether it has taken its first step."""
        return "First step" in self.output

    @property
    def resumed_at(self) -> int | None:
        """The step it went on from, 0 for a fresh run; None if it did not come so far."""
        if "Fresh run in" in self.output:
            return 0
        found = re.search(r"Resumed .* at step (\d+)", self.output)
        return int(found[1]) if found else None

    def last_line(self) -> dict[str, Any]:
        """The newest whole line of `metrics.jsonl`."""
        try:
            with open(self.workdir / METRICS_FILE, "rb") as file:
                file.seek(max(file.seek(0, os.SEEK_END) - 8192, 0))
                lines = file.read().split(b"\n")[:-1]
            return dict(json.loads(lines[-1])) if lines else {"step": 0}
        except (OSError, ValueError):
            return {"step": 0}

    def has_reached(self, step: int) -> bool:
        """Whether this life has logged the step."""
        return self.is_stepping and self.last_line()["step"] >= step

    def is_evaluating(self, eval_every: int) -> bool:
        """Whether the newest line is that of a step whose validation line is due and not there."""
        line = self.last_line()
        return "loss" in line and line["step"] % eval_every == 0

    def half_written(self) -> set[str]:
        """Checkpoints under way, and those that an earlier life left behind."""
        folders = [self.workdir / kind for kind in (LATEST, BEST)]
        found = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
        return {f"{path.parent.name}/{path.name}" for path in found if not path.name.isdigit()}

    def pids(self) -> list[int]:
        """The training processes, without a launcher."""
        if not self.several:
            return [self.process.pid]
        launcher = self.process.pid
        children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
        return [pid for pid in map(int, children) if _is_training(pid)]

    def send(self, number: signal.Signals, rng: random.Random) -> None:
        """Sends a signal: SIGKILL to one process at random, the others to one or to all."""
        if self.process.poll() is not None:
            return
        some = [rng.choice(self.pids())] if self.several else self.pids()
        all_of_them = self.several and number != signal.SIGKILL and rng.random() < 0.5
        if all_of_them or (self.several and number == signal.SIGINT):
            some = [self.process.pid]  # the launcher hands on
        for pid in some:
            os.kill(pid, number)

    def wait(self) -> int | None:
        """The exit code; None if it did not end and had to be killed."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            return None


def _is_training(pid: int) -> bool:
    """Whether a child of the launcher is one of the run's processes."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(word.startswith(b"--process_id=") for word in words)


class Disturbance(NamedTuple):
    """A way to end a life.

    Attributes:
      name: for the table.
      number: the signal.
      delay: it is sent up to so many seconds after its moment; None: as a first step takes.
      moment: whether its moment has come, from the aimed-at step on.
      met: whether it hit what was meant, judged when the program is gone.
    """

    name: str
    number: signal.Signals
    delay: float | None
    moment: Callable[[Program, int], bool]
    met: Callable[[Program], bool]


def _saved_and_told(program: Program) -> bool:
    return "Stopped at step" in program.output


def disturbances(eval_every: int) -> tuple[Disturbance, ...]:
    """All ways to end a life, in the order they take turns."""

    def is_saving(program: Program) -> bool:
        return bool(program.half_written() - program.half_written_before)

    def is_evaluating(program: Program) -> bool:
        return program.is_evaluating(eval_every)

    def is_starting(program: Program) -> bool:
        return not program.is_stepping

    def is_resuming(program: Program) -> bool:
        return program.resumed_at is not None and is_starting(program)

    def at_once(program: Program, aim: int) -> bool:
        return True

    def any_time(program: Program, aim: int) -> bool:
        return program.has_reached(aim)

    kill, term, interrupt = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
    return (
        Disturbance("SIGKILL at any time", kill, 0.2, any_time, lambda p: p.is_stepping),
        Disturbance("SIGTERM at any time", term, 0.2, any_time, _saved_and_told),
        Disturbance(
            "SIGKILL during a save", kill, 0.0,
            lambda p, aim: p.has_reached(aim) and is_saving(p), is_saving,
        ),
        Disturbance(
            "SIGKILL during evaluation", kill, 0.0,
            lambda p, aim: p.has_reached(aim) and is_evaluating(p), is_evaluating,
        ),
        Disturbance("SIGKILL during start-up", kill, None, at_once, is_starting),
        Disturbance(
            "SIGKILL just after restoring", kill, 0.1, lambda p, aim: is_resuming(p), is_resuming
        ),
        Disturbance("Ctrl-C at any time", interrupt, 0.2, any_time, _saved_and_told),
    )  # fmt: skip


class Life(NamedTuple):
    """What became of one life.

    Attributes:
      kind: name of the disturbance.
      met: whether it hit what was meant.
      reached: last step logged before the signal.
      resumed_at: the step it had gone on from; None if it did not come so far.
      exit_seconds: from the signal to the end of the program.
      problems: what was not as promised.
      finished: whether the run had ended before it was disturbed.
    """

    kind: str
    met: bool
    reached: int
    resumed_at: int | None
    exit_seconds: float
    problems: list[str]
    finished: bool


def end_life(program: Program, kind: Disturbance, aim: int, startup: float, seed: str) -> Life:
    """Waits for the moment, sends the signal, and looks at what is left.

    Args:
      program: just started.
      kind: how to end it.
      aim: the step from which on the moment is waited for.
      startup: seconds that a start takes.
      seed: of the delay and of the process that is hit.
    """
    rng = random.Random(seed)
    before = Checkpoints(program.workdir).steps()
    _wait_for_moment(program, kind, aim)
    time.sleep(rng.uniform(0, startup if kind.delay is None else kind.delay))
    reached = program.last_line()["step"]
    clock = time.perf_counter()
    program.send(kind.number, rng)
    code = program.wait()
    seconds = time.perf_counter() - clock
    finished = "Finished at step" in program.output
    problems = _problems(program, kind, before, reached, code, finished)
    if kind.number != signal.SIGKILL and seconds > 60:
        problems.append(f"took {seconds:.0f} s to end")
    met = not finished and kind.met(program)
    return Life(kind.name, met, reached, program.resumed_at, seconds, problems, finished)


def _wait_for_moment(program: Program, kind: Disturbance, aim: int) -> None:
    """Polls until the moment has come or the program has ended."""
    deadline = time.monotonic() + PATIENCE
    while program.process.poll() is None and time.monotonic() < deadline:
        if kind.moment(program, aim):
            break
        time.sleep(0.0005)


def _problems(
    program: Program,
    kind: Disturbance,
    before: list[int],
    reached: int,
    code: int | None,
    finished: bool,
) -> list[str]:
    """What is not as promised after the end of a life."""
    after = Checkpoints(program.workdir).steps()
    found = []
    if code is None:
        found.append("hung and had to be killed")
    if max(after, default=0) < max(before, default=0):
        found.append(f"had checkpoints {before} and left {after}")
    if after:
        Checkpoints(program.workdir).read_leaves()  # raises if the newest cannot be read
    if "Traceback" in program.output and not program.several:
        found.append("printed a traceback")
    if kind.number != signal.SIGKILL or finished:
        if code != 0:
            found.append(f"exit code {code}, expected 0")
        if max(after, default=0) < reached:
            found.append(f"logged step {reached} and left checkpoints {after}")
    return found
