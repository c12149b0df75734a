"""Semantic completion: loss and measures by hand, what is refused, a whole run."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.core.errors import UserError
from nvc_jax.data.base.source import FieldSource
from nvc_jax.displays import make_display
from nvc_jax.evaluation import evaluate, load
from nvc_jax.tasks import TASKS, Outputs
from nvc_jax.training.loop import train
from tests.numeric import normal
from tests.tasks.test_labels import numpy_cross_entropy
from tests.tasks.test_voxel_completion import CUBE, boxes, config_of, outputs_of, short, spec_of
from tests.tasks.test_voxel_completion import task_of as volume_task_of


def task_of(spec=None, **changes):
    return volume_task_of(
        spec, **{"task": "semantic_completion", "model__num_classes": 3} | changes
    )


def test_cross_entropy_is_weighted_and_leaves_out_unknown_voxels():
    task = task_of(spec_of((2, 1, 3)), loss__class_weights=(0.25, 1.0, 4.0))
    logits = 3 * normal(0, 3, 2, 1, 3, 3)
    target = np.array([[0, 1, 2, 255, 2, 0], [1] * 6, [255] * 6], np.uint8).reshape(3, 2, 1, 3)
    loss = jax.jit(lambda x: task.reconstruction(Outputs(x, None), {"target": target}))
    found = loss(logits)
    np.testing.assert_allclose(
        found, numpy_cross_entropy(logits, target, (0.25, 1.0, 4.0)), rtol=1e-5
    )
    assert found.dtype == jnp.float32 and found[2] == 0
    np.testing.assert_array_equal(
        loss(np.where((target == 255)[..., None], 7.0 * logits, logits)), found
    )


# Two volumes of five voxels in a row: the likeliest class, what was seen, and the truth.
LIKELIEST = [[0, 1, 1, 2, 0], [1, 1, 0, 0, 0]]
PARTIAL = [[1, 1, 0, 0, 0], [0, 0, 0, 0, 1]]
COMPLETE = [[1, 1, 2, 0, 255], [1, 255, 0, 0, 1]]


def measured(names=("box",), **changes):
    """The second likeliest class is always 2, or 1."""
    task = task_of(spec_of((5, 1, 1)), **changes)
    volumes = [np.array(x, np.uint8).reshape(2, 5, 1, 1) for x in (LIKELIEST, PARTIAL, COMPLETE)]
    logits = 5.0 * np.eye(3)[volumes[0]] + np.array([0.0, 1.0, 2.0])
    batch = {"partial": volumes[1], "complete": volumes[2]}
    measure = jax.jit(lambda outputs: task.metrics(outputs, task.prepare(batch)))
    found = jax.device_get(measure(outputs_of(logits)))
    source = FieldSource(
        {"row": np.zeros(2), "label": np.full(2, -1)}, point_class_names=("empty", *names)
    )
    return found, task.summary({**found, "label": np.full(2, -1, np.int32)}, source)


def test_what_is_connected_gets_one_class_by_a_vote():
    task = task_of(spec_of((6, 1, 1)), eval__one_class_a_part=True, eval__keep_observed=False)
    # Three voxels of which two are of class 1, and one surely of class 2; a gap; one of class 2.
    logits = np.array(
        [[0, 3, 2], [0, 3, 2], [0, 1, 9], [9, 0, 0], [0, 1, 2], [9, 0, 1]], np.float32
    )
    batch = {"partial": jnp.zeros((2, 6, 1, 1))}
    voted = task.with_known(outputs_of(np.stack([logits] * 2)[:, :, None, None]), batch)
    assert jnp.argmax(voted, -1)[0, :, 0, 0].tolist() == [2, 2, 2, 0, 2, 0]
    logits[2, 2] = 2.5  # less sure
    voted = task.with_known(outputs_of(np.stack([logits] * 2)[:, :, None, None]), batch)
    assert jnp.argmax(voted, -1)[0, :, 0, 0].tolist() == [1, 1, 1, 0, 2, 0]


def test_measures_by_hand():
    found, summary = measured(eval__keep_observed=False)
    # 0, 1, 1, 2 against 1, 1, 2, 0; and 1, 0, 0, 0 against 1, 0, 0, 1.
    np.testing.assert_array_equal(found["intersection"], [[0, 1, 0], [2, 1, 0]])
    np.testing.assert_array_equal(found["union"], [[2, 3, 2], [3, 2, 0]])
    np.testing.assert_array_equal(found["geometry"], [[2, 4], [1, 2]])
    assert summary == pytest.approx(
        {
            "miou": (2 / 5 + 0) / 2,
            "iou_geometric": 3 / 6,
            "iou_class/empty": 2 / 5,
            "iou_class/box": 2 / 5,
            "iou_class/2": 0,
        }
    )


def test_what_was_seen_is_never_empty():
    """It gets the likeliest other class: here the last one."""
    found, summary = measured(eval__keep_observed=True, names=("box", "tray", "lid"))
    # 2, 1, 1, 2 against 1, 1, 2, 0; and 1, 0, 0, 2 against 1, 0, 0, 1.
    np.testing.assert_array_equal(found["intersection"], [[0, 1, 0], [2, 1, 0]])
    np.testing.assert_array_equal(found["union"], [[1, 3, 3], [2, 2, 1]])
    np.testing.assert_array_equal(found["geometry"], [[3, 4], [2, 2]])
    assert summary == pytest.approx(
        {
            "miou": (2 / 5 + 0) / 2,
            "iou_geometric": 5 / 6,
            "iou_class/empty": 2 / 3,
            "iou_class/box": 2 / 5,
            "iou_class/tray": 0,
        }
    )


def test_mistakes_are_named():
    with pytest.raises(UserError, match=r"model.num_classes is 0: .* from 2 to 255"):
        task_of(model__num_classes=0)
    with pytest.raises(UserError, match="give 3 numbers"):
        task_of(loss__class_weights=(1.0, 2.0))
    with pytest.raises(UserError, match=r"task semantic_completion needs .* got partial \[8, 8\]"):
        task_of(spec_of((8, 8)))
    batch = boxes(2, classes=2).gather(np.arange(2))
    task_of().check_batch(batch)
    with pytest.raises(UserError, match="complete holds the label 2: labels go from 0 to 1"):
        task_of(model__num_classes=2).check_batch(batch)


def test_scenes_are_composed_of_stored_shapes():
    voxels = np.ones((3, 2, 2, 2), np.uint8)
    source = FieldSource({"voxels": voxels, "label": np.arange(3)}, class_names=("a", "b", "c"))
    config = config_of("semantic_completion")
    config.data.num_scenes, config.data.num_heldout_scenes = 5, 2
    config.data.scene_size, config.data.models_per_scene = (16, 8, 16), (1, 1)
    examples = TASKS["semantic_completion"].examples
    sizes = [len(examples.make(source, config, split)) for split in ("train", "validation", "test")]
    assert sizes == [5, 2, 2]
    scenes = examples.make(source, config, "train")
    assert scenes.spec["complete"].shape == (16, 8, 16)
    assert set(np.unique(scenes.gather(np.arange(5))["complete"])) <= {0, 1, 2, 3}
    volumes = boxes(2)
    assert examples.make(volumes, config, "train") is volumes


def test_a_run_is_trained_and_evaluated(tmp_path):
    config = short(config_of("semantic_completion", model__num_classes=3))
    config.loss.class_weights = (0.5, 2.0, 3.0)
    test = boxes(10, 2, classes=2)
    with jax.numpy_dtype_promotion("standard"):
        train(config, tmp_path / "run", train_data=boxes(24, classes=2))
        results = evaluate(
            tmp_path / "run", test_data=test, train_data=boxes(24, classes=2), figures=False
        )
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == results
    model = load(tmp_path / "run", overrides=[("eval.keep_observed", "false")])
    found = model.task.summary(model.encode(test), test)
    predicted, truth = model.predict(test), test.gather(np.arange(10))["complete"]
    assert predicted.shape == (10, *CUBE) and predicted.dtype == np.uint8
    pairs = predicted[truth != 255], truth[truth != 255]
    ratios = [
        np.logical_and(*(x == k for x in pairs)).sum()
        / np.logical_or(*(x == k for x in pairs)).sum()
        for k in range(3)
    ]
    assert found["miou"] == pytest.approx(np.mean(ratios[1:]))
    names = ("empty", "small", "large")
    assert [found[f"iou_class/{name}"] for name in names] == pytest.approx(ratios)
    assert results["metrics"].keys() >= found.keys()
    batch = test.gather(np.arange(10))
    np.testing.assert_array_equal(model.reconstruct(batch["partial"]), predicted)

    display = make_display(model.task)
    shown = {name: values[:2] for name, values in batch.items()}
    assert display.figures(shown, predicted[:2]).keys() == {"completions"}
    # Pictures are colored by class; what is unknown is not drawn.
    known = np.where(truth == 255, 0, truth)
    pictures: Any = display.render(known)
    np.testing.assert_array_equal(display.pictures(batch), pictures)
    assert np.abs(pictures - display.render(known.clip(max=1))).max() > 0.1
    assert display.render(model.decode(model.anchors)).shape == (3, *pictures.shape[1:])
