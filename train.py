"""Trains a model: python train.py --config=digits --workdir=runs/digits. The same as nvc-train."""

import sys

from nvc_jax.programs.train import run

if __name__ == "__main__":
    sys.exit(run())
