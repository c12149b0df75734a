"""Evaluates a trained model: python eval.py --workdir=runs/digits. The same as nvc-eval."""

from __future__ import annotations

import sys

from nvc_jax.programs.eval import run

if __name__ == "__main__":
    sys.exit(run())
