"""What compared methods differ in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Changes = Mapping[str, Any]
"""What a method or a variant changes in a recipe: values by dotted name."""

# A VAE is the case of one anchor, which is the mean of its prior; an autoencoder has no KL either. Warm-up, k-means
# (of one center), the new begin of the learning rate and of the optimizer are NVC's.
ONE_ANCHOR: Changes = {
    "model.num_anchors": 1,
    "anchors.balanced": False,
    "loss.triplet.value": 0.0,
}
METHODS: dict[str, Changes] = {
    "nvc": {},
    "vae": ONE_ANCHOR,
    "ae": {**ONE_ANCHOR, "loss.kl.value": 0.0},
}
"""What a method changes in a recipe for NVC: network, data and number of steps stay the same."""
