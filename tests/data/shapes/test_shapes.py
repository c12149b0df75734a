"""Shapes and pairs in npz files: layouts, labels, splits, and wrong files."""

import zipfile

import numpy as np
import pytest

from nvc_jax.data.base.source import class_names_of
from nvc_jax.data.shapes.shapes import read_shapes, write_shapes
from tests.refusals import refused
from tests.sources import everything

NAMES = np.array(["bed", "chair", "other"])
SPLITS = ("train", "validation", "test")


@pytest.fixture
def shape_options(options, tmp_path):
    """Makes `config.data` for one file."""

    def make(**changes):
        return options(
            "shapes", **{"dir": str(tmp_path / "shapes.npz"), "holdout_every": 3, **changes}
        )

    return make


def packed_by_hand(volumes):
    """Eight voxels a byte, z fastest, the first in the highest bit."""
    rows = []
    for volume in volumes:
        bits = [int(volume[x, y, z]) for x, y, z in np.ndindex(volume.shape)]
        rows.append([sum(bits[i + k] << (7 - k) for k in range(8)) for i in range(0, len(bits), 8)])
    return np.array(rows, np.uint8)


def volumes(count=6, shape=(4, 4, 4)):
    return np.random.default_rng(0).integers(0, 2, (count, *shape), dtype=np.uint8)


def test_packed_shapes_come_whole_with_points_and_labels(tmp_path, shape_options):
    rng = np.random.default_rng(1)
    points = rng.normal(size=(6, 5, 3)).astype(np.float16)
    normals = rng.normal(size=(6, 5, 3))
    part = rng.integers(0, 256, (6, 5))
    np.savez(
        tmp_path / "shapes.npz",
        voxels=packed_by_hand(volumes()),
        points=points,
        normals=normals,
        point_label=part,
        label=np.array([0, 1, 2, 1, -1, 2], np.int16),
        label_names=NAMES,
        name=np.array([{"never": "opened"}] * 6, object),
    )
    train = read_shapes(shape_options(), "train")  # i % 3 is 2
    assert class_names_of(train) == ("bed", "chair", "other")
    fields = everything(train)
    assert set(fields) == {"voxels", "points", "normals", "point_label", "label"}
    np.testing.assert_array_equal(fields["voxels"], volumes()[[2, 5]])
    np.testing.assert_array_equal(fields["points"], points[[2, 5]].astype(np.float32))
    np.testing.assert_array_equal(fields["normals"], normals[[2, 5]].astype(np.float32))
    np.testing.assert_array_equal(fields["point_label"], part[[2, 5]])
    names = ("voxels", "points", "normals", "point_label", "label")
    assert [fields[k].dtype for k in names] == ["u1", "f4", "f4", "u1", "i4"]
    labels = {s: everything(read_shapes(shape_options(), s))["label"].tolist() for s in SPLITS}
    assert labels == {"train": [2, 2], "validation": [1, -1], "test": [0, 1]}


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_plain_volumes_need_no_cube_and_no_labels(tmp_path, shape_options, dtype):
    stored = volumes(3, (2, 3, 4))
    np.savez(tmp_path / "shapes.npz", voxels=stored.astype(dtype))
    fields = everything(read_shapes(shape_options(), "test"))
    np.testing.assert_array_equal(fields["voxels"], stored[:1])
    assert fields["voxels"].dtype == np.uint8 and fields["label"].tolist() == [-1]


@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
def test_one_class_can_count_as_unlabeled_and_keeps_its_number(tmp_path, shape_options, dtype):
    label = np.array([1, 1, 0, 2, 2, 1], dtype)
    np.savez(tmp_path / "shapes.npz", voxels=volumes(), label=label, label_names=NAMES)
    for name, expected in (("chair", [-1, 2]), ("bed", [1, 2]), ("", [1, 2])):
        source = read_shapes(shape_options(unlabeled_class=name), "test")
        assert everything(source)["label"].tolist() == expected
        assert class_names_of(source) == tuple(NAMES)
    message = r"unlabeled_class is 'sofa'.*bed, chair, other"
    refused(message, read_shapes, shape_options(unlabeled_class="sofa"), "test")


def test_written_shapes_read_back_and_are_packed(tmp_path, shape_options):
    path = tmp_path / "new" / "shapes.npz"
    points = np.random.default_rng(2).normal(size=(3, 4, 3))
    part = np.array([[0, 1, 255, 2]] * 3)
    write_shapes(
        path,
        voxels=volumes(3).astype(bool),
        points=points,
        normals=-points,
        point_label=part,
        label=[1, 0, -1],
        class_names=("bed", "chair"),
        name=["a", "b", "c"],
    )
    assert [p.name for p in path.parent.iterdir()] == ["shapes.npz"]
    with np.load(path) as archive:
        np.testing.assert_array_equal(archive["voxels"], packed_by_hand(volumes(3)))
        assert archive["name"].tolist() == ["a", "b", "c"]
    fields = everything(read_shapes(shape_options(dir=str(path)), "validation"))
    np.testing.assert_array_equal(fields["voxels"], volumes(3)[[1]])
    np.testing.assert_array_equal(fields["points"], points[[1]].astype(np.float32))
    np.testing.assert_array_equal(fields["normals"], -points[[1]].astype(np.float32))
    np.testing.assert_array_equal(fields["point_label"], part[[1]])
    assert fields["label"].tolist() == [0]


@pytest.mark.parametrize("shape", [(3, 3, 3), (2, 4, 8), (1, 1, 1)])
def test_volumes_that_fill_no_bytes_are_written_plainly(tmp_path, shape_options, shape):
    path = tmp_path / "shapes.npz"
    write_shapes(path, voxels=volumes(3, shape))
    with np.load(path) as archive:
        assert set(archive.files) == {"voxels"} and archive["voxels"].shape == (3, *shape)
    fields = everything(read_shapes(shape_options(), "train"))
    np.testing.assert_array_equal(fields["voxels"], volumes(3, shape)[[2]])


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "shapes.npz"
    path.write_bytes(b"old")
    refused("integers from 0 to 1", write_shapes, path, voxels=np.full((2, 2, 2, 2), 7))
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


POINTS = np.zeros((3, 4, 3), np.float32)


def test_wrong_fields_are_told(tmp_path, shape_options):
    for fields, message in [
        ({}, "'voxels' or 'points'"),
        ({"normals": POINTS}, "'voxels' or 'points'"),
        ({"voxels": np.zeros((3, 10), np.uint8)}, "packed voxels"),
        ({"voxels": np.zeros((3, 8), np.int8)}, "packed voxels"),
        ({"voxels": np.zeros((3, 0), np.uint8)}, "packed voxels"),
        ({"voxels": np.zeros((3, 2, 2), np.uint8)}, r"volumes \[N, X, Y, Z\]"),
        ({"voxels": np.full((3, 2, 2, 2), 2)}, "integers from 0 to 1"),
        ({"voxels": np.full((3, 2, 2, 2), np.nan)}, "integers from 0 to 1"),
        ({"voxels": np.full((3, 2, 2, 2), 0.5)}, "integers from 0 to 1"),
        ({"voxels": np.full((3, 2, 2, 2), "1")}, "integers from 0 to 1"),
        ({"points": POINTS[..., :2]}, r"points are floats \[N, P, 3\]"),
        ({"points": POINTS.astype(int)}, r"points are floats \[N, P, 3\]"),
        ({"points": POINTS, "normals": POINTS[:, 1:]}, "normals has one entry a point"),
        ({"points": POINTS, "point_label": np.zeros((3, 3), int)}, "point_label has one entry"),
        ({"points": POINTS, "point_label": np.full((3, 4), -1)}, "integers from 0 to 255"),
        ({"voxels": volumes(3), "points": POINTS[:2]}, "one length"),
        ({"points": POINTS, "label": np.zeros(2, int)}, r"integers \[3\].*\(2,\)"),
        ({"points": POINTS, "label": np.zeros(3)}, "labels are integers"),
        ({"points": POINTS, "label": np.array([0, 3, 0]), "label_names": NAMES}, "got 0 to 3"),
        ({"points": POINTS, "label": np.array([0, -2, 0]), "label_names": NAMES}, "got -2 to 0"),
        ({"points": POINTS, "label_names": np.arange(3)}, "list of texts"),
        ({"points": POINTS[:0]}, "no example"),
    ]:
        np.savez(tmp_path / "shapes.npz", **fields)
        assert "shapes.npz" in refused(message, read_shapes, shape_options(), "train")


def test_missing_and_damaged_files_are_told(tmp_path, shape_options, messages):
    path = tmp_path / "shapes.npz"
    refused(r"shapes\.npz is missing", read_shapes, shape_options(), "train")
    np.savez(path, points=np.array([[{}]], object))
    refused("cannot be read", read_shapes, shape_options(), "train")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("points", b"not an array")
    refused("cannot be read", read_shapes, shape_options(), "train")
    np.savez(path, points=POINTS[:, :1])

    def read(content):
        path.write_bytes(content)
        read_shapes(shape_options(), "train")

    told = messages(path.read_bytes(), read, every=7)
    assert len(told) > 50 and all(str(path) in message for message in told)


def write_pairs(folder, split="train", **fields):
    np.savez(folder / f"{split}.npz", **fields)


def test_pairs_of_volumes(tmp_path, read):
    partial, complete = volumes(2, (2, 3, 4)), volumes(2, (2, 3, 4)).astype(np.int64)
    complete[0, 0, 0, :2] = 7, 255
    write_pairs(
        tmp_path, partial=partial.astype(bool), complete=complete, label=[2, 0], label_names=NAMES
    )
    write_pairs(tmp_path, "test", partial=partial[:1], complete=partial[:1])
    source = read("pairs", "train", unlabeled_class="bed")
    fields = everything(source)
    np.testing.assert_array_equal(fields["partial"], partial)
    np.testing.assert_array_equal(fields["complete"], complete)
    assert fields["partial"].dtype == fields["complete"].dtype == np.uint8
    assert fields["label"].tolist() == [2, -1] and class_names_of(source) == tuple(NAMES)
    assert everything(read("pairs", "test"))["label"].tolist() == [-1]


def test_pairs_of_points_may_differ_in_number(tmp_path, read):
    rng = np.random.default_rng(3)
    partial, complete = rng.normal(size=(2, 3, 3)), rng.normal(size=(2, 5, 3))
    write_pairs(tmp_path, partial=partial, complete=complete)
    fields = everything(read("pairs", "train"))
    np.testing.assert_array_equal(fields["partial"], partial.astype(np.float32))
    np.testing.assert_array_equal(fields["complete"], complete.astype(np.float32))
    assert fields["complete"].dtype == np.float32


CUBES = volumes(2, (2, 2, 2))


def test_wrong_pairs_are_told(tmp_path, read):
    for fields, message in [
        ({"partial": CUBES}, "no field 'complete'"),
        ({"complete": CUBES}, "no field 'partial'"),
        ({"partial": CUBES, "complete": CUBES[:, 1:]}, "one shape"),
        ({"partial": CUBES + 1, "complete": CUBES}, "partial holds integers from 0 to 1"),
        ({"partial": CUBES, "complete": CUBES + 255.0}, "complete holds integers from 0 to 255"),
        ({"partial": POINTS, "complete": CUBES}, "partial are volumes"),
        ({"partial": CUBES, "complete": POINTS}, "complete are volumes"),
        ({"partial": POINTS, "complete": POINTS[:2]}, "one length"),
    ]:
        write_pairs(tmp_path, **fields)
        assert str(tmp_path / "train.npz") in refused(message, read, "pairs", "train")


def test_missing_pairs_are_told(read, tmp_path):
    refused(r"test\.npz is missing", read, "pairs", "test")
