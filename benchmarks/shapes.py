"""Completion and segmentation of CAD models: NVC, VAE and autoencoder on one network, as one table.

    python -m benchmarks.shapes --task=voxels --data=furniture.npz --workdir=runs/shapes

First come baselines without training, see benchmarks/retrieval.py. Methods differ in loss weights and
the number of anchors alone; network, data and number of steps are those of --config=cad:TASK.
Nothing is chosen on test models: the threshold of occupancy is the one of `eval.thresholds` whose IoU
is best on validation models.

Every finished row is a line of WORKDIR/TASK.csv and is not computed again, unless the recipe has
changed since. A run that was interrupted begins anew.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import ml_collections

from benchmarks import retrieval
from benchmarks.methods import METHODS
from benchmarks.table import Row, add_flags, evaluated, run_table, trained
from nvc_jax.config import load_config
from nvc_jax.evaluation import load
from nvc_jax.programs import cli
from nvc_jax.tasks import open_examples


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


def configure(task: str, data: str) -> ml_collections.ConfigDict:
    """The recipe of a table, for its data."""
    config = load_config(f"cad:{task}")
    config.data.dir = str(Path(data).absolute())
    return config


def best_threshold(directory: Path) -> float:
    """Of `eval.thresholds` the one with the best IoU of a trained model on validation models."""
    model = load(directory)
    validation = open_examples(model.config, "validation")
    values = model.task.summary(model.encode(validation), validation)
    return max(model.config.eval.thresholds, key=lambda level: values[f"iou_at/{level:g}"])


def measure(table: Table, config: ml_collections.ConfigDict, directory: Path) -> Row:
    """Trains and evaluates."""
    row, settings = trained(config, directory), list(table.settings)
    if "threshold" in table.columns:
        row["threshold"] = best_threshold(directory)
        settings.append(("eval.threshold", str(row["threshold"])))
    return row | evaluated(directory, settings)


def main(arguments: list[str]) -> int:
    """Prints the table of a task."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", required=True, choices=TABLES)
    parser.add_argument("--data", required=True, help="npz file of shapes")
    add_flags(parser, ("ae", "vae", "nvc"), (0, 1, 2), "runs/shapes")
    flags = parser.parse_args(arguments)
    table = TABLES[flags.task]
    return run_table(
        flags,
        flags.task,
        table.columns,
        configure(flags.task, flags.data),
        baselines=table.baselines,
        methods=METHODS,
        measure=partial(measure, table),
    )


if __name__ == "__main__":
    sys.exit(cli.run(main))
