"""Semantic completion of scenes that are composed of CAD models of furniture.

Command: python train.py --config=configs/cad_semantic.py --workdir=runs/cad_semantic \
           --config.data.dir=furniture.npz
         python eval.py --workdir=runs/cad_semantic
Any other npz file of shapes will do, see `read_shapes` in nvc_jax/data/shapes.py, with
--config.model.num_classes and --config.loss.class_weights of its classes and the empty one.
"""

from __future__ import annotations

import ml_collections

from nvc_jax.config import default_config, ramp

WARMUP, STEPS = 600, 2000


def get_config() -> ml_collections.ConfigDict:
    """Warm-up as an autoencoder, anchors by k-means, then NVC."""
    config = default_config()
    config.task = "semantic_completion"
    config.data.source = "shapes"
    config.data.scene_size = (32, 16, 32)
    config.model.network = "patch3d"
    config.model.channels = (32, 64)
    config.model.latent_dim = 64
    config.model.num_anchors = 12
    config.model.num_classes = 13
    config.loss.class_weights = (0.3, *(1.0,) * 12)  # most voxels are empty
    config.loss.soft_iou = 1.0
    config.loss.kl = ramp(0.3, begin=WARMUP, steps=WARMUP)
    config.loss.triplet = ramp(5.0, begin=WARMUP, steps=WARMUP)
    config.loss.triplet_margin = 10.0
    config.anchors.warmup_steps = WARMUP
    config.anchors.balanced = True
    config.augment.upright_symmetry = True
    config.optimizer.learning_rate = 3e-3
    config.optimizer.schedule = "cosine"
    config.train.num_steps = STEPS
    config.train.batch_size = 16
    config.train.eval_every = STEPS // 2
    config.eval.batch_size = 32
    config.eval.max_train_examples = 500
    return config
