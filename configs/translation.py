"""Translation of German to English by a Transformer with a nebula on the sentence, on your own parallel text.

Command: python train.py --config=configs/translation.py --workdir=runs/translation \
           --config.data.dir=FOLDER
         python eval.py --workdir=runs/translation --config.eval.average_checkpoints=5
The folder holds {train,dev,test}.de and .en, plain or with .gz; see docs/text.md for other sources.
Device: 2 CPU cores; about a step a second, two hours.
Result on the corpus that docs/text.md tells about, seed 0: BLEU 33.9 after 4,400 of the 6,000 steps, 87 minutes.
A latent for every token: --config.model.latent=token. A plain Transformer: --config.model.latent=none
--config.loss.kl.value=0 --config.loss.triplet.value=0 --config.model.num_anchors=1
"""

from __future__ import annotations

import ml_collections

from nvc_jax.config import default_config, ramp

WARMUP, STEPS = 1000, 6000


def get_config() -> ml_collections.ConfigDict:
    """Warm-up as a Transformer with one more state, anchors by k-means, then NVC."""
    config = default_config()
    config.task = "translation"
    config.data.source = "parallel_text"
    config.data.vocab_size = 8000
    config.data.max_source_tokens = 96
    config.data.max_target_tokens = 96
    config.data.num_buckets = 8
    config.model.width = 256
    config.model.num_heads = 4
    config.model.feedforward = 1024
    config.model.encoder_layers = 2
    config.model.decoder_layers = 2
    config.model.dropout = 0.2
    config.model.latent_dim = 64
    config.model.num_anchors = 16
    config.model.logvar_init = -6.0
    config.loss.label_smoothing = 0.1
    config.loss.kl = ramp(1e-3, begin=WARMUP, steps=WARMUP)
    config.loss.triplet = ramp(1e-2, begin=WARMUP, steps=WARMUP)
    config.loss.triplet_margin = 10.0
    config.anchors.warmup_steps = WARMUP
    config.anchors.max_examples = 4000
    config.optimizer.learning_rate = 2e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 400
    config.optimizer.restart = False
    config.optimizer.clip_norm = 1.0
    config.train.num_steps = STEPS
    config.train.tokens_per_batch = 2000
    config.train.log_every = 200
    config.train.eval_every = STEPS // 6
    config.train.checkpoint_every = STEPS // 30
    config.train.keep = 5
    config.train.best_metric = "bleu"
    config.train.best_mode = "max"
    config.eval.batch_size = 128
    config.eval.beam_size = 4
    config.eval.max_train_examples = 1000
    return config
