"""Clusters in anybody's data: one table of many sets, by the defaults for each kind of data.

    python -m benchmarks.clusters --data=FOLDER
    python -m benchmarks.clusters --data=FOLDER --methods "iris: KMeans" "iris: NebulaClustering"

The folder has files of clusters (`x`, `y` in `*.npz`, `text` and `label` in `*.jsonl.gz`); sets that come with scikit-learn
need none, see benchmarks/cluster_sets.py. Leiden and UMAP need the packages umap-learn, igraph and leidenalg. No method gets a
label; all get the number of classes, but for those that find it: HDBSCAN, Leiden, and `NebulaClustering` where its row says so.
Others than `NebulaClustering` get vectors: pixels as they are, tables scaled as the estimator scales them inside, counts divided
by their sum, log(1 + x), standardized; of more than 100 features the first 50 principal components; of words 100 components of
TF-IDF.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import StandardScaler

from benchmarks.cluster_sets import SETS, Data
from benchmarks.table import Changes, Row
from nvc_jax import NebulaClustering, metrics
from nvc_jax.core.errors import UserError
from nvc_jax.estimator.recipe import scaling_of

MOST_FEATURES, COMPONENTS, TEXT_COMPONENTS = 100, 50, 100
OPTIONS: dict[str, dict[str, Any]] = {
    "images": {},
    "table": {},
    "counts": {"likelihood": "negative_binomial"},
    "words": {"likelihood": "poisson"},
}
"""The estimator's parameters for a kind of data; all others are the defaults."""


def read(name: str, folder: Path) -> Data:
    """A set, from the folder where it needs one.

    Raises:
      UserError: if the set's file is not there.
    """
    try:
        return SETS[name].read(folder)
    except FileNotFoundError as error:
        raise UserError(
            f"There is no {error.filename}: give the folder that has it with --data, or leave the set out "
            "with --methods."
        ) from None


def vectors(x: np.ndarray, kind: str) -> np.ndarray:
    """What methods without a network of their own get, float64 `[N, F]`."""
    rows = x.reshape(len(x), -1).astype(np.float64)
    if kind == "words":
        weighed = TfidfTransformer(sublinear_tf=True).fit_transform(rows)
        return TruncatedSVD(TEXT_COMPONENTS, random_state=0).fit_transform(weighed)
    if kind == "counts":
        size = rows.sum(axis=1, keepdims=True)
        rows = np.log1p(rows / np.maximum(size, 1) * np.median(size))
        rows = StandardScaler().fit_transform(rows)
    if kind == "table":
        rows = scaling_of(rows, "auto").apply(rows).astype(np.float64)
    if rows.shape[1] > MOST_FEATURES:
        rows = PCA(COMPONENTS, random_state=0).fit_transform(rows)
    return rows


class Clusters(NamedTuple):
    """Clusters of all examples, int `[N]`, and how probable each is for its example, where the method tells that."""

    labels: np.ndarray
    confidence: np.ndarray | None = None


def _nebula(x: np.ndarray, kind: str, count: int, seed: int, **options: Any) -> Clusters:
    options = {"n_clusters": count, **OPTIONS[kind], **options}
    model = NebulaClustering(random_state=seed, **options).fit(x)
    return Clusters(model.labels_, model.predict_proba(x).max(axis=1))


def _kmeans(x: np.ndarray, kind: str, count: int, seed: int) -> np.ndarray:
    return KMeans(count, n_init=10, random_state=seed).fit_predict(vectors(x, kind))


def _mixture(x: np.ndarray, kind: str, count: int, seed: int) -> np.ndarray:
    rows = vectors(x, kind)
    model = GaussianMixture(count, reg_covar=1e-3 * rows.var(), random_state=seed)
    return model.fit_predict(rows)


def _hdbscan(x: np.ndarray, kind: str, count: int, seed: int) -> np.ndarray:
    """It finds the number itself; what it calls noise is a cluster of its own."""
    return HDBSCAN(min_cluster_size=max(5, len(x) // 100), copy=True).fit_predict(vectors(x, kind))


def _graph(rows: np.ndarray, seed: int) -> Any:
    """Graph of the 15 nearest neighbors, weighed as by UMAP."""
    from umap.umap_ import fuzzy_simplicial_set  # of the benchmarks alone

    return fuzzy_simplicial_set(rows, 15, np.random.RandomState(seed), "euclidean")[0]


def _leiden(x: np.ndarray, kind: str, count: int, seed: int) -> np.ndarray:
    """Communities of the graph at a resolution of 1, as scanpy does by default: it finds the number itself."""
    import igraph
    import leidenalg

    weights = _graph(vectors(x, kind), seed).tocoo()
    upper = weights.row < weights.col
    pairs = np.stack([weights.row[upper], weights.col[upper]], axis=1)
    graph = igraph.Graph(len(x), pairs.tolist())
    found = leidenalg.find_partition(
        graph,
        leidenalg.RBConfigurationVertexPartition,
        weights=weights.data[upper].tolist(),
        n_iterations=2,
        seed=seed,
    )
    return np.asarray(found.membership)


def _umap(x: np.ndarray, kind: str, count: int, seed: int) -> np.ndarray:
    """A mixture of Gaussians on UMAP's two dimensions, as N2D has on an autoencoder's codes."""
    import umap

    flat = umap.UMAP(n_components=2, n_neighbors=20, min_dist=0.0, random_state=seed, n_jobs=1)
    places = flat.fit_transform(vectors(x, kind))
    return GaussianMixture(count, random_state=seed).fit_predict(places)


METHODS: dict[str, Callable[[np.ndarray, str, int, int], np.ndarray | Clusters]] = {
    "KMeans": _kmeans,
    "GaussianMixture": _mixture,
    "HDBSCAN": _hdbscan,
    "Leiden": _leiden,
    "UMAP, GaussianMixture": _umap,
    "NebulaClustering": _nebula,
    "NebulaClustering, number found": partial(_nebula, n_clusters="auto"),
    "NebulaClustering, equal shares": partial(_nebula, shares="equal"),
    "NebulaClustering, free shares": partial(_nebula, shares="free"),
}
VARIANTS: dict[str, Changes] = {
    f"{data}: {method}": {"data": data, "method": method} for data in SETS for method in METHODS
}
"""Every method on every data set, `DATA: METHOD`."""


def calibration(y: np.ndarray, clusters: np.ndarray, confidence: np.ndarray) -> float:
    """The calibration error of clusters that are named by the classes they match best, one to one."""
    mapping = metrics.fit_mapping(y, clusters, "hungarian")
    right = [mapping.get(cluster) == label for cluster, label in zip(clusters, y, strict=True)]
    return metrics.expected_calibration_error(confidence, right)


def measure(config: Changes, directory: Path | None = None, *, folder: Path = Path()) -> Row:
    """Fits once, with the number of classes; scores the clusters of the examples that were fitted.

    Raises:
      UserError: if the set's file is not in the folder.
    """
    x, y = read(config["data"], folder)
    count, began = len(np.unique(y)), time.perf_counter()
    kind = SETS[config["data"]].kind
    found = METHODS[config["method"]](x, kind, count, config["seed"])
    seconds = time.perf_counter() - began
    clusters, confidence = found if isinstance(found, Clusters) else Clusters(found)
    row: Row = {} if confidence is None else {"calibration": calibration(y, clusters, confidence)}
    return row | {
        "seconds": seconds,
        "ari": metrics.ari(y, clusters),
        "nmi": metrics.nmi(y, clusters),
        "accuracy": metrics.cluster_accuracy(y, clusters),
        "found": len(np.unique(clusters)),
    }


if __name__ == "__main__":
    from benchmarks.grid import main
    from nvc_jax.programs import cli

    sys.exit(cli.run(lambda arguments: main(["clusters", *arguments])))
