"""Planes of synthetic rooms: NVC, VAE and autoencoder on one network, and RANSAC on its depth, as one table.

    python -m benchmarks.planes --workdir=runs/planes

Methods differ in loss weights and the number of anchors alone; network, rooms and number of steps are those
of configs/rooms.py. Columns that begin with `ransac_` are of the same run with its planes found another way:
sequential RANSAC on the points of its depth map, at the pixels that it takes for planar. The tolerance of
RANSAC is that with the best plane recall at 0.05 m on 200 validation rooms. `one wall` is a plane across the
whole image, at the median depth of 500 training rooms.

Every finished row is a line of WORKDIR/planes.csv and is not computed again, unless the recipe has
changed since. A run that was interrupted begins anew.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from benchmarks.methods import METHODS
from benchmarks.table import Row, add_flags, evaluated, run_table, trained
from nvc_jax.config import load_config
from nvc_jax.data import Source, random_subset
from nvc_jax.evaluation import TrainedModel, load
from nvc_jax.geometry.plane_segmentation import Planes, planes_of_depth
from nvc_jax.geometry.planes import MAX_PLANES, pixel_rays
from nvc_jax.programs import cli
from nvc_jax.tasks import open_examples
from nvc_jax.tasks.planar_reconstruction import PlanarReconstructionTask, summarize

MEASURES = (
    "plane_recall/0.05",
    "plane_recall/0.2",
    "pixel_recall/0.05",
    "rand_index",
    "voi_bits",
    "covering",
)
COLUMNS = (
    *MEASURES,
    *(f"ransac_{name}" for name in MEASURES),
    "ransac_tolerance",
    "plane_recall_normal/10",
    "depth_rel",
    "anchors_used",
)
TOLERANCES = (0.02, 0.04, 0.08, 0.16)
"""Of RANSAC, as shares of the depth."""

TUNED_ON = 200
"""Validation rooms at most."""


def ransac_measures(model: TrainedModel, source: Source, tolerance: float) -> Row:
    """Measures of planes that are fitted to the depth that a model predicts."""
    encoded, task = model.encode(source), model.task
    assert isinstance(task, PlanarReconstructionTask)

    def examples() -> Iterator[Any]:
        planar = encoded["planar"] > 0
        for (truth, _, depth), mask in zip(task.iterate(encoded, source), planar, strict=True):
            rays = pixel_rays(truth["camera"], *depth.shape)
            yield truth, planes_of_depth(depth, mask, rays, tolerance=tolerance), depth

    return summarize(examples())


def ransac_row(directory: Path) -> Row:
    """Measures of RANSAC on test rooms, with the tolerance that is best on validation rooms."""
    model = load(directory)
    validation, test = (open_examples(model.config, split) for split in ("validation", "test"))
    validation = random_subset(validation, TUNED_ON, seed=0)
    best = max(
        TOLERANCES,
        key=lambda tolerance: ransac_measures(model, validation, tolerance)["plane_recall/0.05"],
    )
    measured = ransac_measures(model, test, best)
    return {f"ransac_{name}": measured[name] for name in MEASURES} | {"ransac_tolerance": best}


def measure(config: ml_collections.ConfigDict, directory: Path) -> Row:
    """Trains and evaluates, with both ways to find planes."""
    return trained(config, directory) | evaluated(directory) | ransac_row(directory)


def baselines(config: ml_collections.ConfigDict) -> dict[str, Row]:
    """`one wall`."""
    rooms = random_subset(open_examples(config, "train"), 500, seed=0)
    distance = np.median(rooms.gather(np.arange(len(rooms)))["depth"])
    test = open_examples(config, "test")

    def examples() -> Iterator[Any]:
        wall = np.zeros((MAX_PLANES, 3), np.float32)
        wall[0, 2] = distance
        for index in range(len(test)):
            truth = {name: x[0] for name, x in test.gather(np.array([index])).items()}
            depth = np.full_like(truth["depth"], distance)
            yield truth, Planes(wall, np.zeros_like(truth["segmentation"])), depth

    return {"one wall": summarize(examples())}


def main(arguments: list[str]) -> int:
    """Prints a row for each baseline and run, and mean ± standard deviation for each method."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_flags(parser, tuple(METHODS), (0, 1, 2), "runs/planes")
    flags = parser.parse_args(arguments)
    return run_table(
        flags,
        "planes",
        COLUMNS,
        load_config("rooms"),
        baselines=baselines,
        methods=METHODS,
        measure=measure,
    )


if __name__ == "__main__":
    sys.exit(cli.run(main))
