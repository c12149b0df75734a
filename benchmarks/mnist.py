"""Full MNIST: NVC, VAE and autoencoder on one network, several seeds, as one table.

    python -m benchmarks.mnist --data=FOLDER_WITH_THE_FOUR_FILES

Everything but the loss weights and the number of anchors is that of configs/mnist.py. Every finished run is
a line of WORKDIR/mnist.csv and is not done again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.methods import METHODS
from benchmarks.table import add_flags, run_table, train_and_evaluate
from nvc_jax import cli
from nvc_jax.config import load_config

VARIANTS: dict[str, dict[str, str]] = {
    **METHODS,
    "nvc-k30": {"model.num_anchors": "30"},
    "nvc-unbalanced": {"anchors.balanced": "false"},
    "nvc-no-triplet": {"loss.triplet.value": "0.0"},
    "nvc-augmented-view": {"augment.assign_from": "augmented"},
    "nvc-triplet-100": {"loss.triplet.value": "100.0"},
    "nvc-kl-10": {"loss.kl.value": "10.0"},
    "nvc-without-ramps": {"loss.kl.steps": "0", "loss.triplet.steps": "0"},
    "nvc-random-anchors": {"anchors.init": "normal"},
    "nvc-rate-5e-3": {"optimizer.learning_rate": "5e-3"},
    "nvc-constant-rate": {"optimizer.learning_rate": "1e-3", "optimizer.schedule": "constant"},
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
    config = load_config("mnist")
    config.data.source, config.data.dir = flags.source, str(flags.data.absolute())
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
