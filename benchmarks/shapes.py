"""Completion and segmentation of CAD models: NVC, VAE and autoencoder on one network, as one table.

    python -m benchmarks.shapes --task=voxels --data=furniture.npz --workdir=runs/shapes

First come baselines without training, see benchmarks/retrieval.py. Methods differ in loss weights and
the number of anchors alone; network, data and number of steps are those of configs/cad_TASK.py.
Nothing is chosen on test models: the threshold of occupancy is the one of `eval.thresholds` whose IoU
is best on validation models.

Every finished row is a line of WORKDIR/TASK.csv and is not computed again, unless the recipe has
changed since. A run that was interrupted begins anew.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from benchmarks import retrieval
from benchmarks.methods import METHODS, scale_steps
from nvc_jax import cli
from nvc_jax.config import default_config, leaves, load_config, override
from nvc_jax.errors import UserError
from nvc_jax.evaluation import evaluate
from nvc_jax.tasks import open_examples
from nvc_jax.trained import load
from nvc_jax.training.loop import train

KEYS = ("method", "seed", "steps", "recipe")
DEFAULTS = dict(leaves(default_config()))


class Table(NamedTuple):
    """What one table shows.

    Attributes:
      columns: measures.
      baselines: config → their measures by name of the baseline.
      settings: keys under `data.` and `eval.` that differ in the evaluation.
    """

    columns: tuple[str, ...]
    baselines: Callable[[ml_collections.ConfigDict], retrieval.Rows]
    settings: tuple[tuple[str, str], ...] = ()


TABLES = {
    "voxels": Table(
        (
            "iou",
            "threshold",
            "cluster_accuracy_hungarian",
            "cluster_accuracy_majority",
            "nmi",
            "kmeans_accuracy_hungarian",
            "anchors_used",
        ),
        retrieval.voxel_baselines,
    ),
    "semantic": Table(("miou", "iou_geometric", "anchors_used"), retrieval.semantic_baselines),
    "points": Table(
        ("chamfer_l1", "f_score", "anchors_used"),
        retrieval.point_baselines,
        (("data.oblique_views", "1"),),
    ),
    "scenes": Table(("miou", "accuracy", "anchors_used"), retrieval.scene_baselines),
}

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

    def of(self, recipe: str, seed: int | str) -> list[Row]:
        """The finished rows of a recipe and seed, "" for baselines; what is not defined is NaN."""
        rows = [dict(zip(self._names, line, strict=True)) for line in self._lines]
        return [
            {name: text if name in KEYS else float(text or "nan") for name, text in row.items()}
            for row in rows
            if (row["recipe"], row["seed"]) == (recipe, str(seed))
        ]

    def add(self, row: Row) -> None:
        """Appends a finished row."""
        line = [str(row.get(name, "")) for name in self._names]
        with self._path.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(line)
        self._lines.append(line)


def recipe_of(config: ml_collections.ConfigDict) -> str:
    """A short name for all that a config says other than the defaults."""
    said = {name: value for name, value in leaves(config) if DEFAULTS.get(name) != value}
    return f"{zlib.crc32(repr(sorted(said.items())).encode()):08x}"


def configure(task: str, data: str, steps: int | None) -> ml_collections.ConfigDict:
    """The recipe of a table, for its data and length."""
    config = load_config(f"cad_{task}")
    config.data.dir = str(Path(data).absolute())
    if steps is not None:
        scale_steps(config, steps)
    return config


def best_threshold(directory: Path) -> float:
    """Of `eval.thresholds` the one with the best IoU of a trained model on validation models."""
    model = load(directory)
    validation = open_examples(model.config, "validation")
    values = model.task.summary(model.encode(validation), validation)
    return max(model.config.eval.thresholds, key=lambda level: values[f"iou_at/{level:g}"])


def measure(table: Table, config: ml_collections.ConfigDict, directory: Path) -> Row:
    """Trains and evaluates; returns measures and the seconds that the training took."""
    began = time.perf_counter()
    result = train(config, directory, overwrite=True)
    row: Row = {"steps": config.train.num_steps, "seconds": time.perf_counter() - began}
    if result.stopped:
        raise KeyboardInterrupt  # half a run is no result
    settings = list(table.settings)
    if "threshold" in table.columns:
        row["threshold"] = best_threshold(directory)
        settings.append(("eval.threshold", str(row["threshold"])))
    measured = evaluate(directory, overrides=settings, figures=False)["metrics"]
    return row | {name: measured[name] for name in measured if measured[name] is not None}


def baseline_rows(table: Table, config: ml_collections.ConfigDict, rows: Rows) -> list[Row]:
    """A row for each baseline, computed if that is not done already."""
    recipe = recipe_of(config)
    if not rows.of(recipe, ""):
        for name, measured in table.baselines(config).items():
            rows.add({"method": name, "recipe": recipe, **measured})
    return rows.of(recipe, "")


def method_row(
    table: Table,
    config: ml_collections.ConfigDict,
    rows: Rows,
    method: str,
    seed: int,
    directory: Path,
) -> Row:
    """The row of one run, which is trained and evaluated if that is not done already."""
    config = config.copy_and_resolve_references()
    for name, value in {**METHODS[method], "seed": str(seed)}.items():
        override(config, name, value)
    recipe = recipe_of(config)
    if not rows.of(recipe, seed):
        measured = measure(table, config, directory)
        rows.add({"method": method, "seed": seed, "recipe": recipe, **measured})
    return rows.of(recipe, seed)[0]


def print_row(*cells: str) -> None:
    """Prints one line of the table."""
    print(f"| {' | '.join(cells)} |", flush=True)


def cell(values: Sequence[float]) -> str:
    """A number, or mean ± standard deviation of several; nothing where it is not defined."""
    if not np.isfinite(values).all():
        return ""
    spread = f" ± {np.std(values):.2g}" if len(values) > 1 else ""
    return f"{np.mean(values):.4g}{spread}"


def main(arguments: list[str]) -> int:
    """Prints a row for each baseline and run, and mean ± standard deviation for each method."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", required=True, choices=TABLES)
    parser.add_argument("--data", required=True, help="npz file of shapes")
    parser.add_argument("--workdir", type=Path, default=Path("runs/shapes"))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["ae", "vae", "nvc"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="of every run, in place of the recipe's")
    flags = parser.parse_args(arguments)
    table, config = TABLES[flags.task], configure(flags.task, flags.data, flags.steps)
    rows = Rows(flags.workdir / f"{flags.task}.csv", table.columns)
    shown = (*table.columns, "seconds")
    print_row("method", "seed", *shown)
    print_row(*["---"] * (2 + len(shown)))
    for row in baseline_rows(table, config, rows):
        print_row(row["method"], "", *(cell([row[name]]) for name in shown))
    for method in flags.methods:
        done = []
        for seed in flags.seeds:
            directory = flags.workdir / f"{flags.task}-{method}-{seed}"
            done.append(method_row(table, config, rows, method, seed, directory))
            print_row(method, str(seed), *(cell([done[-1][name]]) for name in shown))
        if len(done) > 1:
            print_row(method, "mean", *(cell([row[name] for row in done]) for name in shown))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
