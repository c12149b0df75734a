"""Tables of methods and seeds: every finished run is a line of a CSV file and is not done again."""

from __future__ import annotations

import argparse
import csv
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from benchmarks.methods import Changes
from benchmarks.timing import run_clock
from nvc_jax.config import changed, to_json
from nvc_jax.core.errors import UserError
from nvc_jax.evaluation import evaluate
from nvc_jax.training.loop import train
from nvc_jax.training.state import TrainState

KEYS = ("method", "seed", "steps", "recipe")

Row = dict[str, Any]
"""KEYS, `seconds` and measures of one line of a table, by name."""


class Rows:
    """Finished rows, in a CSV file of which each is one line.

    Args:
      path: the file.
      columns: the measures.

    Raises:
      UserError: if the file has other columns.
    """

    def __init__(self, path: Path, columns: Sequence[str]):
        self.columns = tuple(columns)
        self._path, self._names = path, (*KEYS, "seconds", *columns)
        header = ",".join(self._names)
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(header + "\n")
        text = path.read_text()
        whole = text[: text.rfind("\n") + 1]
        if whole != text:  # the program was ended while it wrote this line
            path.write_text(whole)
        first, *lines = whole.splitlines() or [""]
        if first != header:
            raise UserError(
                f"{path} does not have the columns {header}: move it away, or choose another "
                "--workdir."
            )
        self._lines = list(csv.reader(lines))

    def of(self, recipe: str, seed: int | str, method: str | None = None) -> list[Row]:
        """The finished rows of a recipe and seed, "" for baselines; what is not defined is NaN.

        A `method` is asked for where several share a recipe.
        """
        rows = [dict(zip(self._names, line, strict=True)) for line in self._lines]
        return [
            {name: text if name in KEYS else float(text or "nan") for name, text in row.items()}
            for row in rows
            if (row["recipe"], row["seed"], row["method"])
            == (recipe, str(seed), method or row["method"])
        ]

    def add(self, row: Row) -> None:
        """Appends a finished row."""
        line = [str(row.get(name, "")) for name in self._names]
        with self._path.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(line)
        self._lines.append(line)


def recipe_of(config: ml_collections.ConfigDict) -> str:
    """A short name for all that a config says, wherever the data lie."""
    if "dir" in config.data:  # rows can move to another machine
        config = changed(config, {"data.dir": Path(config.data.dir).name})
    return f"{zlib.crc32(to_json(config).encode()):08x}"


def train_to_the_end(config: ml_collections.ConfigDict, directory: Path) -> TrainState:
    """Trains afresh; returns the last state."""
    result = train(config, directory, overwrite=True)
    if result.stopped:
        raise KeyboardInterrupt  # half a run is no result
    return result.state


def trained(config: ml_collections.ConfigDict, directory: Path) -> Row:
    """Trains afresh; returns the number of steps and the seconds that they took."""
    began = run_clock()
    train_to_the_end(config, directory)
    return {"steps": config.train.num_steps, "seconds": run_clock() - began}


def evaluated(directory: Path, settings: Iterable[tuple[str, str]] = ()) -> Row:
    """The measures of a trained model on test examples, where they are defined."""
    measured = evaluate(directory, overrides=settings, figures=False)["metrics"]
    return {name: value for name, value in measured.items() if value is not None}


Measure = Callable[[ml_collections.ConfigDict, Path], Row]
"""Trains a config in a directory and evaluates it."""


def train_and_evaluate(config: ml_collections.ConfigDict, directory: Path) -> Row:
    """A `Measure` without settings of its own."""
    return trained(config, directory) | evaluated(directory)


def baseline_rows(
    rows: Rows,
    config: ml_collections.ConfigDict,
    baselines: Callable[[ml_collections.ConfigDict], Mapping[str, Row]],
) -> list[Row]:
    """A row for each baseline, computed if that is not done already."""
    recipe = recipe_of(config)
    if not rows.of(recipe, ""):
        for name, measured in baselines(config).items():
            rows.add({"method": name, "recipe": recipe, **measured})
    return rows.of(recipe, "")


def method_row(
    rows: Rows,
    config: ml_collections.ConfigDict,
    method: str,
    changes: Changes,
    seed: int,
    measure: Measure,
    directory: Path,
) -> Row:
    """The row of one run, which is trained and evaluated if that is not done already."""
    config = changed(config, {**changes, "seed": seed})
    recipe = recipe_of(config)
    if not rows.of(recipe, seed, method):
        measured = measure(config, directory)
        rows.add({"method": method, "seed": seed, "recipe": recipe, **measured})
    return rows.of(recipe, seed, method)[0]


def print_row(*cells: str) -> None:
    """Prints one line of the table."""
    print(f"| {' | '.join(cells)} |", flush=True)


def cell(values: Sequence[float]) -> str:
    """A number, or mean ± sample standard deviation of several; nothing where it is not defined."""
    if not np.isfinite(values).all():
        return ""
    spread = f" ± {np.std(values, ddof=1) if np.ptp(values) else 0:.2g}" if len(values) > 1 else ""
    return f"{np.mean(values):.4g}{spread}"


def add_flags(
    parser: argparse.ArgumentParser, methods: Sequence[str], seeds: Sequence[int], workdir: str
) -> None:
    """The flags that tables of runs have in common."""
    parser.add_argument("--workdir", type=Path, default=Path(workdir))
    parser.add_argument("--methods", nargs="+", choices=methods, default=list(methods))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(seeds))
    parser.add_argument("--steps", type=int, help="of every run, in place of the recipe's")


def print_table(
    rows: Rows,
    config: ml_collections.ConfigDict,
    *,
    baselines: Callable[[ml_collections.ConfigDict], Mapping[str, Row]],
    methods: Mapping[str, Changes],
    seeds: Sequence[int],
    measure: Measure,
    directory: Path,
) -> None:
    """Prints a row for each baseline and run, and mean ± standard deviation for each method.

    Args:
      rows: what is finished; gets what is not.
      config: the recipe.
      baselines: config → their measures by name of the baseline.
      methods: by name, what they change in the recipe.
      seeds: of the runs of every method.
      measure: trains and evaluates.
      directory: a run's work directory is this, its method and seed behind.
    """
    shown = (*rows.columns, "seconds")
    print_row("method", "seed", *shown)
    print_row(*["---"] * (2 + len(shown)))
    for row in baseline_rows(rows, config, baselines):
        print_row(row["method"], "", *(cell([row[name]]) for name in shown))
    for method, changes in methods.items():
        done = []
        for seed in seeds:
            place = directory.with_name(f"{directory.name}-{method}-{seed}")
            done.append(method_row(rows, config, method, changes, seed, measure, place))
            print_row(method, str(seed), *(cell([done[-1][name]]) for name in shown))
        if len(done) > 1:
            print_row(method, "mean", *(cell([row[name] for row in done]) for name in shown))


def run_table(
    flags: argparse.Namespace,
    name: str,
    columns: Sequence[str],
    config: ml_collections.ConfigDict,
    *,
    baselines: Callable[[ml_collections.ConfigDict], Mapping[str, Row]],
    methods: Mapping[str, Changes],
    measure: Measure,
) -> int:
    """Prints the table that the flags ask for; returns the exit code.

    Args:
      flags: what `add_flags` added.
      name: of the table, its CSV file and its runs, in the work directory.
      columns: measures.
      config: the recipe; becomes as long as the flags say.
      baselines: see `print_table`.
      methods: all there are; the flags choose among them.
      measure: see `print_table`.
    """
    if flags.steps is not None:
        config = changed(config, {"train.num_steps": flags.steps})
    print_table(
        Rows(flags.workdir / f"{name}.csv", columns),
        config,
        baselines=baselines,
        methods={method: methods[method] for method in flags.methods},
        seeds=flags.seeds,
        measure=measure,
        directory=flags.workdir / name,
    )
    return 0
