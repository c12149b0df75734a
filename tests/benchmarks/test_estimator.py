"""The benchmark of the estimator: what is measured, and the table."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import estimator, num_clusters


@pytest.mark.parametrize("method", ["KMeans", "GaussianMixture"])
def test_others_get_scaled_features(method):
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 50)
    x = np.stack([label + 0.1 * rng.normal(size=100), 1000 * rng.normal(size=100)], axis=1)
    rand, accuracy, seconds = estimator.measure(method, x, label, seed=0)
    assert rand == accuracy == 1.0 and seconds > 0


def test_rows_tell_mean_and_deviation():
    line = estimator.row("iris", "KMeans", [(0.5, 0.75, 1.0), (0.7, 0.75, 2.0)])
    assert line == "| iris | KMeans | 0.600 ± 0.100 | 0.750 ± 0.000 | 1.0, 2.0 |"


@pytest.mark.parametrize("name", estimator.DATA)
def test_data_have_a_label_for_every_example(name):
    x, y = estimator.DATA[name]()
    assert len(x) == len(y) and len(np.unique(y)) in (2, 3, 10)


def test_the_silhouette_of_held_out_examples_chooses_three_blobs():
    line = num_clusters.row("blobs", "KMeans", [0])
    assert line.startswith("| blobs | 3 | KMeans | 2: 0.") and line.endswith(" | 3 |")


def test_codes_and_clusters_are_those_of_held_out_examples():
    x, _ = estimator.DATA["blobs"]()
    rows, clusters = num_clusters.kmeans(x[:450], x[450:], 3, seed=0)
    assert rows.shape == (50, 2) and set(clusters) == {0, 1, 2}
    np.testing.assert_allclose(rows, estimator.scaled(x)[450:])
