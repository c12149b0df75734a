"""What compared methods differ in, and recipes of another length."""

from __future__ import annotations

import ml_collections

from nvc_jax.config import leaves, override
from nvc_jax.losses import TERMS

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

IN_STEPS = (
    "train.num_steps",
    "train.eval_every",
    "train.checkpoint_every",
    "anchors.warmup_steps",
    "optimizer.warmup_steps",
    *(f"loss.{term}.{name}" for term in TERMS for name in ("begin", "steps")),
)


def scale_steps(config: ml_collections.ConfigDict, num_steps: int) -> None:
    """Makes a recipe shorter or longer: warm-ups, ramps and intervals change in proportion.

    Args:
      config: the recipe, changed in place.
      num_steps: its new number of steps.
    """
    old = dict(leaves(config))
    factor = num_steps / old["train.num_steps"]
    for name in IN_STEPS:
        override(config, name, str(max(round(factor * old[name]), 1) if old[name] else 0))
