"""Semantic completion of scenes of synthetic furniture; no download.

Command: python train.py --config=configs/furniture_semantic.py --workdir=runs/furniture_semantic
         python eval.py --workdir=runs/furniture_semantic
Device: 2 CPU cores, no accelerator; 90 seconds with the evaluation.
Result, 100 test scenes, seed 0: mIoU of 8 classes 0.112, IoU of what is not empty 0.480; 3 of 8 anchors
used. Classes need more training than this.
"""

from __future__ import annotations

import ml_collections

from nvc_jax.config import default_config, ramp

WARMUP, STEPS = 150, 500


def get_config() -> ml_collections.ConfigDict:
    """Warm-up as an autoencoder, anchors by k-means, then NVC."""
    config = default_config()
    config.task = "semantic_completion"
    config.data.source = "furniture"
    config.data.num_scenes = 1000
    config.data.num_heldout_scenes = 100
    config.model.network = "patch3d"
    config.model.channels = (16, 32)
    config.model.latent_dim = 32
    config.model.num_anchors = 8
    config.model.num_classes = 9  # of 8 kinds of furniture, or empty
    config.loss.class_weights = (0.3, *(1.0,) * 8)  # most voxels are empty
    config.loss.soft_iou = 1.0
    config.loss.kl = ramp(0.3, begin=WARMUP, steps=WARMUP)
    config.loss.triplet = ramp(5.0, begin=WARMUP, steps=WARMUP)
    config.loss.triplet_margin = 10.0
    config.optimizer.learning_rate = 3e-3
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
