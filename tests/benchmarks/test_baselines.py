"""Baselines without training: by hand, and against brute force."""

from types import MappingProxyType

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from benchmarks import baselines
from nvc_jax.config import changed, load_config
from nvc_jax.data.shapes.shapes import write_shapes
from nvc_jax.metrics.pose import pose_measures
from nvc_jax.tasks import open_examples


def cad_config(task, path, settings=MappingProxyType({})):
    settings = dict(settings)
    if task in ("voxels", "points"):
        settings["data.unlabeled_class"] = ""
    return changed(load_config(f"cad:{task}"), {"data.dir": str(path), **settings})


def boxes(*sizes, side=4):
    """Solid boxes at the origin corner."""
    volumes = np.zeros((len(sizes), side, side, side), np.uint8)
    for volume, (x, y, z) in zip(volumes, sizes, strict=True):
        volume[:x, :y, :z] = 1
    return volumes


def test_nearest_by_iou():
    queries = np.array([[1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]])
    # IoU of the first query: 1/2, 2/3, 2/4; of the second: 0, 0, 1/4; of the third 0, so the first.
    references = np.array([[0, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]])
    assert baselines.nearest_by_iou(queries, references).tolist() == [1, 2, 0]
    nothing = np.array([[1, 0, 0, 0], [0, 0, 0, 0]])
    assert baselines.nearest_by_iou(queries[2:], nothing).tolist() == [1]


def test_nearest_clouds_are_compared_in_all_points_at_last():
    rng = np.random.default_rng(0)
    references = rng.standard_normal((12, 300, 3)).astype(np.float32)
    # The points at equal steps are alike in all of these; only the others tell them apart.
    references[:, ::2] = references[0, ::2]
    assert baselines.nearest_clouds(references[[7, 3]], references[:8]).tolist() == [7, 3]


def test_voxel_baselines_by_hand(tmp_path):
    # With a hold-out of 5, model 0 tests, 1 validates, and the others are there to be found.
    volumes = boxes((2, 4, 4), (4, 4, 4), (1, 1, 1), (4, 4, 4), (2, 1, 2))
    write_shapes(tmp_path / "s.npz", voxels=volumes)
    rows = baselines.voxel_baselines(cad_config("voxels", tmp_path / "s.npz"))
    # From both sides of x one sees 16 of 32 voxels, from those of z 8.
    assert rows["input alone"]["iou"] == pytest.approx((0.5 + 0.5 + 0.25 + 0.25) / 4)
    # The cube is nearest, 32 of 64 voxels, but from +x: there its face lies at x = 3, while that of
    # the last box lies at x = 1 as the test model's; it is 4 of 32 voxels.
    assert rows["nearest training shape"]["iou"] == pytest.approx((4 / 32 + 0.5 + 0.5 + 0.5) / 4)
    # The face that is seen has 16 voxels, 2 of them in the last box.
    both = rows["nearest training shape and the input"]["iou"]
    assert both == pytest.approx((18 / 32 + 0.5 + 0.5 + 0.5) / 4)


def test_parts_of_scenes():
    partial = np.zeros((2, 20, 3, 20), np.uint8)
    partial[0, 0, 0, 0] = partial[0, 1, 1, 1] = 1  # touch at a corner
    partial[0, 5, 2, 5] = 1
    partial[1, 5, 2, 5] = 1  # the same place in another scene
    partial[1, :, 0, 12] = 1  # wider than the window
    numbered, windows = baselines.parts_of_scenes(partial)
    assert numbered[0, 0, 0, 0] == numbered[0, 1, 1, 1] == 1
    assert numbered.max() == 4
    assert numbered[0, 5, 2, 5] != numbered[1, 5, 2, 5]
    assert windows.shape == (4, baselines.WINDOW, 3, baselines.WINDOW)
    assert windows.sum(axis=(1, 2, 3)).tolist() == [2, 1, *sorted((1, baselines.WINDOW))[::-1]]
    middle = (baselines.WINDOW - 1) // 2
    assert windows[1, middle, 2, middle]  # its height is kept


def test_commonest_labels():
    numbered = np.array([[1, 1, 1, 1], [0, 2, 2, 3]])
    labels = np.array([[2, 2, 7, 255], [5, 255, 255, 0]], np.uint8)
    assert baselines.commonest_labels(numbered, labels).tolist() == [2, 255, 255]


def scene_file(tmp_path):
    """Flat and tall boxes of two classes, so that shape tells the class."""
    sizes = [(8, 2, 8) if i % 2 else (2, 8, 2) for i in range(20)]
    volumes = boxes(*sizes, side=8)
    grid = np.argwhere(np.ones((8, 8, 8)))
    rng = np.random.default_rng(0)
    points = [(grid[rng.integers(0, 512, 64)] / 8 - 0.5) * np.array(size) / 8 for size in sizes]
    label = np.arange(20) % 2
    fields = {"voxels": volumes, "points": np.array(points, np.float32), "label": label}
    write_shapes(tmp_path / "s.npz", **fields, class_names=("tall", "flat"))
    return tmp_path / "s.npz"


SCENES = {"data.num_scenes": 12, "data.num_heldout_scenes": 4, "data.unlabeled_class": ""}


def test_semantic_baselines_find_classes_by_shape(tmp_path):
    classes = {"model.num_classes": 3, "loss.class_weights": (1.0, 1.0, 1.0)}
    config = cad_config("semantic", scene_file(tmp_path), SCENES | classes)
    rows = baselines.semantic_baselines(config)
    one, nearest = rows.values()
    assert one["iou_geometric"] == nearest["iou_geometric"] < 1.0
    assert nearest["miou"] > one["miou"] > 0.0
    # Both classes are recognized, so that only what is not seen is missing.
    assert nearest["miou"] == pytest.approx(nearest["iou_geometric"], abs=0.1)


def test_scene_baselines(tmp_path):
    classes = {"model.num_classes": 2, "loss.class_weights": (1.0, 1.0), "data.num_points": 64}
    config = cad_config("scenes", scene_file(tmp_path), SCENES | classes)
    rows = baselines.scene_baselines(config)
    # One class everywhere: its IoU is its share, the other's is 0.
    assert rows["commonest class"]["miou"] == pytest.approx(rows["commonest class"]["accuracy"] / 2)
    assert 0.0 < rows["nearest training scene"]["accuracy"] <= 1.0


def test_point_baselines(tmp_path):
    rng = np.random.default_rng(0)
    sphere = rng.standard_normal((5, 40, 3)).astype(np.float32)
    sphere *= 0.5 / np.linalg.norm(sphere, axis=2, keepdims=True)
    sphere[3] = sphere[0] + 1e-4  # the test model, all but in training
    write_shapes(tmp_path / "s.npz", points=sphere)
    changes = {"data.num_points": 40, "data.oblique_views": 2}
    config = cad_config("points", tmp_path / "s.npz", changes)
    alone, nearest, kept = baselines.point_baselines(config).values()
    assert nearest["chamfer_l1"] == pytest.approx(1e-4 * np.sqrt(3), rel=1e-2)
    assert nearest["f_score"] == pytest.approx(1.0)
    assert alone["chamfer_l1"] > 0.01
    assert 0.0 < kept["chamfer_l1"] < alone["chamfer_l1"]  # half of the points are observed ones


def test_nearest_sentences_by_hand():
    known = ["die Katze", "der Hund bellt laut", "Hund"]
    found = baselines.nearest_sentences(["der Hund bellt", "xyzzy"], known)
    assert found.tolist() == [1, 0]  # the first where no word is known


def test_nearest_images_equal_brute_force(monkeypatch):
    rng = np.random.default_rng(0)
    queries, references = (rng.integers(0, 256, (n, 6, 6, 1)).astype(np.uint8) for n in (23, 40))
    queries[5] = references[7]
    monkeypatch.setattr(baselines, "CHUNK", 10)
    nearest = baselines.nearest_images(queries, references)
    expected = cdist(queries.reshape(23, -1), references.reshape(40, -1)).argmin(axis=1)
    np.testing.assert_array_equal(nearest, expected)
    assert nearest[5] == 7


def test_baselines_by_hand():
    config = load_config("hands")
    config.data.update({"num_scenes": 12, "num_heldout_scenes": 5, "image_size": (16, 16)})
    rows = baselines.hand_baselines(config)
    train, test = (open_examples(config, split) for split in ("train", "test"))
    known, asked = (source.gather(np.arange(len(source))) for source in (train, test))
    about = known["joints"] - known["center"][:, None]
    nearest = [
        int(np.square(known["image"].astype(float) - image).sum(axis=(1, 2, 3)).argmin())
        for image in asked["image"]
    ]
    mean = about.mean(axis=0, keepdims=True).repeat(5, axis=0)
    for name, poses in (("mean pose", mean), ("nearest training image", about[nearest])):
        found = poses + asked["center"][:, None]
        expected = pose_measures(found, asked["joints"], asked["visible"])
        for measure in ("mpjpe_root", "mpjpe_abs", "mpjpe_pa", "auc_20_50"):
            assert rows[name][measure] == pytest.approx(expected[measure], rel=1e-3), measure


def test_one_wall():
    sizes = {"data.image_size": (16, 24), "data.num_scenes": 3, "data.num_heldout_scenes": 4}
    values = baselines.plane_baselines(changed(load_config("rooms"), sizes))["one wall"]
    assert values["plane_recall_normal/30"] >= values["plane_recall_normal/10"]
    assert values["rand_index"] < 0.9 and 0 < values["covering"] < 1


def test_a_memory_translates_what_it_knows(tmp_path):
    german, english = (
        ["der Hund bellt", "die Katze", "der Hund!"],
        ["the dog barks", "the cat", "a twin"],
    )
    pairs = {"train": (german, english)}
    pairs["test"] = pairs["dev"] = (["der Hund"], ["the dog barks"])
    for split, sides in pairs.items():
        for language, lines in zip(("de", "en"), sides, strict=True):
            (tmp_path / f"{split}.{language}").write_text("\n".join(lines) + "\n")
    config = changed(load_config("translation"), {"data.dir": str(tmp_path)})
    rows = baselines.translation_baselines(config)
    assert rows["translation memory"]["chrf"] < 100.0
    assert rows["translation memory, twins left out"]["chrf"] == pytest.approx(100.0)
    assert rows["source itself"]["chrf"] < 50.0
