"""The table of many sets: what is read, what others get, and what is measured."""

import gzip
import json

import jax
import numpy as np
import pytest

from benchmarks import clusters, labels
from benchmarks.cluster_sets import Set
from tests.refusals import refused


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("sets")
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 30)
    np.savez(
        path / "cells_pbmc.npz", x=rng.poisson(np.where(y[:, None] == np.arange(4) % 2, 40, 2)), y=y
    )
    with gzip.open(path / "text_packages.jsonl.gz", "wt") as file:
        for i in range(
            100
        ):  # of ten labels, each with a word of its own, and one that is in all texts
            line = {"text": f"everywhere topic{i % 10}", "label": f"of {i % 10}"}
            file.write(json.dumps(line) + "\n")
    return path


def test_words_of_few_texts_are_counted(folder):
    x, y = clusters.SETS["text_packages"].read(folder)
    np.testing.assert_array_equal(x.sum(axis=0), [10.0] * 10)
    np.testing.assert_array_equal(x.argmax(axis=1), y)


@pytest.mark.parametrize("method", ["KMeans", "GaussianMixture"])
def test_two_kinds_of_cells_are_found(folder, method):
    row = clusters.measure({"data": "cells_pbmc", "method": method, "seed": 0}, folder=folder)
    assert row["ari"] == row["nmi"] == row["accuracy"] == 1.0 and row["found"] == 2


def test_the_number_may_be_another(folder):
    row = clusters.measure({"data": "cells_pbmc", "method": "HDBSCAN", "seed": 0}, folder=folder)
    assert row["found"] >= 1 and 0 <= row["nmi"] <= 1


def test_a_missing_file_is_named(folder):
    refused(
        "usps.npz.*--methods", clusters.measure, {"data": "usps", "method": "KMeans"}, folder=folder
    )


def test_counts_of_any_size_are_the_same_to_others(folder):
    x, _ = clusters.SETS["cells_pbmc"].read(folder)
    larger = x * np.arange(1, 61)[:, None]
    found = clusters.vectors(larger, "counts")
    assert found.shape == x.shape
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-9)


@pytest.mark.parametrize("method", ["KMeans", "GaussianMixture"])
def test_others_get_scaled_features(method, monkeypatch):
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 50)
    x = np.stack([label + 0.1 * rng.normal(size=100), 1000 * rng.normal(size=100)], axis=1)
    monkeypatch.setitem(clusters.SETS, "two", Set("table", lambda _: (x, label)))
    row = clusters.measure({"data": "two", "method": method, "seed": 0})
    assert row["ari"] == row["accuracy"] == 1.0 and row["seconds"] > 0


def test_sets_have_a_kind_and_a_label_for_every_example(folder):
    assert {chosen.kind for chosen in clusters.SETS.values()} == clusters.OPTIONS.keys()
    for chosen in clusters.SETS.values():
        try:
            x, y = chosen.read(folder)
        except FileNotFoundError:  # of a folder that has all
            continue
        assert len(x) == len(y)
        assert list(np.unique(y)) == list(range(len(np.unique(y)))) and len(np.unique(y)) > 1


def test_labels_are_of_so_many_examples_of_every_class():
    y = np.array([0, 0, 0, 1, 2, 2])
    found = labels.some_labels(y, 2, 0)
    known = found != labels.UNKNOWN
    assert np.bincount(found[known]).tolist() == [2, 1, 2]
    np.testing.assert_array_equal(found[known], y[known])


def test_others_learn_from_codes_and_what_was_given_is_not_scored(monkeypatch):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 40)
    x = np.where(y[:, None], 5.0, -5.0) + rng.normal(size=(80, 3))
    monkeypatch.setitem(clusters.SETS, "two", Set("table", lambda _: (x, y)))
    short = {"hidden": (16,), "max_iter": 60, "batch_size": 32}
    monkeypatch.setattr(labels, "AUTOENCODER", labels.AUTOENCODER | short)
    config = {"data": "two", "count": 2, "seed": 0, "method": "label spreading"}
    with jax.numpy_dtype_promotion("standard"):  # optax's bias correction needs it
        assert labels.measure(config)["accuracy"] == 1.0
    given = np.arange(80) % 40 < 2
    monkeypatch.setattr(labels, "some_labels", lambda y, count, seed: np.where(given, y, -1))
    monkeypatch.setitem(labels.METHODS, "copies", lambda x, kind, known, seed: known)
    assert labels.measure({**config, "method": "copies"})["accuracy"] == 0.0
