"""Completion of the volumes of CAD models of furniture, seen from four sides.

Command: python train.py --config=configs/cad_voxels.py --workdir=runs/cad_voxels \
           --config.data.dir=furniture.npz
         python eval.py --workdir=runs/cad_voxels
Device: 2 CPU cores, no accelerator; about 20 minutes of CPU time, and one for the evaluation.
Result on the CAD models that docs/shapes.md tells about, 164 test models from 4 sides, seed 0: IoU
0.630; 11 of 12 anchors used.
Any other npz file of shapes will do, see `read_shapes` in nvc_jax/data/shapes/shapes.py; if it has no class
"other", add --config.data.unlabeled_class=.
"""

from __future__ import annotations

import ml_collections

from nvc_jax.config import default_config, ramp

WARMUP, STEPS = 600, 3000


def get_config() -> ml_collections.ConfigDict:
    """Warm-up as an autoencoder, anchors by k-means, then NVC."""
    config = default_config()
    config.task = "voxel_completion"
    config.data.source = "shapes"
    config.data.unlabeled_class = "other"
    config.data.stretched_copies = 16
    config.data.stretch = 0.2
    config.model.network = "patch3d"
    config.model.channels = (64, 128)
    config.model.blocks = 2
    config.model.skip_dropout = 0.05
    config.model.latent_dim = 64
    config.model.num_anchors = 12
    config.model.logvar_init = -6.0
    config.loss.soft_iou = 1.0
    config.loss.kl = ramp(0.2, begin=WARMUP, steps=WARMUP)
    config.loss.triplet = ramp(20.0, begin=WARMUP, steps=WARMUP)
    config.loss.triplet_margin = 10.0
    config.anchors.warmup_steps = WARMUP
    config.anchors.max_examples = 2000
    config.augment.mirror = True
    config.augment.assign_from = "augmented"  # spares a second encoding
    config.optimizer.name = "adamw"
    config.optimizer.weight_decay = 0.05
    config.optimizer.learning_rate = 3e-3
    config.optimizer.warmup_steps = 50
    config.optimizer.schedule = "cosine"
    config.optimizer.restart = False
    config.train.num_steps = STEPS
    config.train.batch_size = 16
    config.train.eval_every = STEPS // 3
    config.eval.batch_size = 32
    config.eval.max_train_examples = 2000
    return config
