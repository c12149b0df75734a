"""The table of many sets: what is read, what others get, and what is measured."""

import gzip
import json

import numpy as np
import pytest

from benchmarks import clusters
from tests.refusals import refused


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("sets")
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 30)
    np.savez(
        path / "cells_pbmc.npz", x=rng.poisson(np.where(y[:, None] == np.arange(4) % 2, 40, 2)), y=y
    )
    words = (["apple pear plum"] * 10, ["bolt nut screw"] * 10)
    with gzip.open(path / "text_packages.jsonl.gz", "wt") as file:
        for label, texts in enumerate(words):
            for i, text in enumerate(texts):
                file.write(json.dumps({"text": f"{text} {i % 2}", "label": str(label)}) + "\n")
    return path


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


def test_every_kind_has_options():
    assert {chosen.kind for chosen in clusters.SETS.values()} == clusters.OPTIONS.keys()
