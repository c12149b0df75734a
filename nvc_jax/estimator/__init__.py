"""`NebulaClustering`, an estimator in the manner of scikit-learn."""

from nvc_jax.estimator.clustering import NebulaClustering

__all__ = ["NebulaClustering"]
