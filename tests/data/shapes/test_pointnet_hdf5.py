"""ModelNet40's clouds, labels and classes; S3DIS's blocks in the order of the list of files, and the area that tests."""

from functools import partial

import numpy as np
import pytest

from nvc_jax.data.shapes.pointnet_hdf5 import read_modelnet_hdf5, read_s3dis
from tests.refusals import refused
from tests.sources import everything, hdf5, take


def write(path, first, labels):
    data = np.zeros((len(labels), 5, 3), np.float32)
    data[..., 0] = np.arange(first, first + len(labels))[:, None]
    data[..., 1] = np.arange(5)
    hdf5(path, data=data, label=np.array(labels, np.uint8)[:, None])


def test_clouds_of_all_files(tmp_path, options):
    data = options("modelnet_hdf5", num_points=5)
    write(tmp_path / "ply_data_train0.h5", 0, [39, 0])
    write(tmp_path / "ply_data_train1.h5", 2, [7])
    write(tmp_path / "ply_data_test0.h5", 3, [1])
    train, test = (read_modelnet_hdf5(data, split) for split in ("train", "test"))
    batch = take(train, 2, 0, 1)
    assert batch["label"].tolist() == [7, 39, 0] and train.class_names == ()
    assert batch["points"][:, 0, 0].tolist() == [2, 0, 1] and len(test) == 1
    assert batch["points"][0, :, 1].tolist() == [0, 1, 2, 3, 4]
    (tmp_path / "shape_names.txt").write_text("airplane\nbathtub\n")
    assert read_modelnet_hdf5(data, "test").class_names == ("airplane", "bathtub")
    refused(
        r"train0\.h5 has the label 39, but .* has 2 names",
        read_modelnet_hdf5,
        data,
        "train",
    )
    data.num_points = 3
    points = read_modelnet_hdf5(data, "test").gather(np.array([0]))["points"][0]
    assert points.shape == (3, 3) and len(set(points[:, 1].tolist())) == 3


def test_missing_files_are_told(read):
    refused(r"there is no file ply_data_train\*\.h5", read, "modelnet_hdf5", "train")


# The area of every block: the files hold 2, 1 and 2 of them.
AREAS = [1, 5, 5, 2, 6]


def write_blocks(path, first, count):
    data = np.zeros((count, 4, 9), np.float32)
    data[..., 0] = np.arange(first, first + count)[:, None]
    data[..., 8] = np.arange(4)
    label = (data[..., 0] + data[..., 8]).astype(np.uint8)
    hdf5(path, compression="gzip", data=data, label=label)


@pytest.fixture
def rooms(tmp_path, options):
    """Files whose order in the list is not that of their names; 10 comes before 2 by name."""
    names = ["ply_data_all_0.h5", "ply_data_all_2.h5", "ply_data_all_10.h5"]
    for name, first, count in zip(names, [0, 2, 3], [2, 1, 2]):
        write_blocks(tmp_path / name, first, count)
    lines = "".join(f"indoor3d_sem_seg_hdf5_data/{name}\n" for name in names)
    (tmp_path / "all_files.txt").write_text(lines)
    lines = "".join(f"Area_{area}_office_15\n" for area in AREAS)
    (tmp_path / "room_filelist.txt").write_text(lines)
    return options("s3dis", num_points=4)


@pytest.mark.parametrize(("area", "test"), [(5, [1, 2]), (1, [0]), (6, [4])])
def test_areas(rooms, area, test):
    rooms.test_area = area
    for split, blocks in (("test", test), ("train", sorted(set(range(5)) - set(test)))):
        source = read_s3dis(rooms, split)
        batch = everything(source)
        assert batch["points"][:, 0, 0].tolist() == blocks
        np.testing.assert_array_equal(batch["points"][0, :, 8], np.arange(4))
        expected = np.add.outer(blocks, np.arange(4))
        np.testing.assert_array_equal(batch["point_label"], expected)
        assert (batch["label"] == -1).all()
    assert source.spec["points"] == ((4, 9), np.float32)
    assert source.spec["point_label"] == ((4,), np.uint8)
    assert len(source.point_class_names) == 13 and source.point_class_names[7] == "table"


@pytest.mark.parametrize("num_points", [3, 9])
def test_resampled_points_keep_their_labels(rooms, num_points):
    rooms.num_points = num_points
    source, again = read_s3dis(rooms, "train"), read_s3dis(rooms, "train")
    batch = source.gather(np.arange(3))
    points, label = batch["points"], batch["point_label"]
    np.testing.assert_array_equal(points[..., 0] + points[..., 8], label)
    assert all(len(set(row.tolist())) == min(num_points, 4) for row in points[..., 8])
    np.testing.assert_array_equal(again.gather(np.array([2]))["points"][0], points[2])


WRONG = [
    ("room_filelist.txt", b"Area_5_a\n" + b"Area_1_b\n" * 3, "has 4 lines, but the files"),
    ("room_filelist.txt", b"Area_5_a\n" + b"Area_1_b\n" * 9, "lists have 5 blocks"),
    ("room_filelist.txt", b"Area_4_a\n" * 5, "data.test_area is 5: 0 of 5 blocks"),
    ("room_filelist.txt", b"Area_5_a\n" * 5, "data.test_area is 5: 5 of 5 blocks"),
    ("room_filelist.txt", b"\n", "room_filelist.txt is empty"),
    ("room_filelist.txt", None, "room_filelist.txt is missing"),
    ("all_files.txt", None, "all_files.txt is missing"),
    ("all_files.txt", b"x/ply_data_all_7.h5\n", "ply_data_all_7.h5 is missing"),
    ("ply_data_all_2.h5", b"?", "ply_data_all_2.h5 cannot be read as HDF5"),
    (
        "ply_data_all_2.h5",
        partial(write_blocks, first=12, count=1),
        r"ply_data_all_2\.h5: labels .* from 0 to 12, got 13",
    ),
]


@pytest.mark.parametrize("split", ["train", "test"])
def test_missing_and_broken_files_are_told(rooms, refuses, split):
    refuses(WRONG, "s3dis", split, num_points=4)
