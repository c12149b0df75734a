"""ShapeNet-Part: three releases with one meaning."""

import json
import pickle

import h5py
import numpy as np
import pytest

from nvc_jax.data.shapes.shapenet_part import (
    CATEGORIES,
    PART_COUNT,
    PART_START,
    POINT_CLASSES,
    part_table,
    read_shapenet_part,
)
from tests.refusals import refused
from tests.sources import hdf5, put, take

SYNSETS = {"Airplane": "02691156", "Chair": "03001627", "Table": "04379243"}
# The categories of two shapes of every split.
SHAPES = {"train": ["Table", "Airplane"], "val": ["Chair", "Table"], "test": ["Airplane", "Chair"]}
FOLDER_OF = {"train": "train", "validation": "val", "test": "test"}
# Four points around (5, 6, 7), at distance 2, and their parts as v0 counts them, from 1.
POINTS = np.array([[7, 6, 7], [3, 6, 7], [5, 8, 7], [5, 4, 7]], np.float64)
PARTS = np.array([1, 3, 2, 3])
START = {"Airplane": 0, "Chair": 12, "Table": 47}
LABEL = {"Airplane": 0, "Chair": 4, "Table": 15}


def rows(*columns):
    return "".join(" ".join(f"{v:.6f}" for v in row) + "\n" for row in np.column_stack(columns))


def listed():
    """Name of the file and category of every shape."""
    return [(f"{split}{i}", name) for split in SHAPES for i, name in enumerate(SHAPES[split])]


def write_lists(root):
    put(root / "synsetoffset2category.txt", "".join(f"{k}\t{v}\n" for k, v in SYNSETS.items()))
    for split, names in SHAPES.items():
        paths = [f"shape_data/{SYNSETS[name]}/{split}{i}" for i, name in enumerate(names)]
        put(root / "train_test_split" / f"shuffled_{split}_file_list.json", json.dumps(paths))


def write_v0(root, labels="points_label"):
    write_lists(root)
    for file, name in listed():
        folder = root / SYNSETS[name]
        put(folder / "points" / f"{file}.pts", rows(POINTS))
        put(folder / labels / f"{file}.seg", "".join(f"{part}\n" for part in PARTS))
        put(folder / "points_label" / "wing" / f"{file}.seg", "0\n1\n0\n0\n")


def write_part_annotation(root):
    write_v0(root, "expert_verified/points_label")


def write_v0_normal(root):
    write_lists(root)
    for file, name in listed():
        table = rows(POINTS, np.ones((4, 3)), PARTS - 1 + START[name])
        put(root / SYNSETS[name] / f"{file}.txt", table)


def write_hdf5(root):
    """Training has two files of one shape each."""
    for split, names in SHAPES.items():
        files = [names[:1], names[1:]] if split == "train" else [names]
        for i, part_of in enumerate(files):
            hdf5(
                root / f"ply_data_{split}{i}.h5",
                data=np.stack([POINTS] * len(part_of)).astype(np.float32),
                label=np.array([[LABEL[name]] for name in part_of], np.uint8),
                pid=np.array([PARTS - 1 + START[name] for name in part_of], np.uint8),
            )


WRITERS = [write_v0, write_part_annotation, write_v0_normal, write_hdf5]


@pytest.fixture
def four(options):
    """Clouds of four points."""
    return options("shapenet_part", num_points=4)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("split", list(FOLDER_OF))
def test_releases_read_alike(tmp_path, four, write, split):
    write(tmp_path)
    source = read_shapenet_part(four, split)
    names = SHAPES[FOLDER_OF[split]]
    batch = take(source, 1, 0)
    for i, name in enumerate(reversed(names)):
        np.testing.assert_allclose(batch["points"][i], (POINTS - [5, 6, 7]) / 2, atol=1e-6)
        np.testing.assert_array_equal(batch["point_label"][i], PARTS - 1 + START[name])
        assert batch["label"][i] == LABEL[name] and source.class_names[LABEL[name]] == name
    assert [*map(len, (source, source.class_names, source.point_class_names))] == [2, 16, 50]
    dtypes = {name: field.dtype for name, field in source.spec.items()}
    assert dtypes == {"points": np.float32, "point_label": np.uint8, "label": np.int32}


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("num_points", [3, 11])
def test_resampled_points_keep_their_parts_whatever_the_batch(tmp_path, read, write, num_points):
    write(tmp_path)
    source = read("shapenet_part", "test", num_points=num_points)
    one, two = source.gather(np.array([1])), source.gather(np.array([0, 1]))
    again = pickle.loads(pickle.dumps(source)).gather(np.array([1]))
    for name, values in one.items():
        np.testing.assert_array_equal(values[0], two[name][1])
        np.testing.assert_array_equal(values, again[name])
    points, part = one["points"][0], one["point_label"][0] - 12
    assert len({tuple(p) for p in points.tolist()}) == min(num_points, 4)
    assert points.shape == (num_points, 3)
    # Only part 2 (the third) is at two places; every other part is at one.
    for value, places in ((0, 1), (1, 1), (2, 2)):
        assert len({tuple(p) for p in points[part == value].tolist()}) <= places
    assert set(part.tolist()) <= {0, 1, 2}


def test_point_that_is_not_finite_is_left_out(tmp_path, four):
    write_v0_normal(tmp_path)
    path = tmp_path / SYNSETS["Airplane"] / "test0.txt"
    path.write_text("nan 0 0 0 0 1 3.0\n" + path.read_text())
    batch = read_shapenet_part(four, "test").gather(np.array([0]))
    np.testing.assert_allclose(batch["points"][0], (POINTS - [5, 6, 7]) / 2, atol=1e-6)
    np.testing.assert_array_equal(batch["point_label"][0], PARTS - 1)


def test_table_of_parts():
    table = part_table()
    assert table.shape == (16, 50) and table.dtype == bool
    np.testing.assert_array_equal(table.sum(0), 1)
    np.testing.assert_array_equal(table.sum(1), PART_COUNT)
    np.testing.assert_array_equal(table.argmax(1), PART_START)
    assert np.flatnonzero(table[CATEGORIES.index("Motorbike")]).tolist() == [30, 31, 32, 33, 34, 35]
    assert list(CATEGORIES) == sorted(CATEGORIES)
    assert POINT_CLASSES[49] == "Table 3" and POINT_CLASSES[4] == "Bag 1"


PTS, SEG = "02691156/points/test0.pts", "02691156/points_label/test0.seg"
LIST = "train_test_split/shuffled_test_file_list.json"


WRONG = [
    (PTS, None, "test0.pts is missing"),
    (SEG, None, "test0.seg is missing"),
    (PTS, b"", "test0.pts has 0"),
    (PTS, b"1 2 3\n4 5", "test0.pts is cut short"),
    (SEG, b"1\n1\n1\n", "test0.seg has 3 lines, but "),
    (SEG, b"1\n1\n1\n0\n", "test0.seg: labels here are whole numbers from 1 to 4, got 0"),
    (SEG, b"1\n1\n1\n5\n", "test0.seg: labels here are whole numbers from 1 to 4, got 5"),
    (SEG, b"1\n1\nx\n1\n", "test0.seg is cut short or damaged"),
    (LIST, None, "shuffled_test_file_list.json is missing"),
    (LIST, b'["shape_data/02691156', "shuffled_test_file_list.json is damaged"),
    (LIST, b'["02691156/test0"]', "shuffled_test_file_list.json is damaged"),
    (LIST, b'["shape_data/1/test0"]', "shuffled_test_file_list.json is damaged"),
    (LIST, b"[1]", "shuffled_test_file_list.json is damaged"),
    (LIST, b"7", "shuffled_test_file_list.json is damaged"),
    (LIST, b"[]", "shuffled_test_file_list.json is damaged"),
    ("synsetoffset2category.txt", None, "synsetoffset2category.txt is missing"),
    ("synsetoffset2category.txt", b"Plane 02691156\n", "category.txt is damaged"),
    ("synsetoffset2category.txt", b"", "category.txt is damaged"),
]


def test_missing_and_broken_files_are_told(tmp_path, refuses):
    write_v0(tmp_path)
    refuses(WRONG, "shapenet_part", "test", num_points=4)


def test_part_of_another_category_is_told(tmp_path, four):
    write_v0_normal(tmp_path)
    path = tmp_path / SYNSETS["Airplane"] / "test0.txt"
    path.write_text(path.read_text().replace(" 2.000000\n", " 12.000000\n"))
    refused(r"test0\.txt: labels .* from 0 to 3, got 12", read_shapenet_part, four, "test")
    path.write_text("1 2 3 4 5 6\n")
    refused(r"test0\.txt has 6 numbers a line, expected 7", read_shapenet_part, four, "test")


def test_wrong_hdf5_files_are_told(tmp_path, four):
    write_hdf5(tmp_path)
    path = tmp_path / "ply_data_test0.h5"
    with h5py.File(path, "a") as file:
        file["pid"][1, 2] = 3
    refused(r"test0\.h5, shape 1: labels .* from 12 to 15, got 3", read_shapenet_part, four, "test")
    with h5py.File(path, "a") as file:
        del file["pid"]
    refused(r"test0\.h5 has no array of numbers 'pid'", read_shapenet_part, four, "test")
    path.unlink()
    refused(r"there is no file ply_data_test\*\.h5", read_shapenet_part, four, "test")
