"""Hand pose from depth, on 20,000 synthetic hands; persons of the test are not in training.

Command: python train.py --config=configs/hands.py --workdir=runs/hands
         python eval.py --workdir=runs/hands
Device: one CPU core, no accelerator; 10 minutes, and one for the evaluation.
Result, synthetic, 2,000 test hands, seeds 0, 1, 2: mpjpe_root 11.19 ± 0.02 mm, where the mean pose has 69.2
and the nearest training image 27.2; mpjpe_abs 12.4, mpjpe_pa 9.9; 16 of 16 anchors used.
"""

from __future__ import annotations

import ml_collections

from nvc_jax.config import default_config, ramp

WARMUP, STEPS = 500, 5000


def get_config() -> ml_collections.ConfigDict:
    """Warm-up as an autoencoder, anchors by k-means, then NVC."""
    config = default_config()
    config.task = "hand_pose"
    config.data.source = "hands"
    config.data.num_scenes = 20_000
    config.data.num_heldout_scenes = 2000
    config.model.network = "patch2d"
    config.model.channels = (32, 64, 128)
    config.model.hidden = (256,)
    config.model.decoder_hidden = (256, 256)
    config.model.latent_dim = 20
    config.model.num_anchors = 16
    config.model.logvar_init = -6.0
    config.loss.anchor_scale = 0.3
    config.loss.kl = ramp(0.5, begin=WARMUP, steps=WARMUP)
    config.loss.triplet = ramp(5.0, begin=WARMUP, steps=WARMUP)
    config.loss.triplet_margin = 10.0
    config.anchors.warmup_steps = WARMUP
    config.anchors.max_examples = 4000
    config.anchors.balanced = True
    config.optimizer.name = "adamw"
    config.optimizer.weight_decay = 0.05
    config.optimizer.learning_rate = 3e-3
    config.optimizer.warmup_steps = 50
    config.optimizer.schedule = "cosine"
    config.optimizer.restart = False
    config.train.num_steps = STEPS
    config.train.batch_size = 64
    config.train.eval_every = STEPS // 4
    config.train.best_metric = "mpjpe_root"
    config.eval.max_train_examples = 4000
    return config
