"""Nebula Variational Coding: latent spaces with trainable anchors that form clusters.

    from nvc_jax import NebulaBottleneck, anchors, losses, metrics, nvc_loss

Importing it touches no device. `NebulaClustering`, `metrics` and `plots` load at their first use,
because scikit-learn and matplotlib take longer to import than everything else together.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from nvc_jax.core.errors import DivergedError, UserError
from nvc_jax.model import anchors, losses
from nvc_jax.model.bottleneck import Latent, NebulaBottleneck
from nvc_jax.model.losses import nvc_loss

if TYPE_CHECKING:
    from nvc_jax import metrics, plots
    from nvc_jax.estimator import NebulaClustering, cluster_cells

# Module paths, too: `from nvc_jax.losses import pull`, whatever room a module stands in.
sys.modules |= {f"{__name__}.anchors": anchors, f"{__name__}.losses": losses}

__version__ = "0.1.0"
__all__ = [
    "DivergedError",
    "Latent",
    "NebulaBottleneck",
    "NebulaClustering",
    "UserError",
    "__version__",
    "anchors",
    "cluster_cells",
    "losses",
    "metrics",
    "nvc_loss",
    "plots",
]


def __getattr__(name: str) -> Any:
    """Imports the estimator, `metrics` or `plots` at first use."""
    if name in ("NebulaClustering", "cluster_cells"):
        return getattr(importlib.import_module("nvc_jax.estimator"), name)
    if name in ("metrics", "plots"):
        return importlib.import_module(f"nvc_jax.{name}")
    raise AttributeError(f"module 'nvc_jax' has no attribute {name!r}")
