"""Full MNIST: NVC, VAE and autoencoder on one network, several seeds, as one table.

Run: python -m benchmarks.mnist --data_dir=FOLDER_WITH_THE_FOUR_FILES --workdir=runs/benchmark

Everything but the loss weights and the number of anchors is that of configs/mnist.py. Runs that are
finished already are not repeated, so the benchmark can be interrupted.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.methods import METHODS
from benchmarks.table import train_to_the_end
from nvc_jax.config import load_config, override
from nvc_jax.evaluation import evaluate
from nvc_jax.training.logging import setup_logging

VARIANTS: dict[str, dict[str, str]] = {
    **METHODS,
    "nvc-k30": {"model.num_anchors": "30"},
    "nvc-unbalanced": {"anchors.balanced": "false"},
    "nvc-no-triplet": {"loss.triplet.value": "0.0"},
    "nvc-augmented-view": {"augment.assign_from": "augmented"},
}
COLUMNS = (
    "cluster_accuracy_hungarian",
    "cluster_accuracy_majority",
    "kmeans_accuracy_hungarian",
    "nmi",
    "anchors_used",
    "squared_error",
    "train_seconds",
)


def run_one(workdir: Path, method: str, seed: int, data: dict[str, str]) -> dict[str, Any]:
    """Trains and evaluates one method, unless that is done already; returns its metrics."""
    record = workdir / "benchmark.json"
    if record.is_file():
        return json.loads(record.read_text())
    config = load_config("mnist")
    for name, value in {**data, **VARIANTS[method], "seed": str(seed)}.items():
        override(config, name, value)
    began = time.perf_counter()
    train_to_the_end(config, workdir)
    seconds = time.perf_counter() - began
    results = {**evaluate(workdir, figures=False)["metrics"], "train_seconds": seconds}
    record.write_text(json.dumps(results))
    return results


def main() -> None:
    """Prints one row for each run, and mean ± standard deviation for each method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--source", default="idx", choices=("idx", "tfds"))
    parser.add_argument("--workdir", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--methods", nargs="+", choices=VARIANTS, default=["nvc", "vae", "ae"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[11, 12, 13])
    flags = parser.parse_args()
    setup_logging()
    data = {"data.source": flags.source, "data.dir": flags.data_dir}
    print("| method | seed | " + " | ".join(COLUMNS) + " |")
    print("|---" * (2 + len(COLUMNS)) + "|")
    for method in flags.methods:
        rows = []
        for seed in flags.seeds:
            metrics = run_one(flags.workdir / f"{method}-{seed}", method, seed, data)
            rows.append([metrics[name] for name in COLUMNS])
            print_row(method, str(seed), [f"{value:.4g}" for value in rows[-1]])
        mean, deviation = np.mean(rows, axis=0), np.std(rows, axis=0)
        cells = [f"{m:.4g} ± {s:.2g}" for m, s in zip(mean, deviation, strict=True)]
        print_row(method, "mean", cells)


def print_row(method: str, seed: str, cells: list[str]) -> None:
    """Prints one line of the table."""
    print(f"| {method} | {seed} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
