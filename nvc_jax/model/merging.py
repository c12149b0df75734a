"""Clusters by the edges between them, in the graph of nearest neighbors: merged, and told which are better.

On the host, in float64.
"""

from typing import NamedTuple

import numpy as np


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


def links_between(links: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Weights between groups of clusters, `[K, K]`, as of `cluster_links`.

    Args:
      links: `[M, M]`, of the clusters.
      groups: int `[M]`, the group of each, from 0 to K − 1, none without one.
    """
    member = np.eye(int(groups.max()) + 1)[groups]
    return member.T @ links @ member


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
    return float(code_lengths(visits - np.diag(links), visits))


def code_lengths(leaves: np.ndarray, visits: np.ndarray) -> np.ndarray:
    """`code_length` of many ways to cluster, `[...]`.

    Args:
      leaves: q_i of each, `[..., K]`; below 0 by rounding counts as 0.
      visits: v_i of each, `[..., K]`; a cluster of 0 and 0 tells nothing.
    """
    q = np.maximum(leaves, 0.0)
    return _x_log_x(q.sum(axis=-1)) + (_x_log_x(q + visits) - 2.0 * _x_log_x(q)).sum(axis=-1)


def _x_log_x(x: np.ndarray) -> np.ndarray:
    return x * np.log2(np.where(x > 0, x, 1.0))
