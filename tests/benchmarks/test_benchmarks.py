"""Baselines without training, and tables that go on where they were interrupted."""

from __future__ import annotations

import argparse
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import retrieval, shapes, table, translation, translation_memory
from benchmarks.methods import METHODS
from benchmarks.translation_speed import transformer_products
from nvc_jax.config import changed, load_config
from nvc_jax.core.errors import UserError
from nvc_jax.core.options import leaves
from nvc_jax.data.shapes.shapes import write_shapes

COLUMNS = ("iou", "nmi")


def cad_config(task, path, **settings):
    settings = {name.replace("__", "."): value for name, value in settings.items()}
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
    assert retrieval.nearest_by_iou(queries, references).tolist() == [1, 2, 0]
    nothing = np.array([[1, 0, 0, 0], [0, 0, 0, 0]])
    assert retrieval.nearest_by_iou(queries[2:], nothing).tolist() == [1]


def test_nearest_clouds_are_compared_in_all_points_at_last():
    rng = np.random.default_rng(0)
    references = rng.standard_normal((12, 300, 3)).astype(np.float32)
    # The points at equal steps are alike in all of these; only the others tell them apart.
    references[:, ::2] = references[0, ::2]
    assert retrieval.nearest_clouds(references[[7, 3]], references[:8]).tolist() == [7, 3]


def test_voxel_baselines_by_hand(tmp_path):
    # With a hold-out of 5, model 0 tests, 1 validates, and the others are there to be found.
    volumes = boxes((2, 4, 4), (4, 4, 4), (1, 1, 1), (4, 4, 4), (2, 1, 2))
    write_shapes(tmp_path / "s.npz", voxels=volumes)
    rows = retrieval.voxel_baselines(cad_config("voxels", tmp_path / "s.npz"))
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
    numbered, windows = retrieval.parts_of_scenes(partial)
    assert numbered[0, 0, 0, 0] == numbered[0, 1, 1, 1] == 1
    assert numbered.max() == 4
    assert numbered[0, 5, 2, 5] != numbered[1, 5, 2, 5]
    assert windows.shape == (4, retrieval.WINDOW, 3, retrieval.WINDOW)
    assert windows.sum(axis=(1, 2, 3)).tolist() == [2, 1, *sorted((1, retrieval.WINDOW))[::-1]]
    middle = (retrieval.WINDOW - 1) // 2
    assert windows[1, middle, 2, middle]  # its height is kept


def test_commonest_labels():
    numbered = np.array([[1, 1, 1, 1], [0, 2, 2, 3]])
    labels = np.array([[2, 2, 7, 255], [5, 255, 255, 0]], np.uint8)
    assert retrieval.commonest_labels(numbered, labels).tolist() == [2, 255, 255]


def scene_file(tmp_path):
    """Flat and tall boxes of two classes, so that shape tells the class."""
    sizes = [(8, 2, 8) if i % 2 else (2, 8, 2) for i in range(20)]
    volumes = boxes(*sizes, side=8)
    grid = np.argwhere(np.ones((8, 8, 8)))
    rng = np.random.default_rng(0)
    points = [(grid[rng.integers(0, 512, 64)] / 8 - 0.5) * np.array(size) / 8 for size in sizes]
    label = np.arange(20) % 2
    names = ("tall", "flat")
    write_shapes(
        tmp_path / "s.npz",
        voxels=volumes,
        points=np.array(points, np.float32),
        label=label,
        class_names=names,
    )
    return tmp_path / "s.npz"


SCENES = {"data__num_scenes": 12, "data__num_heldout_scenes": 4}


def test_semantic_baselines_find_classes_by_shape(tmp_path):
    config = cad_config(
        "semantic",
        scene_file(tmp_path),
        model__num_classes=3,
        loss__class_weights=(1.0, 1.0, 1.0),
        **SCENES,
    )
    rows = retrieval.semantic_baselines(config)
    one, nearest = rows.values()
    assert one["iou_geometric"] == nearest["iou_geometric"] < 1.0
    assert nearest["miou"] > one["miou"] > 0.0
    # Both classes are recognized, so that only what is not seen is missing.
    assert nearest["miou"] == pytest.approx(nearest["iou_geometric"], abs=0.1)


def test_scene_baselines(tmp_path):
    config = cad_config(
        "scenes",
        scene_file(tmp_path),
        model__num_classes=2,
        loss__class_weights=(1.0, 1.0),
        data__num_points=64,
        **SCENES,
    )
    rows = retrieval.scene_baselines(config)
    # One class everywhere: its IoU is its share, the other's is 0.
    assert rows["commonest class"]["miou"] == pytest.approx(rows["commonest class"]["accuracy"] / 2)
    assert 0.0 < rows["nearest training scene"]["accuracy"] <= 1.0


def test_point_baselines(tmp_path):
    rng = np.random.default_rng(0)
    sphere = rng.standard_normal((5, 40, 3)).astype(np.float32)
    sphere *= 0.5 / np.linalg.norm(sphere, axis=2, keepdims=True)
    sphere[3] = sphere[0] + 1e-4  # the test model, all but in training
    write_shapes(tmp_path / "s.npz", points=sphere)
    config = cad_config("points", tmp_path / "s.npz", data__num_points=40, data__oblique_views=2)
    alone, nearest, kept = retrieval.point_baselines(config).values()
    assert nearest["chamfer_l1"] == pytest.approx(1e-4 * np.sqrt(3), rel=1e-2)
    assert nearest["f_score"] == pytest.approx(1.0)
    assert alone["chamfer_l1"] > 0.01
    assert 0.0 < kept["chamfer_l1"] < alone["chamfer_l1"]  # half of the points are observed ones


def test_rows_survive_an_interruption(tmp_path):
    path = tmp_path / "deep" / "table.csv"
    row = {"method": "nvc, at best", "seed": 0, "steps": 10, "recipe": "ab", "seconds": 1.5}
    table.Rows(path, COLUMNS).add({**row, "iou": 0.25, "not shown": 3})
    with path.open("a") as file:
        file.write("vae,0,10,cd,2.5,0.1")  # the program ended here
    rows = table.Rows(path, COLUMNS)
    assert rows.of("cd", 0) == []
    rows.add({**row, "method": "ae", "recipe": "cd", "iou": 0.75, "nmi": 0.5})
    first, second = (table.Rows(path, COLUMNS).of(recipe, 0)[0] for recipe in ("ab", "cd"))
    assert (first["method"], first["iou"], first["seconds"]) == ("nvc, at best", 0.25, 1.5)
    assert np.isnan(first["nmi"])
    assert (second["method"], second["nmi"]) == ("ae", 0.5)
    with pytest.raises(UserError, match="move it away"):
        table.Rows(path, ("miou",))


def test_a_finished_row_is_not_computed_again(tmp_path, capsys):
    computed = []

    def measure(config, directory):
        assert 0 < config.anchors.warmup < 1 < config.train.num_steps < 100
        computed.append((directory.name, config.seed, config.model.num_anchors))
        return {"steps": config.train.num_steps, "seconds": 1.0, "iou": float(len(computed))}

    def printed(steps, folder="here"):
        parser = argparse.ArgumentParser()
        table.add_flags(parser, ("vae", "nvc"), (0, 1), str(tmp_path))
        table.run_table(
            parser.parse_args([f"--steps={steps}"]),
            "voxels",
            COLUMNS,
            shapes.configure("voxels", f"{folder}/shapes.npz"),
            baselines=lambda config: {"input": {"iou": 0.1}, "nearest": {"iou": 0.2}},
            methods=METHODS,
            measure=measure,
        )
        lines = capsys.readouterr().out.splitlines()
        return [[c.strip() for c in line.strip("|").split("|")][:3] for line in lines[2:]]

    first = printed(50)
    assert first[:4] == [
        ["input", "", "0.1"],
        ["nearest", "", "0.2"],
        ["vae", "0", "1"],
        ["vae", "1", "2"],
    ]
    assert first[4:] == [
        ["vae", "mean", "1.5 ± 0.71"],
        ["nvc", "0", "3"],
        ["nvc", "1", "4"],
        ["nvc", "mean", "3.5 ± 0.71"],
    ]
    assert computed[1] == ("voxels-vae-1", 1, 1)
    assert printed(50) == printed(50, folder="where the data lie now") == first
    assert len(computed) == 4
    assert [row[2] for row in printed(60)[2:4]] == ["5", "6"]


def test_half_a_run_is_no_row(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "train", lambda *_, **__: SimpleNamespace(stopped="SIGTERM"))
    config = shapes.configure("voxels", "shapes.npz")
    rows = table.Rows(tmp_path / "voxels.csv", COLUMNS)
    with pytest.raises(KeyboardInterrupt):
        table.method_row(rows, config, "ae", {}, 0, table.train_and_evaluate, tmp_path / "run")
    assert len((tmp_path / "voxels.csv").read_text().splitlines()) == 1


def test_the_threshold_is_the_best_one_on_validation_models(tmp_path, monkeypatch):
    config = changed(load_config("cad:voxels"), {"eval.thresholds": (0.3, 0.4, 0.5)})
    values = {"iou_at/0.3": 0.2, "iou_at/0.4": 0.6, "iou_at/0.5": 0.5}
    opened = []
    monkeypatch.setattr(shapes, "open_examples", lambda _, split: opened.append(split))
    task = SimpleNamespace(summary=lambda encoded, source: values)
    model = SimpleNamespace(config=config, task=task, encode=lambda source: {})
    monkeypatch.setattr(shapes, "load", lambda directory: model)
    assert shapes.best_threshold(tmp_path) == 0.4
    assert opened == ["validation"]


def test_nearest_sentences_by_hand():
    known = ["die Katze", "der Hund bellt laut", "Hund"]
    found = translation_memory.nearest_sentences(["der Hund bellt", "xyzzy"], known)
    assert found.tolist() == [1, 0]  # the first where no word is known


def test_translation_methods_differ_in_the_latent_alone(tmp_path):
    recipe = translation.configure(tmp_path)
    assert recipe.train.eval_every == recipe.train.num_steps  # translating takes time
    assert recipe.optimizer.schedule == "cosine"
    for changes in translation.LATENTS.values():
        assert all(
            name.startswith(
                ("model.num_anchors", "model.latent", "anchors.", "loss.kl.", "loss.triplet.")
            )
            for name in changes
        )
    assert translation.LATENTS["transformer"]["loss.kl.value"] == 0.0


def test_products_of_a_transformer_step_by_hand():
    model = load_config("translation").model
    model.update({"width": 4, "feedforward": 8, "encoder_layers": 1, "decoder_layers": 1})
    found = transformer_products(model, 50, 3, 5)
    # Source: 4 squares and both feed-forward layers, keys and values; target: 6 squares and the same.
    weights = 3 * (6 * 16 + 2 * 32) + 5 * (6 * 16 + 2 * 32) + 5 * 4 * 50
    assert sum(m * k * n for m, k, n in found) == 3 * weights
    assert found[:3] == [(3, 4, 4), (4, 3, 4), (3, 4, 4)]


@pytest.mark.parametrize("task", shapes.TABLES)
def test_methods_share_network_data_and_steps(task):
    recipe = shapes.configure(task, "shapes.npz")
    assert 0 < recipe.anchors.warmup < 1
    before = leaves(recipe)
    for changes in METHODS.values():
        after = leaves(changed(recipe, changes))
        different = {name for name, value in after.items() if value != before[name]}
        allowed = {"model.num_anchors", "anchors.balanced", "loss.kl.value", "loss.triplet.value"}
        assert different <= allowed


def test_cells_of_equal_values_have_no_spread():
    assert table.cell([0.4, 0.4, 0.4]) == "0.4 ± 0"  # whose mean is not 0.4 in floating point
    assert table.cell([0.5, 0.7]) == "0.6 ± 0.14"
    assert (table.cell([0.123456]), table.cell([1.0, float("nan")])) == ("0.1235", "")
