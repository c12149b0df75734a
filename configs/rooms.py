"""Planar reconstruction of synthetic rooms; no download.

Textures of validation and test rooms never occur in training rooms.

Command: python train.py --config=rooms --workdir=runs/rooms
         python eval.py --workdir=runs/rooms
Device: one CPU core, no accelerator; 15 to 22 minutes, of which drawing the rooms takes one and a half.
Result, synthetic, 5,000 rooms, 500 test rooms, seeds 0, 1, 2: plane recall 0.028 ± 0.001 at 0.05 m and 0.163 ±
0.001 at 0.2 m, RI 0.897, VOI 1.39 bits, SC 0.730, depth rel 0.154; 16 of 16 anchors used.
--config=rooms:small is a quickstart of 100 seconds on 100 test rooms, seed 0: plane recall 0.049 at 0.2 m and 0.006 at
0.05 m, RI 0.800, VOI 2.10 bits, SC 0.559, depth rel 0.245; 7 of 12 anchors used. Far from trained.
A latent for the image rather than one for every pixel: about as good on validation rooms, see docs/planes.md.
"""

from typing import Any

from nvc_jax.config import ramp

VARIANTS: dict[str, dict[str, Any]] = {
    "": {
        "data.num_scenes": 5000,
        "data.num_heldout_scenes": 500,
        "model.channels": (64, 96, 128),
        "model.num_anchors": 16,
        "loss.kl": ramp(1.0, over=1 / 7),
        "loss.triplet": ramp(5.0, over=1 / 7),
        "anchors.warmup": 1 / 7,
        "anchors.max_examples": 2000,
        "optimizer.name": "adamw",
        "optimizer.weight_decay": 0.05,
        "optimizer.warmup": 1 / 70,
        "train.num_steps": 3500,
        "train.eval_every": 1750,
        "train.best_metric": "plane_recall/0.05",
        "train.best_mode": "max",
        "eval.batch_size": 64,
        "eval.max_train_examples": 500,
    },
    "small": {
        "data.num_scenes": 800,
        "data.num_heldout_scenes": 100,
        "model.channels": (48, 64, 96),
        "model.num_anchors": 12,
        "loss.kl": ramp(1.0, over=0.25),
        "loss.triplet": ramp(5.0, over=0.25),
        "anchors.warmup": 0.25,
        "optimizer.warmup": 0.05,
        "train.num_steps": 400,
        "train.eval_every": 400,
        "eval.batch_size": 50,
        "eval.max_train_examples": 200,
        "eval.shown_examples": 16,
        "eval.tsne_examples": 0,
    },
}


def get_config(variant: str = "") -> dict[str, Any]:
    """Warm-up as an autoencoder, anchors by k-means, then NVC."""
    return {
        "task": "planar_reconstruction",
        "data.source": "rooms",
        "model.latent": "pixel",
        "model.latent_dim": 16,
        "model.logvar_init": -6.0,
        "loss.triplet_margin": 10.0,
        "anchors.shares": "equal",
        "augment.mirror": True,
        "optimizer.learning_rate": 2e-3,
        "optimizer.schedule": "cosine",
        "optimizer.restart": False,
        "train.batch_size": 16,
        **VARIANTS[variant],
    }
