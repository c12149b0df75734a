"""How images are shown."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nvc_jax import plots
from nvc_jax.displays.base import Display


class ImageDisplay(Display):
    """The images themselves."""

    def pictures(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `Display`."""
        return self.task.to_unit(batch["image"])

    def render(self, outputs: np.ndarray) -> np.ndarray:
        """See `Display`."""
        return outputs

    def figures(self, batch: Mapping[str, np.ndarray], outputs: np.ndarray) -> dict[str, Any]:
        """`reconstructions`."""
        label = batch["label"]
        captions = [str(k) if k >= 0 else "" for k in label] if (label >= 0).any() else None
        rows = {"input": self.pictures(batch), "reconstruction": outputs}
        return {"reconstructions": plots.example_grid(rows, captions=captions)}
