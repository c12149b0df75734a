"""At the end of a run anchors lie amid their codes, and the codes' spread is known."""

import jax
import numpy as np
import pytest

from nvc_jax.config import changed
from nvc_jax.data import ArraySource
from nvc_jax.evaluation import evaluate, load
from nvc_jax.training.loop import train
from nvc_jax.training.state import find_anchors

STEPS = 6


@pytest.fixture(scope="module")
def images(make_images):
    return ArraySource(make_images(32))


@pytest.fixture(scope="module")
def run(make_config, images, tmp_path_factory):
    config = changed(make_config(), {"train.num_steps": STEPS, "anchors.init": "normal"})
    path = tmp_path_factory.mktemp("runs") / "run"
    return config, path, train(config, path, train_data=images, validation_data=images)


def test_anchors_are_the_means_of_their_codes(run, images):
    config, path, result = run
    model = load(path)
    moved = result.state.scales.any(axis=1)
    encoded = model.encode(images)
    kept = train(
        changed(config, {"anchors.recenter": False}),
        path.parent / "kept",
        train_data=images,
        validation_data=images,
    )
    assert moved.any() and not kept.state.scales.any()
    before = np.asarray(find_anchors(kept.state.params))
    nearest = np.square(encoded["mean"][:, None] - before).sum(-1).argmin(-1)
    for k in np.flatnonzero(moved):
        own = encoded["mean"][nearest == k]
        np.testing.assert_allclose(model.anchors[k], own.mean(axis=0), rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(model.scales[k], own.std(axis=0), rtol=1e-2, atol=1e-5)
    np.testing.assert_array_equal(model.anchors[~moved], before[~moved])
    np.testing.assert_array_equal(result.state.shares, np.bincount(nearest, minlength=4) / 32)


def test_evaluation_tells_how_far_off_anchors_are(run, images):
    _, path, _ = run
    found = evaluate(path, test_data=images, train_data=images, figures=False)["metrics"]
    assert 0 <= found["anchor_offset"] <= found["anchor_offset_max"]


def test_draws_have_the_spread_of_the_codes(run):
    model = load(run[1])
    k = int(np.argmax(model.scales.max(axis=1)))
    noise = np.asarray(jax.random.normal(jax.random.key(1), (3, model.anchors.shape[1])))
    expected = model.decode(model.anchors[k] + model.scales[k] * noise)
    np.testing.assert_allclose(model.sample(k, 3, jax.random.key(1)), expected, rtol=1e-5)


def test_anchors_that_are_not_trained_stay(run, images, tmp_path):
    config = changed(run[0], {"anchors.train": False})
    fixed = train(config, tmp_path / "run", train_data=images, validation_data=images).state
    assert not fixed.scales.any()
