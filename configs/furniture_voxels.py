"""Completion of volumes of synthetic furniture, seen from four sides; no download.

Command: python train.py --config=configs/furniture_voxels.py --workdir=runs/furniture_voxels
         python eval.py --workdir=runs/furniture_voxels
Device: 2 CPU cores, no accelerator; 80 seconds with the evaluation.
Result, 96 test models from 4 sides, seed 0: IoU 0.478 at a threshold of 0.5; majority accuracy of the
anchors 0.516; 8 of 8 used.
"""

from __future__ import annotations

import ml_collections

from nvc_jax.config import default_config, ramp

WARMUP, STEPS = 130, 400


def get_config() -> ml_collections.ConfigDict:
    """Warm-up as an autoencoder, anchors by k-means, then NVC."""
    config = default_config()
    config.task = "voxel_completion"
    config.data.source = "furniture"
    config.model.network = "patch3d"
    config.model.channels = (16, 32)
    config.model.latent_dim = 32
    config.model.num_anchors = 8
    config.loss.soft_iou = 1.0
    config.loss.kl = ramp(2.0, begin=WARMUP, steps=WARMUP)
    config.loss.triplet = ramp(20.0, begin=WARMUP, steps=WARMUP)
    config.loss.triplet_margin = 10.0
    config.optimizer.learning_rate = 3e-3
    config.train.batch_size = 8
    config.anchors.warmup_steps = WARMUP
    config.augment.mirror = True
    config.optimizer.schedule = "cosine"
    config.train.num_steps = STEPS
    config.train.eval_every = STEPS // 2
    config.eval.batch_size = 32
    config.eval.max_train_examples = 500
    config.eval.tsne_examples = 500
    return config
