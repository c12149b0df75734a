"""Completion of volumes: the loss against NumPy, measures by hand, skip dropout, a whole run."""

import json
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.core.errors import UserError
from nvc_jax.data.base.source import FieldSource, FieldSpec, class_names_of
from nvc_jax.evaluation import evaluate, load
from nvc_jax.tasks import TASKS, Outputs, make_task
from nvc_jax.training.experiment import make_experiment
from nvc_jax.training.logging import read_metrics
from nvc_jax.training.loop import train
from tests.networks.test_images import fill
from tests.numeric import normal
from tests.settings import config_with
from tests.steps import step_of_one_and_eight

CUBE = (8, 8, 8)
EXAMPLES = TASKS["voxel_completion"].examples


def spec_of(shape=CUBE, complete=None, dtype="uint8"):
    return {
        "partial": FieldSpec(shape, np.dtype(dtype)),
        "complete": FieldSpec(complete or shape, np.dtype(np.uint8)),
        "label": FieldSpec((), np.dtype(np.int32)),
    }


def config_of(task="voxel_completion", **changes):
    """A config of a tiny network; `changes` are values by their names, with __ for the dot."""
    model = {"channels": (4,), "blocks": 0, "latent_dim": 2, "num_anchors": 3}
    return config_with({"task": task} | {f"model.{k}": v for k, v in model.items()}, changes)


def task_of(spec=None, **changes):
    return make_task(config_of(**changes), spec_of() if spec is None else spec)


def boxes(size, seed=0, classes=1):
    """Solid boxes of two sizes on the floor, seen from +z: the class tells the size."""
    rng = np.random.default_rng(seed)
    complete = np.zeros((size, *CUBE), np.uint8)
    label = np.arange(size, dtype=np.int32) % 2
    for i in range(size):
        x, z = rng.integers(0, 3, 2)
        side = 3 + 2 * label[i]
        complete[i, x : x + side, :side, z : z + side] = 1 + label[i] % classes
    partial = (complete != 0) & (np.cumsum(complete[..., ::-1] != 0, axis=3)[..., ::-1] == 1)
    complete[:, :, 7] = 255  # nobody looked under the ceiling
    fields = {"partial": partial.astype(np.uint8), "complete": complete, "label": label}
    names = ("empty", "small", "large")
    return FieldSource(fields, class_names=names[1:], point_class_names=names[: 1 + classes])


def outputs_of(logits):
    return Outputs(output=jnp.asarray(logits, jnp.float32), latent=None)


def test_the_mean_over_mirror_images_is_measured_and_predicted():
    batch = boxes(4).gather(np.arange(4))
    task = task_of(eval__mirror=True, eval__keep_observed=False)
    prepared = task.prepare(jax.tree.map(jnp.asarray, batch))
    slope = jnp.arange(8.0).reshape(1, 8, 1, 1)

    def apply(batch, train):
        return outputs_of((batch["partial"] * slope)[..., None])

    expected = batch["partial"].astype(np.float32)[..., None] * 3.5  # the mean of x and 7 - x
    np.testing.assert_allclose(task.evaluate(apply, prepared).output, expected)
    np.testing.assert_allclose(task.predict(apply, prepared), expected)
    once = task_of(eval__keep_observed=False).predict(apply, prepared)
    np.testing.assert_allclose(once, apply(prepared, False).output)


def test_cross_entropy_weighs_occupied_voxels_and_leaves_out_unknown_ones():
    task = task_of(spec_of((2, 3, 2)), loss__gamma=0.85)
    logits = 4 * normal(0, 3, 2, 3, 2, 1)
    logits[0, 0, 0] = [[1000.0], [-1000.0]]
    target = np.random.default_rng(1).choice([0, 1, 255], (3, 2, 3, 2)).astype(np.uint8)
    target[0, 0, 0], target[1, 0, 0], target[2] = [0, 1], [3, 0], 255  # any class is occupied

    @jax.jit
    @partial(jax.value_and_grad, has_aux=True)
    def loss(x):
        error = task.reconstruction(Outputs(x, None), {"target": target})
        return jnp.sum(error), error

    (_, found), gradient = loss(logits)
    x, y = logits[..., 0].astype(np.float64), target != 0
    known = target != 255
    error = np.where(y, 0.85 * np.logaddexp(0, -x), 0.15 * np.logaddexp(0, x))
    np.testing.assert_allclose(found, np.where(known, error, 0).sum((1, 2, 3)), rtol=1e-5)
    assert found.dtype == jnp.float32 and found[2] == 0
    p = np.exp(-np.logaddexp(0, -x))
    slope = np.where(known, np.where(y, -0.85 * (1 - p), 0.15 * p), 0)
    np.testing.assert_allclose(gradient[..., 0], slope, atol=1e-6)
    (_, moved), _ = loss(np.where(known[..., None], logits, 9.0))
    np.testing.assert_array_equal(moved, found)


@pytest.mark.parametrize(
    ("kept", "soft"),
    [
        (False, [(0.9 + 0.35) / (0.9 + 0.6 + 0.35 + 0.75), (0.9 + 0.2) / (0.9 + 0.2 + 0.2 + 0.9)]),
        (True, [(1 + 0.35) / (1 + 0.6 + 0.35 + 0.65), (0.9 + 1) / (0.9 + 0.2 + 1 + 0.1)]),
    ],
)
def test_soft_iou_is_expected_intersection_over_expected_union(kept, soft):
    task = task_of(
        spec_of((4, 1, 1)), loss__gamma=0.5, loss__soft_iou=3.0, eval__keep_observed=kept
    )
    probability = np.array([*PROBABILITY, PROBABILITY[0], PROBABILITY[0]]).reshape(4, 4, 1, 1, 1)
    seen = np.array([*PARTIAL, [0] * 4, [0] * 4], np.float32).reshape(4, 4, 1, 1)
    target = np.array([*COMPLETE, [255] * 4, [0] * 4], np.uint8).reshape(4, 4, 1, 1)
    batch, plain = {"partial": seen, "target": target}, task_of(spec_of((4, 1, 1)), loss__gamma=0.5)

    @jax.jit
    @partial(jax.value_and_grad, has_aux=True)
    def loss(logits):
        errors = [t.reconstruction(Outputs(logits, None), batch) for t in (task, plain)]
        return jnp.sum(errors[0]), errors[0] - errors[1]

    (_, found), gradient = loss(np.float32(np.log(probability / (1 - probability))))
    # Nothing known: 1, as where both are empty; an empty truth: 0, unless nothing is expected.
    missing = 3.0 * 4 * (1 - np.array([*soft, 1.0, 0.0]))
    np.testing.assert_allclose(found, missing, rtol=1e-4, atol=1e-5)
    assert np.isfinite(gradient).all() and not gradient[2].any()


# Two volumes of four voxels in a row: probabilities, what was seen, and the truth.
PROBABILITY = [[0.9, 0.6, 0.35, 0.1], [0.9, 0.9, 0.2, 0.2]]
PARTIAL = [[1, 0, 0, 0], [0, 0, 0, 1]]
COMPLETE = [[1, 0, 1, 255], [1, 255, 0, 1]]


def measured(label=(0, 2), names=("a", "b", "c"), **changes):
    task = task_of(spec_of((4, 1, 1)), **changes)
    probability = np.array(PROBABILITY, np.float32).reshape(2, 4, 1, 1, 1)
    volumes = {"partial": PARTIAL, "complete": COMPLETE}
    batch = {k: np.array(v, np.uint8).reshape(2, 4, 1, 1) for k, v in volumes.items()}
    logits = np.log(probability / (1 - probability))
    measure = jax.jit(lambda outputs: task.metrics(outputs, task.prepare(batch)))
    found = jax.device_get(measure(outputs_of(logits)))
    labels = np.array(label, np.int32)
    source = FieldSource({"row": labels, "label": labels}, class_names=names)
    return found, task.summary({**found, "label": labels}, source)


def test_measures_by_hand():
    found, summary = measured(eval__keep_observed=False, eval__thresholds=(0.3, 0.5))
    # At 0.5: {0, 1} of {0, 2}; {0} of {0, 3}, where voxel 1 is unknown.
    np.testing.assert_array_equal(found["intersection"], [[1, 2, 1], [1, 1, 1]])
    np.testing.assert_array_equal(found["union"], [[3, 3, 3], [2, 2, 2]])
    assert summary == pytest.approx(
        {
            "iou": (1 / 3 + 1 / 2) / 2,
            "iou_pooled": 2 / 5,
            "iou_at/0.3": (2 / 3 + 1 / 2) / 2,
            "iou_at/0.5": (1 / 3 + 1 / 2) / 2,
            "iou_class_mean": (1 / 3 + 1 / 2) / 2,
            "iou_class/a": 1 / 3,
            "iou_class/c": 1 / 2,
        }
    )


def test_what_was_seen_is_occupied_in_any_case():
    found, summary = measured(eval__keep_observed=True, eval__thresholds=(0.3, 0.95))
    np.testing.assert_array_equal(found["intersection"], [[1, 2, 1], [2, 2, 1]])
    np.testing.assert_array_equal(found["union"], [[3, 3, 2], [2, 2, 2]])
    assert summary["iou"] == pytest.approx((1 / 3 + 1) / 2)
    assert summary["iou_at/0.95"] == 0.5


def test_the_threshold_is_that_of_the_config():
    _, summary = measured(eval__keep_observed=False, eval__threshold=0.3)
    assert summary["iou"] == summary["iou_at/0.3"] != summary["iou_at/0.5"]


def test_examples_without_class_count_in_no_class_and_thresholds_may_be_none():
    found, summary = measured(label=(-1, 1), names=("a",), eval__thresholds=())
    assert found["union"].shape == (2, 1)
    assert summary.keys() == {"iou", "iou_pooled", "iou_class_mean", "iou_class/1"}
    assert summary["iou_class_mean"] == summary["iou_class/1"] == 1
    assert measured(label=(-1, -1), eval__thresholds=())[1].keys() == {"iou", "iou_pooled"}


def test_features_are_means_over_blocks():
    assert task_of().features({"partial": np.ones((2, *CUBE), np.uint8)}).shape == (2, 512)
    shape = (16, 8, 20)  # blocks of 2, 1 and 3 voxels, the last one of 2
    partial = (np.random.default_rng(0).random((2, *shape)) < 0.5).astype(np.uint8)
    found = task_of(spec_of(shape)).features({"partial": partial}).reshape(2, 8, 8, 7)
    for i, j, k in np.ndindex(8, 8, 7):
        block = partial[:, 2 * i : 2 * i + 2, j, 3 * k : 3 * k + 3]
        np.testing.assert_allclose(found[:, i, j, k], block.mean((1, 2)), rtol=1e-6)


@pytest.mark.parametrize(
    ("spec", "changes", "message"),
    [
        (spec_of((8, 8)), {}, r"needs the fields partial \[X, Y, Z\] uint8.*got partial \[8, 8\]"),
        (spec_of(dtype="float32"), {}, r"got partial \[8, 8, 8\] float32"),
        ({}, {}, "got nothing"),
        (spec_of(complete=(8, 8, 9)), {}, r"one shape .* got \[8, 8, 8\] and \[8, 8, 9\]"),
        (spec_of((8, 8, 4)), {"augment__upright_symmetry": True}, "needs X = Z, got 8 and 4"),
        (None, {"loss__gamma": 0.0}, "loss.gamma is 0.0"),
        (None, {"loss__gamma": 1.0}, "loss.gamma is 1.0"),
        (None, {"eval__threshold": 1.0}, "eval.threshold is 1.0: it must be"),
        (None, {"eval__thresholds": (0.5, -0.1)}, r"eval.thresholds is \(0.5, -0.1\)"),
        (None, {"model__skip_dropout": 1.5}, "model.skip_dropout is 1.5"),
    ],
)
def test_mistakes_are_named(spec, changes, message):
    with pytest.raises(UserError, match=message):
        task_of(spec, **changes)


def test_stored_shapes_are_seen_from_several_sides():
    voxels = np.zeros((3, 2, 1, 2), np.uint8)
    voxels[:, 0], voxels[1] = 1, 1
    source = FieldSource({"voxels": voxels, "label": np.arange(3)}, class_names=("a", "b", "c"))
    config = config_of(data__oblique_views=1)
    views = EXAMPLES.make(source, config, "train")
    assert len(views) == 15 and class_names_of(views) == ("a", "b", "c")
    batch = views.gather(np.arange(15))
    np.testing.assert_array_equal(batch["complete"], np.repeat(voxels, 5, axis=0))
    np.testing.assert_array_equal(batch["partial"][5, :, 0], [[0, 0], [1, 1]])  # from +x
    config.data.side_views = False
    assert len(EXAMPLES.make(source, config, "test")) == 3
    pairs = boxes(2)
    assert EXAMPLES.make(pairs, config, "train") is pairs
    with pytest.raises(UserError, match="voxels"):
        EXAMPLES.make(FieldSource({"row": np.arange(3)}), config, "train")


@pytest.mark.parametrize("assign_from", ["clean", "augmented"])
def test_augmentation_turns_input_and_target_alike(assign_from):
    task = task_of(augment__upright_symmetry=True, augment__assign_from=assign_from)
    batch = boxes(6).gather(np.arange(6))
    keys = jax.random.split(jax.random.key(0), 6)
    prepared = jax.jit(task.prepare)(batch, keys)
    partial, target = np.asarray(prepared["partial"]), np.asarray(prepared["target"])
    assert partial.dtype == np.float32
    assert np.all(target[partial == 1] == 1)  # what was seen is there
    np.testing.assert_array_equal(partial.sum((1, 2, 3)), batch["partial"].sum((1, 2, 3)))
    changed = np.any(partial != batch["partial"], axis=(1, 2, 3))
    assert changed.any()
    assert ("clean" in prepared) == (assign_from == "clean")
    if assign_from == "clean":
        np.testing.assert_array_equal(prepared["clean"]["partial"], batch["partial"])
    plain = jax.jit(task.prepare)(batch)
    np.testing.assert_array_equal(plain["partial"], batch["partial"])
    np.testing.assert_array_equal(plain["target"], batch["complete"])
    assert "clean" not in plain
    off = jax.jit(task_of().prepare)(batch, keys)
    np.testing.assert_array_equal(off["partial"], batch["partial"])


@cache
def model_of(size=16, **changes):
    """(function of (example_index), function of a code alone, evaluation) with filled parameters."""
    task = task_of(**changes)
    model = task.make_model(None)
    batch = task.prepare(jax.tree.map(jnp.asarray, boxes(size).gather(np.arange(size))))
    key = jax.random.key(0)
    init = partial(model.init, train=False)
    variables = fill(jax.eval_shape(init, {"params": key, "noise": key}, batch))
    apply = partial(model.apply, variables)

    def trained(batch, index):
        return apply(batch, train=True, example_index=index, rngs={"noise": key})

    decode = jax.jit(partial(apply, method="decode"))
    return batch, jax.jit(trained), decode, jax.jit(partial(apply, train=False))


def from_code_alone(share, order):
    """Which of 16 examples, in this order, were decoded from their code alone in training."""
    batch, trained, decode, _ = model_of(model__skip_dropout=share)
    order = np.array(order, np.int32)
    batch = jax.tree.map(lambda x: x[order], batch)
    outputs = trained(batch, jnp.asarray(order))
    error = np.abs(outputs.output - decode(outputs.latent.sample)).max((1, 2, 3, 4))
    alone = error < 1e-4
    assert np.all(error[~alone] > 1e-2)
    return alone


def test_without_dropout_maps_always_count_and_with_dropout_of_1_never():
    order = list(range(16))
    assert not from_code_alone(0.0, order).any()
    assert from_code_alone(1.0, order).all()
    # In evaluation all have their maps, whatever the dropout.
    batch, _, decode, evaluated = model_of(model__skip_dropout=1.0)
    outputs = evaluated(batch)
    assert np.abs(outputs.output - decode(outputs.latent.mean)).max() > 1e-2
    kept = model_of(model__skip_dropout=0.0)[3](batch)
    np.testing.assert_allclose(outputs.output, kept.output, rtol=1e-5, atol=1e-5)


def test_an_example_drops_its_maps_wherever_it_stands_in_the_batch():
    first = from_code_alone(0.5, range(16))
    assert 2 < first.sum() < 14
    order = [*range(7, 16), *range(7)]
    np.testing.assert_array_equal(from_code_alone(0.5, order), first[order])


def test_without_skips_the_code_is_all_there_is():
    batch, _, decode, evaluated = model_of(model__skips=False)
    outputs = evaluated(batch)
    assert outputs.output.shape == (16, *CUBE, 1)
    np.testing.assert_allclose(outputs.output, decode(outputs.latent.mean), rtol=1e-5, atol=1e-5)


def short(config: Any) -> Any:
    """Six steps; anchors by k-means are tested elsewhere, and take their time to compile."""
    config.data.num_threads, config.anchors.init = 0, "spread"
    config.optimizer.name, config.optimizer.learning_rate = "sgd", 1e-2
    for name, weight in {"reconstruction": 0.05, "kl": 0.3, "triplet": 0.3, "pull": 0.1}.items():
        config.loss[name].value = weight
    config.train.update({"num_steps": 6, "batch_size": 16, "log_every": 3, "eval_every": 6})
    config.eval.update(
        {"batch_size": 16, "tsne_examples": 0, "shown_examples": 2, "shown_samples": 1}
    )
    return config


def run_config():
    """With skip dropout and augmentation, which are functions of the place in the global batch."""
    return short(config_of(augment__upright_symmetry=True, model__skip_dropout=0.5))


@pytest.fixture(scope="module")
def run(tmp_path_factory, figures_of_the_task_alone):
    """(work directory, last state, results) of a short run."""
    workdir, config = tmp_path_factory.mktemp("voxels") / "run", run_config()
    with jax.numpy_dtype_promotion("standard"):
        state = train(config, workdir, train_data=boxes(24), validation_data=boxes(8, 1)).state
        results = evaluate(workdir, test_data=boxes(10, 2), train_data=boxes(24))
    return workdir, state, results


@pytest.fixture(scope="module")
def model(run):
    return load(run[0])


def test_a_run_is_trained_and_evaluated(run, model):
    workdir, _, results = run
    assert json.loads((workdir / "results.json").read_text()) == results
    found, test = results["metrics"], boxes(10, 2)
    probability = model.predict(test)
    batch = test.gather(np.arange(10))
    occupied = np.maximum(probability, batch["partial"]) >= 0.5
    known, truth = batch["complete"] != 255, batch["complete"] == 1
    inner = (occupied & truth & known).sum((1, 2, 3))
    outer = ((occupied | truth) & known).sum((1, 2, 3))
    assert found["iou"] == pytest.approx((inner / outer).mean())
    assert found["iou_pooled"] == pytest.approx(inner.sum() / outer.sum())
    assert found["iou_class/small"] == pytest.approx((inner / outer)[::2].mean())
    assert found["iou_at/0.5"] == pytest.approx(found["iou"])
    assert found["kmeans_accuracy_hungarian_inputs"] > 0.5
    figures = {path.name for path in (workdir / "figures").glob("*.png")}
    assert {"completions.png", "anchors.png", "anchor_examples.png"} <= figures
    assert "validation/iou" in read_metrics(workdir / "metrics.jsonl")[-1]


def test_predictions_are_the_model_s_own(run, model):
    source = boxes(10, 2)
    experiment = make_experiment(model.config, source.spec, None)
    batch = jax.device_get(experiment.task.prepare(source.gather(np.arange(10))))
    outputs = jax.device_get(jax.jit(partial(experiment.apply, run[1], train=False))(batch))
    found = model.predict(source)
    assert found.shape == (10, *CUBE) and found.dtype == np.float32
    expected = np.where(batch["partial"] > 0, 1.0, 1 / (1 + np.exp(-outputs.output[..., 0])))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    encoded = model.encode(source)
    np.testing.assert_allclose(encoded["mean"], outputs.latent.mean, rtol=1e-4, atol=1e-5)


def test_partial_volumes_alone_are_embedded_and_completed(model):
    source = boxes(10, 2)
    partial = source.gather(np.arange(10))["partial"]
    completed = model.reconstruct(partial)
    np.testing.assert_array_equal(completed, model.predict(source))
    np.testing.assert_array_equal(model.reconstruct(5.0 * partial), completed)  # seen or not
    np.testing.assert_array_equal(model.embed(partial), model.encode(source)["mean"])
    np.testing.assert_array_equal(model.assign(partial != 0), model.encode(source)["assignment"])
    assert model.decode(model.anchors).shape == (3, *CUBE)
    with pytest.raises(UserError, match=r"\(8, 8, 8\).*\(8, 8, 9\)"):
        model.reconstruct(np.zeros((2, 8, 8, 9), np.uint8))
    with pytest.raises(UserError, match=r"\(8, 8\)"):
        model.embed(partial[0])


def test_one_device_takes_the_step_of_eight(run):
    source = boxes(16)
    step_of_one_and_eight(run_config(), source.spec, source.gather(np.arange(16)))
