"""Completion3D: one array a file, and val in the place of the hidden test clouds."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from nvc_jax.core.errors import UserError
from nvc_jax.data.shapes.completion3d import read_completion3d


def write(path, points, key="data"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset(key, data=points, compression="gzip")


def cloud(value):
    return np.stack([np.arange(1, 7), np.full(6, value), np.zeros(6)], 1).astype(np.float32)


@pytest.fixture
def data(tmp_path, options):
    for value, name in enumerate(["train/b/x", "train/c/y", "val/c/z"]):
        split, model = name.split("/", 1)
        write(tmp_path / split / "partial" / f"{model}.h5", cloud(value))
        write(tmp_path / split / "gt" / f"{model}.h5", cloud(value + 10))
    # The hidden test split: no classes and no complete clouds.
    write(tmp_path / "test" / "partial" / "all" / "w.h5", cloud(9))
    return options("completion3d", num_points=6)


def test_pairs_as_stored_and_val_for_the_test(data):
    train, test = (read_completion3d(data, split) for split in ("train", "test"))
    assert (
        len(train) == 2 and len(test) == 1 and train.class_names == test.class_names == ("b", "c")
    )
    batch = train.gather(np.array([1, 0]))
    np.testing.assert_array_equal(batch["partial"], [cloud(1), cloud(0)])
    np.testing.assert_array_equal(batch["complete"], [cloud(11), cloud(10)])
    assert batch["label"].tolist() == [1, 0]
    assert {k: (v.shape[1:], v.dtype) for k, v in batch.items()} == train.spec
    assert test.gather(np.array([0]))["complete"][0, 0, 1] == 12


@pytest.mark.parametrize("num_points", [4, 20])
def test_resampled_alike_whatever_the_batch(data, num_points):
    data.num_points = num_points
    source = read_completion3d(data, "train")
    one, two = source.gather(np.array([1])), source.gather(np.array([0, 1]))
    for name in ("partial", "complete"):
        np.testing.assert_array_equal(one[name][0], two[name][1])
        assert one[name].shape == (1, num_points, 3)
        assert len(set(one[name][0, :, 0].tolist())) == min(num_points, 6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.unlink(), r"The file .*gt/c/z\.h5 is missing"),
        (
            lambda path: write(path, cloud(0), "points"),
            r"gt/c/z\.h5 has no array.*'data', got points",
        ),
        (lambda path: write(path, cloud(0)[:, :2]), r"gt/c/z\.h5: 'data' has shape \[6, 2\]"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), r"gt/c/z\.h5 cannot be read"),
        (lambda path: path.write_bytes(b"<html>"), r"gt/c/z\.h5 cannot be read as HDF5"),
    ],
)
def test_missing_and_broken_files_are_told(tmp_path, data, change, message):
    change(tmp_path / "val" / "gt" / "c" / "z.h5")
    with pytest.raises(UserError, match=message):
        read_completion3d(data, "test")
