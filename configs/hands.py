"""Hand pose from depth, on synthetic hands; no download. Persons of the test are not in training.

Command: python train.py --config=hands --workdir=runs/hands
         python eval.py --workdir=runs/hands
Device: one CPU core, no accelerator; 10 minutes, and one for the evaluation.
Result, synthetic, 2,000 test hands, seed 0: mpjpe_root 10.03 mm, where the mean pose has 69.2 and the nearest
training image 27.2; mpjpe_abs 11.1, mpjpe_pa 9.0; 16 of 16 anchors used.
--config=hands:small is a quickstart of just under 2 minutes, whose joints are made of the code alone, on 300 test
hands, seed 0: mpjpe_root 16.9 mm, mpjpe_abs 17.8; 8 of 12 anchors used.
"""

from typing import Any

from nvc_jax.config import ramp

VARIANTS: dict[str, dict[str, Any]] = {
    "": {
        "model.network": "direct2d",
        "data.num_scenes": 20_000,
        "data.num_heldout_scenes": 2000,
        "model.num_anchors": 16,
        "loss.kl": ramp(0.5, over=0.1),
        "loss.triplet": ramp(5.0, over=0.1),
        "anchors.warmup": 0.1,
        "anchors.max_examples": 4000,
        "optimizer.warmup": 0.01,
        "train.num_steps": 5000,
        "train.eval_every": 1250,
        "eval.max_train_examples": 4000,
    },
    "small": {
        "data.num_scenes": 3000,
        "data.num_heldout_scenes": 300,
        "model.num_anchors": 12,
        "loss.kl": ramp(0.5, over=1 / 3),
        "loss.triplet": ramp(5.0, over=1 / 3),
        "anchors.warmup": 1 / 3,
        "anchors.max_examples": 2000,
        "optimizer.warmup": 1 / 12,
        "train.num_steps": 600,
        "train.eval_every": 300,
        "eval.batch_size": 100,
        "eval.max_train_examples": 1000,
        "eval.tsne_examples": 300,
    },
}


def get_config(variant: str = "") -> dict[str, Any]:
    """Warm-up as an autoencoder, anchors by k-means, then NVC."""
    return {
        "task": "hand_pose",
        "data.source": "hands",
        "model.channels": (32, 64, 128),
        "model.hidden": (256,),
        "model.latent_dim": 20,
        "model.logvar_init": -6.0,
        "loss.anchor_scale": 0.3,
        "loss.triplet_margin": 10.0,
        "anchors.shares": "equal",
        "optimizer.name": "adamw",
        "optimizer.weight_decay": 0.05,
        "optimizer.learning_rate": 3e-3,
        "optimizer.schedule": "cosine",
        "optimizer.restart": False,
        "train.batch_size": 64,
        "train.best_metric": "mpjpe_root",
        **VARIANTS[variant],
    }
