"""Nebula anchors on the full MNIST, without labels.

Command: python train.py --config=configs/mnist.py --workdir=runs/mnist \
           --config.data.source=idx --config.data.dir=FOLDER_WITH_THE_FOUR_FILES
         python eval.py --workdir=runs/mnist
Device: 2 CPU cores, no accelerator; 3 minutes, and 50 seconds for the evaluation.
Result, 10,000 test images, seeds 11, 12, 13: Hungarian accuracy 0.975 ± 0.002, 10 of 10 anchors used.
With --config.model.num_anchors=30: majority accuracy 0.948 ± 0.019, 30 of 30 used.
"""

from __future__ import annotations

import ml_collections

from nvc_jax.config import default_config, ramp

STEPS_PER_EPOCH = 59_000 // 512
WARMUP = 20 * STEPS_PER_EPOCH
STEPS = 50 * STEPS_PER_EPOCH


def get_config() -> ml_collections.ConfigDict:
    """Twenty epochs as an autoencoder, anchors by k-means, then thirty of NVC."""
    config = default_config()
    config.data.source = "idx"
    config.data.name = "mnist"  # for --config.data.source=tfds
    config.data.validation_fraction = 1 / 60
    config.loss.likelihood = "binary_cross_entropy"
    config.train.num_steps = STEPS
    config.train.batch_size = 512
    config.train.eval_every = 10 * STEPS_PER_EPOCH
    config.train.checkpoint_every = 10 * STEPS_PER_EPOCH
    config.anchors.warmup_steps = WARMUP
    config.anchors.balanced = True
    config.loss.kl = ramp(1.0, begin=WARMUP, steps=9 * STEPS_PER_EPOCH)
    config.loss.triplet = ramp(20.0, begin=WARMUP, steps=9 * STEPS_PER_EPOCH)
    config.loss.triplet_margin = 10.0
    config.augment.shift = 2.0
    config.augment.rotation = 0.3
    config.augment.scale = 0.2
    config.augment.shear = 0.4
    config.optimizer.learning_rate = 2e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.end_factor = 0.05
    return config
