"""Completion of the point clouds of CAD models of furniture, seen from above.

Command: python train.py --config=configs/cad_points.py --workdir=runs/cad_points \
           --config.data.dir=furniture.npz
         python eval.py --workdir=runs/cad_points --config.data.oblique_views=1
Result on the CAD models that docs/shapes.md tells about, 164 test models, seeds 0, 1, 2: Chamfer distance (l1)
0.0240 ± 0.0000 with observed points kept; of the decoder's own points (seed 0) 0.0349; 8 or 9 of 12 anchors used.
Any other npz file of shapes will do, see `read_shapes` in nvc_jax/data/shapes/shapes.py; if it has no class
"other", add --config.data.unlabeled_class=.
"""

from __future__ import annotations

import ml_collections

from nvc_jax.config import default_config, ramp

WARMUP, STEPS = 200, 700


def get_config() -> ml_collections.ConfigDict:
    """Warm-up as an autoencoder, anchors by k-means, then NVC."""
    config = default_config()
    config.task = "point_completion"
    config.data.source = "shapes"
    config.data.unlabeled_class = "other"
    config.data.oblique_views = 4
    config.data.stretched_copies = 8
    config.data.stretch = 0.15
    config.model.network = "pcn"
    config.model.hidden = (64, 128, 128, 256)
    config.model.num_coarse = 512
    config.model.fold_grid = 2
    config.model.decoder_hidden = (512, 512)
    config.model.fold_hidden = (128, 128)
    config.model.latent_dim = 64
    config.model.num_anchors = 12
    config.model.logvar_init = -6.0
    # The reconstruction is a mean distance, some hundredths, and not a sum as in other tasks.
    config.loss.kl = ramp(1e-4, begin=WARMUP, steps=WARMUP)
    config.loss.triplet = ramp(5e-4, begin=WARMUP, steps=WARMUP)
    config.loss.triplet_margin = 10.0
    config.anchors.warmup_steps = WARMUP
    config.anchors.max_examples = 2000
    config.anchors.balanced = True
    config.augment.mirror = True
    config.augment.assign_from = "augmented"  # spares a second encoding
    config.optimizer.name = "adamw"
    config.optimizer.weight_decay = 0.05
    config.optimizer.learning_rate = 1e-3
    config.optimizer.warmup_steps = 50
    config.optimizer.schedule = "cosine"
    config.optimizer.restart = False
    config.train.num_steps = STEPS
    config.train.batch_size = 16
    config.train.eval_every = STEPS // 2
    config.eval.batch_size = 32
    config.eval.max_train_examples = 500
    return config
