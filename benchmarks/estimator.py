"""`NebulaClustering` beside k-means and mixtures of Gaussians on what comes with scikit-learn.

Run: python -m benchmarks.estimator [--data digits iris …] [--seeds 0 1 2]

All methods get the number of classes, and the same examples without labels; k-means and the mixture get
the features scaled as the estimator scales them inside. Labels are for scoring alone: of the clusters of
the examples that were fitted, as is usual for clustering. The time is that of `fit`, compilation
included, which only the first seed pays for.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture

from nvc_jax import NebulaClustering, metrics
from nvc_jax.estimator.recipe import scaling_of

Data = tuple[np.ndarray, np.ndarray]

DATA: dict[str, Callable[[], Data]] = {
    "digits": lambda: datasets.load_digits(return_X_y=True),
    "digits, as images": lambda: _images(),
    "digits, uneven": lambda: _uneven(),
    "blobs": lambda: datasets.make_blobs(500, centers=3, random_state=170)[:2],
    "moons": lambda: datasets.make_moons(500, noise=0.05, random_state=0),
    "circles": lambda: datasets.make_circles(500, factor=0.5, noise=0.05, random_state=0),
    "iris": lambda: datasets.load_iris(return_X_y=True),
    "wine": lambda: datasets.load_wine(return_X_y=True),
}


def _images() -> Data:
    """Digits `[N, 8, 8]`."""
    x, y = datasets.load_digits(return_X_y=True)
    return x.reshape(-1, 8, 8), y


def _uneven() -> Data:
    """Of every digit 0.65 times as many as of the one before, at least 12, at random: 178 zeros, 12 nines."""
    x, y = datasets.load_digits(return_X_y=True)
    draw = np.random.default_rng(0)
    some = [
        draw.permutation(np.flatnonzero(y == c))[: max(12, int(178 * 0.65**c))] for c in range(10)
    ]
    kept = np.concatenate(some)
    return x[kept], y[kept]


def _nebula(x: np.ndarray, count: int, seed: int, **options: Any) -> np.ndarray:
    return NebulaClustering(count, random_state=seed, **options).fit_predict(x)


def _kmeans(x: np.ndarray, count: int, seed: int) -> np.ndarray:
    return KMeans(count, n_init=10, random_state=seed).fit_predict(scaled(x))


def _mixture(x: np.ndarray, count: int, seed: int) -> np.ndarray:
    # A little more on the diagonal than by default: pixels that never vary have no variance.
    model = GaussianMixture(count, n_init=3, reg_covar=1e-3, random_state=seed)
    return model.fit_predict(scaled(x))


def scaled(x: np.ndarray) -> np.ndarray:
    """Rows, scaled as the estimator does."""
    rows = x.reshape(len(x), -1)
    return scaling_of(rows, "auto").apply(rows).astype(np.float64)


METHODS: dict[str, Callable[[np.ndarray, int, int], np.ndarray]] = {
    "NebulaClustering": _nebula,
    "NebulaClustering, balanced=False": partial(_nebula, balanced=False),
    "KMeans": _kmeans,
    "GaussianMixture": _mixture,
}


def measure(method: str, x: np.ndarray, y: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Fits once.

    Returns:
      (adjusted Rand index, accuracy under the best one-to-one mapping, seconds).
    """
    began = time.perf_counter()
    clusters = METHODS[method](x, len(np.unique(y)), seed)
    seconds = time.perf_counter() - began
    return metrics.ari(y, clusters), metrics.cluster_accuracy(y, clusters), seconds


def row(name: str, method: str, runs: list[tuple[float, float, float]]) -> str:
    """One line of the table: means and standard deviations over seeds, and the seconds of each."""
    rand, accuracy, seconds = np.array(runs).T
    times = ", ".join(f"{value:.1f}" for value in seconds)
    cells: list[Any] = [name, method]
    cells += [f"{values.mean():.3f} ± {values.std():.3f}" for values in (rand, accuracy)]
    return "| " + " | ".join([*cells, times]) + " |"


def parse_flags(
    description: str | None, data: Iterable[str], methods: Iterable[str]
) -> argparse.Namespace:
    """Which data, methods and seeds a table is to have: all of them and three by default."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", choices=list(data), default=list(data))
    parser.add_argument("--methods", nargs="+", choices=list(methods), default=list(methods))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    return parser.parse_args()


def main() -> None:
    """Prints the table."""
    flags = parse_flags(__doc__, DATA, METHODS)
    print("| data | method | adjusted Rand index | Hungarian accuracy | seconds of each seed |")
    print("|---|---|---:|---:|---|")
    for name in flags.data:
        x, y = DATA[name]()
        for method in flags.methods:
            print(row(name, method, [measure(method, x, y, s) for s in flags.seeds]), flush=True)


if __name__ == "__main__":
    main()
