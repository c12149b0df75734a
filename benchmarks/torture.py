"""Does a run that is killed again and again end as an undisturbed one, bit for bit?

    python -m benchmarks.torture --kills=50

Trains the embedded digits once undisturbed, and once more in another directory where every life of
the program is ended from outside, in turns and seeded: SIGKILL at any time, during a save, during
evaluation, during start-up, after restoring; SIGTERM; Ctrl-C. After each it is checked what is left; at
the end, whether the last state, the best one and the curves are the same. If not, the exit code is 1.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmarks.lives import Life, Program, disturbances, end_life
from nvc_jax.training.checkpoint import BEST, LATEST, Checkpoints
from nvc_jax.training.logging import EVENTS_FOLDER, METRICS_FILE, read_metrics

EVAL_EVERY = 20
RATES = {"steps_per_second", "examples_per_second"}


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
    return ["--config=configs/digits.py", *(f"--config.{k}={v}" for k, v in values.items())]


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


def print_table(lives: Sequence[Life]) -> None:
    """One row for each way of ending a life."""
    print("| kind | lives | hit what was meant | steps lost | longest exit, s |")
    print("|---|---:|---:|---|---:|")
    lost = lost_steps(lives)
    for kind in dict.fromkeys(life.kind for life in lives[:-1]):
        chosen = [i for i, life in enumerate(lives[:-1]) if life.kind == kind]
        steps = [lost[i] or 0 for i in chosen]
        print(
            f"| {kind} | {len(chosen)} | {sum(lives[i].met for i in chosen)} "
            f"| {min(steps)} to {max(steps)} | {max(lives[i].exit_seconds for i in chosen):.1f} |"
        )


def arrays(workdir: Path) -> dict[str, np.ndarray]:
    """All arrays of the last and of the best checkpoint."""
    checkpoints = Checkpoints(workdir)
    return {
        f"{kind}/{name}": leaf
        for kind in (LATEST, BEST)
        for name, leaf in checkpoints.read_leaves(kind).items()
    }


def curves(workdir: Path) -> dict[str, str]:
    """Lines of `metrics.jsonl` without rates, by step, kind and number of times."""
    found: dict[str, str] = {}
    for record in read_metrics(workdir / METRICS_FILE):
        name = f"{record['step']} {'train' if 'loss' in record else 'validation'}"
        while name in found:
            name += " again"
        found[name] = str({k: v for k, v in record.items() if k not in RATES})
    return found


def events(workdir: Path) -> dict[str, float]:
    """Scalars of the event files without rates, by tag, step and number of times."""
    found: dict[str, float] = {}
    reader = EventAccumulator(str(workdir / EVENTS_FOLDER), size_guidance={"scalars": 0})
    reader.purge_orphaned_data = False
    reader.Reload()
    for tag in reader.Tags()["scalars"]:
        for event in reader.Scalars(tag) if tag.rsplit("/", 1)[-1] not in RATES else []:
            name = f"{tag} {event.step}"
            while name in found:
                name += " again"
            found[name] = event.value
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


def main() -> int:
    """Prints the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=50, help="number of disturbances")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num_steps", type=int, default=1000)
    parser.add_argument("--num_processes", type=int, default=1, help="of every life")
    parser.add_argument("--workdir", type=Path, help="directory to keep (default: a temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = (options.workdir or Path(temporary)).absolute()
        if root.exists() and any(root.iterdir()):
            parser.error(f"{root} is not empty")
        for name in ("undisturbed", "disturbed", "compiled"):
            (root / name).mkdir(parents=True)
        arguments = flags(options.num_steps)
        expected = root / "undisturbed" / "run"
        program = Program(
            arguments, expected, root / "undisturbed" / "life.log", root / "compiled",
            options.num_processes,
        )  # fmt: skip
        if program.wait() != 0:
            print(program.output, file=sys.stderr)
            return 1
        found = root / "disturbed" / "run"
        lives = disturbed_lives(found, arguments, options, root / "compiled")
        print_table(lives)
        problems = [f"{i + 1}: {p}" for i, life in enumerate(lives) for p in life.problems]
        for problem in problems:
            print(f"Life {problem}")
        return 1 if compare(expected, found) or problems else 0


if __name__ == "__main__":
    sys.exit(main())
