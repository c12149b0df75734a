"""Clusters that are merged along the graph of neighbors."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs, make_moons
from sklearn.metrics import adjusted_rand_score

from nvc_jax.data.base.neighbors import neighbor_ids
from nvc_jax.model.anchors import assign, kmeans
from nvc_jax.model.merging import (
    better_merged,
    cluster_links,
    code_length,
    cohesion,
    merge_linked,
    small_cluster_numbers,
)


def test_links_count_edges_in_both_directions():
    links = cluster_links(np.array([0, 0, 1, 2]), np.array([[1, 2], [0, 3], [0, 1], [2, 0]]), 3)
    np.testing.assert_allclose(links * 16, [[4, 3, 2], [3, 0, 1], [2, 1, 0]])


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


def test_numbers_of_small_clusters_fit_the_examples():
    assert small_cluster_numbers(10_000, 10) == [50, 100, 200, 300]
    assert small_cluster_numbers(1000, 30) == [150, 200]
    assert small_cluster_numbers(60, 3) == [12]
    assert small_cluster_numbers(4, 3) == [3]


def test_of_several_beginnings_the_one_with_the_shortest_code_is_taken():
    """Small clusters at random tell nothing, whichever place they have in the order."""
    x, y = make_moons(400, noise=0.05, random_state=0)
    x = x.astype(np.float32)
    good = np.asarray(assign(x, kmeans(x, 40, 0, num_restarts=1)))
    bad = np.random.default_rng(0).integers(40, size=400)
    halves = np.asarray(assign(x, kmeans(x, 2, 0)))
    for smalls in ((good, bad), (bad, good)):
        merged, _ = better_merged([smalls], halves, neighbor_ids(x, 10), 2)
        assert merged is not None and adjusted_rand_score(y, merged) > 0.95


def test_of_several_spaces_the_one_with_the_purest_clusters_is_taken():
    """Moons in the plane, and a space in which they cannot be told; in either order."""
    x, y = make_moons(400, noise=0.05, random_state=0)
    x = x.astype(np.float32)
    halves = np.asarray(assign(x, kmeans(x, 2, 0)))
    plane = np.asarray(assign(x, kmeans(x, 40, 0, num_restarts=1)))
    line = np.asarray(assign(x[:, :1], kmeans(x[:, :1], 40, 0, num_restarts=1)))
    for spaces in ([[plane], [line]], [[line], [plane]]):
        merged, _ = better_merged(spaces, halves, neighbor_ids(x, 10), 2)
        assert merged is not None and adjusted_rand_score(y, merged) > 0.95


def test_merged_clusters_are_taken_where_k_means_cuts_and_left_where_it_does_not():
    """Two moons, of which k-means takes a half each; and two blobs, which it finds."""
    for x, y, cuts in (
        (*make_moons(400, noise=0.05, random_state=0), True),
        (*make_blobs(400, centers=2, random_state=0), False),
    ):
        x = x.astype(np.float32)
        by_kmeans = np.asarray(assign(x, kmeans(x, 2, 0)))
        small = np.asarray(assign(x, kmeans(x, 40, 0, num_restarts=1)))
        merged, (one, two) = better_merged([[small]], by_kmeans, neighbor_ids(x, 10), 2)
        assert (merged is not None) == cuts
        if merged is not None:
            assert one.modularity > two.modularity
            assert adjusted_rand_score(y, by_kmeans) < 0.5
            assert adjusted_rand_score(y, merged) > 0.95
