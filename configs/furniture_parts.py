"""Segmentation of synthetic furniture into parts; no download.

Command: python train.py --config=configs/furniture_parts.py --workdir=runs/furniture_parts
         python eval.py --workdir=runs/furniture_parts
Device: 2 CPU cores, no accelerator; 67 seconds with the evaluation (CPU seconds / 2).
Result, 96 test models, seed 0: instance mIoU 0.522, accuracy 0.755; 7 of 8 anchors used.
"""

from __future__ import annotations

import ml_collections

from nvc_jax.config import default_config, ramp

WARMUP, STEPS = 150, 450


def get_config() -> ml_collections.ConfigDict:
    """Warm-up as an autoencoder, anchors by k-means, then NVC."""
    config = default_config()
    config.task = "point_segmentation"
    config.data.source = "furniture"
    config.model.network = "pointnet"
    config.model.hidden = (32, 32, 64, 256)
    config.model.decoder_hidden = (128, 64)
    config.model.know_category = True
    config.model.latent_dim = 32
    config.model.num_anchors = 8
    config.loss.kl = ramp(2.0, begin=WARMUP, steps=WARMUP)
    config.loss.triplet = ramp(10.0, begin=WARMUP, steps=WARMUP)
    config.loss.triplet_margin = 10.0
    config.optimizer.learning_rate = 2e-3
    config.train.batch_size = 4
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
