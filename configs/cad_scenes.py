"""Segmentation of point clouds of scenes that are composed of CAD models of furniture.

Command: python train.py --config=configs/cad_scenes.py --workdir=runs/cad_scenes \
           --config.data.dir=furniture.npz
         python eval.py --workdir=runs/cad_scenes
Result on the CAD models that docs/shapes.md tells about, 200 scenes of test models, seeds 0, 1, 2: mIoU 0.144 ± 0.012,
where the commonest class has 0.048; 9 to 11 of 12 anchors used. More steps help: validation mIoU 0.153 after 600 of 1,200.
Any other npz file of shapes will do, see `read_shapes` in nvc_jax/data/shapes/shapes.py, with
--config.model.num_classes and --config.loss.class_weights.
"""

from __future__ import annotations

import ml_collections

from nvc_jax.config import default_config, ramp

WARMUP, STEPS = 200, 700

# Of the classes by name, "other" the sixth: one over the square root of their frequency.
CLASS_WEIGHTS = (2.8, 1.5, 1.2, 2.1, 2.2, 0.5, 1.8, 3.6, 2.1, 1.3, 2.3, 2.7)


def get_config() -> ml_collections.ConfigDict:
    """Warm-up as an autoencoder, anchors by k-means, then NVC."""
    config = default_config()
    config.task = "point_segmentation"
    config.data.source = "shapes"
    config.data.compose_scenes = True
    config.data.stretched_copies = 8
    config.data.stretch = 0.15
    config.data.num_scenes = 3000
    config.data.num_points = 512
    config.model.network = "dgcnn"
    config.model.hidden = (64, 128, 128, 256)
    config.model.num_neighbors = 16
    config.model.dilations = (2, 8, 16)
    config.model.batch_norm = True
    config.model.decoder_hidden = (256, 128)
    config.model.latent_dim = 64
    config.model.num_anchors = 12
    config.model.logvar_init = -6.0
    config.model.num_classes = 12
    config.loss.class_weights = CLASS_WEIGHTS
    config.loss.soft_iou = 0.3
    config.loss.kl = ramp(0.2, begin=WARMUP, steps=WARMUP)
    config.loss.triplet = ramp(1.0, begin=WARMUP, steps=WARMUP)
    config.loss.triplet_margin = 10.0
    config.anchors.warmup_steps = WARMUP
    config.anchors.max_examples = 2000
    config.anchors.balanced = True
    config.augment.upright_symmetry = True
    config.augment.assign_from = "augmented"  # spares a second encoding
    config.optimizer.name = "adamw"
    config.optimizer.weight_decay = 0.05
    config.optimizer.learning_rate = 3e-3
    config.optimizer.warmup_steps = 50
    config.optimizer.schedule = "cosine"
    config.optimizer.restart = False
    config.train.num_steps = STEPS
    config.train.batch_size = 12
    config.train.eval_every = STEPS // 2
    config.eval.batch_size = 32
    config.eval.max_train_examples = 500
    return config
