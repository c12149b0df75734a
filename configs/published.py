"""Published data sets, at the size that is usual for each; made for an accelerator.

Command: python train.py --config=published:VARIANT --workdir=runs/published --config.data.dir=FOLDER
         python eval.py --workdir=runs/published
Device: none yet. None of these runs was done, as nobody here has the data or such a device; every one takes its first step
in the tests, on made-up examples. scripts/gpu_check.sh times them on yours, docs/pods.md tells what memory a step takes.
  shapenet  3D-RecGAN++'s pairs of ShapeNet models, 64³ voxels from one view
  pcn       PCN's pairs of clouds, 16,384 points each
  scannet   PlaneNet's planes of ScanNet, images of 192 × 256
  nyu       NYU's hands, depth of 128 × 128, a network of the size of a ResNet-18
Translation has its own, --config=translation:iwslt14. What weights of the loss and batches are like is carried over from
the small recipes of each task; nothing here was tuned. Out of memory: --config.train.microbatches=4, or a smaller batch.
"""

from typing import Any

from nvc_jax.config import ramp

COMMON: dict[str, Any] = {
    "model.dtype": "bfloat16",
    "model.logvar_init": -6.0,
    "loss.triplet_margin": 10.0,
    "anchors.warmup": 0.1,
    "anchors.shares": "equal",
    "optimizer.name": "adamw",
    "optimizer.weight_decay": 0.05,
    "optimizer.learning_rate": 1e-3,
    "optimizer.schedule": "cosine",
    "optimizer.warmup": 0.02,
    "optimizer.restart": False,
    "data.num_threads": 8,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "shapenet": {
        "task": "voxel_completion",
        "data.source": "recgan",
        "data.resolution": 64,
        "model.channels": (64, 128, 256, 512),
        "model.blocks": 2,
        "model.latent_dim": 128,
        "model.num_anchors": 16,
        "loss.soft_iou": 1.0,
        "loss.kl": ramp(0.2, over=0.1),
        "loss.triplet": ramp(20.0, over=0.1),
        "train.num_steps": 50_000,
        "train.batch_size": 32,
        "train.eval_every": 5000,
    },
    "pcn": {
        "task": "point_completion",
        "data.source": "pcn",
        "data.num_points": 16_384,
        "model.network": "pcn",
        "model.hidden": (256, 512, 1024, 2048),
        "model.decoder_hidden": (1024, 1024),
        "model.num_coarse": 1024,
        "model.fold_grid": 4,
        "model.fold_hidden": (512, 512),
        "model.latent_dim": 128,
        "model.num_anchors": 16,
        # The reconstruction is a mean distance, some hundredths, and not a sum as in other tasks.
        "loss.kl": ramp(1e-4, over=0.1),
        "loss.triplet": ramp(5e-4, over=0.1),
        "train.num_steps": 100_000,
        "train.batch_size": 32,
        "train.eval_every": 10_000,
    },
    "scannet": {
        "task": "planar_reconstruction",
        "data.source": "planenet",
        "data.image_size": (192, 256),
        "model.channels": (64, 128, 256, 512),
        "model.blocks": 2,
        "model.latent": "pixel",
        "model.latent_dim": 16,
        "model.num_anchors": 16,
        "loss.kl": ramp(1.0, over=0.1),
        "loss.triplet": ramp(5.0, over=0.1),
        "augment.mirror": True,
        "augment.color": 0.2,
        "train.num_steps": 60_000,
        "train.batch_size": 32,
        "train.eval_every": 10_000,
        "train.best_metric": "plane_recall/0.05",
        "train.best_mode": "max",
        "eval.batch_size": 64,
    },
    "nyu": {
        "task": "hand_pose",
        "data.source": "nyu_hands",
        "data.image_size": (128, 128),
        "model.channels": (64, 128, 256, 512),
        "model.blocks": 2,
        "model.batch_norm": True,
        "model.hidden": (1024,),
        "model.decoder_hidden": (1024, 1024),
        "model.latent_dim": 20,
        "model.num_anchors": 16,
        "loss.anchor_scale": 0.3,
        "loss.kl": ramp(0.5, over=0.1),
        "loss.triplet": ramp(5.0, over=0.1),
        "augment.rotation": 0.5,
        "augment.scale": 0.1,
        "train.num_steps": 60_000,
        "train.batch_size": 64,
        "train.eval_every": 10_000,
        "train.best_metric": "mpjpe_root",
    },
}


def get_config(variant: str) -> dict[str, Any]:
    """Warm-up as an autoencoder, anchors by k-means, then NVC."""
    return {**COMMON, **VARIANTS[variant]}
