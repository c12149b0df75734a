"""Nebula Variational Coding: latent spaces with trainable anchors that form clusters.

    from nvc_jax import NebulaBottleneck, anchors, losses, metrics, nvc_loss

Importing it touches no device. `metrics` and `plots` load at their first use, because scikit-learn
and matplotlib take longer to import than everything else together.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from nvc_jax import anchors, losses
from nvc_jax.bottleneck import Latent, NebulaBottleneck
from nvc_jax.errors import UserError
from nvc_jax.losses import nvc_loss

if TYPE_CHECKING:
    from nvc_jax import metrics, plots

__version__ = "0.1.0"
__all__ = [
    "Latent",
    "NebulaBottleneck",
    "UserError",
    "__version__",
    "anchors",
    "losses",
    "metrics",
    "nvc_loss",
    "plots",
]


def __getattr__(name: str) -> ModuleType:
    """Imports `metrics` or `plots` at first use."""
    if name in ("metrics", "plots"):
        return importlib.import_module(f"nvc_jax.{name}")
    raise AttributeError(f"module 'nvc_jax' has no attribute {name!r}")
