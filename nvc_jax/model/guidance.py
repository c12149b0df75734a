"""What somebody knows of clusters: labels of some examples, and pairs that belong together or not.

It decides where anchors are set and which examples are given to which anchor from then on; all other examples
find theirs as ever. On the host, in float64.
"""

import warnings
from typing import NamedTuple

import numpy as np
import scipy  # whose parts are slow to import, and come when they are used

from nvc_jax.core.errors import UserError

UNKNOWN = -1
MOST_ROUNDS = 100
SPREADING = 0.99
"""How much of an example's label is that of its neighbors, as Zhou et al. have it."""
MOST_SPREADING = 300
NO_PAIRS = np.zeros((0, 2), np.int32)


class Guidance(NamedTuple):
    """What is known of some examples.

    Attributes:
      labels: int32 `[N]`, the anchor of an example, or -1.
      must_link: int `[P, 2]`, pairs of examples of one anchor.
      cannot_link: int `[Q, 2]`, pairs of examples of two anchors.
    """

    labels: np.ndarray
    must_link: np.ndarray = NO_PAIRS
    cannot_link: np.ndarray = NO_PAIRS

    def examples(self) -> np.ndarray:
        """Numbers of the examples that something is known of, in order."""
        labeled = np.flatnonzero(self.labels != UNKNOWN)
        return np.unique(
            np.concatenate([labeled, self.must_link.ravel(), self.cannot_link.ravel()])
        )


class Groups(NamedTuple):
    """Examples that must be of one anchor, as one.

    Attributes:
      group: int `[N]`, the group of every example.
      labels: int `[G]`, the anchor of a group, or -1.
      apart: int `[Q, 2]`, pairs of groups of two anchors.
    """

    group: np.ndarray
    labels: np.ndarray
    apart: np.ndarray


def join(guidance: Guidance) -> Groups:
    """Joins the examples that must be together, however many links lie between.

    Raises:
      UserError: if what is known contradicts itself.
    """
    count = len(guidance.labels)
    first, second = guidance.must_link.T
    links = scipy.sparse.coo_array((np.ones(len(first)), (first, second)), (count, count))
    num_groups, group = scipy.sparse.csgraph.connected_components(links, directed=False)
    labels = np.full(num_groups, UNKNOWN)
    np.maximum.at(labels, group, guidance.labels)
    at_odds = (guidance.labels != UNKNOWN) & (labels[group] != guidance.labels)
    if at_odds.any():
        i = int(np.flatnonzero(at_odds)[0])
        raise UserError(
            f"must_link joins examples of labels {guidance.labels[i]} and {labels[group[i]]}, such as example "
            f"{i}: leave one of the two out."
        )
    apart = group[guidance.cannot_link]
    same = (apart[:, 0] == apart[:, 1]) | (
        (labels[apart[:, 0]] != UNKNOWN) & (labels[apart[:, 0]] == labels[apart[:, 1]])
    )
    if same.any():
        i, j = guidance.cannot_link[np.flatnonzero(same)[0]]
        raise UserError(
            f"cannot_link has examples {i} and {j}, which labels or must_link put together: leave one of the two "
            "out."
        )
    return Groups(group, labels, apart)


def guided_centers(codes: np.ndarray, labels: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Anchors that agree with labels: anchor c is the cluster of label c.

    k-means in which labeled examples stay with their anchor, from two beginnings, of which the one with the
    smaller sum of squared distances is taken: the given centers, matched to the labels so that labeled
    examples are near to theirs; and the means of the labels' examples, with the centers that are farthest from
    them for the rest.

    Args:
      codes: `[N, D]`, finite.
      labels: int `[N]`, from 0 to K − 1, or -1.
      centers: `[K, D]`, those found without labels.

    Returns:
      float32 `[K, D]`.

    Reference: Basu, Banerjee and Mooney, "Semi-supervised clustering by seeding", ICML 2002 (constrained
    k-means); Kuhn, "The Hungarian method", 1955.
    """
    codes, centers = np.asarray(codes, np.float64), np.asarray(centers, np.float64)
    labeled = labels != UNKNOWN
    if not labeled.any():
        return centers.astype(np.float32)
    cost = np.zeros((len(centers), len(centers)))
    np.add.at(
        cost, labels[labeled], scipy.spatial.distance.cdist(codes[labeled], centers, "sqeuclidean")
    )
    matched = centers[scipy.optimize.linear_sum_assignment(cost)[1]]
    seeded = matched.copy()
    known = np.unique(labels[labeled])
    for c in known:
        seeded[c] = codes[labels == c].mean(axis=0)
    rest = np.setdiff1d(np.arange(len(centers)), known)
    if len(rest):
        away = scipy.spatial.distance.cdist(centers, seeded[known], "sqeuclidean").min(axis=1)
        seeded[rest] = centers[np.argsort(-away, kind="stable")[: len(rest)]]
    found = [_constrained_kmeans(codes, labels, start) for start in (matched, seeded)]
    return min(found, key=lambda pair: pair[1])[0].astype(np.float32)


def _constrained_kmeans(
    codes: np.ndarray, labels: np.ndarray, centers: np.ndarray
) -> tuple[np.ndarray, float]:
    """Lloyd's rounds in which labeled examples stay; (centers, sum of squared distances)."""
    before, index = None, np.arange(len(codes))
    for _ in range(MOST_ROUNDS):
        squared = scipy.spatial.distance.cdist(codes, centers, "sqeuclidean")
        nearest = np.where(labels != UNKNOWN, labels, squared.argmin(axis=1))
        if before is not None and np.array_equal(nearest, before):
            break
        sums = np.zeros_like(centers)
        np.add.at(sums, nearest, codes)
        counts = np.bincount(nearest, minlength=len(centers))[:, None]
        centers, before = np.where(counts > 0, sums / np.maximum(counts, 1), centers), nearest
    return centers, float(squared[index, nearest].sum())


def spread_labels(labels: np.ndarray, neighbors: np.ndarray) -> np.ndarray:
    """Labels along the graph of neighbors: of every example the one that reaches it most.

    The largest column of `F = (1 − α)·(I − α·D^(−½)·W·D^(−½))^(−1)·Y`, with the one-hot labels Y, W = A + Aᵀ of the neighbors,
    its sums D, and α = 0.99.

    Args:
      labels: int `[N]`, from 0 on, or -1.
      neighbors: int `[N, k]`, numbers of examples.

    Returns:
      int32 `[N]`, -1 where no label leads to.

    Reference: Zhou et al., "Learning with local and global consistency", NeurIPS 2003;
    `sklearn.semi_supervised.LabelSpreading`.
    """
    from sklearn.exceptions import ConvergenceWarning  # slow to import
    from sklearn.semi_supervised import LabelSpreading

    count, k = neighbors.shape
    ends = np.repeat(np.arange(count), k), neighbors.ravel()
    links = scipy.sparse.csr_array((np.ones(count * k), ends), (count, count))
    graph = links + links.T
    model = LabelSpreading(kernel=lambda *_: graph, alpha=SPREADING, max_iter=MOST_SPREADING)
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        model.fit(np.zeros((count, 1)), labels)
    reached = model.label_distributions_.sum(axis=1) > 0
    return np.where(reached, model.transduction_, UNKNOWN).astype(np.int32)


def place_guided(
    codes: np.ndarray, ids: np.ndarray, centers: np.ndarray, guidance: Guidance
) -> np.ndarray:
    """Anchors of the examples that something is known of, as far as they are among the encoded ones.

    Args:
      codes: `[n, D]`, finite.
      ids: int `[n]`, their numbers among all N, in order.
      centers: `[K, D]`.
      guidance: of all N.

    Returns:
      int32 `[N]`, -1 for the others.

    Raises:
      UserError: if what is known contradicts itself.
    """
    known = np.full(len(guidance.labels), UNKNOWN, np.int32)
    some = np.intersect1d(guidance.examples(), ids)
    known[some] = place_examples(codes[np.searchsorted(ids, some)], centers, join(guidance), some)
    return known


def place_examples(
    codes: np.ndarray, centers: np.ndarray, groups: Groups, ids: np.ndarray
) -> np.ndarray:
    """Anchors of the examples that something is known of.

    A group goes to its label, or to the anchor with the least sum of squared distances that no group has which it
    must be apart from; the groups that lose most by a second choice come first.

    Args:
      codes: `[n, D]`, of the examples that something is known of.
      centers: `[K, D]`.
      groups: of all N examples.
      ids: int `[n]`, their numbers.

    Returns:
      int32 `[n]`.

    Raises:
      UserError: if there is no anchor left for a group.

    Reference: Wagstaff et al., "Constrained k-means clustering with background knowledge", ICML 2001.
    """
    squared = scipy.spatial.distance.cdist(np.asarray(codes, np.float64), centers, "sqeuclidean")
    names, member = np.unique(groups.group[ids], return_inverse=True)
    cost = np.zeros((len(names), len(centers)))
    np.add.at(cost, member, squared)
    given = groups.labels[names]
    apart: list[list[int]] = [[] for _ in names]
    both = np.isin(groups.apart, names).all(axis=1)
    for i, j in np.searchsorted(names, groups.apart[both]):
        apart[i].append(j)
        apart[j].append(i)
    best = np.partition(cost, min(1, len(centers) - 1), axis=1)
    regret = best[:, min(1, len(centers) - 1)] - best[:, 0]
    anchor = given.copy()
    for g in np.lexsort((-regret, given == UNKNOWN)):
        taken = [anchor[other] for other in apart[g] if anchor[other] != UNKNOWN]
        allowed = cost[g].copy()
        allowed[taken] = np.inf
        if anchor[g] == UNKNOWN:
            anchor[g] = int(allowed.argmin())
        if not np.isfinite(allowed[anchor[g]]):
            raise UserError(
                f"cannot_link leaves no cluster of {len(centers)} for example {ids[member == g][0]}: leave out some "
                "pairs, or ask for more clusters."
            )
    return anchor[member].astype(np.int32)
