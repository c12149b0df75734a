"""Completion of point clouds of synthetic furniture, seen from above; no download.

Command: python train.py --config=configs/furniture_points.py --workdir=runs/furniture_points
         python eval.py --workdir=runs/furniture_points
Device: 2 CPU cores, no accelerator; 65 seconds with the evaluation (CPU seconds / 2).
Result, 96 test models, seed 0: Chamfer distance (l1) 0.0344, F-score at 0.01 0.365, with half of the
points observed ones; 0.0494 of the decoder's own points; 2 of 8 anchors used.
"""

from __future__ import annotations

import ml_collections

from nvc_jax.config import default_config, ramp

WARMUP, STEPS = 200, 700


def get_config() -> ml_collections.ConfigDict:
    """Warm-up as an autoencoder, anchors by k-means, then NVC."""
    config = default_config()
    config.task = "point_completion"
    config.data.source = "furniture"
    config.data.oblique_views = 1
    config.data.num_points = 512
    config.model.network = "pcn"
    config.model.hidden = (64, 128, 128, 256)
    config.model.num_coarse = 256
    config.model.fold_grid = 2
    config.model.decoder_hidden = (256, 256)
    config.model.fold_hidden = (64, 64)
    config.model.latent_dim = 32
    config.model.num_anchors = 8
    # The reconstruction is a mean distance, some hundredths, and not a sum as in other tasks.
    config.loss.kl = ramp(1e-4, begin=WARMUP, steps=WARMUP)
    config.loss.triplet = ramp(5e-4, begin=WARMUP, steps=WARMUP)
    config.loss.triplet_margin = 10.0
    config.optimizer.learning_rate = 1e-3
    config.train.batch_size = 8
    config.anchors.warmup_steps = WARMUP
    config.anchors.balanced = True
    config.augment.upright_symmetry = True
    config.optimizer.schedule = "cosine"
    config.train.num_steps = STEPS
    config.train.eval_every = STEPS // 2
    config.eval.batch_size = 32
    config.eval.max_train_examples = 500
    config.eval.tsne_examples = 500
    return config
