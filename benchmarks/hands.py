"""Hand pose: NVC, VAE and autoencoder-style network on synthetic hands, as one table.

    python -m benchmarks.hands --workdir=runs/hands_table

First come baselines without training: the mean pose of the training hands, and the pose of the training
image that has the smallest squared distance. Both are placed about the `center` of the test image. Methods
differ in loss weights and the number of anchors alone; network, data and number of steps are those of
configs/hands.py. "ae" is the network without anchors, noise weight and KL.

Every finished row is a line of WORKDIR/hands.csv and is not computed again, unless the recipe has changed
since. A run that was interrupted begins anew.
"""

from __future__ import annotations

import argparse
import sys

import ml_collections
import numpy as np

from benchmarks import retrieval
from benchmarks.methods import METHODS
from benchmarks.table import add_flags, run_table, train_and_evaluate
from nvc_jax.config import load_config
from nvc_jax.geometry.joints import WRIST
from nvc_jax.programs import cli
from nvc_jax.tasks import make_task, open_examples
from nvc_jax.tasks.hand_pose import UNIT

COLUMNS = (
    "mpjpe_root",
    "mpjpe_abs",
    "mpjpe_pa",
    "auc_20_50",
    "auc_20_50_hand3d",
    "nmi",
    "cluster_accuracy_majority",
    "anchors_used",
)
CHUNK = 256
"""Queries whose distances to all references are held at once."""


def nearest_images(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Number of the reference of smallest squared distance to each query; the first of equals.

    Args:
      queries: uint8 `[N, ...]`.
      references: uint8 `[M, ...]`.

    Returns:
      int64 `[N]`.
    """
    a, b = (x.reshape(len(x), -1).astype(np.float32) / 255 for x in (queries, references))
    square = np.square(b).sum(axis=1)
    parts = [a[i : i + CHUNK] for i in range(0, len(a), CHUNK)]
    return np.concatenate([(square - 2 * part @ b.T).argmin(axis=1) for part in parts])


def baselines(config: ml_collections.ConfigDict) -> retrieval.Rows:
    """The mean pose, and that of the nearest training image."""
    train, test = (open_examples(config, split) for split in ("train", "test"))
    known, asked = (source.gather(np.arange(len(source))) for source in (train, test))
    task = make_task(config, test.spec)
    poses = (known["joints"] - known["center"][:, None]) / UNIT
    poses[:, WRIST + 1 :] -= poses[:, WRIST : WRIST + 1]
    nearest = nearest_images(asked["image"], known["image"])
    mean = np.repeat(poses.mean(axis=0, keepdims=True), len(test), axis=0)
    return {
        "mean pose": retrieval.score(task, test, lambda ids: mean[ids]),
        "nearest training image": retrieval.score(task, test, lambda ids: poses[nearest[ids]]),
    }


def main(arguments: list[str]) -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_flags(parser, ("ae", "vae", "nvc"), (0, 1, 2), "runs/hands_table")
    flags = parser.parse_args(arguments)
    return run_table(
        flags,
        "hands",
        COLUMNS,
        load_config("hands"),
        baselines=baselines,
        methods=METHODS,
        measure=train_and_evaluate,
    )


if __name__ == "__main__":
    sys.exit(cli.run(main))
