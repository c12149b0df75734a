"""The answer first: sentences and warnings, with numbers counted by hand."""

import numpy as np
import pytest

from nvc_jax.report import Table
from nvc_jax.report.confusion import confusion_table
from nvc_jax.report.features import difference_of, feature_tables, in_words
from nvc_jax.report.summary import sizes_of, summary, warnings_of
from tests.reports import EVIL, small, table

SCORES = {"silhouette": 0.6, "cluster_accuracy_hungarian": 0.8, "cluster_accuracy_majority": 0.9}


def warned(report):
    return " ".join(warnings_of(report, sizes_of(report)))


def test_sentences_by_hand():
    """Of the six test examples three are of anchor 0 (labels 2, 2, 5) and three of anchor 1 (5, none, 5)."""
    text = summary(small(metrics={**SCORES, "kmeans_accuracy_hungarian_inputs": 0.7}))
    assert "6 test examples fall into 2 clusters, which are well apart (silhouette 0.60)" in text
    assert "match the labels for 80.0% of the examples, k-means on the inputs for 70.0%." in text
    assert "anchor 0, the most mixed: 67% of its examples are labeled cat, most others 5." in text
    assert "1 anchor of 3 without an example (2)" in text
    assert "An anchor is" in text


def test_more_clusters_than_labels_are_not_compared_with_k_means():
    report = small(
        assignment=np.array([0, 0, 2, 1, 1, 1, 0, 1, 0]),
        metrics={**SCORES, "kmeans_accuracy_hungarian_inputs": 0.7},
    )
    assert "match the labels for 90.0% of the examples." in summary(report)


@pytest.mark.parametrize(("value", "words"), [(0.3, "some overlap"), (-0.1, "hardly apart")])
def test_words_for_the_silhouette(value, words):
    assert words in summary(small(metrics={"silhouette": value}))


def test_without_labels_the_nearest_anchors_are_named():
    text = summary(small(label=None))
    assert "anchors 0 and 1, the nearest to each other" in text and "labels" not in text


def test_hardly_anything_is_no_error():
    one = small(mean=np.zeros((1, 2)), assignment=np.zeros(1, int), label=None, split=None)
    assert "1 example fall" in summary(one) and "silhouette" not in summary(one)
    assert (
        summary(small(mean=np.zeros((0, 2)), assignment=np.zeros(0, int), label=None, split=None))
        == ""
    )


def test_warnings():
    assert "Anchor 1 has 67%" in warned(small(assignment=np.array([0, 0, 1, 1, 1, 1, 0, 1, 0])))
    assert "Anchor" not in warned(small(anchors=np.zeros((2, 2)))).replace("anchors", "")
    error = np.array([4.0] * 6 + [2.0] * 3)
    assert "is 2.0 times that of the training" in warned(small(error=error))
    assert "times" not in warned(small(error=error / error))
    label = np.array([2, 5, 2, 2, 5, 2, 2, 5, 2])
    assert "66.7% of the held-out examples and of 100.0%" in warned(small(label=label))


def test_anchors_against_labels():
    page = confusion_table(small())
    rows = page.split("<tr>")[2:]
    assert [row.split("</a>")[0][-1] for row in rows] == ["0", "1", "2"]
    assert "cat: 67%, 5: 33%" in rows[0] and "5: 100%" in rows[1]
    assert '--share:0.67">2<' in rows[0] and '--share:1.00">2<' in rows[1]
    assert confusion_table(small(label=None)) == ""


def test_difference_by_hand():
    rows = np.array([[0.0, 3], [2, 3], [4, 3], [6, 3]])
    found = difference_of(rows, np.array([True, True, False, False]))
    np.testing.assert_allclose([*found.inside, *found.outside], [1, 3, 5, 3])
    np.testing.assert_allclose(found.effect, [-4 / np.sqrt(5), 0])
    assert found.order.tolist() == [0, 1]
    np.testing.assert_array_equal(difference_of(rows, np.ones(4, bool)).effect, 0)


def test_features_of_clusters():
    report = table()
    words = in_words(report)
    assert "Cluster 0</a> (3): low length (-2.0 sd)" in words and "high length (+2.0 sd)" in words
    first, second = feature_tables(report, [np.array([1, 0]), np.array([4, 3])])
    for text in ("row b", "row a", "sample 1", "-2.0 sd", "the same everywhere"):
        assert text in first
    assert first.index(">length<") < first.index(">width<") and "<script" not in first
    assert EVIL not in first and "row e" in second
    assert in_words(small()) == ""


def test_all_features_are_reachable_or_counted(monkeypatch):
    values = np.random.default_rng(0).normal(size=(6, 20))
    wide = table(table=Table(columns=[f"f{k}" for k in range(20)], values=values))
    (first, _) = feature_tables(wide, [np.array([1]), np.array([4])])
    assert all(f">f{k}<" in first for k in range(20)) and "12 more features<" in first
    monkeypatch.setattr("nvc_jax.report.features.BUDGET", len(first))
    (first, _) = feature_tables(wide, [np.array([1]), np.array([4])])
    assert "of smaller difference have no room" in first
