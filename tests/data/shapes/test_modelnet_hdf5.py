"""ModelNet40's HDF5 files: clouds, labels, and the classes' names."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from nvc_jax.core.errors import UserError
from nvc_jax.data.shapes.modelnet_hdf5 import read_modelnet_hdf5


def write(path, first, labels):
    data = np.zeros((len(labels), 5, 3), np.float32)
    data[..., 0] = np.arange(first, first + len(labels))[:, None]
    data[..., 1] = np.arange(5)
    with h5py.File(path, "w") as file:
        file["data"], file["label"] = data, np.array(labels, np.uint8)[:, None]


def test_clouds_of_all_files(tmp_path, options):
    data = options("modelnet_hdf5", num_points=5)
    write(tmp_path / "ply_data_train0.h5", 0, [39, 0])
    write(tmp_path / "ply_data_train1.h5", 2, [7])
    write(tmp_path / "ply_data_test0.h5", 3, [1])
    train, test = (read_modelnet_hdf5(data, split) for split in ("train", "test"))
    batch = train.gather(np.array([2, 0, 1]))
    assert batch["label"].tolist() == [7, 39, 0] and train.class_names == ()
    assert batch["points"][:, 0, 0].tolist() == [2, 0, 1] and len(test) == 1
    assert batch["points"][0, :, 1].tolist() == [0, 1, 2, 3, 4]
    assert {k: (v.shape[1:], v.dtype) for k, v in batch.items()} == train.spec
    (tmp_path / "shape_names.txt").write_text("airplane\nbathtub\n")
    assert read_modelnet_hdf5(data, "test").class_names == ("airplane", "bathtub")
    with pytest.raises(UserError, match=r"train0\.h5: labels .* from 0 to 1, got 39"):
        read_modelnet_hdf5(data, "train")
    data.num_points = 3
    points = read_modelnet_hdf5(data, "test").gather(np.array([0]))["points"][0]
    assert points.shape == (3, 3) and len(set(points[:, 1].tolist())) == 3


def test_missing_files_are_told(options):
    with pytest.raises(UserError, match=r"there is no file ply_data_train\*\.h5"):
        read_modelnet_hdf5(options("modelnet_hdf5"), "train")
