"""scikit-learn's digits as a data source."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from nvc_jax.data.images.digits import read_digits


def everything(source):
    return source.gather(np.arange(len(source)))


def as_rows(images, labels):
    """Examples as a sorted list of bytes: pixels from 0 to 16, then the label."""
    pixels = np.rint(np.reshape(images, (len(images), -1))).astype("u1")
    return sorted(map(bytes, np.column_stack([pixels, labels.astype("u1")])))


def test_both_parts_together_are_the_digits():
    parts = [everything(read_digits(None, split)) for split in ("train", "test")]
    assert [len(part["label"]) for part in parts] == [1438, 359]
    for part in parts:
        assert part["image"].dtype == np.float32 and part["image"].shape[1:] == (8, 8, 1)
        assert part["image"].min() == 0 and part["image"].max() == 1
        assert part["label"].dtype == np.int32 and set(part["label"]) == set(range(10))
    images, labels = (np.concatenate([part[k] for part in parts]) for k in ("image", "label"))
    bunch = load_digits()
    assert as_rows(images * 16, labels) == as_rows(bunch.images, bunch.target)


def test_parts_are_the_same_every_time():
    first, second = (everything(read_digits(None, "test")) for _ in range(2))
    np.testing.assert_array_equal(first["image"], second["image"])
