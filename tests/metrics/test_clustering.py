"""Clustering metrics against permutations, scikit-learn and hand-computed values."""

import itertools
import json

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics
from sklearn.datasets import make_blobs

from nvc_jax import metrics
from tests.refusals import refused


def _best_over_permutations(labels, clusters):
    """Hungarian accuracy by trying every one-to-one assignment of clusters to classes."""
    classes, groups = sorted(set(labels)), sorted(set(clusters))
    slots = [*classes, *[None] * len(groups)]
    best = 0
    for chosen in itertools.permutations(slots, len(groups)):
        mapping = dict(zip(groups, chosen))
        best = max(best, sum(mapping[c] == y for y, c in zip(labels, clusters)))
    return best / len(labels)


def _purity(labels, clusters):
    """Majority accuracy from the contingency matrix of scikit-learn."""
    counts = sklearn_metrics.cluster.contingency_matrix(labels, clusters)
    return counts.max(axis=0).sum() / counts.sum()


# --- Accuracy -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("num_classes", "num_clusters"), [(3, 3), (2, 4), (4, 2), (1, 3), (3, 1)])
@pytest.mark.parametrize("seed", range(5))
def test_accuracy_equals_brute_force(num_classes, num_clusters, seed):
    rng = np.random.default_rng(seed)
    # Ids are neither consecutive nor ordered.
    labels = rng.permutation([7, -3, 100, 4])[rng.integers(num_classes, size=25)]
    clusters = rng.permutation([50, 0, 3, 9])[rng.integers(num_clusters, size=25)]
    expected = _best_over_permutations(labels.tolist(), clusters.tolist())
    assert metrics.cluster_accuracy(labels, clusters) == pytest.approx(expected)
    assert metrics.cluster_accuracy(labels, clusters, "majority") == pytest.approx(
        _purity(labels, clusters)
    )


def test_hand_computed_accuracy():
    assert metrics.cluster_accuracy([0, 0, 1, 1], [5, 5, 9, 5]) == 0.75
    # The greedy choice for cluster 0 (class 0) would cost cluster 1 its only class: 3 + 0 < 2 + 3.
    labels = [0, 0, 0, 1, 1, 0, 0, 0]
    clusters = [0, 0, 0, 0, 0, 1, 1, 1]
    assert metrics.cluster_accuracy(labels, clusters) == 5 / 8
    assert metrics.cluster_accuracy(labels, clusters, "majority") == 6 / 8


def test_thirty_pure_clusters_over_ten_classes_part_the_two_mappings():
    clusters = np.repeat(np.arange(30), 4)
    labels = clusters % 10
    assert metrics.cluster_accuracy(labels, clusters) == pytest.approx(1 / 3)
    assert metrics.cluster_accuracy(labels, clusters, "majority") == 1.0
    assert len(metrics.fit_mapping(labels, clusters)) == 10
    assert metrics.fit_mapping(labels, clusters, "majority") == {c: c % 10 for c in range(30)}


def test_majority_ties_go_to_the_smallest_class():
    assert metrics.fit_mapping([3, 1, 2, 2], [8, 8, 9, 9], "majority") == {8: 1, 9: 2}


def test_hungarian_leaves_out_clusters_that_have_no_class_left():
    assert metrics.fit_mapping([0, 0, 0, 1], [1, 1, 1, 1]) == {1: 0}
    assert metrics.fit_mapping([0, 0, 0, 1], [1, 1, 2, 3]) == {1: 0, 3: 1}
    assert metrics.fit_mapping([0, 0, 0, 0, 1], [1, 1, 1, 2, 1]) == {1: 0}


def test_a_mapping_fitted_on_one_split_scores_another():
    mapping = metrics.fit_mapping([0, 0, 1, 1], [3, 3, 5, 5])
    assert mapping == {3: 0, 5: 1}
    assert all(type(item) is int for pair in mapping.items() for item in pair)
    # 5 is right once and wrong once, cluster 6 was never seen, class 2 was never seen.
    labels, clusters = [0, 1, 0, 1, 2], [3, 5, 5, 6, 3]
    assert metrics.cluster_accuracy(labels, clusters, mapping) == pytest.approx(2 / 5)
    assert metrics.cluster_accuracy(labels, clusters) == pytest.approx(3 / 5)
    assert metrics.cluster_accuracy([1, 1], [8, 9], mapping) == 0.0
    assert metrics.cluster_accuracy([1, 1], [8, 9], {}) == 0.0


def test_string_ids():
    labels, clusters = ["dog", "dog", "a cat"], ["x", "x", "yy"]
    assert metrics.cluster_accuracy(labels, clusters) == 1.0
    assert metrics.fit_mapping(labels, clusters) == {"x": "dog", "yy": "a cat"}
    assert metrics.cluster_accuracy(np.array(labels, dtype=object), [1, 1, 1], "majority") == 2 / 3


def test_jax_arrays_are_ids_too():
    assert metrics.cluster_accuracy(jnp.array([0, 1, 1]), jnp.array([1, 0, 0])) == 1.0


def test_mapping_that_went_through_json_is_refused_instead_of_scoring_zero():
    mapping = json.loads(json.dumps(metrics.fit_mapping([0, 1], [4, 5])))
    refused("JSON", metrics.cluster_accuracy, [0, 1], [4, 5], mapping)


@pytest.mark.parametrize("metric", [metrics.cluster_accuracy, metrics.nmi, metrics.ari])
def test_bad_ids_are_told_in_one_sentence(metric):
    refused("empty", metric, [], [])
    refused("labels has 2 and clusters has 3", metric, [0, 1], [0, 1, 2])
    refused(r"vector of ids \[N\]", metric, [[0, 1]], [[0, 1]])
    refused("integers or strings", metric, [0.5, 1.0], [0, 1])


# --- NMI, ARI -------------------------------------------------------------------------------------


def test_nmi_by_average_of_which_the_default_is_arithmetic():
    labels, clusters = [0, 0, 1, 1], [0, 1, 2, 3]
    expected = {"arithmetic": 2 / 3, "geometric": 0.5**0.5, "max": 0.5, "min": 1}
    found = {average: metrics.nmi(labels, clusters, average) for average in expected}
    assert found == pytest.approx(expected)
    assert metrics.nmi(labels, clusters) == found["arithmetic"]
    assert metrics.ari(labels, clusters) == 0.0


def test_collapse_to_one_cluster_is_reported():
    labels, clusters = [0, 0, 1, 1], [7, 7, 7, 7]
    x = np.random.default_rng(0).normal(size=(4, 2))
    assert metrics.nmi(labels, clusters) == 0.0
    assert metrics.ari(labels, clusters) == 0.0
    assert metrics.cluster_accuracy(labels, clusters) == 0.5
    assert metrics.cluster_accuracy(labels, clusters, "majority") == 0.5
    score = metrics.silhouette(x, clusters)
    assert score.value is None
    assert "one cluster (7)" in str(score.reason)
    assert json.loads(json.dumps(score._asdict()))["value"] is None


def test_nmi_and_ari_equal_scikit_learn_and_ignore_names():
    rng = np.random.default_rng(1)
    labels, clusters = rng.integers(4, size=60), rng.integers(6, size=60)
    names = np.array(["f", "e", "d", "c", "b", "a"])[clusters]
    assert metrics.nmi(labels, names) == pytest.approx(
        sklearn_metrics.normalized_mutual_info_score(labels, clusters)
    )
    assert metrics.ari(labels, names) == pytest.approx(
        sklearn_metrics.adjusted_rand_score(labels, clusters)
    )


# --- Silhouette -----------------------------------------------------------------------------------


def test_silhouette_hand_computed():
    # Per example: a = 1 everywhere, b = 10.5, 9.5, 9.5, 10.5.
    expected = (2 * (9.5 / 10.5) + 2 * (8.5 / 9.5)) / 4
    score = metrics.silhouette([[0.0], [1.0], [10.0], [11.0]], [0, 0, 1, 1])
    assert score.value == pytest.approx(expected)
    assert score.reason is None


def test_silhouette_is_exact_far_from_the_origin():
    x, clusters = make_blobs(60, 3, centers=3, random_state=0)
    expected = sklearn_metrics.silhouette_score(x, clusters)
    assert metrics.silhouette(x, clusters).value == pytest.approx(expected)
    assert metrics.silhouette(x + 1e7, clusters).value == pytest.approx(expected, abs=1e-6)


def test_silhouette_subsample_is_seeded():
    x, clusters = make_blobs(400, 2, centers=3, random_state=0)
    first, again, other = (metrics.silhouette(x, clusters, 200, seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert first.value == pytest.approx(metrics.silhouette(x, clusters).value, abs=0.1)


def test_silhouette_gives_a_reason_where_it_does_not_exist():
    for x, clusters, reason in [
        ([[0.0], [1.0], [2.0]], [0, 1, 2], "cluster of its own"),
        ([[0.0]], [3], "one cluster"),
        ([[0.0], [np.nan], [2.0]], [0, 0, 1], "not finite"),
        ([[0.0], [np.inf], [2.0]], [0, 0, 1], "not finite"),
    ]:
        score = metrics.silhouette(x, clusters)
        assert score.value is None
        assert reason in str(score.reason)


def test_silhouette_of_coincident_points_is_zero():
    assert metrics.silhouette(np.zeros((4, 2)), [0, 0, 1, 1]) == (0.0, None)


# --- kNN and k-means ------------------------------------------------------------------------------


def test_knn_equals_brute_force():
    rng = np.random.default_rng(2)
    train_x, train_labels = rng.normal(size=(40, 3)), rng.integers(3, size=40)
    test_x, test_labels = rng.normal(size=(30, 3)), rng.integers(3, size=30)
    distances = ((test_x[:, None] - train_x[None]) ** 2).sum(-1)
    votes = train_labels[np.argsort(distances, axis=1)[:, :5]]
    predicted = [np.bincount(row).argmax() for row in votes]
    expected = np.mean(np.array(predicted) == test_labels)
    offset = 1e6
    for shift in (0.0, offset):
        got = metrics.knn_accuracy(train_x + shift, train_labels, test_x + shift, test_labels)
        assert got == pytest.approx(expected)


def test_knn_looks_up_train_and_scores_test():
    train_x, test_x = [[0.0], [1.0]], [[0.1], [0.2], [0.9]]
    assert metrics.knn_accuracy(train_x, [0, 1], test_x, [0, 1, 1], num_neighbors=1) == 2 / 3
    # Were the examples of test among the neighbors, each would find itself.
    assert metrics.knn_accuracy(train_x, ["a", "b"], test_x, ["b", "b", "b"], 1) == 1 / 3


def test_kmeans_is_fitted_on_one_set_and_applied_to_another():
    fit_x = np.array([[0.0], [0.1], [10.0], [10.1]])
    test_x = np.array([[-1.0], [1.0], [9.0], [8.0], [20.0]])
    # Fitted on test_x itself, 20 would be alone in a cluster.
    assert metrics.kmeans_accuracy(fit_x, test_x, [4, 4, 2, 2, 2], 2) == 1.0
    assert metrics.kmeans_accuracy(fit_x, test_x, [4, 4, 2, 2, 4], 2) == 0.8


def test_kmeans_mapping_and_seed():
    x, labels = make_blobs(90, 2, centers=[[0, 0], [9, 0], [0, 9]], cluster_std=0.3, random_state=0)
    assert metrics.kmeans_accuracy(x, x, labels, 3, seed=0) == 1.0
    assert metrics.kmeans_accuracy(x, x, labels, 6, mapping="majority") == 1.0
    assert metrics.kmeans_accuracy(x, x, labels, 6) < 1.0
    noise = np.random.default_rng(0).normal(size=(200, 4))
    runs = [
        metrics.kmeans_accuracy(noise, noise, [0, 1] * 100, 8, s, num_restarts=1) for s in (0, 0, 1)
    ]
    assert runs[0] == runs[1] != runs[2]


# --- Active units ---------------------------------------------------------------------------------


def test_active_units_counts_dimensions_above_the_variance():
    # Population variances 1, 0.0144, 0.0081, 0.
    mean = np.array([[1.0, 0.12, 0.09, 5.0], [-1.0, -0.12, -0.09, 5.0]], np.float32)
    assert metrics.active_units(mean) == 2
    assert metrics.active_units(mean, threshold=0.001) == 3
    assert metrics.active_units(mean[:1]) == 0


def test_active_units_survive_offsets_and_non_finite_values():
    mean = np.array([[1e4, 1e4, np.nan], [1e4, 1e4 + 1, 0.0]], np.float32)
    assert metrics.active_units(mean) == 1
    refused("non-empty matrix", metrics.active_units, np.zeros((0, 3)))


# --- Mistakes -------------------------------------------------------------------------------------


def test_mistakes_are_told():
    knn, kmeans = metrics.knn_accuracy, metrics.kmeans_accuracy
    two = [[0.0], [1.0]]
    refused("'greedy'", metrics.cluster_accuracy, [0], [0], "greedy")
    refused("'mean'", metrics.nmi, [0], [0], "mean")
    refused("x has 3 and clusters has 2", metrics.silhouette, np.zeros((3, 2)), [0, 1])
    for count in (0, 3):
        refused("between 1 and the 2 training examples", knn, two, [0, 1], [[0.0]], [0], count)
    refused("train_x has 2 and test_x has 1", knn, [[0.0, 1.0]], [0], [[0.0]], [0], 1)
    refused("test_x has 1 and test_labels has 2", knn, [[0.0]], [0], [[0.0]], [0, 1], 1)
    refused("test_x has values that are not finite", knn, [[0.0]], [0], [[np.nan]], [0], 1)
    refused("between 1 and the 2 examples of fit_x, got 3", kmeans, two, [[0.0]], [0], 3)
