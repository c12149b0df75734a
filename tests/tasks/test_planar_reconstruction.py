"""Planar reconstruction: the loss by hand, mirrored examples, measures of perfect maps, whole runs."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.core.errors import UserError
from nvc_jax.data.base.source import FieldSource
from nvc_jax.data.planes.rooms import Rooms
from nvc_jax.evaluation import evaluate, load
from nvc_jax.geometry.planes import invert_planes, pixel_rays
from nvc_jax.tasks import TASKS, Outputs, make_task
from nvc_jax.tasks.planar_reconstruction import PlaneMaps, mirror
from nvc_jax.training.loop import train
from tests.settings import config_with

SIZE = (16, 24)
ROOMS = Rooms("train", 4, SIZE)
BATCH = ROOMS.gather(np.arange(4))


def config_of(**changes):
    """A config of a tiny network; `changes` are values by their names, with __ for the dot."""
    data = {"source": "rooms", "image_size": SIZE, "num_scenes": 8, "num_heldout_scenes": 3}
    model = {"channels": (4, 4), "blocks": 0, "latent_dim": 2, "num_anchors": 3}
    settings = {"task": "planar_reconstruction", "data": data, "model": model}
    return config_with(settings, changes)


def task_of(**changes):
    return make_task(config_of(**changes), ROOMS.spec)


def device(batch):
    return {name: jnp.asarray(values) for name, values in batch.items()}


def true_maps(batch, planar=9.0):
    """Maps that are right on planes; elsewhere a plane that faces the camera at the true depth."""
    number = batch["segmentation"]
    row = np.minimum(number, 19).astype(int).reshape(len(number), -1, 1)
    plane = np.take_along_axis(invert_planes(batch["planes"]), row, axis=1)
    plane = plane.reshape(*number.shape, 3)
    facing = np.stack([0 * batch["depth"]] * 2 + [1 / np.maximum(batch["depth"], 0.1)], axis=-1)
    on_plane = number < 20
    return PlaneMaps(
        plane=np.where(on_plane[..., None], plane, facing).astype(np.float32),
        planar=np.where(on_plane, planar, -planar).astype(np.float32),
        anchor=np.zeros((len(number), *(side // 4 for side in SIZE)), np.int32),
        camera=batch["camera"],
    )


def test_error_by_hand():
    task = task_of()
    segmentation = np.full((1, *SIZE), 255, np.uint8)
    segmentation[0, 0, :3] = [1, 20, 0]
    depth = np.zeros((1, *SIZE), np.float32)
    depth[0, 0, 0], depth[0, 0, 3] = 4.0, 1.0
    planes = np.zeros((1, 20, 3), np.float32)
    planes[0, :2] = [[2, 0, 0], [0, 0, 4]]  # n/d = (½, 0, 0) and (0, 0, ¼)
    batch = {"segmentation": segmentation, "depth": depth, "planes": planes}
    batch["rays"] = np.broadcast_to(np.array([0, 0, 1], np.float32), (1, *SIZE, 3))
    plane = np.zeros((1, *SIZE, 3), np.float32)
    plane[0, 0, :4] = np.array([[0.1, 0, 0.5], [9, 9, 9], [0.5, 0, 0], [0, 0, 3]])
    maps = PlaneMaps(plane, np.full((1, *SIZE), 2.0, np.float32), None, None)
    error = jax.jit(task.reconstruction)(Outputs(maps, None), batch)
    off, on = np.log1p(np.exp(2.0)), np.log1p(np.exp(-2.0))
    # Of the first pixel the plane and the depth, of the last one the depth alone.
    expected = 3 * (0.1 + 0.25) + abs(0.5 * 4 - 1) + 2 * on + off + abs(3 * 1 - 1)
    np.testing.assert_allclose(error, [expected], rtol=1e-5)


def test_true_maps_have_no_error_and_full_marks():
    task = task_of()
    maps = true_maps(BATCH, 20.0)

    @jax.jit
    def measure(maps):
        outputs, batch = Outputs(maps, None), task.prepare(device(BATCH))
        return task.metrics(outputs, batch), task.reconstruction(outputs, batch)

    encoded, error = jax.device_get(measure(maps))
    assert (error < 0.02).all()
    values = task.summary(encoded, ROOMS)
    assert values["plane_recall/0.05"] > 0.6  # the smallest planes may get lost
    assert values["pixel_recall/0.05"] > 0.95 and values["pixel_recall_normal/2.5"] > 0.95
    assert values["rand_index"] > 0.99 and values["covering"] > 0.95
    assert values["voi_nats"] == pytest.approx(values["voi_bits"] * np.log(2))
    assert values["depth_rel"] < 0.01 and values["depth_delta1"] > 0.99
    assert sum(name.startswith("plane_recall/") for name in values) == 13
    # A wall before the camera is not enough.
    wall = maps.replace(plane=np.full_like(maps.plane, [0, 0, 0.4]))
    assert task.summary(jax.device_get(measure(wall)[0]), ROOMS)["plane_recall/0.05"] < 0.2


def test_presented_records_follow_the_conventions_of_sources():
    task = task_of()
    records = task.postprocess(true_maps(BATCH))
    assert records.shape == (4,) and records["segmentation"].dtype == np.uint8
    np.testing.assert_allclose(records["depth"], BATCH["depth"], rtol=1e-3)
    np.testing.assert_array_equal(records["camera"], BATCH["camera"])
    assert ((records["segmentation"] == 20) >= (BATCH["segmentation"] == 20)).all()
    for true, found in zip(BATCH["planes"], records["planes"], strict=True):
        largest = found[0]  # the one with the most pixels is among the true ones
        assert np.abs(true - largest).max(axis=1).min() < 1e-3


def test_mirrored_examples_stay_consistent():
    chosen = np.array([True, False, True, True])
    found = jax.device_get(jax.jit(mirror)(BATCH, chosen))
    for name in BATCH:
        np.testing.assert_array_equal(found[name][1], BATCH[name][1])
    np.testing.assert_array_equal(found["image"][0], BATCH["image"][0][:, ::-1])
    maps = true_maps(found)
    product = np.sum(maps.plane * pixel_rays(found["camera"], *SIZE), axis=-1) * found["depth"]
    np.testing.assert_allclose(product, 1, rtol=1e-4)


def test_training_views_are_augmented_and_others_are_not():
    plain = task_of(augment__color=0.5, augment__mirror=True)
    prepare, keys = jax.jit(plain.prepare), jax.random.split(jax.random.key(0), 4)
    view, again = (np.asarray(prepare(BATCH, k)["view"]) for k in (None, keys))
    np.testing.assert_allclose(view[..., :3], BATCH["image"] / 255 - 0.5, atol=1e-6)
    np.testing.assert_allclose(
        view[..., 3:], pixel_rays(BATCH["camera"], *SIZE)[..., :2], atol=1e-6
    )
    low, high = BATCH["image"] / 255 / 1.5 - 0.5, BATCH["image"] / 255 * 1.5 - 0.5
    same = again[..., :3]
    flipped = [not (low[i] - 1e-5 <= same[i]).all() or not (same[i] <= high[i] + 1e-5).all()
               for i in range(4)]  # fmt: skip
    assert any(flipped) and not all(flipped)
    assert "position" not in prepare(BATCH)


def test_positions_of_pixel_latents():
    task = task_of(model__latent="pixel", loss__num_positions=5)
    prepare = jax.jit(task.prepare)
    drawn = np.asarray(prepare(BATCH, jax.random.split(jax.random.key(0), 4))["position"])
    assert drawn.shape == (4, 5) and drawn.min() >= 0 and drawn.max() < 24
    assert len(np.unique(drawn)) > 5
    fixed = [np.asarray(prepare(BATCH)["position"]) for _ in range(2)]
    assert fixed[0].shape == (4, 1)
    np.testing.assert_array_equal(*fixed)


@pytest.mark.parametrize(
    ("field", "values", "message"),
    [
        ("segmentation", np.full((4, *SIZE), 30, np.uint8), "segmentation holds 30"),
        ("depth", np.full((4, *SIZE), -1, np.float32), "negative or not finite"),
        ("camera", np.zeros((4, 4), np.float32), "focal length"),
    ],
)
def test_values_that_cannot_be_are_refused(field, values, message):
    with pytest.raises(UserError, match=message):
        task_of().check_batch({**BATCH, field: values})


def test_fields_that_do_not_fit_are_refused():
    spec = FieldSource({"image": np.zeros((1, 8, 8, 3), np.uint8)}).spec
    with pytest.raises(UserError, match="planes \\[20, 3\\]"):
        make_task(config_of(), spec)
    with pytest.raises(UserError, match=r"uint8 \[N, 16, 24, 3\]"):
        TASKS["planar_reconstruction"].examples.from_arrays(
            np.zeros((1, 8, 8, 3), np.uint8), ROOMS.spec
        )


def test_a_whole_run(tmp_path, figures_of_the_task_alone):
    config = config_of(model__latent="pixel", loss__num_positions=2, anchors__warmup=1)
    config.train.update({"num_steps": 3, "batch_size": 8, "eval_every": 3, "log_every": 1})
    config.eval.update({"batch_size": 8, "shown_examples": 2, "shown_samples": 1})
    config.eval.tsne_examples = 0
    config.augment.mirror = True
    config.optimizer.name = "sgd"
    train(config, tmp_path)
    results = evaluate(tmp_path)
    assert 0 <= results["metrics"]["rand_index"] <= 1
    assert np.isfinite(results["metrics"]["depth_rms"])
    names = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert {"planes", "recall", "anchors", "anchor_examples"} <= names
    assert json.loads((tmp_path / "results.json").read_text())["step"] == 3
    model = load(tmp_path)
    assert model.embed(BATCH["image"]).shape == (4, 2)
    assert model.reconstruct(BATCH["image"][:2])["planes"].shape == (2, 20, 3)
    assert model.decode(model.anchors)["segmentation"].shape == (3, *SIZE)
