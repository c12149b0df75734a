"""`NebulaClustering`, an estimator in the manner of scikit-learn."""

from __future__ import annotations

from nvc_jax.estimator.clustering import NebulaClustering

__all__ = ["NebulaClustering"]
