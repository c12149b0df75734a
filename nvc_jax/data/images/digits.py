"""scikit-learn's handwritten digits: 1,797 real images of 8 × 8 that need no download."""

from __future__ import annotations

from typing import Any

import numpy as np

from nvc_jax.data.base.source import ArraySource, Source, split_off


def read_digits(options: Any, split: str) -> Source:
    """Reads the digits; a fifth of them, by a fixed permutation, is the test split.

    Args:
      options: `config.data`, of which nothing is used.
      split: `train` or `test`.

    Returns:
      1,438 or 359 images, float32 `[8, 8, 1]` from 0 to 1.

    Reference: `sklearn.datasets.load_digits` (UCI optical recognition of handwritten digits).
    """
    from sklearn.datasets import load_digits  # slow to import

    bunch = load_digits()
    image = (bunch.images / 16.0).astype(np.float32)
    source = ArraySource(image, bunch.target.astype(np.int32), "digits")
    return split_off(source, 0.2, held_out=split == "test", name="the share of test digits")
