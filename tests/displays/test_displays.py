"""Pictures, figures and files of what tasks take and give."""

from typing import Any

import numpy as np
import pytest
import trimesh

from nvc_jax.displays import DISPLAYS, Display, make_display
from nvc_jax.plots.shapes import class_colors, point_colors
from nvc_jax.tasks import TASKS
from tests.tasks import test_image as image
from tests.tasks import test_planar_reconstruction as planes
from tests.tasks import test_point_completion as completion
from tests.tasks import test_point_segmentation as segmentation
from tests.tasks import test_table as table
from tests.tasks.test_voxel_completion import task_of as volume_task


def rows_of(figure: Any) -> list[str]:
    """Names of the rows of a figure with one axes."""
    (axes,) = figure.axes
    return [label.get_text() for label in axes.get_yticklabels()]


def test_a_task_without_a_display_shows_nothing(tmp_path):
    assert DISPLAYS.keys() <= TASKS.keys()
    display, rows = make_display(table.make()), np.zeros((2, 3))
    assert type(display) is Display
    assert display.pictures({"features": rows}) is None and display.render(rows) is None
    assert display.describe(None, np.arange(2)) is None and display.figures({}, rows) == {}
    assert (
        display.references({}) is None
        and display.solids(rows) == []
        and display.turned({}, rows) == {}
    )
    assert display.export(rows[0], tmp_path / "row") is None and not list(tmp_path.iterdir())


@pytest.mark.parametrize("label", [0, -1])
def test_images_with_and_without_labels(label):
    display = make_display(image.task_of(shape=(4, 3, 1)))
    stored = np.zeros((2, 4, 3, 1), np.uint8)
    batch = {"image": stored, "label": np.full(2, label, np.int32)}
    figures = display.figures(batch, np.zeros((2, 4, 3, 1)))
    assert set(figures) == {"reconstructions"}
    (axes,) = figures["reconstructions"].axes
    assert rows_of(figures["reconstructions"]) == ["input", "reconstruction"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ([] if label < 0 else ["0", "0"])


@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-1.0, 1.0)])
def test_pictures_are_the_images_between_zero_and_one(value_range):
    batch = image.batch_of()
    display = make_display(image.task_of(loss__value_range=value_range))
    np.testing.assert_allclose(display.pictures(batch), batch["image"] / 255, atol=1e-6)


def test_occupied_voxels_are_those_of_the_threshold(tmp_path):
    display = make_display(volume_task(eval__threshold=0.6))
    probability = np.zeros((1, 8, 8, 8))
    probability[0, :2], probability[0, 2:4] = 0.7, 0.5
    pictures: Any = display.render(probability)
    np.testing.assert_array_equal(pictures, display.render((probability > 0.6).astype(float)))
    assert np.abs(pictures - display.render(2 * probability)).max() > 0.1
    (solid,) = display.solids(probability)
    assert solid.text == "128 voxels"
    batch = {"partial": probability > 0.6, "complete": probability > 0.4}
    counts = {name: row[0].text for name, row in display.turned(batch, probability).items()}
    assert counts == {"input": "128 voxels", "completion": "128 voxels", "truth": "256 voxels"}
    mesh: Any = trimesh.load(display.export(probability[0], tmp_path / "some"))
    assert np.ptp(mesh.vertices[:, 0]) == pytest.approx(2 / 8)
    assert display.export(0.5 * probability[0], tmp_path / "none") is None


def test_classes_of_voxels_are_points_in_their_colors(tmp_path):
    display = make_display(volume_task(task="semantic_completion", model__num_classes=3))
    classes = np.zeros((4, 4, 8), np.uint8)
    classes[0, 0, 0], classes[3, 3, 7] = 1, 2
    np.testing.assert_array_equal(display.solids(classes[None])[0].colors, class_colors([1, 2]))
    cloud: Any = trimesh.load(display.export(classes, tmp_path / "scene"))
    centers = np.array([[-1.5, -1.5, -3.5], [1.5, 1.5, 3.5]]) / 8
    np.testing.assert_allclose(cloud.vertices, centers, atol=1e-6)
    assert (cloud.colors[0] != cloud.colors[1]).any()
    assert display.export(0 * classes, tmp_path / "none") is None


def test_completions_stand_between_input_and_truth(tmp_path):
    display, batch = make_display(completion.task_of()), completion.boxes(2)
    figures = display.figures(batch, batch["complete"][:, :7])
    assert figures.keys() == {"completions"}
    assert rows_of(figures["completions"]) == ["input", "completion", "truth"]
    turned = display.turned(batch, batch["complete"][:, :7])
    assert [len(row[1].points) for row in turned.values()] == [
        batch["partial"].shape[1],
        7,
        batch["complete"].shape[1],
    ]
    pictures = display.pictures(batch)
    np.testing.assert_array_equal(pictures, display.render(batch["complete"]))
    assert display.render(batch["complete"][None]).shape == (1, *pictures.shape)
    cloud: Any = trimesh.load(display.export(batch["complete"][0], tmp_path / "cloud"))
    np.testing.assert_allclose(cloud.vertices, batch["complete"][0], atol=1e-6)


def test_points_are_colored_by_class():
    display, batch = make_display(segmentation.task_of()), segmentation.shapes(3)
    unknown = display.pictures({**batch, "point_label": np.full_like(batch["point_label"], 255)})
    np.testing.assert_allclose(np.ptp(unknown, axis=-1), 0, atol=1e-6)  # gray
    assert np.ptp(display.pictures(batch), axis=-1).max() > 0.2
    figures = display.figures(batch, batch["point_label"])
    assert figures.keys() == {"segmentations"}
    assert rows_of(figures["segmentations"]) == ["prediction", "truth"]
    other = np.roll(batch["point_label"], 1, axis=1)
    turned = display.turned(batch, other)
    for name, label in (("prediction", other), ("truth", batch["point_label"])):
        np.testing.assert_array_equal(turned[name][2].colors, point_colors(label[2]))
        np.testing.assert_array_equal(turned[name][2].points, batch["points"][2, :, :3])


def test_planes_are_pictures_figures_and_points_that_lie_on_them(tmp_path):
    task = planes.task_of()
    display, records = make_display(task), task.postprocess(planes.true_maps(planes.BATCH))
    assert display.render(records).shape == (4, *planes.SIZE, 3)
    assert display.render(records.reshape(2, 2)).shape == (2, 2, *planes.SIZE, 3)
    assert set(display.figures(planes.BATCH, records)) == {"planes", "recall"}
    record = records[0]
    cloud: Any = trimesh.load(display.export(record, tmp_path / "room"))
    on_plane = record["segmentation"] < 20
    (solid,) = display.solids(records[:1])
    np.testing.assert_allclose(solid.points, cloud.vertices * [1, -1, -1], rtol=1e-5)
    turned = display.turned(planes.BATCH, records)
    assert [len(row) for row in turned.values()] == [4, 4]
    for one, other in zip(turned["prediction"], turned["truth"], strict=True):
        assert {*map(tuple, one.colors)} <= {*map(tuple, other.colors)}
    assert len(cloud.vertices) == on_plane.sum()
    assert len(np.unique(cloud.colors[:, :3], axis=0)) == record["planes"].any(axis=1).sum()
    depth = np.sort(record["depth"][on_plane])
    np.testing.assert_allclose(np.sort(cloud.vertices[:, 2]), depth, rtol=1e-5)
    record["segmentation"] = 20
    assert display.export(record, tmp_path / "none") is None
