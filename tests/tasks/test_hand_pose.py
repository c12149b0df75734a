"""Hand pose: the loss and what is presented by hand, turned cameras against a renderer, a whole run."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.core.errors import UserError
from nvc_jax.data.base.source import FieldSpec
from nvc_jax.data.hands.crops import crop_camera, encode_depth
from nvc_jax.data.hands.synthetic import (
    Hands,
    capsules,
    cast_capsules,
    draw_angles,
    draw_person,
    forward_kinematics,
)
from nvc_jax.evaluation import evaluate, load
from nvc_jax.geometry.planes import pixel_rays
from nvc_jax.networks.pose import Poses
from nvc_jax.tasks import Outputs, make_task
from nvc_jax.tasks.hand_pose import turn_hands
from nvc_jax.training.loop import train
from tests.settings import config_with

SIDE = 16


def config_of(**changes):
    """A config of a tiny network; `changes` are values by their names, with __ for the dot."""
    data = {"source": "hands", "num_scenes": 24, "num_heldout_scenes": 10}
    model = {"channels": (4,), "hidden": (8,), "decoder_hidden": (8,)}
    settings = {
        "task": "hand_pose",
        "data": {**data, "image_size": (SIDE, SIDE)},
        "model": {**model, "latent_dim": 2, "num_anchors": 3},
    }
    return config_with(settings, changes)


def task_of(channels=1, **changes):
    return make_task(config_of(**changes), Hands("train", 1, SIDE, channels).spec)


def batch_of(number=3, channels=1):
    return Hands("train", number, SIDE, channels).gather(np.arange(number))


def output_of(joints, center):
    """What the decoder gives where it finds these joints."""
    values = np.array(joints) - np.array(center)[:, None]
    values[:, 1:] -= values[:, :1]
    return values / 100


def test_error_by_hand():
    task, batch = task_of(), batch_of()
    exact = output_of(batch["joints"], batch["center"])
    prepared = jax.jit(task.prepare)(batch)

    @jax.jit
    def compute(output, prepared):
        return task.reconstruction(Outputs(Poses(output, output), latent=None), prepared)

    def error(output, **changes):
        return np.asarray(compute(jnp.asarray(output, jnp.float32), prepared | changes))

    np.testing.assert_allclose(error(exact), 0, atol=1e-5)
    wrong = exact.copy()
    far, near = ((np.hypot(distance, 1) - 1) / 5 for distance in (50, 20))  # mm, in units of 5 mm
    wrong[0, 7] += [0.3, 0.4, 0]
    wrong[1, 0] += [0, 0, 0.2]  # the wrist, and with it the whole hand, counts once
    np.testing.assert_allclose(error(wrong), [far, near, 0], atol=1e-3)
    hidden = np.ones((3, 21), bool)
    hidden[0, 7] = False
    hidden[1, 0] = False  # without a true wrist the other 20 joints count in camera axes
    hidden[2] = False
    wrong[2] = 7
    np.testing.assert_allclose(error(wrong, visible=hidden), [0, 20 * near, 0], atol=1e-3)


def test_the_code_has_an_error_of_its_own_where_joints_pass_by_it():
    batch = batch_of()
    exact = jnp.asarray(output_of(batch["joints"], batch["center"]), jnp.float32)
    wrong = exact.at[0, 7].add(jnp.array([0.3, 0.4, 0.0])).at[1, 3].add(9.0)
    hidden = np.ones((3, 21), bool)
    hidden[1, 3] = False  # a joint that is not annotated counts in neither
    far = (np.hypot(50, 1) - 1) / 5
    for weight, expected in ((0.5, 0.5 * far), (0.0, 0.0)):
        task = task_of(model__network="direct2d", loss__code_pose=weight)
        prepared = task.prepare(batch) | {"visible": hidden}
        error = task.reconstruction(Outputs(Poses(exact, wrong), latent=None), prepared)
        np.testing.assert_allclose(error, [expected, 0, 0], atol=1e-3)


def test_what_is_presented_and_measured():
    task, batch = task_of(), batch_of()
    output = np.asarray(output_of(batch["joints"], batch["center"]), np.float32)

    @jax.jit
    def compute(output):
        outputs, prepared = Outputs(Poses(output, output), latent=None), task.prepare(batch)
        return task.with_known(outputs, prepared), task.metrics(outputs, prepared)

    shown = task.postprocess(jax.device_get(compute(output)[0]))
    np.testing.assert_allclose(shown, batch["joints"], atol=1e-3)
    about_center = batch["joints"] - batch["center"][:, None]
    np.testing.assert_allclose(task.postprocess(Poses(output, output)), about_center, atol=1e-3)
    output[:, 0, 2] += 0.15
    values = task.summary(jax.device_get(compute(output)[1]), None)
    assert values["mpjpe_abs"] == pytest.approx(15, abs=1e-3)
    assert values["mpjpe_root"] == pytest.approx(0, abs=1e-3)
    assert values["mpjpe_pa"] == pytest.approx(0, abs=1e-3)


def test_the_network_sees_where_pixels_look():
    batch = batch_of(2, channels=4)
    view = np.asarray(jax.jit(task_of(4).prepare)(batch)["view"])
    assert view.shape == (2, SIDE, SIDE, 6)
    np.testing.assert_allclose(view[..., :4], batch["image"] / 255 - 0.5, atol=1e-6)
    rays = [pixel_rays(camera, SIDE, SIDE)[..., :2] for camera in np.asarray(batch["camera"])]
    np.testing.assert_allclose(view[..., 4:], rays, rtol=1e-5, atol=1e-6)


def depth_image(flesh, center, side):
    rays = pixel_rays(crop_camera(center, side), side, side).reshape(-1, 3)
    view = cast_capsules(rays, *flesh)
    return encode_depth(view.depth, float(center[2])).reshape(side, side, 1)


def hand_before_a_camera(side, zoom=1.0, angle=0.0):
    """A batch of one hand that is larger by a factor, before a camera turned clockwise by an angle."""
    rng = np.random.default_rng(3)
    person = draw_person(rng)
    joints = forward_kinematics(person, draw_angles(rng)[0])
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    center = np.array([120.0, -90.0, 600.0])
    middle = joints.mean(axis=0)

    def place(points):
        return (zoom * (points - middle) + center) @ turn.T

    starts, ends, radii = capsules(person, joints)
    image = depth_image((place(starts), place(ends), zoom * radii), turn @ center, side)
    fields = {"joints": place(joints), "center": turn @ center}
    fields["camera"] = crop_camera(fields["center"], side)
    batch = {name: jnp.asarray(x, jnp.float32)[None] for name, x in fields.items()}
    return batch, jnp.asarray(image / 255, jnp.float32)[None]


turn = jax.jit(turn_hands)


@pytest.mark.parametrize(("angle", "zoom"), [(0.6, 1.0), (-2.0, 1.0), (0.0, 1.15)])
def test_a_turned_camera_sees_what_a_renderer_draws_for_it(angle, zoom):
    side = 64
    batch, image = hand_before_a_camera(side)
    expected, drawn = hand_before_a_camera(side, zoom, angle)
    # About `center`, as it is here: the mean of the joints.
    turned, warped = turn(batch, image, jnp.array([angle]), jnp.array([zoom]))
    for name in ("joints", "center", "camera"):
        np.testing.assert_allclose(turned[name], expected[name], atol=2e-3)
    before, after, true = (np.asarray(x) for x in (image, warped, drawn))
    both, either = (after > 0.2) & (true > 0.2), (after > 0.2) | (true > 0.2)
    assert both.sum() / (after > 0.2).sum() > 0.93
    assert both.sum() / either.sum() > 0.8  # what comes in at the edge is not in the image
    assert np.median(np.abs(after - true)[both]) < 0.02
    assert np.median(np.abs(after - true)[either]) < np.median(np.abs(before - true)[either])


def test_examples_are_turned_by_their_own_keys_alone():
    task, batch = task_of(augment__rotation=1.0, augment__scale=0.3), batch_of()
    keys, order = jax.random.split(jax.random.key(0), 3), np.array([1, 2, 0])
    prepare = jax.jit(task.prepare)
    first, plain = (jax.device_get(prepare(batch, k)) for k in (keys, None))
    other = prepare({name: x[order] for name, x in batch.items()}, keys[order])
    for name in ("view", "target", "center", "camera"):
        np.testing.assert_allclose(first[name][order], other[name], atol=1e-3)
    assert np.abs(first["target"] - batch["joints"]).max() > 1
    np.testing.assert_allclose(first["clean"]["view"], plain["view"], atol=1e-6)
    # Hands are at most 1.3 times as large or as small.
    size = [np.ptp(x["target"] - x["center"][:, None], axis=1)[:, 2] for x in (first, plain)]
    ratio = size[0] / size[1]
    assert (np.abs(np.log(ratio)) < np.log(1.3) + 1e-3).all()


def test_what_does_not_fit_is_one_sentence():
    spec = dict(Hands("train", 1, SIDE).spec)
    with pytest.raises(UserError, match=r"needs the fields.*joints \[21, 3\] float32"):
        make_task(config_of(), {"image": spec["image"]})
    for shape in ((SIDE, SIDE, 2), (SIDE, 12, 1)):
        spec["image"] = FieldSpec(shape, np.dtype(np.uint8))
        with pytest.raises(UserError, match="square, with 1"):
            make_task(config_of(), spec)
    task, batch = task_of(), {k: np.array(x) for k, x in batch_of().items()}
    task.check_batch(batch)
    for name, value, words in (
        ("joints", np.nan, "joints holds values that are not finite"),
        ("center", -5.0, "center.*above 0"),
        ("camera", 0.0, "focal lengths"),
    ):
        broken = {**batch, name: np.full_like(batch[name], value)}
        with pytest.raises(UserError, match=words):
            task.check_values(broken)
    with pytest.raises(UserError, match=r"uint8 \[N, 16, 16, 1\].*float64"):
        task.examples.from_arrays(np.zeros((2, SIDE, SIDE, 1)), task.batch_spec)


@pytest.mark.parametrize("network", ["patch2d", "direct2d"])
def test_a_whole_run(tmp_path, figures_of_the_task_alone, network):
    config = config_of(
        model__network=network,
        train__num_steps=12,
        train__batch_size=8,
        train__eval_every=6,
        train__best_metric="mpjpe_root",
        anchors__warmup=4,
        eval__batch_size=8,
        eval__shown_examples=4,
        eval__shown_samples=2,
        eval__tsne_examples=0,
        optimizer__name="sgd",
    )
    train(config, tmp_path)
    results = evaluate(tmp_path)
    values = results["metrics"]
    for name in ("mpjpe_abs", "mpjpe_root", "mpjpe_pa"):
        assert 0 < values[name] < 1000
    for name in ("auc_20_50", "auc_20_50_hand3d", "pck/20", "frames_within/50"):
        assert 0 <= values[name] <= 1
    assert values["nmi"] is not None  # gestures are known
    assert json.loads((tmp_path / "results.json").read_text())["metrics"] == values
    figures = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert {"poses", "pck", "anchors", "anchor_examples"} <= figures
    model, test = load(tmp_path), Hands("test", 5, SIDE)
    joints, batch = model.predict(test), test.gather(np.arange(5))
    np.testing.assert_allclose(
        np.linalg.norm(joints - batch["joints"], axis=-1).mean(),
        np.mean([values["mpjpe_abs"]]),
        rtol=0.5,
    )
    decoded = model.decode(model.anchors)
    assert decoded.shape == (3, 21, 3)
    # From images alone the places are those of hands 600 mm in front of the camera.
    alone = model.reconstruct(batch["image"])
    assert alone.shape == (5, 21, 3)
    assert (np.abs(alone.mean(axis=(0, 1)) - [0, 0, 600]) < 150).all()
