"""Metrics: arrays in, plain numbers out."""

from __future__ import annotations

from nvc_jax.metrics.clustering import (
    Silhouette,
    active_units,
    ari,
    cluster_accuracy,
    fit_mapping,
    kmeans_accuracy,
    knn_accuracy,
    nmi,
    silhouette,
)

__all__ = [
    "Silhouette",
    "active_units",
    "ari",
    "cluster_accuracy",
    "fit_mapping",
    "kmeans_accuracy",
    "knn_accuracy",
    "nmi",
    "silhouette",
]
