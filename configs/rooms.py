"""Planar reconstruction of 5,000 synthetic rooms, with 500 each for validation and test; no download.

Textures of validation and test rooms never occur in training rooms.

Command: python train.py --config=configs/rooms.py --workdir=runs/rooms
         python eval.py --workdir=runs/rooms
Device: one CPU core, no accelerator; 15 to 22 minutes, of which drawing the rooms takes one and a half.
Result, synthetic, 500 test rooms, seeds 0, 1, 2: plane recall 0.028 ± 0.001 at 0.05 m and 0.163 ± 0.001 at
0.2 m, RI 0.897, VOI 1.39 bits, SC 0.730, depth rel 0.154; 16 of 16 anchors used.
A latent for every pixel rather than one for the image: about as good on validation rooms, see docs/planes.md,
and its anchors stand for kinds of planes.
"""

from __future__ import annotations

import ml_collections

from nvc_jax.config import default_config, ramp

WARMUP, STEPS = 500, 3500


def get_config() -> ml_collections.ConfigDict:
    """Warm-up as an autoencoder, anchors by k-means, then NVC."""
    config = default_config()
    config.task = "planar_reconstruction"
    config.data.source = "rooms"
    config.data.num_scenes = 5000
    config.data.num_heldout_scenes = 500
    config.model.network = "patch2d"
    config.model.latent = "pixel"
    config.model.channels = (64, 96, 128)
    config.model.latent_dim = 16
    config.model.num_anchors = 16
    config.model.logvar_init = -6.0
    config.loss.kl = ramp(1.0, begin=WARMUP, steps=WARMUP)
    config.loss.triplet = ramp(5.0, begin=WARMUP, steps=WARMUP)
    config.loss.triplet_margin = 10.0
    config.anchors.warmup_steps = WARMUP
    config.anchors.max_examples = 2000
    config.anchors.balanced = True
    config.augment.mirror = True
    config.augment.assign_from = "augmented"  # spares a second encoding
    config.optimizer.name = "adamw"
    config.optimizer.weight_decay = 0.05
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup_steps = 50
    config.optimizer.schedule = "cosine"
    config.optimizer.restart = False
    config.train.num_steps = STEPS
    config.train.batch_size = 16
    config.train.eval_every = STEPS // 2
    config.train.best_metric = "plane_recall/0.05"
    config.train.best_mode = "max"
    config.eval.batch_size = 64
    config.eval.max_train_examples = 500
    return config
