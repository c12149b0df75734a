"""Clusters of cells, from an AnnData and back into it."""

import anndata
import jax
import numpy as np
import pytest
from scipy.sparse import csr_matrix

from nvc_jax import cluster_cells, metrics
from tests.refusals import refused

OPTIONS = {
    "latent_dim": 2,
    "hidden": (16,),
    "batch_size": 32,
    "max_iter": 60,
    "learning_rate": 2e-2,
    "random_state": 0,
}


@pytest.fixture(scope="module")
def cells():
    """90 cells of three kinds, each with five genes of its own; `X` is normalized, a layer has the counts."""
    rng = np.random.default_rng(0)
    kind = np.repeat(np.arange(3), 30)
    rates = np.where(np.arange(15) // 5 == kind[:, None], 20.0, 1.0)
    counts = rng.poisson(rates).astype(np.float32)
    table = anndata.AnnData(np.log1p(counts), layers={"counts": csr_matrix(counts)})
    table.obs["kind"] = kind
    return table


def test_what_is_found_stands_beside_the_cells(cells, tmp_path):
    with jax.numpy_dtype_promotion("standard"):
        model = cluster_cells(cells, 3, layer="counts", **OPTIONS)
    clusters = cells.obs["nvc"]
    assert list(clusters.cat.categories) == ["0", "1", "2"]
    np.testing.assert_array_equal(clusters.cat.codes, model.labels_)
    assert metrics.ari(cells.obs["kind"].to_numpy(), model.labels_) == 1.0
    codes = cells.obsm["X_nvc"]
    np.testing.assert_allclose(codes, model.transform(cells.layers["counts"]), rtol=1e-5)
    probabilities = cells.obsm["nvc_probabilities"]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    np.testing.assert_array_equal(cells.obs["nvc_probability"], probabilities.max(axis=1))
    cells.write_h5ad(tmp_path / "cells.h5ad")
    again = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert again.uns["nvc"]["params"]["n_clusters"] == 3
    np.testing.assert_array_equal(again.obs["nvc"], clusters)


def test_values_that_are_no_counts_are_refused(cells):
    refused("X has values that are no counts, such as", cluster_cells, cells, 3)
    refused(
        "There is no layer 'raw' in the AnnData: it has 'counts'",
        cluster_cells, cells, 3, layer="raw",
    )  # fmt: skip
    refused("The AnnData has no X", cluster_cells, anndata.AnnData(obs=cells.obs), 3)
