"""Translation by a Transformer of the size that is usual for IWSLT14 (6 + 6 layers of width 512), for an accelerator.

Command: python train.py --config=configs/translation_iwslt.py --workdir=runs/translation_iwslt \
           --config.data.dir=FOLDER
         python eval.py --workdir=runs/translation_iwslt
Data and variants as in configs/translation.py. Each of the two shapes of a batch is compiled once; see
docs/pods.md for flags of XLA that shorten it on a GPU.
Device: one NVIDIA H100 that 15 other runs shared, 8 minutes.
Result on the corpus that docs/text.md tells about, seed 0: BLEU 37.2 of validation pairs; the test pairs
were not translated.
Reference: the sizes are those of fairseq's `transformer_iwslt_de_en`.
"""

from __future__ import annotations

import ml_collections

from nvc_jax.config import load_config
from nvc_jax.training.schedules import scale_steps


def get_config() -> ml_collections.ConfigDict:
    """configs/translation.py with a larger network, in bfloat16, on larger batches."""
    config = load_config("translation")
    config.data.num_buckets = 2
    config.model.width = 512
    config.model.encoder_layers = 6
    config.model.decoder_layers = 6
    config.model.dropout = 0.3
    config.model.dtype = "bfloat16"
    config.optimizer.learning_rate = 7e-4
    config.train.tokens_per_batch = 6000
    scale_steps(config, 4500)
    return config
