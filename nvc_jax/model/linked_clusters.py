"""Clusters of any size: many small ones, merged along the graph of nearest neighbors, and regrouped.

k-means cuts a large cluster into two before it finds a small one. Many small clusters cut nothing that
matters, and the edges between them tell which belong together. How many small ones are best differs from
data to data, so several numbers are tried, and the graph says which to take. On the host, in float64.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import scipy  # whose parts are slow to import, and come when they are used

from nvc_jax.model.guidance import UNKNOWN
from nvc_jax.model.merging import (
    Cohesion,
    cluster_links,
    code_length,
    cohesion,
    links_between,
    merge_linked,
)
from nvc_jax.model.regrouping import regroup

SMALL_CLUSTERS = (50, 100, 200, 300)
"""Numbers of small clusters to begin with, each at least five for every anchor."""
FEWEST_EXAMPLES = 5
"""Examples of a small cluster, on the mean, at least."""
CLEARLY = 0.015
"""By how much the modularity of merged clusters has to be above that of others to be taken, as a share of the most
that it can be for so many clusters."""
FEW_LABELS = 2
"""Of a cluster, on the mean, up to which the graph's edges tell more of its border than the reach of labels does."""


def small_cluster_numbers(num_examples: int, num_clusters: int) -> list[int]:
    """Numbers of small clusters to try, none below that of the clusters to find.

    Example:
      >>> small_cluster_numbers(1000, 30)
      [150, 200]
    """
    most = num_examples // FEWEST_EXAMPLES
    wanted = (max(number, 5 * num_clusters) for number in SMALL_CLUSTERS)
    return sorted({max(min(number, most), num_clusters) for number in wanted})


class _Linked(NamedTuple):
    """Groups of small clusters: the small one of every example, their links, their groups, and the links of these."""

    small: np.ndarray
    small_links: np.ndarray
    groups: np.ndarray
    links: np.ndarray

    def clusters(self) -> np.ndarray:
        """The group of every example, int32 `[N]`."""
        return self.groups[self.small].astype(np.int32)


def better_merged(
    spaces: Iterable[Iterable[np.ndarray]],
    other: np.ndarray,
    neighbors: np.ndarray,
    num_clusters: int,
) -> tuple[np.ndarray | None, tuple[Cohesion, Cohesion]]:
    """Merged clusters, if they keep clearly more edges together than others, by both measures.

    Of the clusters of one space those with the shortest code are meant, and regrouped. Between spaces, whose clusters differ more in
    size, the shortest code is often that of the most even sizes, and the purest are meant.

    Args:
      spaces: of each space small clusters to merge, int `[N]` each, K of them at least.
      other: int `[N]`, the clusters to compare with, from 0 to K − 1.
      neighbors: int `[N, k]`.
      num_clusters: K.

    Returns:
      (int32 `[N]` or None; cohesion of the merged and of the other ones).
    """

    def merged_of(small: np.ndarray) -> _Linked:
        links = cluster_links(small, neighbors, int(small.max()) + 1)
        groups = merge_linked(links, num_clusters)
        return _Linked(small, links, groups, links_between(links, groups))

    def regrouped(merged: _Linked) -> _Linked:
        groups = regroup(merged.small_links, merged.groups)
        return merged._replace(groups=groups, links=links_between(merged.small_links, groups))

    best = [min(map(merged_of, smalls), key=lambda c: code_length(c.links)) for smalls in spaces]
    merged = max(map(regrouped, best), key=lambda c: cohesion(c.links).purity)
    one = cohesion(merged.links)
    two = cohesion(cluster_links(other, neighbors, num_clusters))
    clearly = CLEARLY * (1.0 - 1.0 / num_clusters)
    better = one.modularity > two.modularity + clearly and one.purity > two.purity
    return (merged.clusters() if better else None), (one, two)


def named_groups(
    small: np.ndarray, reached: np.ndarray, known: np.ndarray, neighbors: np.ndarray
) -> np.ndarray | None:
    """Clusters that begin as the reach of a few labels, are regrouped, and have the labels' names.

    A small cluster begins in the group whose label most of its examples are reached by, or which one of them has. In the end
    groups are named one to one by the labels in them.

    Args:
      small: int `[N]`, small clusters.
      reached: int `[N]`, the label that reaches an example, as of `spread_labels`, or -1.
      known: int `[N]`, the labels given, from 0 to K − 1, each of them somewhere, or -1.
      neighbors: int `[N, k]`.

    Returns:
      int32 `[N]`, from 0 to K − 1; None where that cannot be, since a group has examples of two labels.
    """
    labeled, count = known != UNKNOWN, int(known.max()) + 1
    votes = np.zeros((int(small.max()) + 1, count))
    np.add.at(votes, (small[reached != UNKNOWN], reached[reached != UNKNOWN]), 1.0)
    groups = votes.argmax(axis=1)
    groups[small[labeled]] = known[labeled]
    if len(np.unique(groups)) < count:
        return None
    found = regroup(cluster_links(small, neighbors, len(groups)), groups)[small]
    agree = np.zeros((count, count))
    np.add.at(agree, (found[labeled], known[labeled]), 1.0)
    rows, names = scipy.optimize.linear_sum_assignment(agree, maximize=True)
    if agree[rows, names].sum() < labeled.sum():
        return None
    return names[found].astype(np.int32)
