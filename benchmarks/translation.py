"""Translation: plain Transformer, VAE, NVC on sentences and on tokens, of one size, as one table.

    python -m benchmarks.translation --data=FOLDER --workdir=runs/translations

The folder holds parallel text, see docs/text.md. The first rows are without training, see
benchmarks/translation_memory.py. Methods differ in the latent alone; the recipe is configs/translation.py
with a smaller network and vocabulary.

Every finished row is a line of WORKDIR/translation.csv and is not computed again, unless the recipe
has changed since. A run that was interrupted begins anew.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import ml_collections

from benchmarks import translation_memory
from benchmarks.methods import METHODS, Changes
from benchmarks.table import Row, add_flags, run_table, train_and_evaluate
from nvc_jax.config import changed, load_config
from nvc_jax.programs import cli

LATENTS: dict[str, Changes] = {
    "transformer": {**METHODS["ae"], "model.latent": "none"},
    "vae": {**METHODS["vae"], "model.latent": "sentence"},
    "nvc-sentence": {"model.latent": "sentence"},
    "nvc-token": {"model.latent": "token"},
}
"""What a method changes in the recipe."""

COLUMNS = ("bleu", "chrf", "perplexity", "anchors_used")


def configure(data: Path) -> ml_collections.ConfigDict:
    """The recipe of the table, for its data."""
    config = load_config("translation")
    return changed(
        config,
        {
            "data.dir": str(data.absolute()),
            "data.vocab_size": 4000,
            "data.num_buckets": 4,
            "model.width": 192,
            "model.feedforward": 768,
            "train.eval_every": config.train.num_steps,  # translating takes time
        },
    )


def baselines(config: ml_collections.ConfigDict) -> dict[str, Row]:
    """Scores without training."""
    pairs = (translation_memory.read_pairs(Path(config.data.dir), s) for s in ("train", "test"))
    found = translation_memory.translation_baselines(*pairs)
    return {
        name: {measure: score.value for measure, score in scores.items()}
        for name, scores in found.items()
    }


def main(arguments: list[str]) -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of parallel text")
    add_flags(parser, tuple(LATENTS), (0, 1), "runs/translations")
    flags = parser.parse_args(arguments)
    return run_table(
        flags,
        "translation",
        COLUMNS,
        configure(flags.data),
        baselines=baselines,
        methods=LATENTS,
        measure=train_and_evaluate,
    )


if __name__ == "__main__":
    sys.exit(cli.run(main))
