"""`NebulaClustering`, an estimator in the manner of scikit-learn, and `cluster_cells` for annotated matrices."""

from nvc_jax.estimator.cells import cluster_cells
from nvc_jax.estimator.clustering import NebulaClustering

__all__ = ["NebulaClustering", "cluster_cells"]
