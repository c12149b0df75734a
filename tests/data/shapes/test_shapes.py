"""Shapes and pairs in npz files: layouts, labels, splits, and wrong files."""

import zipfile

import numpy as np
import pytest

from nvc_jax.data.base.source import class_names_of
from nvc_jax.data.shapes.shapes import write_groups, write_shapes
from tests.refusals import refused
from tests.sources import damage_told, everything

NAMES = np.array(["bed", "chair", "other"])
SPLITS = ("train", "validation", "test")


@pytest.fixture
def shapes(read, tmp_path):
    """Reads a split of one file."""
    settings = {"dir": str(tmp_path / "shapes.npz"), "holdout_every": 3}
    return lambda split, **changes: read("shapes", split, **{**settings, **changes})


def assert_fields(found, **expected):
    """What is read is equal, in the dtypes of the schema."""
    dtypes = {"voxels": "u1", "points": "f4", "normals": "f4", "point_label": "u1", "label": "i4"}
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], np.asarray(values, dtypes[name]), strict=True)


def packed_by_hand(volumes):
    """Eight voxels a byte, z fastest, the first in the highest bit."""
    rows = []
    for volume in volumes:
        bits = [int(volume[x, y, z]) for x, y, z in np.ndindex(volume.shape)]
        rows.append([sum(bits[i + k] << (7 - k) for k in range(8)) for i in range(0, len(bits), 8)])
    return np.array(rows, np.uint8)


def volumes(count=6, shape=(4, 4, 4)):
    return np.random.default_rng(0).integers(0, 2, (count, *shape), dtype=np.uint8)


def test_packed_shapes_come_whole_with_points_and_labels(tmp_path, shapes):
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
    train = shapes("train")  # i % 3 is 2
    assert class_names_of(train) == ("bed", "chair", "other")
    own = {"points": points[[2, 5]], "normals": normals[[2, 5]], "point_label": part[[2, 5]]}
    assert_fields(everything(train), voxels=volumes()[[2, 5]], **own, label=[2, 2])
    labels = {split: everything(shapes(split))["label"].tolist() for split in SPLITS}
    assert labels == {"train": [2, 2], "validation": [1, -1], "test": [0, 1]}


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_plain_volumes_need_no_cube_and_no_labels(tmp_path, shapes, dtype):
    stored = volumes(3, (2, 3, 4))
    np.savez(tmp_path / "shapes.npz", voxels=stored.astype(dtype))
    assert_fields(everything(shapes("test")), voxels=stored[:1], label=[-1])


@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
def test_one_class_can_count_as_unlabeled_and_keeps_its_number(tmp_path, shapes, dtype):
    label = np.array([1, 1, 0, 2, 2, 1], dtype)
    np.savez(tmp_path / "shapes.npz", voxels=volumes(), label=label, label_names=NAMES)
    for name, expected in (("chair", [-1, 2]), ("bed", [1, 2]), ("", [1, 2])):
        source = shapes("test", unlabeled_class=name)
        assert everything(source)["label"].tolist() == expected
        assert class_names_of(source) == tuple(NAMES)
    message = r"unlabeled_class is 'sofa'.*bed, chair, other"
    refused(message, shapes, "test", unlabeled_class="sofa")


def test_written_shapes_read_back_and_are_packed(tmp_path, shapes):
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
    own = {"points": points[[1]], "normals": -points[[1]], "point_label": part[[1]]}
    fields = everything(shapes("validation", dir=str(path)))
    assert_fields(fields, voxels=volumes(3)[[1]], **own, label=[0])


@pytest.mark.parametrize("shape", [(3, 3, 3), (2, 4, 8), (1, 1, 1)])
def test_volumes_that_fill_no_bytes_are_written_plainly(tmp_path, shapes, shape):
    path = tmp_path / "shapes.npz"
    write_shapes(path, voxels=volumes(3, shape))
    with np.load(path) as archive:
        assert set(archive.files) == {"voxels"} and archive["voxels"].shape == (3, *shape)
    fields = everything(shapes("train"))
    np.testing.assert_array_equal(fields["voxels"], volumes(3, shape)[[2]])


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "shapes.npz"
    path.write_bytes(b"old")
    refused("integers from 0 to 1", write_shapes, path, voxels=np.full((2, 2, 2, 2), 7))
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


POINTS = np.zeros((3, 4, 3), np.float32)


def test_wrong_fields_are_told(tmp_path, shapes):
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
        assert "shapes.npz" in refused(message, shapes, "train")


def test_missing_and_damaged_files_are_told(tmp_path, shapes):
    path = tmp_path / "shapes.npz"
    refused(r"shapes\.npz is missing", shapes, "train")
    np.savez(path, points=np.array([[{}]], object))
    refused("cannot be read", shapes, "train")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("points", b"not an array")
    refused("cannot be read", shapes, "train")
    np.savez(path, points=POINTS[:, :1])

    def read(content):
        path.write_bytes(content)
        shapes("train")

    told = damage_told(path.read_bytes(), read, every=7)
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


def test_a_split_or_groups_go_before_places(tmp_path, shapes):
    path = tmp_path / "shapes.npz"
    fields = {"voxels": volumes(), "label": np.array([0, 1, 2, 1, 0, 2])}
    np.savez(path, **fields, split=np.array([2, 2, 1, 0, 0, 0]), group=np.arange(6))
    parts = {split: everything(shapes(split))["voxels"] for split in SPLITS}
    for split, rows in (("train", slice(3, 6)), ("validation", slice(2, 3)), ("test", slice(2))):
        np.testing.assert_array_equal(parts[split], volumes()[rows])
    np.savez(path, **fields, group=np.array([0, 0, 0, 0, 1, 2]))
    assert [len(shapes(split)) for split in SPLITS] == [1, 1, 4]
    np.savez(path, **fields, split=np.array([0, 0, 0, 1, 1, 1]))
    refused("test split is empty", shapes, "test")


def test_what_the_file_beside_has_goes_before(tmp_path, shapes):
    old = {"label": np.zeros(6, int), "label_names": np.array(["all"]), "split": np.zeros(6, int)}
    np.savez(tmp_path / "shapes.npz", voxels=volumes(), **old)
    beside, label = tmp_path / "groups.npz", np.array([0, 1, 2, 1, 0, 2], np.int16)
    split = np.array([0, 0, 0, 1, 2, 2], np.uint8)
    np.savez(beside, split=split, label=label, label_names=NAMES)
    found = shapes("test", split_file=str(beside), unlabeled_class="other")
    assert everything(found)["label"].tolist() == [0, -1]
    assert class_names_of(found) == ("bed", "chair", "other")
    np.savez(beside, group=np.array([0, 0, 0, 0, 1, 2]))  # and so do groups, before a split
    assert len(shapes("test", split_file=str(beside))) == 4
    np.savez(beside, voxels=volumes())
    refused("none of the fields", shapes, "test", split_file=str(beside))
    refused("is missing", shapes, "test", split_file=str(tmp_path / "nowhere.npz"))


def test_groups_of_twins_are_written_for_a_split(tmp_path, shapes):
    rng = np.random.default_rng(0)
    own = (rng.random((5, 6, 6, 6)) < 0.5).astype(np.uint8)
    stored = np.concatenate([own, own[:3, ::-1], np.rot90(own[:1], axes=(1, 3))])
    np.savez(tmp_path / "shapes.npz", voxels=stored)
    beside = tmp_path / "groups.npz"
    told = write_groups(tmp_path / "shapes.npz", beside, 0.85, 3)
    assert "3 of 9 shapes" not in told and "7 of 9 shapes have a twin" in told
    with np.load(beside) as groups:
        assert groups["group"].tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 0]
    sizes = [len(shapes(split, split_file=str(beside))) for split in SPLITS]
    assert sum(sizes) == 9 and min(sizes) >= 2
