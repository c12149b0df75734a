"""A few labels: what they are worth to `NebulaClustering`, and to other ways of using them.

    python -m benchmarks.grid labels --data=FOLDER

Of every class so many examples, drawn at random, have their label; all methods get the same ones. Others learn from the codes of an
autoencoder, which is the estimator's own network with one anchor, no triplet term and next to no KL. Scores are of the
examples without a label.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

from benchmarks.cluster_sets import SETS
from benchmarks.clusters import OPTIONS, read
from benchmarks.table import Changes, Row
from nvc_jax import NebulaClustering

UNKNOWN = -1
COUNTS = (1, 5, 10)
DATA = ("digits", "digits, as images", "cells_pbmc", "cells_worm", "cells_kidney")
AUTOENCODER: dict[str, Any] = {
    "n_clusters": 1,
    "triplet_weight": 0.0,
    "reconstruction_weight": 1000.0,
}


def some_labels(y: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Labels of `count` examples of every class, at random, `UNKNOWN` elsewhere."""
    draw, labels = np.random.default_rng(seed), np.full(len(y), UNKNOWN)
    for label in np.unique(y):
        chosen = draw.permutation(np.flatnonzero(y == label))[:count]
        labels[chosen] = label
    return labels


def _nebula(x: np.ndarray, kind: str, labels: np.ndarray, seed: int) -> np.ndarray:
    model = NebulaClustering(labels.max() + 1, random_state=seed, **OPTIONS[kind])
    return model.fit(x, labels=labels).labels_


def _on_codes(
    x: np.ndarray, kind: str, labels: np.ndarray, seed: int, *, learner: Callable[[], Any]
) -> np.ndarray:
    """What a learner of labeled and unlabeled examples predicts from the codes of an autoencoder."""
    autoencoder = NebulaClustering(**AUTOENCODER, random_state=seed, **OPTIONS[kind])
    codes = autoencoder.fit_transform(x)
    return make_pipeline(StandardScaler(), learner()).fit(codes, labels).predict(codes)


METHODS: dict[str, Callable[[np.ndarray, str, np.ndarray, int], np.ndarray]] = {
    "NebulaClustering": _nebula,
    "self-training": partial(
        _on_codes, learner=lambda: SelfTrainingClassifier(LogisticRegression(max_iter=1000))
    ),
    "label spreading": partial(
        _on_codes, learner=lambda: LabelSpreading(kernel="knn", n_neighbors=10)
    ),
}
VARIANTS: dict[str, Changes] = {
    f"{data}: {count}: {method}": {"data": data, "count": count, "method": method}
    for data in DATA
    for count in COUNTS
    for method in METHODS
}
"""Every method on every data set with so many labels a class, `DATA: COUNT: METHOD`."""


def measure(config: Changes, directory: Path | None = None, *, folder: Path = Path()) -> Row:
    """Fits once, and scores the examples whose label was not given.

    Raises:
      UserError: if the set's file is not in the folder.
    """
    x, y = read(config["data"], folder)
    labels, began = some_labels(y, config["count"], config["seed"]), time.perf_counter()
    found = METHODS[config["method"]](x, SETS[config["data"]].kind, labels, config["seed"])
    rest = labels == UNKNOWN
    return {
        "seconds": time.perf_counter() - began,
        "accuracy": np.mean(found[rest] == y[rest]),
    }
