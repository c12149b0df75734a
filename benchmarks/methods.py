"""What compared methods differ in."""

from __future__ import annotations

# A VAE is the case of one anchor, which is the mean of its prior; an autoencoder has no KL either.
ONE_ANCHOR = {
    "model.num_anchors": "1",
    "anchors.init": "normal",
    "anchors.balanced": "false",
    "loss.triplet.value": "0.0",
    "loss.kl.begin": "0",
}
METHODS: dict[str, dict[str, str]] = {
    "nvc": {},
    "vae": ONE_ANCHOR,
    "ae": {**ONE_ANCHOR, "loss.kl.value": "0.0"},
}
"""What a method changes in a recipe for NVC: network, data and number of steps stay the same."""
