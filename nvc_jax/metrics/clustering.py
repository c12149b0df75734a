"""How well clusters match classes, and how healthy an embedding is: NumPy, SciPy and scikit-learn.

Every function runs on the host and takes anything `numpy.asarray` takes. Labels are compared as they are
given: a data set that marks unlabelled examples (with -1, say) must drop them before the call, or
they count as a class of their own.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.metrics import (
    adjusted_rand_score,
    normalized_mutual_info_score,
    silhouette_score,
)
from sklearn.metrics.cluster import contingency_matrix
from sklearn.neighbors import KNeighborsClassifier

from nvc_jax.core.errors import UserError
from nvc_jax.core.threads import one_thread

Id = int | str
MappingKind = Literal["hungarian", "majority"]
AverageMethod = Literal["arithmetic", "geometric", "min", "max"]


class Silhouette(NamedTuple):
    """A silhouette in [-1, 1], or None and the reason why there is none."""

    value: float | None
    reason: str | None


def fit_mapping(
    labels: ArrayLike, clusters: ArrayLike, kind: MappingKind = "hungarian"
) -> dict[Id, Id]:
    """Find the class that each cluster stands for.

    `hungarian` is the one-to-one mapping π that maximizes Σ 1[label = π(cluster)]. With more clusters
    than classes the clusters left over have no entry, and neither has a cluster whose only partner
    would be a class it shares no example with. `majority` gives each cluster its commonest
    class, the smallest of them where several are equally common.

    The two part ways when there are more clusters than classes: 30 pure clusters of equal size over 10
    classes score 1/3 with `hungarian` and 1 with `majority`. Report both, and the number of clusters.

    Args:
      labels: class ids [N], integers or strings.
      clusters: cluster ids [N], integers or strings. Any values, any number of distinct ones.
      kind: "hungarian" or "majority".

    Returns:
      Cluster id to class id, both plain `int` or `str`.

    Raises:
      UserError: empty input, unequal lengths, ids that are neither integers nor strings, or an unknown
        kind.

    Example:
      >>> fit_mapping(["cat", "cat", "dog", "dog"], [5, 5, 9, 5])
      {5: 'cat', 9: 'dog'}
    """
    labels, clusters = _pair(labels, clusters)
    classes, groups = np.unique(labels), np.unique(clusters)
    counts = contingency_matrix(clusters, labels)
    if kind == "hungarian":
        rows, columns = linear_sum_assignment(counts, maximize=True)
        shared = counts[rows, columns] > 0
        rows, columns = rows[shared], columns[shared]
    elif kind == "majority":
        rows, columns = np.arange(len(groups)), counts.argmax(axis=1)
    else:
        raise UserError(
            f'Unknown mapping {kind!r}: expected "hungarian", "majority" or a fitted mapping '
            "of cluster ids to class ids."
        )
    return dict(zip(groups[rows].tolist(), classes[columns].tolist(), strict=True))


def cluster_accuracy(
    labels: ArrayLike,
    clusters: ArrayLike,
    mapping: MappingKind | Mapping[Id, Id] = "hungarian",
) -> float:
    """Share of examples whose cluster stands for their class.

    (1/N) Σ 1[label = π(cluster)], where π is fitted on these examples, or given. An example in a cluster
    that π does not name counts as wrong.

    Args:
      labels: class ids [N], integers or strings.
      clusters: cluster ids [N], integers or strings.
      mapping: "hungarian" or "majority" (see `fit_mapping`), or the π that `fit_mapping` returned for
        another split.

    Returns:
      Accuracy in [0, 1].

    Raises:
      UserError: as `fit_mapping`; or a given mapping names clusters by strings where `clusters` are
        integers, or the other way round (JSON turns integer keys into strings).

    Example:
      >>> cluster_accuracy([0, 0, 1, 1], [5, 5, 9, 5])
      0.75

    Reference:
      Xie, Girshick, Farhadi. Unsupervised Deep Embedding for Clustering Analysis. ICML 2016.
    """
    labels, clusters = _pair(labels, clusters)
    if not isinstance(mapping, Mapping):
        mapping = fit_mapping(labels, clusters, mapping)
    _check_same_kind(mapping.keys(), clusters, "clusters")
    _check_same_kind(mapping.values(), labels, "labels")
    pairs = zip(labels.tolist(), clusters.tolist(), strict=True)
    return float(np.mean([mapping.get(cluster) == label for label, cluster in pairs]))


def nmi(
    labels: ArrayLike, clusters: ArrayLike, average_method: AverageMethod = "arithmetic"
) -> float:
    """Normalized mutual information, I(labels; clusters) / average(H(labels), H(clusters)).

    Papers differ in the average (libraries have changed their default too), so quote it with the number.
    All examples in one cluster gives 0, or 1 when they are also all of one class.

    Args:
      labels: class ids [N], integers or strings.
      clusters: cluster ids [N], integers or strings.
      average_method: "arithmetic", "geometric", "min" or "max".

    Returns:
      NMI in [0, 1].

    Raises:
      UserError: empty input, unequal lengths, ids that are neither integers nor strings, or an unknown
        average.

    Example:
      >>> nmi(["cat", "cat", "dog", "dog"], [1, 1, 0, 0])
      1.0
    """
    methods = ("arithmetic", "geometric", "min", "max")
    if average_method not in methods:
        raise UserError(
            f"Unknown average_method {average_method!r}: expected one of {', '.join(methods)}."
        )
    label_index, group_index = _indices(labels, clusters)
    value = normalized_mutual_info_score(label_index, group_index, average_method=average_method)
    return float(np.clip(value, 0.0, 1.0))


def ari(labels: ArrayLike, clusters: ArrayLike) -> float:
    """Adjusted Rand index: agreement on pairs, 0 expected by chance and 1 for equal partitions.

    Args:
      labels: class ids [N], integers or strings.
      clusters: cluster ids [N], integers or strings.

    Returns:
      ARI in [-0.5, 1].

    Raises:
      UserError: empty input, unequal lengths, or ids that are neither integers nor strings.
    """
    return float(adjusted_rand_score(*_indices(labels, clusters)))


def silhouette(
    x: ArrayLike, clusters: ArrayLike, max_points: int = 5000, seed: int = 0
) -> Silhouette:
    """Mean silhouette (b - a) / max(a, b) with Euclidean distances, or the reason why there is none.

    a is an example's mean distance to its own cluster and b that to the nearest other one. A collapsed
    clustering is a finding to report, not a crash: it gives None and a reason.

    Args:
      x: embedding [N, D].
      clusters: cluster ids [N], integers or strings.
      max_points: the cost grows with N², so larger sets are cut to a random subset of this size.
      seed: of the random subset.

    Returns:
      Silhouette(value, reason): exactly one of the two is None.

    Raises:
      UserError: empty input, unequal lengths, or x is not a matrix.
    """
    x, clusters = _matrix(x, "x"), _ids(clusters, "clusters")
    _check_same_length(x=x, clusters=clusters)
    if len(x) > max_points:
        chosen = np.random.default_rng(seed).choice(len(x), max_points, replace=False)
        x, clusters = x[chosen], clusters[chosen]
    if not np.isfinite(x).all():
        return Silhouette(None, "the embedding has values that are not finite")
    groups, group_index = np.unique(clusters, return_inverse=True)
    if len(groups) < 2:
        return Silhouette(None, f"all {len(x)} examples are in one cluster ({groups[0]})")
    if len(groups) == len(x):
        return Silhouette(None, f"each of the {len(x)} examples is a cluster of its own")
    # scikit-learn expands (x - y)², which is inexact far from the origin.
    value = silhouette_score(x - x.mean(axis=0), group_index)
    return Silhouette(float(value), None)


def knn_accuracy(
    train_x: ArrayLike,
    train_labels: ArrayLike,
    test_x: ArrayLike,
    test_labels: ArrayLike,
    num_neighbors: int = 5,
) -> float:
    """Accuracy of a k-nearest-neighbor classifier: neighbors from `train`, examples scored from `test`.

    Euclidean distance, equal votes, ties to the smallest class. No example of `test` is ever a
    neighbor.

    Args:
      train_x: embedding [N, D] that neighbors are looked up in.
      train_labels: class ids [N], integers or strings.
      test_x: embedding [M, D] of the examples that are classified.
      test_labels: class ids [M], used only to score.
      num_neighbors: neighbors that vote, 1 to N.

    Returns:
      Accuracy on `test` in [0, 1].

    Raises:
      UserError: empty input, unequal lengths or widths, values that are not finite, or num_neighbors
        out of range.
    """
    train_x, test_x = _finite_matrix(train_x, "train_x"), _finite_matrix(test_x, "test_x")
    train_labels, test_labels = _ids(train_labels, "train_labels"), _ids(test_labels, "test_labels")
    _check_same_length(train_x=train_x, train_labels=train_labels)
    _check_same_length(test_x=test_x, test_labels=test_labels)
    _check_same_width(train_x=train_x, test_x=test_x)
    if not 1 <= num_neighbors <= len(train_x):
        raise UserError(
            f"num_neighbors must be between 1 and the {len(train_x)} training examples, "
            f"got {num_neighbors}."
        )
    # Brute force in blocks beats trees even at 10 dimensions.
    classifier = KNeighborsClassifier(num_neighbors, algorithm="brute")
    # scikit-learn expands (x - y)², which is inexact far from the origin.
    center = train_x.mean(axis=0)
    classifier.fit(train_x - center, train_labels)
    return float(np.mean(classifier.predict(test_x - center) == test_labels))


def kmeans_accuracy(
    fit_x: ArrayLike,
    test_x: ArrayLike,
    test_labels: ArrayLike,
    num_clusters: int,
    seed: int = 0,
    mapping: MappingKind = "hungarian",
    num_restarts: int = 10,
) -> float:
    """Cluster accuracy of k-means: centers from `fit_x` without labels, clusters and score from `test`.

    Only the naming of the clusters (see `fit_mapping`) looks at the test labels.

    Args:
      fit_x: embedding [N, D] that k-means is fitted on.
      test_x: embedding [M, D], each example given to its nearest center. May be `fit_x` itself.
      test_labels: class ids [M], integers or strings.
      num_clusters: number of centers, 1 to N.
      seed: of the initial centers.
      mapping: "hungarian" or "majority".
      num_restarts: initializations tried; the fit with the lowest inertia is kept.

    Returns:
      Accuracy on `test` in [0, 1].

    Raises:
      UserError: empty input, unequal lengths or widths, values that are not finite, or num_clusters
        out of range.
    """
    fit_x, test_x = _finite_matrix(fit_x, "fit_x"), _finite_matrix(test_x, "test_x")
    _check_same_width(fit_x=fit_x, test_x=test_x)
    if not 1 <= num_clusters <= len(fit_x):
        raise UserError(
            f"num_clusters must be between 1 and the {len(fit_x)} examples of fit_x, "
            f"got {num_clusters}."
        )
    kmeans = KMeans(num_clusters, n_init=num_restarts, random_state=seed)
    with one_thread():
        kmeans.fit(fit_x)
    return cluster_accuracy(test_labels, kmeans.predict(test_x), mapping)


def active_units(mean: ArrayLike, threshold: float = 0.01) -> int:
    """Count the latent dimensions that the data moves: Var_x(mean_d) > threshold.

    Args:
      mean: posterior means [N, D].
      threshold: variance above which a dimension is active. The variance is the population's (over N).

    Returns:
      A count between 0 and D. A dimension with values that are not finite is not active.

    Raises:
      UserError: empty input, or mean is not a matrix.

    Reference:
      Burda, Grosse, Salakhutdinov. Importance Weighted Autoencoders. ICLR 2016.
    """
    with np.errstate(invalid="ignore"):
        variance = _matrix(mean, "mean").var(axis=0)
    return int(np.sum(variance > threshold))


def _ids(values: ArrayLike, name: str) -> NDArray:
    """Return ids as a vector of integers or strings."""
    ids = np.asarray(values)
    if ids.dtype == object and all(isinstance(value, str) for value in ids.ravel()):
        ids = ids.astype(str)
    if ids.ndim != 1:
        raise UserError(f"{name} must be a vector of ids [N], got the shape {ids.shape}.")
    if not len(ids):
        raise UserError(f"{name} is empty: a metric needs at least one example.")
    if ids.dtype.kind not in "biuUT":
        raise UserError(f"{name} must be integers or strings, got {ids.dtype}.")
    return ids


def _matrix(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return an embedding in float64 with at least one row."""
    x = np.asarray(values).astype(np.float64)
    if x.ndim != 2 or not x.size:
        raise UserError(f"{name} must be a non-empty matrix [N, D], got the shape {x.shape}.")
    return x


def _finite_matrix(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return an embedding whose values are all finite."""
    x = _matrix(values, name)
    if not np.isfinite(x).all():
        raise UserError(f"{name} has values that are not finite: has the training diverged?")
    return x


def _pair(labels: ArrayLike, clusters: ArrayLike) -> tuple[NDArray, NDArray]:
    """Return both vectors of ids, of one length."""
    labels, clusters = _ids(labels, "labels"), _ids(clusters, "clusters")
    _check_same_length(labels=labels, clusters=clusters)
    return labels, clusters


def _indices(labels: ArrayLike, clusters: ArrayLike) -> tuple[NDArray, NDArray]:
    """Number the distinct ids of both vectors from 0."""
    labels, clusters = _pair(labels, clusters)
    return np.unique(labels, return_inverse=True)[1], np.unique(clusters, return_inverse=True)[1]


def _check_same_length(**arrays: NDArray) -> None:
    """Raise unless the arrays have equally many rows."""
    if len({len(array) for array in arrays.values()}) > 1:
        sizes = " and ".join(f"{name} has {len(array)}" for name, array in arrays.items())
        raise UserError(f"There must be one id per example, but {sizes}.")


def _check_same_width(**arrays: NDArray) -> None:
    """Raise unless the matrices have equally many columns."""
    if len({array.shape[1] for array in arrays.values()}) > 1:
        sizes = " and ".join(f"{name} has {array.shape[1]}" for name, array in arrays.items())
        raise UserError(f"Both embeddings must have the same number of columns, but {sizes}.")


def _check_same_kind(mapped: object, ids: NDArray, name: str) -> None:
    """Raise when a mapping speaks of strings and the ids are integers, or the other way round."""
    strings = [isinstance(value, str) for value in mapped]  # type: ignore[attr-defined]
    given = "strings" if any(strings) else "integers"
    expected = "strings" if ids.dtype.kind in "UT" else "integers"
    if strings and given != expected:
        raise UserError(
            f"The mapping names {name} by {given} but {name} holds {expected}: convert its keys "
            "and values, for JSON turns integer keys into strings."
        )
