"""Evaluates a trained model: python eval.py --workdir=runs/digits. The same as nvc-eval."""

import sys

from nvc_jax.programs.eval import run

if __name__ == "__main__":
    sys.exit(run())
