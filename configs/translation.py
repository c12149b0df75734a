"""Translation of German to English by a Transformer with a nebula on the sentence, on your own parallel text.

Command: python train.py --config=translation --workdir=runs/translation --config.data.dir=FOLDER
         python eval.py --workdir=runs/translation --config.eval.average_checkpoints=5
The folder holds {train,dev,test}.de and .en, plain or with .gz; see docs/text.md for other sources.
Device: 2 CPU cores; about a step a second, two hours.
Result on the corpus that docs/text.md tells about, seed 0: BLEU 33.9 after 4,400 of the 6,000 steps, 87 minutes;
twins of test sources, which data.leave_out_test_twins leaves out now, were learned too.
A latent for every token: --config.model.latent=token. A plain Transformer: --config.model.latent=none
--config.loss.kl.value=0 --config.loss.triplet.value=0 --config.model.num_anchors=1

--config=translation:iwslt has the size that is usual for IWSLT14 (6 + 6 layers of width 512), in bfloat16 on larger
batches, for an accelerator. Each of the two shapes of a batch is compiled once; see docs/pods.md for flags of
XLA that shorten it on a GPU. One NVIDIA H100 that 15 other runs shared, 8 minutes, seed 0: BLEU 37.2 of validation
pairs; the test pairs were not translated. --config=translation:iwslt14 is the same for the files of IWSLT14 as published.
Reference: the sizes are those of fairseq's `transformer_iwslt_de_en`.
"""

from typing import Any

from nvc_jax.config import ramp

VARIANTS: dict[str, dict[str, Any]] = {
    "": {
        "data.num_buckets": 8,
        "model.width": 256,
        "model.dropout": 0.2,
        "optimizer.learning_rate": 2e-3,
        "train.num_steps": 6000,
        "train.tokens_per_batch": 2000,
        "train.eval_every": 1000,
        "train.checkpoint_every": 200,
    },
    "iwslt": {
        "data.num_buckets": 2,
        "model.width": 512,
        "model.encoder_layers": 6,
        "model.decoder_layers": 6,
        "model.dropout": 0.3,
        "model.dtype": "bfloat16",
        "optimizer.learning_rate": 7e-4,
        "train.num_steps": 4500,
        "train.tokens_per_batch": 6000,
        "train.eval_every": 750,
        "train.checkpoint_every": 150,
    },
}
VARIANTS["iwslt14"] = {**VARIANTS["iwslt"], "data.source": "iwslt14"}


def get_config(variant: str = "") -> dict[str, Any]:
    """Warm-up as a Transformer with one more state, anchors by k-means, then NVC."""
    return {
        "task": "translation",
        "data.source": "parallel_text",
        "data.leave_out_test_twins": True,
        "data.vocab_size": 8000,
        "data.max_source_tokens": 96,
        "data.max_target_tokens": 96,
        "model.feedforward": 1024,
        "model.latent_dim": 64,
        "model.num_anchors": 16,
        "model.logvar_init": -6.0,
        "loss.label_smoothing": 0.1,
        "loss.kl": ramp(1e-3, over=1 / 6),
        "loss.triplet": ramp(1e-2, over=1 / 6),
        "loss.triplet_margin": 10.0,
        "anchors.warmup": 1 / 6,
        "anchors.max_examples": 4000,
        "optimizer.schedule": "cosine",
        "optimizer.warmup": 1 / 15,
        "optimizer.restart": False,
        "optimizer.clip_norm": 1.0,
        "train.log_every": 200,
        "train.keep": 5,
        "train.best_metric": "bleu",
        "train.best_mode": "max",
        "eval.batch_size": 128,
        "eval.beam_size": 4,
        "eval.max_train_examples": 1000,
        **VARIANTS[variant],
    }
