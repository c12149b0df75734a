"""CAD models of furniture, completed or composed to scenes and labeled.

Command: python train.py --config=cad:VARIANT --workdir=runs/cad --config.data.dir=furniture.npz
         (and --config.data.split_file=groups.npz)
         python eval.py --workdir=runs/cad
Device: 2 CPU cores, no accelerator; `voxels` 42 minutes of CPU time, `points` 7.5, `semantic` 22,
        `scenes` 25
Results on the CAD models that docs/shapes.md tells about, split without twins, seed 0:
  voxels    165 test models from 4 sides: IoU 0.614; 11 of 12 anchors used
  points    165 test models from above (eval.py … --config.data.oblique_views=1): Chamfer distance (l1) 0.0160 with
            observed points kept; 12 of 12 anchors used
  semantic  200 scenes of test models: mIoU of 20 classes 0.113, which is not enough; IoU of what is not empty 0.649
  scenes    200 scenes of test models: mIoU of 20 classes 0.146, accuracy 0.294; 12 of 12 anchors used
Any other npz file of shapes will do, see `read_shapes` in nvc_jax/data/shapes/shapes.py; `nvc-meshes --find_twins` makes the
file of groups. Where there is no class "other" take --config.data.unlabeled_class=; `semantic` and `scenes` take
--config.model.num_classes and --config.loss.class_weights of the classes.
"""

from typing import Any

from nvc_jax.config import ramp

COMMON: dict[str, Any] = {
    "data.source": "shapes",
    "data.stretched_copies": 8,
    "model.latent_dim": 64,
    "model.num_anchors": 12,
    "model.logvar_init": -6.0,
    "loss.triplet_margin": 10.0,
    "anchors.max_examples": 2000,
    "anchors.shares": "equal",
    "augment.assign_from": "augmented",  # spares a second encoding
    "optimizer.name": "adamw",
    "optimizer.weight_decay": 0.05,
    "optimizer.learning_rate": 3e-3,
    "optimizer.schedule": "cosine",
    "optimizer.restart": False,
    "train.batch_size": 16,
    "eval.batch_size": 32,
    "eval.max_train_examples": 500,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "voxels": {
        "task": "voxel_completion",
        "data.unlabeled_class": "other",
        "data.stretched_copies": 16,
        "data.stretch": 0.2,
        "model.channels": (64, 128),
        "model.blocks": 2,
        "model.see_mirrored": True,  # most furniture is its own mirror image
        "model.skip_dropout": 0.05,
        "loss.soft_iou": 1.0,
        "loss.kl": ramp(0.2, over=0.2),
        "loss.triplet": ramp(20.0, over=0.2),
        "anchors.warmup": 0.2,
        "anchors.shares": "free",
        "augment.mirror": True,
        "optimizer.warmup": 1 / 60,
        "train.num_steps": 3000,
        "train.eval_every": 600,
        "eval.max_train_examples": 2000,
        "eval.mirror": True,
    },
    "points": {
        "task": "point_completion",
        "data.unlabeled_class": "other",
        "data.oblique_views": 2,
        "data.stretched_copies": 4,
        "model.network": "seeds",
        "model.hidden": (64, 128, 128, 256),
        "model.decoder_hidden": (512, 512),
        "model.num_coarse": 256,
        "model.fold_grid": 1,
        "anchors.max_examples": 512,
        # The reconstruction is a mean distance, some hundredths, and not a sum as in other tasks.
        "loss.kl": ramp(1e-4, over=2 / 7),
        "loss.triplet": ramp(5e-4, over=2 / 7),
        "anchors.warmup": 2 / 7,
        "augment.mirror": True,
        "optimizer.learning_rate": 2e-3,
        "optimizer.warmup": 0.05,
        "train.num_steps": 600,
        "train.eval_every": 300,
        "eval.max_train_examples": 200,
    },
    "semantic": {
        "task": "semantic_completion",
        "data.unlabeled_class": "other",
        "data.num_scenes": 20_000,  # more than a run sees: no scene comes twice
        "data.class_balance": 0.7,
        "anchors.max_examples": 1000,
        "model.channels": (64, 128),
        "model.num_classes": 21,
        "loss.class_weights": (0.3, *(1.0,) * 20),  # of empty voxels, and of the 20 named classes
        "loss.soft_iou": 0.3,
        "loss.kl": ramp(0.3, over=0.12),
        "loss.triplet": ramp(5.0, over=0.12),
        "anchors.warmup": 0.12,
        "augment.mirror": True,  # the camera stands at the front
        "optimizer.warmup": 0.02,
        "train.num_steps": 1200,
        "train.eval_every": 600,
        "eval.mirror": True,
        "eval.one_class_a_part": True,
    },
    "scenes": {
        "task": "point_segmentation",
        "data.unlabeled_class": "other",
        "data.compose_scenes": True,
        "data.num_scenes": 20_000,  # more than a run sees: no scene comes twice
        "data.class_balance": 0.7,
        "anchors.max_examples": 1000,
        "data.num_points": 512,
        "model.network": "dgcnn",
        "model.hidden": (64, 128, 128, 256),
        "model.num_neighbors": 16,
        "model.dilations": (2, 8, 16),
        "model.batch_norm": True,
        "model.decoder_hidden": (256, 128),
        "model.num_classes": 20,
        "loss.soft_iou": 0.3,
        "loss.kl": ramp(0.2, over=2 / 7),
        "loss.triplet": ramp(1.0, over=2 / 7),
        "anchors.warmup": 2 / 7,
        "augment.upright_symmetry": True,
        "optimizer.warmup": 1 / 14,
        "train.num_steps": 1000,
        "train.batch_size": 12,
        "train.eval_every": 500,
    },
}


def get_config(variant: str) -> dict[str, Any]:
    """Warm-up as an autoencoder, anchors by k-means, then NVC."""
    return {**COMMON, **VARIANTS[variant]}
