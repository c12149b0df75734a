"""How hands are shown."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nvc_jax import plots
from nvc_jax.displays.base import Display
from nvc_jax.plots.hands import enlarge, overlay, pck_figure, render_skeletons


class HandDisplay(Display):
    """Images with their joints, and skeletons."""

    def pictures(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `Display`; the images with their joints."""
        return overlay(batch["image"], batch["camera"], batch["joints"])

    def render(self, outputs: np.ndarray) -> np.ndarray:
        """See `Display`; skeletons."""
        return render_skeletons(outputs)

    def figures(self, batch: Mapping[str, np.ndarray], outputs: np.ndarray) -> dict[str, Any]:
        """`poses` and, of the examples shown, `pck`."""
        rows = {
            "input": enlarge(batch["image"]),
            "prediction": overlay(batch["image"], batch["camera"], outputs),
            "truth": self.pictures(batch),
        }
        return {
            "poses": plots.example_grid(rows, title="Joints"),
            "pck": pck_figure(outputs, batch["joints"], batch["visible"]),
        }
