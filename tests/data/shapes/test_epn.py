"""3D-EPN's distance fields: order of the axes, what is known and occupied, and wrong files."""

import pickle
import struct
from functools import partial

import numpy as np
import pytest

from nvc_jax.data.base.source import class_names_of
from nvc_jax.data.shapes.epn import parse_distances
from tests.refusals import refused
from tests.sources import everything, hdf5, put, take

FAR = 9.0


def encoded(field):
    """A file of a field indexed [x, y, z]: x fastest, then y, then z."""
    size_x, size_y, size_z = field.shape
    values = [
        float(field[x, y, z]) for z in range(size_z) for y in range(size_y) for x in range(size_x)
    ]
    return struct.pack(f"<3Q{len(values)}f", size_x, size_y, size_z, *values)


def field(shape=(2, 3, 4), **values):
    """Far from the surface but for voxels such as `v012`."""
    result = np.full(shape, FAR, np.float32)
    for place, value in values.items():
        result[tuple(map(int, place[1:]))] = value
    return result


def write(root, kind, model, content):
    """One `.sdf` or `.df` file of the class 03."""
    return put(root / f"shapenet_dim32_{kind}" / "03" / f"{model}.{kind}", encoded(content))


@pytest.fixture
def scans(tmp_path):
    """Two views of model a for training, one of b for testing, and another class."""
    write(tmp_path, "sdf", "a__0__", field(v000=0.5))
    write(tmp_path, "sdf", "a__1__", field(v123=1.0))
    write(tmp_path, "sdf", "b__0__", field())
    write(tmp_path, "df", "a__0__", field(v000=0.0, v123=1.0, v100=1.001))
    write(tmp_path, "df", "b__0__", field(v012=0.0))
    (tmp_path / "shapenet_dim32_sdf" / "02").mkdir()
    (tmp_path / "completion_train.txt").write_text("ShapeNetCore.v1\\03\\a\r\nX\\02\\b\n\n")
    (tmp_path / "completion_test.txt").write_text("ShapeNetCore.v1/03/b\n")
    return tmp_path


def test_x_runs_fastest():
    stored = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    stored[1, 2, 3] = -np.inf
    decoded = parse_distances(encoded(stored), "file")
    np.testing.assert_array_equal(decoded, stored)
    assert decoded.dtype == np.float32 and decoded.flags.c_contiguous


def test_wrong_content_is_told():
    for data, message in [
        (b"", "header is incomplete"),
        (encoded(field())[:23], "header is incomplete"),
        (encoded(field())[:-1], "expected 120 bytes .* got 119"),
        (encoded(field()) + b"\0", "expected 120 bytes .* got 121"),
        (struct.pack("<3Q", 0, 2, 2), r"\(0, 2, 2\)"),
        (struct.pack("<3Q", 2**63, 2**63, 2**63), "got 24"),
        (struct.pack(">3Q", 2, 3, 4) + encoded(field())[24:], "no distance field"),
    ]:
        assert "some.sdf" in refused(message, parse_distances, data, "some.sdf")


def test_pairs_follow_the_lists(scans, read):
    train, test = (read("epn", split) for split in ("train", "test"))
    assert class_names_of(train) == class_names_of(test) == ("02", "03")
    fields = take(train, 1, 0)  # every view with its model's one object
    assert [np.argwhere(v).tolist() for v in fields["partial"]] == [[[1, 2, 3]], [[0, 0, 0]]]
    assert np.argwhere(fields["complete"][0]).tolist() == [[0, 0, 0], [1, 2, 3]]
    np.testing.assert_array_equal(fields["complete"][0], fields["complete"][1])
    assert fields["label"].tolist() == [1, 1]
    fields = everything(test)
    assert np.argwhere(fields["complete"]).tolist() == [[0, 0, 1, 2]]
    assert not fields["partial"].any()


def test_unknown_voxels_are_empty_in_a_scan(scans, read):
    content = field(v000=-1.0, v001=-0.999, v002=1.0, v003=1.001, v010=-np.inf, v011=-2.0, v012=0.0)
    write(scans, "sdf", "a__0__", content)
    fields = read("epn", "train").gather(np.array([0]))
    assert np.argwhere(fields["partial"][0]).tolist() == [[0, 0, 1], [0, 0, 2], [0, 1, 2]]


def test_reader_process_gets_paths(scans, read):
    source = pickle.loads(pickle.dumps(read("epn", "test")))
    assert np.argwhere(source.gather(np.array([0]))["complete"][0]).tolist() == [[0, 1, 2]]


def test_wrong_scans_are_told(scans, read):
    source = read("epn", "train")
    write(scans, "sdf", "a__1__", field((3, 3, 3)))
    refused(r"differ in size: .*a__1__\.sdf", source.gather, np.arange(2))
    path = write(scans, "df", "a__0__", field())
    path.write_bytes(path.read_bytes()[:-4])
    refused(r"a__0__\.df is cut short", read, "epn", "train")
    path.unlink()
    refused(r"a__0__\.sdf has no object: .*a__0__\.df is missing", read, "epn", "train")
    (scans / "completion_train.txt").write_text("ShapeNetCore.v1\\03\\unknown\n")
    refused("no scan of the train split", read, "epn", "train")
    (scans / "completion_train.txt").unlink()
    refused(r"completion_train\.txt is missing", read, "epn", "train")


def write_h5(path, scans, targets):
    """A training file: signed distances and the known mask, and the targets, axes z, y, x."""
    data = np.empty((len(scans), 2, *scans[0].shape[::-1]))
    target = np.empty((len(targets), 1, *targets[0].shape[::-1]))
    for n, scan in enumerate(scans):
        for x, y, z in np.ndindex(scan.shape):
            data[n, 0, z, y, x] = scan[x, y, z]
            data[n, 1, z, y, x] = 1 if scan[x, y, z] > -1 else -1
    for n, distance in enumerate(targets):
        for x, y, z in np.ndindex(distance.shape):
            target[n, 0, z, y, x] = distance[x, y, z]
    hdf5(path, data=data, target=target)


@pytest.fixture
def rows(tmp_path):
    """Two files with three examples for training."""
    write_h5(
        tmp_path / "train0.h5",
        [field(v001=-np.inf, v000=-1.0, v123=1.0), field(v011=-0.5, v010=-1.5)],
        [field(v012=1.0), field(v013=0.3, v000=1.1)],
    )
    write_h5(tmp_path / "train1.h5", [field(v100=0.0)], [field(v100=0.0)])
    names = "data/h5_shapenet_dim32_sdf/train0.h5\ndata\\train1.h5\n"
    (tmp_path / "train_shape_voxel_data_list.txt").write_text(names)
    return tmp_path


def test_h5_rows_are_pairs(rows, read):
    source = pickle.loads(pickle.dumps(read("epn", "train")))
    fields = source.gather(np.array([2, 0, 1]))
    places = {name: np.argwhere(fields[name]).tolist() for name in ("partial", "complete")}
    assert places == {
        "partial": [[0, 1, 0, 0], [1, 1, 2, 3], [2, 0, 1, 1]],
        "complete": [[0, 1, 0, 0], [1, 0, 1, 2], [2, 0, 1, 3]],
    }
    assert fields["label"].tolist() == [-1] * 3 and source.spec["partial"].shape == (2, 3, 4)
    assert fields["partial"].dtype == np.uint8


def cut(path):
    write_h5(path, [field()], [field()])
    path.write_bytes(path.read_bytes()[:300])


TWO, ONE = np.zeros((2, 2, 4, 3, 2)), np.zeros((1, 1, 4, 3, 2))
COUNTS = r"'target' has shape \[1, 1, 4, 3, 2\], expected \[2, 1, 4, 3, 2\]"
WRONG = [
    ("train1.h5", partial(hdf5, data=TWO), "train1.h5 .*'target'"),
    ("train1.h5", partial(hdf5, target=ONE, **{"data/x": 1}), "train1.h5 .*'data'"),
    ("train1.h5", partial(hdf5, data=TWO, target=ONE), COUNTS),
    ("train1.h5", cut, "train1.h5 cannot be read"),
    ("train1.h5", b"no HDF5", "train1.h5 cannot be read"),
    ("train1.h5", None, "train1.h5 is missing"),
]


def test_wrong_h5_files_are_told(rows, refuses):
    refuses(WRONG, "epn", "train")


def test_missing_folders_are_told(tmp_path, read):
    refused("is missing", read, "epn", "train", dir=str(tmp_path / "none"))
    refused(r"shapenet_dim32_sdf, or .*test_shape_voxel_data_list\.txt", read, "epn", "test")
