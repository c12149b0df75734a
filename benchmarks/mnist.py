"""Full MNIST: NVC, VAE and autoencoder on one network, several seeds, as one table.

    python -m benchmarks.mnist --data=FOLDER_WITH_THE_FOUR_FILES

Methods differ in loss weights and anchors alone; all else is that of configs/mnist.py. `--methods` also has
changes of the studies (benchmarks/studies.py), here at full length. Every finished run is a line of
WORKDIR/mnist.csv and is not done again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.methods import METHODS
from benchmarks.studies import INITS, NO_TRIPLET, TRAINING, UNBALANCED, WEIGHTS, Variants
from benchmarks.table import add_flags, run_table, train_and_evaluate
from nvc_jax.config import changed, load_config
from nvc_jax.programs import cli

VARIANTS: Variants = {
    **METHODS,
    "nvc-k30": {"model.num_anchors": 30},
    "nvc-unbalanced": UNBALANCED,
    "nvc-no-triplet": NO_TRIPLET,
    "nvc-augmented-view": WEIGHTS["anchors chosen by the augmented view"],
    "nvc-triplet-100": WEIGHTS["triplet 100"],
    "nvc-kl-10": WEIGHTS["KL 10"],
    "nvc-without-ramps": WEIGHTS["weights without ramps"],
    "nvc-random-anchors": INITS["normal"],
    "nvc-rate-5e-3": TRAINING["learning rate 5e-3"],
    "nvc-constant-rate": TRAINING["learning rate 1e-3, constant"],
}
COLUMNS = (
    "cluster_accuracy_hungarian",
    "cluster_accuracy_majority",
    "kmeans_accuracy_hungarian",
    "kmeans_accuracy_hungarian_inputs",
    "nmi",
    "anchors_used",
    "squared_error",
)


def main(arguments: list[str]) -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the images")
    parser.add_argument("--source", default="idx", choices=("idx", "tfds"))
    add_flags(parser, tuple(VARIANTS), (11, 12, 13), "runs/mnist_table")
    parser.set_defaults(methods=list(METHODS))
    flags = parser.parse_args(arguments)
    place = {"data.source": flags.source, "data.dir": str(flags.data.absolute())}
    config = changed(load_config("mnist"), place)
    return run_table(
        flags,
        "mnist",
        COLUMNS,
        config,
        baselines=lambda config: {},
        methods=VARIANTS,
        measure=train_and_evaluate,
    )


if __name__ == "__main__":
    sys.exit(cli.run(main))
