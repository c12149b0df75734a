"""`NebulaClustering` beside k-means and mixtures of Gaussians on what comes with scikit-learn.

All methods get the same examples without labels; k-means and the mixture get the features scaled as the estimator
scales them inside. Labels are for scoring alone.
"""

import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture

from benchmarks.table import Changes, Row
from nvc_jax import NebulaClustering, metrics
from nvc_jax.estimator.recipe import scaling_of

Data = tuple[np.ndarray, np.ndarray]

DATA: dict[str, Callable[[], Data]] = {
    "digits": lambda: datasets.load_digits(return_X_y=True),
    "digits, as images": lambda: _images(),
    "digits, uneven": lambda: _uneven(),
    "blobs": lambda: datasets.make_blobs(500, centers=3, random_state=170)[:2],
    "blobs, one of 60 %": lambda: datasets.make_blobs(
        [1200, 200, 200, 200, 200], n_features=10, random_state=0
    )[:2],
    "breast cancer": lambda: datasets.load_breast_cancer(return_X_y=True),
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


def scaled(x: np.ndarray) -> np.ndarray:
    """Rows, scaled as the estimator does."""
    rows = x.reshape(len(x), -1)
    return scaling_of(rows, "auto").apply(rows).astype(np.float64)


def _nebula(x: np.ndarray, count: int, seed: int, **options: Any) -> np.ndarray:
    return NebulaClustering(count, random_state=seed, **options).fit_predict(x)


def _kmeans(x: np.ndarray, count: int, seed: int) -> np.ndarray:
    return KMeans(count, n_init=10, random_state=seed).fit_predict(scaled(x))


def _mixture(x: np.ndarray, count: int, seed: int) -> np.ndarray:
    # A little more on the diagonal than by default: pixels that never vary have no variance.
    model = GaussianMixture(count, n_init=3, reg_covar=1e-3, random_state=seed)
    return model.fit_predict(scaled(x))


METHODS: dict[str, Callable[[np.ndarray, int, int], np.ndarray]] = {
    "NebulaClustering": _nebula,
    "NebulaClustering, equal shares": partial(_nebula, shares="equal", neighbors=0),
    "NebulaClustering, free shares": partial(_nebula, shares="free", neighbors=0),
    "KMeans": _kmeans,
    "GaussianMixture": _mixture,
}


def variants(data: Iterable[str], methods: Iterable[str]) -> dict[str, Changes]:
    """Every method on every data set, `DATA: METHOD`."""
    return {f"{d}: {m}": {"data": d, "method": m} for d in data for m in methods}


def measure(config: Changes, directory: Path | None = None) -> Row:
    """Fits once, with the number of classes; scores the clusters of the examples that were fitted.

    The time is that of fitting, compilation included, which only the first seed pays for.
    """
    x, y = DATA[config["data"]]()
    began = time.perf_counter()
    clusters = METHODS[config["method"]](x, len(np.unique(y)), config["seed"])
    seconds = time.perf_counter() - began
    accuracy = metrics.cluster_accuracy(y, clusters)
    return {"seconds": seconds, "ari": metrics.ari(y, clusters), "accuracy": accuracy}
