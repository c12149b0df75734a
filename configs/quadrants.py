"""Quadrants of a binary digit complete the others: a conditional nebula, whose anchors are the several answers.

Command: python train.py --config=quadrants:one --workdir=runs/quadrants --config.data.dir=FOLDER_WITH_MNISTS_FILES
         python eval.py --workdir=runs/quadrants
Variants: one, two, three quadrants are seen (bottom left, top left, bottom right); digits: one, on scikit-learn's
digits, which come with it.
Device: one CPU core, no accelerator; `digits` 40 seconds of CPU time, and as long for the evaluation.
Result of `digits`, 359 test images, seed 0, wrong pixels of the 48 that are not seen: single answer 7.6, best of 3, of 5 that
stand for all 5.6 and 5.1. The others were not run at full length; docs/hypotheses.md has shorter runs.
"""

from typing import Any

from nvc_jax.config import ramp

COMMON: dict[str, Any] = {
    "task": "image_completion",
    "data.source": "idx",
    "data.validation_fraction": 1 / 60,
    "model.conditional": True,
    "model.hidden": (500, 500),
    "model.latent_dim": 50,
    "model.num_anchors": 16,
    "loss.reconstruction.value": 0.25,
    "loss.kl": ramp(0.25, over=0.1),
    "loss.own.value": 0.75,
    "loss.own_of_mean": 0.2,
    "loss.triplet.value": 0.0,
    "anchors.warmup": 0.05,
    "anchors.shares": "equal",
    "anchors.choose_by": "error",
    "anchors.candidates": 8,
    "anchors.choose_from": 0.1,
    "optimizer.schedule": "cosine",
    "optimizer.end_factor": 0.02,
    "train.batch_size": 128,
    "train.num_steps": 10 * (59_000 // 128),
    "train.eval_every": 0,
    "eval.batch_size": 250,
}
SEEN = ("bottom_left", "top_left", "bottom_right")
VARIANTS: dict[str, dict[str, Any]] = {
    "one": {},
    "two": {"data.visible": SEEN[:2]},
    "three": {"data.visible": SEEN},
    "digits": {
        "data.source": "digits",
        "data.validation_fraction": 0.1,
        "model.hidden": (128, 128),
        "model.latent_dim": 16,
        "model.num_anchors": 8,
        "train.batch_size": 64,
        "train.num_steps": 600,
    },
}


def get_config(variant: str) -> dict[str, Any]:
    """Warm-up as an autoencoder of the whole, anchors by k-means, then the conditional nebula."""
    return {**COMMON, **VARIANTS[variant]}
