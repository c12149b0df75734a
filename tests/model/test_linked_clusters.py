"""Clusters of any size along the graph of neighbors: small ones, merged and regrouped, and told from those of k-means."""

import numpy as np
from sklearn.datasets import make_blobs, make_moons
from sklearn.metrics import adjusted_rand_score

from nvc_jax.data.base.neighbors import neighbor_ids
from nvc_jax.model.anchors import assign, kmeans
from nvc_jax.model.linked_clusters import better_merged, small_cluster_numbers


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
