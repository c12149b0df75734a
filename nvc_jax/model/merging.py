"""Clusters of any size: many small ones, merged along the graph of nearest neighbors.

k-means cuts a large cluster into two before it finds a small one. Many small clusters cut nothing that
matters, and the edges between them tell which belong together. How many small ones are best differs from
data to data, so several numbers are tried, and the graph says which to take. On the host, in float64.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

SMALL_CLUSTERS = (50, 100, 200, 300)
"""Numbers of small clusters to begin with, each at least five for every anchor."""
FEWEST_EXAMPLES = 5
"""Examples of a small cluster, on the mean, at least."""
CLEARLY = 0.015
"""By how much the modularity of merged clusters has to be above that of others to be taken, as a share of the most
that it can be for so many clusters."""


def small_cluster_numbers(num_examples: int, num_clusters: int) -> list[int]:
    """Numbers of small clusters to try, none below that of the clusters to find.

    Example:
      >>> small_cluster_numbers(1000, 30)
      [150, 200]
    """
    most = num_examples // FEWEST_EXAMPLES
    wanted = (max(number, 5 * num_clusters) for number in SMALL_CLUSTERS)
    return sorted({max(min(number, most), num_clusters) for number in wanted})


def cluster_links(assignment: np.ndarray, neighbors: np.ndarray, count: int) -> np.ndarray:
    """Weights between clusters: shares of the graph's edges that go from one to the other.

    Args:
      assignment: int `[N]`, from 0 to `count` − 1.
      neighbors: int `[N, k]`, numbers of others that each example has an edge to.
      count: M, number of clusters.

    Returns:
      float64 `[M, M]`, symmetric, of sum 1; edges within a cluster lie on the diagonal.

    Example:
      >>> cluster_links(np.array([0, 0, 1]), np.array([[1], [0], [0]]), 2).round(3).tolist()
      [[0.667, 0.167], [0.167, 0.0]]
    """
    theirs = assignment[neighbors]
    edges = assignment[:, None] * count + theirs
    links = np.bincount(edges.ravel(), minlength=count * count).reshape(count, count)
    return (links + links.T) / (2.0 * theirs.size)


def merge_linked(links: np.ndarray, num_clusters: int) -> np.ndarray:
    """Merges the two most linked clusters until so many are left.

    The link of i and j is `w_ij / (v_i·v_j)` with `v_i = Σ_j w_ij`: how many times more edges go between them
    than by chance. Merged clusters have the sums of weights.

    Args:
      links: `[M, M]`, symmetric, not negative, as of `cluster_links`.
      num_clusters: K, from 1 to M.

    Returns:
      int `[M]`, the merged cluster of each, from 0 to K − 1.

    Example:
      >>> merge_linked(np.array([[0.3, 0.0, 0.1], [0.0, 0.3, 0.0], [0.1, 0.0, 0.2]]), 2).tolist()
      [0, 1, 0]
    """
    links = np.array(links, np.float64)
    volume, merged = links.sum(axis=1), np.arange(len(links))
    weight = links / np.maximum(np.outer(volume, volume), _TINY)
    np.fill_diagonal(weight, -1.0)
    for _ in range(len(links) - num_clusters):
        i, j = sorted(np.unravel_index(weight.argmax(), weight.shape))
        links[i] += links[j]
        links[:, i] += links[:, j]
        volume[i] += volume[j]
        merged[merged == j] = i
        row = links[i] / np.maximum(volume[i] * volume, _TINY)
        gone = (merged != np.arange(len(links))) | (np.arange(len(links)) == i)
        row[gone] = -1.0
        weight[i], weight[:, i], weight[j], weight[:, j] = row, row, -1.0, -1.0
    return np.unique(merged, return_inverse=True)[1]


_TINY = np.finfo(np.float64).tiny


class Cohesion(NamedTuple):
    """How well a partition of a graph's nodes keeps its edges together.

    Attributes:
      modularity: share of the edges that lie within a cluster, above that by chance; below 1 − 1/K.
      purity: the same over the most that it can be for these sizes of clusters, up to 1.
    """

    modularity: float
    purity: float


def cohesion(links: np.ndarray) -> Cohesion:
    """`Q = Σ_i (w_ii − v_i²)` and `Q / (1 − Σ_i v_i²)`, with `v_i = Σ_j w_ij`.

    The first prefers clusters of one size, the second few large ones: what is better in both is better.

    Args:
      links: `[K, K]`, as of `cluster_links`.

    Reference: Newman, "Modularity and community structure in networks", PNAS 2006.
    """
    chance = float(np.square(links.sum(axis=1)).sum())
    modularity = float(np.trace(links)) - chance
    return Cohesion(modularity, modularity / max(1.0 - chance, _TINY))


def code_length(links: np.ndarray) -> float:
    """Bits a step that tell where a walk along the edges is, without what is the same for all clusters: the map equation.

    With v_i the share of edge ends in cluster i and `q_i = v_i − w_ii` that of edges which leave it,
    `L = q log q − 2 Σ q_i log q_i + Σ (q_i + v_i) log(q_i + v_i)` with `q = Σ q_i`. Of two ways to cluster the
    nodes of one graph, the one with the shorter code tells more of its edges.

    Args:
      links: `[K, K]`, as of `cluster_links`.

    Returns:
      L less the entropy of the nodes' own visits, in bits; below 0 where clusters are told.

    Reference: Rosvall, Axelsson and Bergstrom, "The map equation", Eur. Phys. J. Special Topics 2009, equation 4.
    """
    visits = links.sum(axis=1)
    leaves = np.maximum(visits - np.diag(links), 0.0)
    return float(
        _x_log_x(leaves.sum()) - 2.0 * _x_log_x(leaves).sum() + _x_log_x(leaves + visits).sum()
    )


def _x_log_x(x: np.ndarray) -> np.ndarray:
    return x * np.log2(np.where(x > 0, x, 1.0))


class _Linked(NamedTuple):
    """Clusters of all examples, int `[N]`, and the links between them."""

    clusters: np.ndarray
    links: np.ndarray


def better_merged(
    spaces: Iterable[Iterable[np.ndarray]],
    other: np.ndarray,
    neighbors: np.ndarray,
    num_clusters: int,
) -> tuple[np.ndarray | None, tuple[Cohesion, Cohesion]]:
    """Merged clusters, if they keep clearly more edges together than others, by both measures.

    Of the clusters of one space those with the shortest code are meant. Between spaces, whose clusters differ more in
    size, the shortest code is often that of the most even sizes, and the purest are meant.

    Args:
      spaces: of each space small clusters to merge, int `[N]` each, K of them at least.
      other: int `[N]`, the clusters to compare with, from 0 to K − 1.
      neighbors: int `[N, k]`.
      num_clusters: K.

    Returns:
      (int32 `[N]` or None; cohesion of the merged and of the other ones).
    """

    def linked(clusters: np.ndarray) -> _Linked:
        return _Linked(clusters, cluster_links(clusters, neighbors, num_clusters))

    def merged_of(small: np.ndarray) -> _Linked:
        links = cluster_links(small, neighbors, int(small.max()) + 1)
        return linked(merge_linked(links, num_clusters)[small].astype(np.int32))

    best = [min(map(merged_of, smalls), key=lambda c: code_length(c.links)) for smalls in spaces]
    merged, links = max(best, key=lambda c: cohesion(c.links).purity)
    one, two = cohesion(links), cohesion(linked(other).links)
    clearly = CLEARLY * (1.0 - 1.0 / num_clusters)
    better = one.modularity > two.modularity + clearly and one.purity > two.purity
    return (merged if better else None), (one, two)
