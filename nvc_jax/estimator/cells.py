"""Clusters of cells, from an `AnnData` and back into it, where scanpy and its kin look for them.

from nvc_jax import cluster_cells

cluster_cells(adata, n_clusters=8, layer="counts", random_state=0)
adata.obs["nvc"], adata.obs["nvc_probability"], adata.obsm["X_nvc"]
"""

from typing import Any

import numpy as np
from scipy.sparse import csr_array, issparse

from nvc_jax.core.errors import UserError
from nvc_jax.core.extras import require
from nvc_jax.estimator.clustering import NebulaClustering


def cluster_cells(
    adata: Any,
    n_clusters: int | str = "auto",
    *,
    layer: str | None = None,
    key: str = "nvc",
    likelihood: str = "negative_binomial",
    **options: Any,
) -> NebulaClustering:
    """Clusters the cells of an annotated matrix by their counts, and writes what it finds into it.

    Args:
      adata: an `anndata.AnnData` of N cells and F genes, 1,000 to 3,000 highly variable ones at best. Genes may
        be a sparse matrix, of which only batches are made dense while training.
      n_clusters: see `NebulaClustering`.
      layer: name of the layer that has the counts; None: `adata.X`.
      key: what names begin with: `obs[key]` are the clusters, categories `"0"`, `"1"`, …;
        `obs[f"{key}_probability"]` is the probability of a cell's own cluster, float64 from 0 to 1;
        `obsm[f"X_{key}"]` are the codes, float32 `[N, latent_dim]`; `obsm[f"{key}_probabilities"]` those of all clusters,
        float64 `[N, K]`; `uns[key]` has the parameters that are numbers or names. What is there under these names is replaced.
      likelihood: of counts, see `NebulaClustering`.
      **options: further parameters of `NebulaClustering`.

    Returns:
      The fitted estimator.

    Raises:
      UserError: if there is no such layer, or it has no counts.
    """
    pandas = require("pandas", extra="cells", what="cluster_cells")
    counts = _counts(adata, layer)
    model = NebulaClustering(n_clusters, likelihood=likelihood, **options).fit(counts)
    codes = model.transform(counts)
    probabilities = model._probabilities(codes)
    names = [str(k) for k in range(model.n_clusters_)]
    adata.obs[key] = pandas.Categorical.from_codes(model.labels_, names)
    own = np.take_along_axis(probabilities, model.labels_[:, None].astype(np.intp), axis=1)[:, 0]
    adata.obs[f"{key}_probability"] = own
    adata.obsm[f"X_{key}"] = codes
    adata.obsm[f"{key}_probabilities"] = probabilities
    told = {name: value for name, value in options.items() if isinstance(value, (str, int, float))}
    told |= {"n_clusters": model.n_clusters_, "likelihood": likelihood, "layer": layer or "X"}
    adata.uns[key] = {"params": told}
    return model


def _counts(adata: Any, layer: str | None) -> Any:
    """The counts, dense or in rows.

    Raises:
      UserError: if they are none: log-normalized values look like counts to nobody but a program.
    """
    if layer is not None and layer not in adata.layers:
        known = ", ".join(map(repr, adata.layers)) or "none"
        raise UserError(f"There is no layer {layer!r} in the AnnData: it has {known}.")
    matrix = adata.X if layer is None else adata.layers[layer]
    if matrix is None:
        raise UserError("The AnnData has no X: name the layer that has the counts with layer=...")
    counts = csr_array(matrix) if issparse(matrix) else np.asarray(matrix)
    values: np.ndarray = np.asarray(counts.data if issparse(counts) else counts)
    odd = (values < 0) | (values != np.round(values))
    if odd.any():
        raise UserError(
            f"{'X' if layer is None else f'Layer {layer!r}'} has values that are no counts, such as "
            f"{values[odd].flat[0]:g}: name the layer that has them as they were counted with layer=..."
        )
    return counts
