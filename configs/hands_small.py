"""Hand pose from depth, on synthetic hands; no download.

Command: python train.py --config=configs/hands_small.py --workdir=runs/hands_small
         python eval.py --workdir=runs/hands_small
Device: one CPU core, no accelerator; just under 2 minutes with the evaluation and its figures.
Result, synthetic, 300 test hands, seed 0: mpjpe_root 16.9 mm, mpjpe_abs 17.8; 8 of 12 anchors used.
"""

from __future__ import annotations

import ml_collections

from nvc_jax.config import default_config, ramp

WARMUP, STEPS = 200, 600


def get_config() -> ml_collections.ConfigDict:
    """Warm-up as an autoencoder, anchors by k-means, then NVC."""
    config = default_config()
    config.task = "hand_pose"
    config.data.source = "hands"
    config.data.num_scenes = 3000
    config.data.num_heldout_scenes = 300
    config.model.network = "patch2d"
    config.model.channels = (32, 64, 128)
    config.model.hidden = (256,)
    config.model.decoder_hidden = (256, 256)
    config.model.latent_dim = 20
    config.model.num_anchors = 12
    config.model.logvar_init = -6.0
    config.loss.anchor_scale = 0.3
    config.loss.kl = ramp(0.5, begin=WARMUP, steps=WARMUP)
    config.loss.triplet = ramp(5.0, begin=WARMUP, steps=WARMUP)
    config.loss.triplet_margin = 10.0
    config.anchors.warmup_steps = WARMUP
    config.anchors.max_examples = 2000
    config.anchors.balanced = True
    config.optimizer.name = "adamw"
    config.optimizer.weight_decay = 0.05
    config.optimizer.learning_rate = 3e-3
    config.optimizer.warmup_steps = 50
    config.optimizer.schedule = "cosine"
    config.optimizer.restart = False
    config.train.num_steps = STEPS
    config.train.batch_size = 64
    config.train.eval_every = STEPS // 2
    config.train.best_metric = "mpjpe_root"
    config.eval.batch_size = 100
    config.eval.max_train_examples = 1000
    config.eval.tsne_examples = 300
    return config
