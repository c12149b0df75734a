"""Metrics: arrays in, plain numbers out.

Those of clusters load at their first use, because scikit-learn is slow to import.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from nvc_jax.geometry.labels import UNKNOWN
from nvc_jax.metrics.calibration import expected_calibration_error
from nvc_jax.metrics.samples import frechet_distance, two_sample_accuracy
from nvc_jax.metrics.segmentation import part_iou_counts, part_mious, pooled_accuracy
from nvc_jax.metrics.translation import Score, bleu, bleu_tokenized_lowercase, chrf
from nvc_jax.metrics.volumes import (
    ClassMeans,
    class_counts,
    class_means,
    iou,
    iou_mean,
    iou_pooled,
    mean_iou,
    occupancy_counts,
)

if TYPE_CHECKING:
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
    "UNKNOWN",
    "ClassMeans",
    "Score",
    "Silhouette",
    "active_units",
    "ari",
    "bleu",
    "bleu_tokenized_lowercase",
    "chrf",
    "class_counts",
    "class_means",
    "cluster_accuracy",
    "expected_calibration_error",
    "fit_mapping",
    "frechet_distance",
    "iou",
    "iou_mean",
    "iou_pooled",
    "kmeans_accuracy",
    "knn_accuracy",
    "mean_iou",
    "nmi",
    "occupancy_counts",
    "part_iou_counts",
    "part_mious",
    "pooled_accuracy",
    "silhouette",
    "two_sample_accuracy",
]


def __getattr__(name: str) -> Any:
    """Imports the metrics of clusters at first use."""
    if name in __all__:
        return getattr(importlib.import_module("nvc_jax.metrics.clustering"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
