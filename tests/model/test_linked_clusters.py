"""Clusters of any size along the graph of neighbors: small ones, merged and regrouped, and told from those of k-means."""

import numpy as np
from sklearn.datasets import make_blobs, make_moons
from sklearn.metrics import adjusted_rand_score

from nvc_jax.data.base.neighbors import neighbor_ids
from nvc_jax.model.anchors import assign, kmeans
from nvc_jax.model.linked_clusters import better_merged, named_groups, small_cluster_numbers


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


def test_one_label_a_class_names_what_the_graph_tells():
    """Two moons whose labels reach half of both."""
    x, y = make_moons(400, noise=0.05, random_state=0)
    x = x.astype(np.float32)
    neighbors = neighbor_ids(x, 10)
    small = np.asarray(assign(x, kmeans(x, 40, 0, num_restarts=1)))
    known = np.full(400, -1)
    for label in (0, 1):
        known[np.flatnonzero(y == label)[3]] = 1 - label  # named the other way round
    named = named_groups(small, (x[:, 0] > 0).astype(np.int32), known, neighbors)
    assert named is not None and np.mean(named == 1 - y) > 0.98


def test_two_labels_in_one_group_are_no_groups():
    x, y = make_moons(400, noise=0.05, random_state=0)
    x = x.astype(np.float32)
    small = np.asarray(assign(x, kmeans(x, 40, 0, num_restarts=1)))
    known = np.full(400, -1)
    known[np.flatnonzero(y == 0)[[3, 50]]] = 0, 1
    assert named_groups(small, y, known, neighbor_ids(x, 10)) is None


def test_labels_in_one_small_cluster_are_no_groups():
    known = np.array([0, 1, -1, -1])
    one = np.zeros(4, np.int32)
    assert named_groups(one, known, known, np.array([[1], [0], [3], [2]])) is None
