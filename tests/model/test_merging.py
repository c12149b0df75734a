"""Clusters that are merged along the graph of neighbors."""

import numpy as np
import pytest

from nvc_jax.model.merging import (
    cluster_links,
    code_length,
    cohesion,
    links_between,
    merge_linked,
)


def test_links_count_edges_in_both_directions():
    links = cluster_links(np.array([0, 0, 1, 2]), np.array([[1, 2], [0, 3], [0, 1], [2, 0]]), 3)
    np.testing.assert_allclose(links * 16, [[4, 3, 2], [3, 0, 1], [2, 1, 0]])


def test_links_between_groups_are_those_of_the_groups_counted_anew():
    rng = np.random.default_rng(0)
    small, groups = rng.integers(6, size=40), np.array([1, 0, 2, 1, 0, 0])
    neighbors = rng.integers(40, size=(40, 3))
    np.testing.assert_allclose(
        links_between(cluster_links(small, neighbors, 6), groups),
        cluster_links(groups[small], neighbors, 3),
    )


def test_merged_are_the_two_with_most_edges_above_chance():
    """Weights 0.1 and 0.09 to clusters of volume 0.6 and 0.1: the smaller one is linked more closely."""
    links = np.array([[0.1, 0.1, 0.05], [0.1, 0.5, 0.0], [0.05, 0.0, 0.1]])
    assert merge_linked(links, 2).tolist() == [0, 1, 0]
    assert merge_linked(links, 3).tolist() == [0, 1, 2]
    assert merge_linked(links, 1).tolist() == [0, 0, 0]


def test_clusters_without_any_link_are_merged_when_so_many_are_asked_for():
    assert len(set(merge_linked(np.eye(4) / 4, 2).tolist())) == 2


def test_modularity_is_that_of_its_definition():
    """`Σ_ij (A_ij − d_i·d_j / 2m)·[c_i = c_j] / 2m`, over all pairs of nodes."""
    rng = np.random.default_rng(0)
    cluster, neighbors = rng.integers(3, size=20), rng.integers(20, size=(20, 4))
    adjacency = np.zeros((20, 20))
    np.add.at(adjacency, (np.repeat(np.arange(20), 4), neighbors.ravel()), 1.0)
    adjacency += adjacency.T
    degree = adjacency.sum(axis=1)
    together = cluster[:, None] == cluster
    expected = (
        (adjacency - np.outer(degree, degree) / degree.sum()) * together
    ).sum() / degree.sum()
    assert cohesion(cluster_links(cluster, neighbors, 3)).modularity == pytest.approx(expected)


def test_purity_is_one_where_no_edge_leaves_and_zero_for_one_cluster():
    assert cohesion(np.diag([0.9, 0.1])).purity == pytest.approx(1.0)
    assert cohesion(np.ones((1, 1))) == pytest.approx((0.0, 0.0))


def test_code_length_is_that_of_its_definition():
    """`q·H(Q) + Σ p_i·H(P_i)`: names of clusters where one is entered, names of nodes and exits within."""
    rng = np.random.default_rng(0)
    cluster, neighbors = rng.integers(3, size=30), rng.integers(30, size=(30, 4))
    walks = np.zeros((30, 30))
    np.add.at(walks, (np.repeat(np.arange(30), 4), neighbors.ravel()), 1.0)
    walks = (walks + walks.T) / (2 * walks.sum())
    visits = walks.sum(axis=1)

    def bits(shares):
        shares = shares[shares > 0] / shares.sum()
        return -(shares * np.log2(shares)).sum()

    leaves = np.array([walks[cluster == c][:, cluster != c].sum() for c in range(3)])
    within = [np.append(visits[cluster == c], leaves[c]) for c in range(3)]
    length = leaves.sum() * bits(leaves) + sum(w.sum() * bits(w) for w in within)
    links = cluster_links(cluster, neighbors, 3)
    entropy_of_nodes = bits(visits)
    assert code_length(links) + entropy_of_nodes == pytest.approx(length)


def test_code_length_of_clusters_apart_and_of_one():
    """Four clusters of a quarter that no edge leaves tell two bits of every node; one cluster tells none."""
    assert code_length(np.eye(4) / 4) == pytest.approx(-2.0)
    assert code_length(np.ones((1, 1))) == pytest.approx(0.0)
