"""Does a run that is killed again and again end as an undisturbed one, bit for bit?

    python -m benchmarks.torture --kills=50

Trains the embedded digits once undisturbed, and once more in another directory where every life of
the program is ended from outside, in turns and seeded: SIGKILL at any time, during a save, during
evaluation, during start-up, after restoring; SIGTERM; Ctrl-C. After each it is checked what is left; at
the end, whether the last state, the best one and the curves are the same. If not, the exit code is 1.
Only the program's output, files and exit code are used. `--save` makes the table the published one.
"""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmarks.print import ROOT, line_of, rows_file
from benchmarks.table import Rows, key_of
from nvc_jax.programs import cli
from nvc_jax.training.checkpoint import BEST, LATEST, Checkpoints
from nvc_jax.training.logging import EVENTS_FOLDER, METRICS_FILE, read_metrics

COLUMNS = ("lives", "met", "lost", "exit")
EVAL_EVERY = 20
RATES = {"steps_per_second", "examples_per_second"}
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


def flags(num_steps: int) -> list[str]:
    """Flags of a small run with everything that holds a state."""
    values: dict[str, Any] = {
        "model.hidden": "64,32",
        "model.num_anchors": 20,
        "anchors.warmup": 0.25,
        "anchors.patience": 5,
        "anchors.revive_every": 15,
        "optimizer.warmup": 10,
        "train.num_steps": num_steps,
        "train.batch_size": 64,
        "train.log_every": 1,
        "train.eval_every": EVAL_EVERY,
        "train.checkpoint_every": 7,
        "train.keep": 2,
    }
    return ["--config=digits", *(f"--config.{k}={v}" for k, v in values.items())]


def disturbed_lives(
    workdir: Path, arguments: Sequence[str], options: argparse.Namespace, cache: Path
) -> list[Life]:
    """Disturbs a run until it has been disturbed often enough, then lets it finish."""
    rng = random.Random(options.seed)
    kinds = disturbances(EVAL_EVERY)
    lives: list[Life] = []
    startup = 5.0
    for number in range(options.kills):
        kind = kinds[number % len(kinds)]
        aim = int(options.num_steps * (number + rng.random()) / (options.kills + 1))
        log = workdir.with_name(f"life-{number:03d}.log")
        began = time.perf_counter()
        program = Program(arguments, workdir, log, cache, options.num_processes)
        life = end_life(program, kind, aim, startup, f"{options.seed}-{number}")
        lives.append(life)
        tell(number, life)
        if life.resumed_at is not None and kind.delay is not None:
            startup = min(startup, time.perf_counter() - began)
        if life.finished:
            print(f"The run had ended before disturbance {number + 1} of {options.kills}.")
            break
    program = Program(
        arguments, workdir, workdir.with_name("life-last.log"), cache, options.num_processes
    )
    code = program.wait()
    problems = [] if code == 0 else [f"exit code {code}: {program.output[-500:]}"]
    lives.append(
        Life("undisturbed", code == 0, options.num_steps, program.resumed_at, 0, problems, True)
    )
    return lives


def tell(number: int, life: Life) -> None:
    """One line on the standard error about a life."""
    print(
        f"{number + 1:3d} {life.kind}: from {life.resumed_at} to {life.reached}, "
        f"{'hit' if life.met else 'missed'}, {life.exit_seconds:.1f} s"
        + "".join(f"; PROBLEM: {problem}" for problem in life.problems),
        file=sys.stderr,
        flush=True,
    )


def lost_steps(lives: Sequence[Life]) -> list[int | None]:
    """Steps that each life had logged and the next one that came so far took again."""
    found: list[int | None] = []
    for number, life in enumerate(lives[:-1]):
        later = [other.resumed_at for other in lives[number + 1 :]]
        resumed_at = next((step for step in later if step is not None), None)
        found.append(None if resumed_at is None else max(life.reached - resumed_at, 0))
    return found


def print_table(lives: Sequence[Life], save: bool) -> None:
    """One row for each way of ending a life."""
    rows = Rows(rows_file("torture"), COLUMNS) if save else None
    print(f"{line_of(['ended by', *COLUMNS])}\n{'|---' * (1 + len(COLUMNS))}|")
    lost = lost_steps(lives)
    for kind in dict.fromkeys(life.kind for life in lives[:-1]):
        chosen = [i for i, life in enumerate(lives[:-1]) if life.kind == kind]
        steps = [lost[i] or 0 for i in chosen]
        cells = {
            "lives": len(chosen),
            "met": sum(lives[i].met for i in chosen),
            "lost": " to ".join(map(str, sorted({min(steps), max(steps)}))),
            "exit": f"{max(lives[i].exit_seconds for i in chosen):.1f}",
        }
        print(line_of([kind, *map(str, cells.values())]))
        if rows is not None:
            rows.add({"method": kind, **key_of(), "source": "measured", **cells})


def arrays(workdir: Path) -> dict[str, np.ndarray]:
    """All arrays of the last and of the best checkpoint."""
    checkpoints = Checkpoints(workdir)
    return {
        f"{kind}/{name}": leaf
        for kind in (LATEST, BEST)
        for name, leaf in checkpoints.read_leaves(kind).items()
    }


def _add(found: dict[str, Any], name: str, value: object) -> None:
    """Adds what may have come before under the same name."""
    while name in found:
        name += " again"
    found[name] = value


def curves(workdir: Path) -> dict[str, str]:
    """Lines of `metrics.jsonl` without rates, by step, kind and number of times."""
    found: dict[str, str] = {}
    for record in read_metrics(workdir / METRICS_FILE):
        name = f"{record['step']} {'train' if 'loss' in record else 'validation'}"
        _add(found, name, str({k: v for k, v in record.items() if k not in RATES}))
    return found


def events(workdir: Path) -> dict[str, float]:
    """Scalars of the event files without rates, by tag, step and number of times."""
    found: dict[str, float] = {}
    reader = EventAccumulator(str(workdir / EVENTS_FOLDER), size_guidance={"scalars": 0})
    reader.purge_orphaned_data = False
    reader.Reload()
    for tag in reader.Tags()["scalars"]:
        for event in reader.Scalars(tag) if tag.rsplit("/", 1)[-1] not in RATES else []:
            _add(found, f"{tag} {event.step}", event.value)
    return found


def same(a: Any, b: Any) -> bool:
    """Whether both are there and the same bit for bit."""
    if a is None or b is None:
        return False
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def different(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Names of what differs or is in one of them alone."""
    names = sorted(expected.keys() | found.keys())
    return [name for name in names if not same(expected.get(name), found.get(name))]


def compare(expected: Path, found: Path) -> int:
    """Prints what differs between two work directories and returns how much does."""
    texts, total = [], 0
    for what, unit, read in (
        ("final state", "arrays", arrays),
        ("curves", "lines", curves),
        ("event files", "scalars", events),
    ):
        wanted = read(expected)
        names = different(wanted, read(found))
        total += len(names)
        texts.append(f"in the {what}: {len(names)} of {len(wanted)} {unit}")
        if names:
            print(f"Different in the {what}: {', '.join(names[:10])}")
    print(f"\ndifferences {'; '.join(texts)}")
    return total


def main(arguments: list[str]) -> int:
    """Prints the table; returns the exit code."""
    parser = cli.bare_parser(__doc__)
    parser.add_argument("--kills", type=int, default=50, help="number of disturbances")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num_steps", type=int, default=1000)
    parser.add_argument("--num_processes", type=int, default=1, help="of every life")
    parser.add_argument("--save", action="store_true", help="as the rows of the published table")
    parser.add_argument("--workdir", type=Path, help="directory to keep (default: a temporary one)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        root = (options.workdir or Path(temporary)).absolute()
        if root.exists() and any(root.iterdir()):
            parser.error(f"{root} is not empty")
        for name in ("undisturbed", "disturbed", "compiled"):
            (root / name).mkdir(parents=True)
        settings = flags(options.num_steps)
        expected = root / "undisturbed" / "run"
        program = Program(
            settings, expected, root / "undisturbed" / "life.log", root / "compiled",
            options.num_processes,
        )  # fmt: skip
        if program.wait() != 0:
            print(program.output, file=sys.stderr)
            return 1
        found = root / "disturbed" / "run"
        lives = disturbed_lives(found, settings, options, root / "compiled")
        print_table(lives, options.save)
        problems = [f"{i + 1}: {p}" for i, life in enumerate(lives) for p in life.problems]
        for problem in problems:
            print(f"Life {problem}")
        return 1 if compare(expected, found) or problems else 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
