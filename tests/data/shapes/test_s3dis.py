"""S3DIS: blocks in the order of the list of files, and the area that tests."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from nvc_jax.core.errors import UserError
from nvc_jax.data.shapes.s3dis import read_s3dis

# The area of every block: the files hold 2, 1 and 2 of them.
AREAS = [1, 5, 5, 2, 6]


def write(path, first, count):
    data = np.zeros((count, 4, 9), np.float32)
    data[..., 0] = np.arange(first, first + count)[:, None]
    data[..., 8] = np.arange(4)
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=data, compression="gzip")
        file.create_dataset("label", data=(data[..., 0] + data[..., 8]).astype(np.uint8))


@pytest.fixture
def data(tmp_path, options):
    """Files whose order in the list is not that of their names; 10 comes before 2 by name."""
    names = ["ply_data_all_0.h5", "ply_data_all_2.h5", "ply_data_all_10.h5"]
    for name, first, count in zip(names, [0, 2, 3], [2, 1, 2]):
        write(tmp_path / name, first, count)
    lines = "".join(f"indoor3d_sem_seg_hdf5_data/{name}\n" for name in names)
    (tmp_path / "all_files.txt").write_text(lines)
    rooms = "".join(f"Area_{area}_office_15\n" for area in AREAS)
    (tmp_path / "room_filelist.txt").write_text(rooms)
    return options("s3dis", num_points=4)


@pytest.mark.parametrize(("area", "test"), [(5, [1, 2]), (1, [0]), (6, [4])])
def test_areas(data, area, test):
    data.test_area = area
    for split, blocks in (("test", test), ("train", sorted(set(range(5)) - set(test)))):
        source = read_s3dis(data, split)
        batch = source.gather(np.arange(len(source)))
        assert batch["points"][:, 0, 0].tolist() == blocks
        np.testing.assert_array_equal(batch["points"][0, :, 8], np.arange(4))
        expected = np.add.outer(blocks, np.arange(4))
        np.testing.assert_array_equal(batch["point_label"], expected)
        assert (batch["label"] == -1).all()
    assert source.spec["points"] == ((4, 9), np.float32)
    assert source.spec["point_label"] == ((4,), np.uint8)
    assert len(source.point_class_names) == 13 and source.point_class_names[7] == "table"


@pytest.mark.parametrize("num_points", [3, 9])
def test_resampled_points_keep_their_labels(data, num_points):
    data.num_points = num_points
    source, again = read_s3dis(data, "train"), read_s3dis(data, "train")
    batch = source.gather(np.arange(3))
    points, label = batch["points"], batch["point_label"]
    np.testing.assert_array_equal(points[..., 0] + points[..., 8], label)
    assert all(len(set(row.tolist())) == min(num_points, 4) for row in points[..., 8])
    np.testing.assert_array_equal(again.gather(np.array([2]))["points"][0], points[2])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("room_filelist.txt", "Area_5_a\n" + "Area_1_b\n" * 3, "has 4 lines, but .* have 5 blocks"),
        (
            "room_filelist.txt",
            "Area_5_a\n" + "Area_1_b\n" * 9,
            "has 10 lines, but .* have 5 blocks",
        ),
        ("room_filelist.txt", "Area_4_a\n" * 5, "data.test_area is 5: 0 of 5 blocks"),
        ("room_filelist.txt", "Area_5_a\n" * 5, "data.test_area is 5: 5 of 5 blocks"),
        ("room_filelist.txt", "\n", "room_filelist.txt is empty"),
        ("room_filelist.txt", None, "room_filelist.txt is missing"),
        ("all_files.txt", None, "all_files.txt is missing"),
        ("all_files.txt", "x/ply_data_all_7.h5\n", r"ply_data_all_7\.h5 is missing"),
        ("ply_data_all_2.h5", "?", r"ply_data_all_2\.h5 cannot be read as HDF5"),
    ],
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_missing_and_broken_files_are_told(tmp_path, data, name, content, message, split):
    path = tmp_path / name
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(UserError, match=message) as error:
        read_s3dis(data, split)
    assert str(tmp_path) in str(error.value)


def test_unknown_class_is_told(tmp_path, data):
    write(tmp_path / "ply_data_all_2.h5", 12, 1)
    with pytest.raises(UserError, match=r"ply_data_all_2\.h5: labels .* from 0 to 12, got 13"):
        read_s3dis(data, "test")
