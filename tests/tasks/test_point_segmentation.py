"""Segmentation of point clouds: the error, both conventions of scores, figures, a whole run."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nvc_jax.core.errors import UserError
from nvc_jax.data import FieldSource
from nvc_jax.data.base.source import FieldSpec, point_class_names_of
from nvc_jax.data.shapes.furniture import CLASS_NAMES, PARTS_OF_CLASS
from nvc_jax.evaluation import evaluate, load
from nvc_jax.tasks import TASKS, Outputs, make_task
from nvc_jax.tasks.point_segmentation import PointLogits
from nvc_jax.training.loop import train
from tests.settings import config_with
from tests.steps import step_of_one_and_eight

POINTS = 24
NUM_PARTS = PARTS_OF_CLASS.shape[1]
SCENES = {"data__compose_scenes": True, "model__num_classes": 3}
KIND = TASKS["point_segmentation"]


def spec_of(**changes):
    fields = {"points": ((POINTS, 3), "f4"), "point_label": ((POINTS,), "u1"), "label": ((), "i4")}
    return {k: FieldSpec(s, np.dtype(d)) for k, (s, d) in {**fields, **changes}.items()}


def config_of(**changes):
    """Tiny widths, parts of furniture; `changes` are config values by their dotted names."""
    model = {"hidden": (6, 6, 8), "decoder_hidden": (6,), "latent_dim": 2, "num_anchors": 3}
    settings = {"task": "point_segmentation", "data.source": "python", "model.parts": "furniture"}
    return config_with(settings | {f"model.{k}": v for k, v in model.items()}, changes)


def task_of(**changes):
    return make_task(config_of(**changes), spec_of())


def parts_of(category):
    return np.flatnonzero(PARTS_OF_CLASS[category])


def shapes(count, seed=0, categories=(1, 4)):
    """Clouds whose parts lie above each other, in boxes of two categories."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-0.5, 0.5, (count, POINTS, 3)).astype(np.float32)
    label = np.array(categories, np.int32)[np.arange(count) % len(categories)]
    points[..., 0] *= 1 + label[:, None]
    point_label = np.empty((count, POINTS), np.uint8)
    for i, category in enumerate(label):
        parts = parts_of(category)
        part = ((points[i, :, 1] + 0.5) * len(parts)).astype(int).clip(0, len(parts) - 1)
        point_label[i] = parts[part]
    point_label[0, :3] = 255
    return {"points": points, "point_label": point_label, "label": label}


def outputs_of(logits, category):
    return Outputs(PointLogits(jnp.asarray(logits), jnp.asarray(category)), latent=None)


def loop_scores(predicted, target, category):
    """(instance mIoU, mIoU of every category) by the rules of ShapeNet-Part, point by point."""
    scores: dict[int, list[float]] = {}
    for shape, truth, kind in zip(predicted.tolist(), target.tolist(), category, strict=True):
        pairs = [(p, t) for p, t in zip(shape, truth, strict=True) if t != 255]
        if kind < 0 or not pairs:
            continue
        ratios = []
        for part in parts_of(kind):
            both = sum(p == part and t == part for p, t in pairs)
            either = sum(p == part or t == part for p, t in pairs)
            ratios.append(both / either if either else 1.0)
        scores.setdefault(int(kind), []).append(sum(ratios) / len(ratios))
    everything = [score for values in scores.values() for score in values]
    return np.mean(everything), {kind: np.mean(values) for kind, values in scores.items()}


# --- The error ------------------------------------------------------------------------------------


def test_error_is_weighted_and_of_known_points_alone():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, POINTS, 3)).astype(np.float32)
    target = rng.choice([0, 1, 2, 255], size=(4, POINTS)).astype(np.uint8)
    target[3] = 255
    weights = (0.5, 1.0, 3.0)
    expected = np.zeros(4)
    for i, p in zip(*np.nonzero(target != 255), strict=True):
        x, k = logits[i, p].astype(np.float64), target[i, p]
        expected[i] += weights[k] * (np.log(np.exp(x).sum()) - x[k])
    task = task_of(**SCENES, loss__class_weights=weights)

    @jax.jit
    @partial(jax.value_and_grad, has_aux=True)
    def loss(x):
        error = task.reconstruction(outputs_of(x, np.zeros(4, np.int32)), {"target": target})
        return jnp.sum(error), error

    found, gradient = loss(logits)
    np.testing.assert_allclose(found[1], expected, rtol=1e-5)
    assert found[1][3] == 0
    np.testing.assert_array_equal((gradient != 0).any(axis=2), target != 255)


# --- Scores ---------------------------------------------------------------------------------------


def scored(task, logits, target, category, source):
    """The measures that evaluation would report."""
    batch = {"target": target, "label": category}
    found = jax.jit(task.metrics)(outputs_of(logits, category), batch)
    encoded = {**jax.device_get(found), "label": np.asarray(category)}
    return task.summary(encoded, source)


def test_parts_are_predicted_among_those_of_the_category_and_scored_by_shape():
    rng = np.random.default_rng(1)
    batch = shapes(9, categories=(0, 3, 6))
    batch["label"][7] = -1  # its parts may be any
    batch["point_label"][8] = 255
    logits = rng.normal(size=(9, POINTS, NUM_PARTS)).astype(np.float32)
    own = PARTS_OF_CLASS[batch["label"]] | (batch["label"] < 0)[:, None]
    predicted = np.where(own[:, None], logits, -np.inf).argmax(axis=-1)
    assert (predicted != logits.argmax(axis=-1)).mean() > 0.5
    task = task_of()
    shown = task.postprocess(outputs_of(logits, batch["label"]).output)
    assert shown.dtype == np.uint8
    np.testing.assert_array_equal(shown, predicted)

    source = FieldSource(batch, class_names=CLASS_NAMES)
    found = scored(task, logits, batch["point_label"], batch["label"], source)
    instance, categories = loop_scores(predicted, batch["point_label"], batch["label"])
    known = batch["point_label"] != 255
    expected = {
        "instance_miou": instance,
        "class_miou": np.mean(list(categories.values())),
        **{f"miou_category/{CLASS_NAMES[kind]}": v for kind, v in categories.items()},
        "accuracy": (predicted == batch["point_label"])[known].mean(),
    }
    pooled = []
    for part in range(NUM_PARTS):
        p, t = predicted[known] == part, batch["point_label"][known] == part
        pooled += [(p & t).sum() / (p | t).sum()] if (p | t).any() else []
    expected["miou"] = np.mean(pooled)
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_part_that_is_nowhere_counts_as_found():
    """By hand: a shape of one of its parts, all points right."""
    category = int(PARTS_OF_CLASS.sum(axis=1).argmax())
    part = parts_of(category)[0]
    target = np.full((1, POINTS), part, np.uint8)
    logits = np.zeros((1, POINTS, NUM_PARTS), np.float32)
    logits[..., part] = 1
    source = FieldSource({"points": np.zeros((1, POINTS, 3))})
    found = scored(task_of(), logits, target, np.array([category]), source)
    assert found["instance_miou"] == found["class_miou"] == found["miou"] == 1
    logits[:, : POINTS // 2, part] = -1  # half of them go to the first other part of the category
    found = scored(task_of(), logits, target, np.array([category]), source)
    parts = len(parts_of(category))
    assert found["instance_miou"] == pytest.approx((0.5 + 0 + parts - 2) / parts)
    assert found["miou"] == pytest.approx((0.5 + 0) / 2)


def test_shapes_without_a_category_have_pooled_scores_alone():
    batch = shapes(4)
    nobody = np.full(4, -1, np.int32)
    logits = np.zeros((4, POINTS, NUM_PARTS), np.float32)
    found = scored(task_of(), logits, batch["point_label"], nobody, FieldSource(batch))
    assert found.keys() == {"miou", "accuracy"}
    unknown = np.full((4, POINTS), 255, np.uint8)
    assert "class_miou" not in scored(
        task_of(), logits, unknown, batch["label"], FieldSource(batch)
    )


def test_scenes_are_scored_over_all_points_together():
    target = np.array([[0, 0, 1, 255], [2, 1, 1, 1]], np.uint8)
    predicted = np.array([[0, 1, 1, 0], [2, 1, 1, 2]])
    logits = np.eye(3, dtype=np.float32)[predicted]
    nobody = np.full(2, -1, np.int32)
    source = FieldSource({"points": np.zeros((2, 4, 3))}, point_class_names=("bed", "chair"))
    found = scored(task_of(**SCENES), logits, target, nobody, source)
    # bed 1 of 2, chair 3 of 5, the third class, which has no name, 1 of 2; 5 of 7 points are right.
    ratios = {"iou_class/bed": 1 / 2, "iou_class/chair": 3 / 5, "iou_class/2": 1 / 2}
    assert found == pytest.approx(
        {"miou": (1 / 2 + 3 / 5 + 1 / 2) / 3, "accuracy": 5 / 7, **ratios}, rel=1e-9
    )


# --- Config and data ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({**SCENES, "model__know_category": True}, "model.know_category needs data whose parts"),
        ({"model__parts": "", "model__know_category": True}, "set model.parts"),
        ({"model__parts": "pairs"}, "model.parts is 'pairs': use one of furniture, shapenet_part"),
        ({"data__compose_scenes": True}, "model.num_classes is 0"),
        ({**SCENES, "loss__class_weights": (1.0, 2.0)}, "give 3 numbers"),
        ({"model__network": "pcn"}, "'pcn': use one of dgcnn, pointnet"),
    ],
)
def test_mistakes_in_the_config_are_named(changes, message):
    with pytest.raises(UserError, match=message):
        task_of(**changes).make_model(None)


def test_data_that_do_not_fit_are_told():
    with pytest.raises(UserError, match=r"point_label \[P\] uint8; got .*int64"):
        make_task(config_of(), spec_of(point_label=((POINTS,), "i8")))


def test_labels_and_categories_that_cannot_be_are_refused():
    batch = shapes(4)
    task_of().check_batch(batch)
    wrong = {**batch, "label": np.array([1, -1, len(PARTS_OF_CLASS), 1], np.int32)}
    with pytest.raises(UserError, match=f"the category {len(PARTS_OF_CLASS)}: .*furniture"):
        task_of().check_batch(wrong)
    batch["point_label"][2, 5] = NUM_PARTS
    with pytest.raises(UserError, match=f"point_label holds the label {NUM_PARTS}"):
        task_of().check_batch(batch)


def test_examples_are_clouds_as_they_are_or_scenes():
    batch = {**shapes(12), "normals": np.zeros((12, POINTS, 3), np.float32)}
    batch["points"] /= 10
    source = FieldSource(batch, class_names=CLASS_NAMES, point_class_names=["x"] * NUM_PARTS)
    taken = KIND.examples.make(source, config_of(), "train")
    assert taken.spec.keys() == {"points", "point_label", "label"} and len(taken) == 12
    changes = {"data__num_scenes": 5, "data__num_heldout_scenes": 2, "data__num_points": 20}
    config = config_of(**SCENES, **changes)
    scenes = {split: KIND.examples.make(source, config, split) for split in ("train", "test")}
    assert [len(scenes[split]) for split in scenes] == [5, 2]
    found = scenes["test"].gather(np.arange(2))
    assert found["points"].shape == (2, 20, 3) and set(found["label"]) == {-1}
    assert set(found["point_label"].ravel()) <= {1, 4}  # the label of the shape, not of its part
    assert point_class_names_of(scenes["test"]) == CLASS_NAMES


@pytest.mark.parametrize("channels", [3, 6])
def test_a_users_clouds_have_unknown_classes(channels):
    task = make_task(config_of(), spec_of(points=((POINTS, channels), "f4")))
    source = KIND.examples.from_arrays(np.ones((2, 9, channels)), task.batch_spec)
    batch = source.gather(np.arange(2))
    task.check_batch(batch)
    assert set(batch["point_label"].ravel()) == {255} and set(batch["label"]) == {-1}
    with pytest.raises(UserError, match=rf"\[n, P, {channels}\], got shape \(2, 9, 5\)"):
        KIND.examples.from_arrays(np.ones((2, 9, 5)), task.batch_spec)


def test_augmentation_turns_points_and_leaves_classes_and_colors():
    task = task_of(augment__rotation=1.0, augment__scale=0.2)
    batch = shapes(4)
    batch["points"] = np.concatenate([batch["points"], batch["points"]], axis=-1)
    keys = jax.random.split(jax.random.key(0), 4)
    prepared = jax.device_get(jax.jit(task.prepare)(batch, keys))
    np.testing.assert_array_equal(prepared["target"], batch["point_label"])
    np.testing.assert_array_equal(prepared["points"][..., 3:], batch["points"][..., 3:])
    np.testing.assert_array_equal(prepared["clean"]["points"], batch["points"])
    angles = np.arctan2(batch["points"][..., 0], batch["points"][..., 2])
    turned = np.arctan2(prepared["points"][..., 0], prepared["points"][..., 2])
    difference = np.exp(1j * (turned - angles))
    np.testing.assert_allclose(difference, difference[:, :1] + np.zeros(POINTS), atol=1e-4)
    assert len(np.unique(difference[:, 0].round(3))) == 4
    np.testing.assert_array_equal(jax.jit(task.prepare)(batch)["points"], batch["points"])
    assert "clean" not in jax.eval_shape(task_of().prepare, batch, keys)


# --- A whole run ----------------------------------------------------------------------------------


def run_config():
    """Six steps of SGD, of which three are before anchors are set."""
    return config_of(
        train__num_steps=6, train__batch_size=8, train__log_every=3, train__eval_every=0,
        eval__batch_size=8, eval__tsne_examples=0, eval__shown_samples=2, eval__shown_examples=5,
        anchors__warmup=3, anchors__restarts=1, data__num_threads=0,
        augment__rotation=0.5, optimizer__name="sgd", optimizer__learning_rate=0.1,
        model__know_category=True,
        loss__reconstruction__value=1 / POINTS,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory, figures_of_the_task_alone):
    """A run, evaluated: (work directory, results, test examples)."""
    directory = tmp_path_factory.mktemp("run")
    sources = [FieldSource(shapes(n, seed=n), class_names=CLASS_NAMES) for n in (16, 10)]
    with jax.numpy_dtype_promotion("standard"):
        train(run_config(), directory, train_data=sources[0], validation_data=sources[1])
    results = evaluate(directory, test_data=sources[1], train_data=sources[0])
    return directory, results, shapes(10, seed=10)


@pytest.fixture(scope="module")
def model(run):
    return load(run[0])


def test_results_are_those_of_the_predictions(run, model):
    directory, results, batch = run
    assert json.loads((directory / "results.json").read_text()) == results
    predicted = model.predict(FieldSource(batch))
    assert predicted.shape == (10, POINTS) and predicted.dtype == np.uint8
    instance, categories = loop_scores(predicted, batch["point_label"], batch["label"])
    assert results["metrics"]["instance_miou"] == pytest.approx(instance)
    assert results["metrics"]["class_miou"] == pytest.approx(np.mean(list(categories.values())))
    assert results["metrics"][f"miou_category/{CLASS_NAMES[4]}"] == pytest.approx(categories[4])


def test_figures_are_files_and_in_tensorboard(run):
    names = {path.stem for path in (run[0] / "figures").glob("*.png")}
    assert names >= {"segmentations", "anchor_examples", "anchor_usage"}
    assert "anchors" not in names  # there is nothing to decode them to
    accumulator = EventAccumulator(str(run[0] / "tensorboard")).Reload()
    assert [image.step for image in accumulator.Images("validation/segmentations")] == [6]


def test_a_code_alone_cannot_be_decoded(model):
    for decode in (
        lambda: model.decode(model.anchors),
        lambda: model.sample(0, 2, jax.random.key(0)),
    ):
        with pytest.raises(UserError, match=r"point_segmentation decodes no latent vector alone"):
            decode()


def test_the_order_of_points_does_not_count_and_classes_go_with_their_points(run, model):
    points, order = run[2]["points"], np.random.default_rng(0).permutation(POINTS)
    expected = model.embed(points)
    np.testing.assert_allclose(model.embed(points[:, order]), expected, atol=1e-6)
    classes = model.reconstruct(points)
    assert len(np.unique(classes)) > 1
    np.testing.assert_array_equal(model.reconstruct(points[:, order]), classes[:, order])


def test_one_device_and_eight_make_the_same_step(run):
    batch = shapes(8)
    step = step_of_one_and_eight(run_config(), FieldSource(batch).spec, batch)
    assert step.metrics["weighted/reconstruction"] > 0 and step.metrics["weighted/kl"] > 0
