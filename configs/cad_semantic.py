"""Semantic completion of scenes that are composed of CAD models of furniture.

Command: python train.py --config=configs/cad_semantic.py --workdir=runs/cad_semantic \
           --config.data.dir=furniture.npz
         python eval.py --workdir=runs/cad_semantic
Result on the CAD models that docs/shapes.md tells about, 200 scenes of test models, seed 0: mIoU 0.168, IoU of
what is not empty 0.701; 12 of 12 anchors used.
Any other npz file of shapes will do, see `read_shapes` in nvc_jax/data/shapes/shapes.py, with
--config.model.num_classes and --config.loss.class_weights of its classes and the empty one.
"""

from __future__ import annotations

import ml_collections

from nvc_jax.config import default_config, ramp

WARMUP, STEPS = 300, 2500

# Empty voxels, then the classes by name, "other" the sixth: weights fall with their frequency.
CLASS_WEIGHTS = (0.3, 2.0, 1.0, 0.8, 2.0, 2.0, 0.2, 1.0, 2.0, 1.5, 1.0, 2.0, 2.0)


def get_config() -> ml_collections.ConfigDict:
    """Warm-up as an autoencoder, anchors by k-means, then NVC."""
    config = default_config()
    config.task = "semantic_completion"
    config.data.source = "shapes"
    config.data.stretched_copies = 8
    config.data.stretch = 0.15
    config.data.num_scenes = 3000
    config.data.scene_size = (32, 16, 32)
    config.model.network = "patch3d"
    config.model.channels = (64, 128)
    config.model.latent_dim = 64
    config.model.num_anchors = 12
    config.model.logvar_init = -6.0
    config.model.num_classes = 13
    config.loss.class_weights = CLASS_WEIGHTS
    config.loss.soft_iou = 0.3
    config.loss.kl = ramp(0.3, begin=WARMUP, steps=WARMUP)
    config.loss.triplet = ramp(5.0, begin=WARMUP, steps=WARMUP)
    config.loss.triplet_margin = 10.0
    config.anchors.warmup_steps = WARMUP
    config.anchors.max_examples = 2000
    config.anchors.balanced = True
    config.augment.mirror = True  # the camera stands at the front
    config.augment.assign_from = "augmented"  # spares a second encoding
    config.optimizer.name = "adamw"
    config.optimizer.weight_decay = 0.05
    config.optimizer.learning_rate = 3e-3
    config.optimizer.warmup_steps = 50
    config.optimizer.schedule = "cosine"
    config.optimizer.restart = False
    config.train.num_steps = STEPS
    config.train.batch_size = 16
    config.train.eval_every = STEPS // 2
    config.eval.batch_size = 32
    config.eval.max_train_examples = 500
    return config
