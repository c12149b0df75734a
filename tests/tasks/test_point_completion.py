"""Completion of point clouds: distances, augmentation, views, a user's clouds, a whole run."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import cKDTree
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nvc_jax.core.errors import UserError
from nvc_jax.data import FieldSource
from nvc_jax.data.base.source import FieldSpec, class_names_of
from nvc_jax.evaluation import evaluate, load
from nvc_jax.metrics import chamfer as chamfer_lib
from nvc_jax.networks.points import DecodedPoints
from nvc_jax.tasks import TASKS, Outputs, make_task
from nvc_jax.tasks.point_completion import add_missing, keep_observed
from nvc_jax.training.experiment import init_state, make_experiment
from nvc_jax.training.loop import train
from nvc_jax.training.step import train_step
from tests.settings import config_with
from tests.steps import step_of_one_and_eight

PARTIAL, COMPLETE = 24, 32
CANDIDATES = 2


@pytest.fixture(scope="module", autouse=True)
def compare_few_points_at_once():
    """Passes over clouds as small as these compile in a fraction of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chamfer_lib, "_CANDIDATES", CANDIDATES)
        yield


def spec_of(**changes):
    fields = {
        "partial": ((PARTIAL, 3), "f4"),
        "complete": ((COMPLETE, 3), "f4"),
        "label": ((), "i4"),
    }
    return {k: FieldSpec(s, np.dtype(d)) for k, (s, d) in {**fields, **changes}.items()}


def config_of(**changes):
    """Tiny widths; `changes` are config values by their dotted names."""
    model = {"hidden": (6, 8), "decoder_hidden": (6,), "latent_dim": 2, "num_anchors": 3}
    model |= {"num_coarse": 8, "fold_grid": 2, "fold_hidden": (6,)}
    settings = {"task": "point_completion"} | {f"model.{k}": v for k, v in model.items()}
    return config_with(settings, changes)


def task_of(**changes):
    return make_task(config_of(**changes), spec_of())


def boxes(count, seed=0):
    """Points on the walls of boxes of random sides, and those of them with the largest z."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-0.5, 0.5, (count, COMPLETE, 3))
    axis, sign = rng.integers(3, size=(2, count, COMPLETE, 1)) % [[[[3]]], [[[2]]]]
    points = np.where(np.arange(3) == axis, sign - 0.5, points) * rng.uniform(0.3, 1, (count, 1, 3))
    order = np.argsort(-points[..., 2], axis=1)[:, :PARTIAL, None]
    return {
        "partial": np.take_along_axis(points, order, 1).astype(np.float32),
        "complete": points.astype(np.float32),
        "label": (np.arange(count) % 2).astype(np.int32),
    }


def on_device(batch):
    return jax.tree.map(jnp.asarray, batch)


def chamfer(x, y, variant):
    """Of two clouds, in float64."""
    forth, back = (cKDTree(b).query(a)[0] for a, b in ((x, y), (y, x)))
    if variant == "l1":
        return (forth.mean() + back.mean()) / 2
    return np.square(forth).mean() + np.square(back).mean()


def outputs_of(coarse, fine):
    return Outputs(DecodedPoints(*on_device((coarse, fine))), latent=None)


# --- The error and the measures ------------------------------------------------------------------


@pytest.mark.parametrize(("variant", "weight"), [("l1", 0.5), ("l2", 2.0)])
def test_reconstruction_is_that_of_coarse_and_weighted_fine_points(variant, weight):
    rng = np.random.default_rng(0)
    coarse, fine, target = (rng.normal(size=(3, n, 3)).astype(np.float32) for n in (5, 20, 17))
    task = task_of(loss__chamfer=variant, loss__fine=weight)
    found = jax.jit(task.reconstruction)(outputs_of(coarse, fine), {"target": target})
    expected = [
        chamfer(c, t, variant) + weight * chamfer(f, t, variant)
        for c, f, t in zip(*(x.astype(float) for x in (coarse, fine, target)), strict=True)
    ]
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_metrics_by_hand_and_of_the_fine_points_alone():
    target = np.array([[[0, 0, 0], [0, 0, 0]], [[3, 4, 0], [3, 4, 0]]], np.float32)
    fine = np.array([[[0, 0, 0.25], [0, 0, 1]], [[0, 0, 0], [0, 0, 0]]], np.float32)
    task = task_of(eval__f_score_distance=0.5, eval__keep_observed=False)
    found = jax.jit(task.metrics)(outputs_of(fine + 9, fine), {"target": target})
    expected = {
        # To the target 0.25 and 1; from both of its points 0.25.
        "decoded_chamfer_l1": [((0.25 + 1) / 2 + 0.25) / 2, 5],
        "chamfer_l1": [((0.25 + 1) / 2 + 0.25) / 2, 5],
        "chamfer_l2": [(0.0625 + 1) / 2 + 0.0625, 50],
        # One of two is within 0.5, both of the target are found.
        "f_score": [2 * 0.5 * 1 / 1.5, 0],
    }
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6)


def test_observed_points_are_kept_beside_what_is_farthest_from_them():
    observed = np.array([[[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 0, 3]]], np.float32)
    decoded = np.array([[[0, 0, 0.5], [9, 0, 0], [0, 1, 0], [5, 0, 0], [0, 0, 3]]], np.float32)
    # Three of five are observed, at even steps of 4 / 3; of the decoded ones x = 9 and x = 5 are left.
    kept = np.array([[[0, 0, 0], [0, 0, 1], [0, 0, 2], [9, 0, 0], [5, 0, 0]]], np.float32)
    keep = jax.jit(keep_observed)
    np.testing.assert_array_equal(keep(decoded, observed), kept)
    few = keep(decoded, observed[:, :1])
    np.testing.assert_array_equal(few[0, :2, 0], [0, 9])
    assert few.shape == decoded.shape

    batch = on_device({"partial": observed, "target": kept})
    outputs = outputs_of(decoded, decoded)
    measured = jax.jit(task_of().metrics)(outputs, batch)
    assert float(measured["chamfer_l1"][0]) == 0
    expected = chamfer(decoded[0].astype(float), kept[0].astype(float), "l1")
    np.testing.assert_allclose(measured["decoded_chamfer_l1"], expected, rtol=1e-6)
    plain = task_of(eval__keep_observed=False)
    np.testing.assert_array_equal(plain.with_known(outputs, batch).fine, decoded)


SEEDS = {"model__network": "seeds", "model__num_encoded": 12, "model__num_mirrored": 8}
SEEDS |= {"model__hidden": (6, 8, 8, 8), "model__fold_grid": 1, "model__num_added": 6}


def test_all_observed_points_are_kept_and_the_farthest_decoded_ones_added():
    observed = np.array([[[0, 0, 0], [0, 0, 1]]], np.float32)
    decoded = np.array([[[0, 0, 0.5], [9, 0, 0], [0, 1, 0], [5, 0, 0]]], np.float32)
    kept = np.array([[[0, 0, 0], [0, 0, 1], [9, 0, 0], [5, 0, 0]]], np.float32)
    add = jax.jit(add_missing, static_argnums=2)
    np.testing.assert_array_equal(add(decoded, observed, 2), kept)
    assert add(decoded, observed, 9).shape == (1, 6, 3)
    # The gradient is that of points that are added alone.
    slope = jax.grad(lambda x: jnp.sum(add_missing(x, jnp.asarray(observed), 2)))(decoded)
    np.testing.assert_array_equal(slope[0, :, 0], [0, 1, 0, 1])


def test_a_network_of_what_is_missing_is_measured_with_what_was_seen():
    rng = np.random.default_rng(0)
    coarse, fine, target = (rng.normal(size=(2, n, 3)).astype(np.float32) for n in (8, 16, 20))
    observed = target[:, :12]
    task = task_of(**SEEDS)
    batch = on_device({"partial": observed, "target": target})
    outputs = outputs_of(coarse, fine)
    whole = np.asarray(add_missing(jnp.asarray(fine), jnp.asarray(observed), 6), np.float64)
    expected = [
        chamfer(c, t, "l1") + chamfer(w, t, "l1")
        for c, w, t in zip(coarse.astype(float), whole, target.astype(float), strict=True)
    ]
    np.testing.assert_allclose(jax.jit(task.reconstruction)(outputs, batch), expected, rtol=1e-5)
    np.testing.assert_allclose(task.with_known(outputs, batch).fine, whole)
    plain = task_of(**SEEDS, eval__keep_observed=False)
    np.testing.assert_array_equal(plain.with_known(outputs, batch).fine, fine)


def test_a_step_trains_all_of_a_network_of_what_is_missing():
    config = config_of(**SEEDS, model__skip_dropout=0.0, anchors__init="normal")
    experiment = make_experiment(config, spec_of(), None)
    state = init_state(experiment, config)
    with jax.numpy_dtype_promotion("standard"):
        step = jax.jit(partial(train_step, experiment=experiment))
        before, (state, metrics) = state, step(state, boxes(8))
    assert np.isfinite(metrics["loss"])
    for old, new in zip(*map(jax.tree.leaves, (before.params, state.params)), strict=True):
        assert np.abs(new - old).max() > 0
    decoded = experiment.apply(state, jnp.zeros((2, 2)), method="decode")
    assert decoded.fine.shape == (2, 8, 3)  # a code alone: its coarse points, moved


def test_what_is_shown_are_the_fine_points():
    output = outputs_of(np.zeros((2, 8, 3)), np.ones((2, 32, 3), np.float32)).output
    np.testing.assert_array_equal(task_of().postprocess(output), np.ones((2, 32, 3)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss__chamfer": "l3"}, "loss.chamfer is 'l3': use one of l1, l2"),
        ({"eval__f_score_distance": 0.0}, "f_score_distance is 0.0"),
        ({"model__network": "mlp"}, "'mlp': use one of pcn, pointnet, seeds"),
    ],
)
def test_mistakes_in_the_config_are_named(changes, message):
    with pytest.raises(UserError, match=message):
        task_of(**changes).make_model(None)


@pytest.mark.parametrize(
    "field",
    [{"partial": ((24, 4), "f4")}, {"complete": ((32, 3), "f8")}, {"partial": ((3,), "f4")}],
)
def test_data_that_do_not_fit_are_told(field):
    with pytest.raises(UserError, match=r"needs the fields partial \[N, 3\] float32, complete"):
        make_task(config_of(), spec_of(**field))


# --- Augmentation --------------------------------------------------------------------------------

ALL = {"augment__rotation": 1.0, "augment__scale": 0.5, "augment__upright_symmetry": True}


KEYS = jax.random.split(jax.random.key(1), 8)


def test_without_keys_clouds_are_as_stored():
    batch = boxes(8)
    prepared = task_of(**ALL).prepare(batch)
    assert "clean" not in prepared
    np.testing.assert_array_equal(prepared["partial"], batch["partial"])
    np.testing.assert_array_equal(prepared["target"], batch["complete"])


def test_input_and_target_are_changed_by_the_same_matrix():
    batch = boxes(8)
    prepared = jax.device_get(jax.jit(task_of(**ALL).prepare)(batch, KEYS))
    np.testing.assert_array_equal(prepared["clean"]["partial"], batch["partial"])
    matrices = []
    for i in range(8):
        stored, turned = np.float64(batch["complete"][i]), np.float64(prepared["target"][i])
        matrix = np.linalg.lstsq(stored, turned, rcond=None)[0]
        np.testing.assert_allclose(stored @ matrix, turned, atol=1e-5)
        np.testing.assert_allclose(
            np.float64(batch["partial"][i]) @ matrix, prepared["partial"][i], atol=1e-5
        )
        zoom = matrix[1, 1]  # about the vertical axis: y is scaled alone
        np.testing.assert_allclose(matrix @ matrix.T, zoom**2 * np.eye(3), atol=1e-5)
        assert 1 / 1.5 <= zoom <= 1.5
        matrices.append(matrix)
    assert np.std(matrices, axis=0).max() > 0.1  # every example has its own


@pytest.mark.parametrize("changes", [{**ALL, "augment__assign_from": "augmented"}, {}])
def test_nothing_is_encoded_twice_where_the_view_decides_or_is_the_clean_one(changes):
    assert "clean" not in jax.eval_shape(task_of(**changes).prepare, boxes(8), KEYS)


# --- Examples and a user's clouds ----------------------------------------------------------------


def test_examples_are_views_of_shapes_and_pairs_as_they_are():
    shapes = FieldSource({"points": boxes(3)["complete"], "label": np.arange(3)}, class_names="abc")
    config = config_of(data__oblique_views=2, data__num_points=16)
    examples = TASKS["point_completion"].examples
    views = examples.make(shapes, config, "train")
    assert len(views) == 6 and class_names_of(views) == ("a", "b", "c")
    batch = views.gather(np.arange(6))
    assert batch["partial"].shape == (6, 16, 3)
    np.testing.assert_array_equal(batch["label"], [0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(batch["complete"][::2], shapes.gather(np.arange(3))["points"])
    for seen, complete in zip(batch["partial"], batch["complete"], strict=True):
        assert cKDTree(complete).query(seen)[0].max() == 0
    assert make_task(config, views.spec)
    pairs = FieldSource(boxes(2))
    assert examples.make(pairs, config, "test") is pairs


def test_a_users_clouds_become_a_source_of_the_fields_of_the_training():
    examples = TASKS["point_completion"].examples
    source = examples.from_arrays(boxes(3)["partial"][:, :10], spec_of())
    assert {k: f.shape for k, f in source.spec.items()} == {
        k: f.shape for k, f in spec_of().items()
    }
    np.testing.assert_array_equal(source.gather(np.arange(3))["label"], [-1, -1, -1])
    for wrong in (np.zeros((2, PARTIAL, 6)), np.zeros((2, 0, 3)), np.zeros((0, PARTIAL, 3))):
        with pytest.raises(UserError):
            examples.from_arrays(wrong, spec_of())


def test_the_baseline_sees_the_input_and_not_the_target():
    batch = boxes(4)
    features = task_of().features(batch)
    np.testing.assert_allclose(features.sum(axis=1), 1)
    other = {**batch, "complete": batch["complete"][::-1]}
    np.testing.assert_array_equal(task_of().features(other), features)


# --- A whole run ---------------------------------------------------------------------------------


def run_config():
    """Six steps of SGD, of which three are before anchors are set."""
    return config_of(
        train__num_steps=6, train__batch_size=8, train__log_every=3, train__eval_every=0,
        eval__batch_size=8, eval__shown_examples=5,
        anchors__warmup=3, anchors__restarts=1, data__num_threads=0,
        augment__rotation=0.5, optimizer__name="sgd", optimizer__learning_rate=0.1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory, figures_of_the_task_alone):
    """A run, evaluated: (work directory, results, test examples)."""
    directory = tmp_path_factory.mktemp("run")
    training, test = FieldSource(boxes(16)), FieldSource(boxes(10, seed=1))
    with jax.numpy_dtype_promotion("standard"):
        train(run_config(), directory, train_data=training, validation_data=test)
    results = evaluate(directory, test_data=test, train_data=training, figures=False)
    return directory, results, boxes(10, seed=1)


@pytest.fixture(scope="module")
def model(run):
    return load(run[0])


def test_results_are_those_of_the_predictions(run, model):
    directory, results, batch = run
    assert json.loads((directory / "results.json").read_text()) == results
    found = results["metrics"]
    assert found.keys() >= {"chamfer_l1", "chamfer_l2", "f_score", "reconstruction", "nmi"}
    fine = model.predict(FieldSource(batch))
    assert fine.shape == (10, 32, 3)
    for variant in ("l1", "l2"):
        pairs = zip(fine.astype(float), batch["complete"].astype(float), strict=True)
        expected = np.mean([chamfer(x, y, variant) for x, y in pairs])
        assert found[f"chamfer_{variant}"] == pytest.approx(expected, rel=1e-5)


def test_completions_are_in_tensorboard(run):
    accumulator = EventAccumulator(str(run[0] / "tensorboard")).Reload()
    assert [image.step for image in accumulator.Images("validation/completions")] == [6]


def test_the_order_of_points_does_not_count(run, model):
    batch, order = run[2], np.random.default_rng(0).permutation(PARTIAL)
    expected = model.embed(batch["partial"])
    np.testing.assert_allclose(model.embed(batch["partial"][:, order]), expected, atol=1e-6)
    assert np.ptp(expected, axis=0).max() > 1e-3
    # Twice as many of the same points, and the padding of another program.
    padding = np.full((10, PARTIAL, 3), np.nan, np.float32)
    padded = np.concatenate([padding, batch["partial"]], axis=1)
    np.testing.assert_allclose(model.embed(padded), expected, atol=1e-6)


def test_anchors_are_decoded_to_clouds(model):
    assert model.decode(model.anchors).shape == (3, 32, 3)
    assert model.sample(1, 2, jax.random.key(0)).shape == (2, 32, 3)


def test_one_device_and_eight_make_the_same_step(run):
    batch = boxes(8)
    step = step_of_one_and_eight(run_config(), FieldSource(batch).spec, batch)
    assert step.metrics["weighted/reconstruction"] > 0 and step.metrics["weighted/kl"] > 0
