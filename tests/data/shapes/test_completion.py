"""PCD and HDF5 files written by hand, and pairs of clouds in all layouts."""

import pickle
import struct
from functools import partial

import numpy as np
import pytest

from nvc_jax.data.shapes.completion import parse_pcd, read_completion3d, read_pcn
from tests.refusals import refused
from tests.sources import damage_told, everything, hdf5, put, take

NAN = float("nan")
POINTS = np.array([[0.5, -0.25, 1], [2, 3e-5, -7]], np.float32)


def header(storage, points, fields="x y z", size="4 4 4", kind="F F F", count="1 1 1"):
    return (
        "# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\n"
        f"FIELDS {fields}\nSIZE {size}\nTYPE {kind}\nCOUNT {count}\nWIDTH {points}\nHEIGHT 1\n"
        f"VIEWPOINT 0 0 0 1 0 0 0\nPOINTS {points}\nDATA {storage}\n"
    ).encode()


def ascii_pcd(points):
    lines = [" ".join(f"{value:.9g}" for value in point) for point in points]
    return header("ascii", len(lines)) + "\n".join([*lines, ""]).encode()


def binary_pcd(points):
    return header("binary", len(points)) + b"".join(struct.pack("<3f", *p) for p in points)


def test_points_are_found_among_the_fields():
    for content in [
        ascii_pcd(POINTS),
        binary_pcd(POINTS),
        ascii_pcd(POINTS).replace(b"\n", b"\r\n"),
        ascii_pcd(POINTS)[:-1],
        ascii_pcd(POINTS).replace(b"COUNT 1 1 1\n", b"# no COUNT\n\n"),
        header("binary", 2, "x y z", "8 8 8") + struct.pack("<6d", *POINTS.ravel().tolist()),
        # A padding field of three bytes before, z before x, a color and a signed number behind.
        header("binary", 2, "_ z x y rgb ring", "1 4 8 4 4 2", "U F F F U I", "3 1 1 1 1 1")
        + b"".join(struct.pack("<3sfdfIh", b"abc", z, x, y, 99, -1) for x, y, z in POINTS.tolist()),
        header("ascii", 2, "normal x y z", "4 4 4 4", "F F F F", "2 1 1 1")
        + b"9 9 0.5 -0.25 1\n9 9 2 3e-05 -7\n",
    ]:
        points = parse_pcd(content, "a.pcd")
        np.testing.assert_array_equal(points, POINTS)
        assert points.dtype == np.float32


@pytest.mark.parametrize("write", [ascii_pcd, binary_pcd])
def test_missing_measurements_and_empty_clouds_are_kept(write):
    points = np.array([[NAN, NAN, NAN], [1, 2, 3]], np.float32)
    np.testing.assert_array_equal(parse_pcd(write(points), "a.pcd"), points)
    assert parse_pcd(write(points[:0]), "a.pcd").shape == (0, 3)


def test_wrong_content_is_told():
    for content, message in [
        (b"", "header has no line DATA"),
        (b"ply\nformat ascii 1.0\n" + bytes(20_000), "header has no line DATA"),
        (header("ascii", 2)[:-20], "header has no line DATA"),
        (ascii_pcd(POINTS)[:-14], "expected 3 numbers on every line"),
        (header("ascii", 3) + b"1 2 3\n4 5 6\n", "header says 3 points, got 2"),
        (header("ascii", 1) + b"1 2 3\n4 5 6\n", "header says 1 points, got 2"),
        (header("ascii", 2) + b"1 2\n4 5\n", "has 2 numbers a line, expected 3"),
        (header("ascii", 2) + b"1 2 3\n4 five 6\n", "expected 3 numbers on every line"),
        (binary_pcd(POINTS)[:-1], "header says 2 points, got 1.91667"),
        (binary_pcd(POINTS) + bytes(12), "header says 2 points, got 3"),
        (header("binary", 10**30), "got 0"),
        (header("binary_compressed", 2) + bytes(9), "DATA binary_compressed: only ascii and bin"),
        (header("ascii", 2, fields="x y w"), "not a PCD file of points"),
        (header("ascii", 2, size="4 4"), "not a PCD file of points"),
        (header("ascii", 2, size="4 4 3"), "not a PCD file of points"),
        (header("ascii", 2, kind="F F S"), "not a PCD file of points"),
        (header("ascii", 2, count="1 1 0"), "not a PCD file of points"),
        (header("ascii", 2, count="1 1 2"), "not a PCD file of points"),
        (header("ascii", -2), "not a PCD file of points"),
        (header("ascii", "two"), "not a PCD file of points"),
        (header("ascii", ""), "not a PCD file of points"),
        (header("ascii", 2).replace(b"POINTS", b"#"), "not a PCD file of points"),
    ]:
        assert "some/a.pcd" in refused(message, parse_pcd, content, "some/a.pcd")


@pytest.mark.parametrize("write", [ascii_pcd, binary_pcd])
def test_damaged_file_is_refused_or_has_its_shape(write):
    def read(content):
        assert parse_pcd(content, "a.pcd").shape == (2, 3)

    assert len(damage_told(write(POINTS), read)) > 200


def cloud(size, value):
    """Distinct points whose z tells the file."""
    return np.stack([np.arange(1, size + 1), np.arange(size), np.full(size, value)], 1)


def write_pair(root, split, name, value, views=None, complete=None):
    """A partial cloud of 3 points (or several views) and a complete one of 20."""
    for view in [""] if views is None else [f"/{i:02d}" for i in range(views)]:
        seen = cloud(3, value + (int(view[1:]) / 10 if view else 0))
        put(root / split / "partial" / f"{name}{view}.pcd", ascii_pcd(seen))
    whole = cloud(20, value + 0.5) if complete is None else complete
    put(root / split / "complete" / f"{name}.pcd", binary_pcd(whole))


@pytest.fixture
def five(options):
    """Clouds of five points."""
    return options("pcn", num_points=5)


@pytest.fixture
def data(tmp_path):
    """GRNet's edition; training has views, and the test split lacks a class."""
    for value, name in enumerate(["02691156/a", "02691156/b", "04530566/c"]):
        write_pair(tmp_path, "train", name, value, views=2)
    write_pair(tmp_path, "val", "02958343/d", 3, views=1)
    write_pair(tmp_path, "test", "04530566/e", 4)
    return tmp_path


def test_pairs_of_both_layouts(data, five):
    train, validation, test = (read_pcn(five, s) for s in ("train", "validation", "test"))
    assert [len(source) for source in (train, validation, test)] == [6, 1, 1]
    assert train.class_names == test.class_names == ("02691156", "02958343", "04530566")
    batch = everything(train)
    assert batch["label"].tolist() == [0, 0, 0, 0, 2, 2]
    np.testing.assert_allclose(batch["partial"][:, 0, 2], [0, 0.1, 1, 1.1, 2, 2.1], rtol=1e-6)
    np.testing.assert_array_equal(batch["complete"][:, 0, 2], [0.5, 0.5, 1.5, 1.5, 2.5, 2.5])
    assert train.spec["partial"] == train.spec["complete"] == ((5, 3), np.float32)
    for source, label, value in ((validation, 1, 3), (test, 2, 4)):
        example = source.gather(np.array([0]))
        assert example["label"].tolist() == [label] and example["partial"][0, 0, 2] == value


def test_few_points_repeat_and_many_are_drawn_alike_whatever_the_batch(data, five):
    source = read_pcn(five, "train")
    batch = source.gather(np.array([4, 0, 4]))
    for name, points, distinct in (("partial", cloud(3, 2), 3), ("complete", cloud(20, 2.5), 5)):
        rows = {tuple(row) for row in batch[name][0].tolist()}
        assert len(rows) == distinct and rows <= {tuple(row) for row in points.tolist()}
    again = pickle.loads(pickle.dumps(read_pcn(five, "train"))).gather(np.array([4]))
    for name, values in again.items():
        np.testing.assert_array_equal(batch[name][[0, 2]], np.concatenate([values, values]))
    assert (batch["complete"][0, :, 0] != batch["complete"][1, :, 0]).any()


def test_padding_and_missing_measurements_are_left_out(tmp_path, read):
    points = np.array([[0, 0, 0], [NAN, 1, 2], [0, 0, 5], [3, 0, 0], [0, 0, 0]])
    write_pair(tmp_path, "test", "a/b", 1, complete=points)
    found = read("pcn", "test", num_points=2).gather(np.array([0]))["complete"]
    assert found[0].tolist() == [[0, 0, 5], [3, 0, 0]]


def test_folder_of_validation_may_have_either_name(tmp_path, five):
    write_pair(tmp_path, "valid", "a/b", 1)
    assert len(read_pcn(five, "validation")) == 1


def test_novel_classes_of_other_folders_shift_no_label(tmp_path, five):
    write_pair(tmp_path, "test", "b/c", 1)
    write_pair(tmp_path, "test_novel", "a/d", 1)
    assert read_pcn(five, "test").class_names == ("b",)


COMPLETE, SEEN = "test/complete/04530566/e.pcd", "test/partial/04530566/e.pcd"
WRONG = [
    (COMPLETE, None, r"complete/04530566/e\.pcd is missing"),
    (SEEN, None, r"complete/04530566/e\.pcd has no partner"),
    (SEEN, b"?", r"partial/04530566/e\.pcd is not a"),
    (COMPLETE, ascii_pcd(np.zeros((2, 3))), r"complete/04530566/e\.pcd is empty: got 0 points"),
]


def test_missing_and_broken_files_are_told(data, refuses, five):
    refuses(WRONG, "pcn", "test", num_points=5)
    for name in (COMPLETE, SEEN):
        (data / name).unlink()
    assert str(data) in refused(r"no \.pcd file in .*test/partial", read_pcn, five, "test")
    (data / "test").rename(data / "best")
    assert str(data) in refused("no folder test with a folder partial", read_pcn, five, "test")
    (data / "train.lmdb").touch()
    assert str(data) in refused(r"\.lmdb files hold pickled objects", read_pcn, five, "test")


def test_file_that_breaks_later_is_told_when_it_is_read(data, five):
    path = data / "train" / "partial" / "04530566" / "c" / "01.pcd"
    path.write_bytes(path.read_bytes()[:-30])
    source = read_pcn(five, "train")
    refused(r"c/01\.pcd", source.gather, np.array([5]))


gzipped = partial(hdf5, compression="gzip")


def six(value):
    return np.stack([np.arange(1, 7), np.full(6, value), np.zeros(6)], 1).astype(np.float32)


@pytest.fixture
def completion3d(tmp_path, options):
    for value, name in enumerate(["train/b/x", "train/c/y", "val/c/z"]):
        split, model = name.split("/", 1)
        gzipped(tmp_path / split / "partial" / f"{model}.h5", data=six(value))
        gzipped(tmp_path / split / "gt" / f"{model}.h5", data=six(value + 10))
    # The hidden test split: no classes and no complete clouds.
    gzipped(tmp_path / "test" / "partial" / "all" / "w.h5", data=six(9))
    return options("completion3d", num_points=6)


def test_pairs_as_stored_and_val_for_the_test(completion3d):
    train, test = (read_completion3d(completion3d, split) for split in ("train", "test"))
    assert (len(train), len(test)) == (2, 1)
    assert train.class_names == test.class_names == ("b", "c")
    batch = take(train, 1, 0)
    np.testing.assert_array_equal(batch["partial"], [six(1), six(0)])
    np.testing.assert_array_equal(batch["complete"], [six(11), six(10)])
    assert batch["label"].tolist() == [1, 0]
    assert test.gather(np.array([0]))["complete"][0, 0, 1] == 12


@pytest.mark.parametrize("num_points", [4, 20])
def test_resampled_alike_whatever_the_batch(completion3d, num_points):
    completion3d.num_points = num_points
    source = read_completion3d(completion3d, "train")
    one, two = source.gather(np.array([1])), source.gather(np.array([0, 1]))
    for name in ("partial", "complete"):
        np.testing.assert_array_equal(one[name][0], two[name][1])
        assert one[name].shape == (1, num_points, 3)
        assert len(set(one[name][0, :, 0].tolist())) == min(num_points, 6)


Z = "val/gt/c/z.h5"
WRONG_HDF5 = [
    (Z, None, r"The file .*gt/c/z\.h5 is missing"),
    (Z, partial(gzipped, points=six(0)), r"gt/c/z\.h5 has no array.*'data', got points"),
    (Z, partial(gzipped, data=six(0)[:, :2]), r"gt/c/z\.h5: 'data' has shape \[6, 2\]"),
    (Z, b"<html>", r"gt/c/z\.h5 cannot be read as HDF5"),
]


def test_missing_and_broken_hdf5_files_are_told(tmp_path, completion3d, refuses):
    cut = (Z, (tmp_path / Z).read_bytes()[:-9], r"gt/c/z\.h5 cannot be read")
    refuses([*WRONG_HDF5, cut], "completion3d", "test", num_points=6)
