"""Shares of anchors and neighbors in a training step."""

from functools import partial

import jax
import numpy as np
import pytest

from nvc_jax.config import changed
from nvc_jax.core.errors import UserError
from nvc_jax.data import NEIGHBOR, ArraySource
from nvc_jax.training.experiment import Shares, init_state, make_experiment
from nvc_jax.training.loop import train
from nvc_jax.training.state import replace_anchors
from nvc_jax.training.step import decide_assignment, make_views, train_step

FAR = np.array([[0, 0], [50, 0], [0, 50], [50, 50]], np.float32)


@pytest.fixture(scope="module")
def setup(make_config, make_images):
    """A config, its experiment with equal shares, a state whose codes all lie at one anchor, a batch."""
    config = changed(make_config(), {"anchors.shares": "equal", "anchors.init": "normal"})
    batch = ArraySource(make_images(16)).gather(np.arange(16))
    experiment = make_experiment(config, ArraySource(batch["image"]).spec, None)
    state = init_state(experiment, config)
    state = state.replace(params=replace_anchors(state.params, FAR))
    return config, experiment, state, batch


def test_anchors_used_are_those_nearest_and_not_those_given(setup):
    _, experiment, state, batch = setup
    assigned = decide_assignment(
        experiment, state, make_views(experiment, batch, jax.random.key(0))
    )
    np.testing.assert_array_equal(np.bincount(np.ravel(assigned)), [4, 4, 4, 4])
    state = state.replace(step=np.int32(10))
    after, metrics = jax.jit(partial(train_step, experiment=experiment))(state, batch)
    assert metrics["anchors_used"] == 1
    np.testing.assert_array_equal(after.last_used, [11, 0, 0, 0])


def test_an_anchor_is_that_of_the_neighbor(setup):
    config, _, state, batch = setup
    free = make_experiment(
        changed(config, {"anchors.shares": "free"}), ArraySource(batch["image"]).spec, None
    )
    mean = free.apply(state, {"image": batch["image"]}, method="encode").mean
    anchors = np.quantile(mean, [0.1, 0.4, 0.6, 0.9], axis=0).astype(np.float32)
    state = state.replace(params=replace_anchors(state.params, anchors))

    @jax.jit
    def assigned(batch):
        return decide_assignment(free, state, make_views(free, batch, jax.random.key(0)))

    assert assigned(batch) is None
    own = np.square(np.asarray(mean)[:, None] - anchors).sum(-1).argmin(-1)
    order = np.roll(np.arange(16), 3)
    found = assigned({**batch, NEIGHBOR + "image": batch["image"][order]})
    assert len(set(own)) > 2
    np.testing.assert_array_equal(found[:, 0], own[order])


def test_learned_shares_by_hand(setup):
    state = setup[2].replace(step=np.int32(7), anchors_step=np.int32(5))
    state = state.replace(shares=np.array([0.7, 0.2, 0.1, 0.0], np.float32))
    nearest = np.array([0, 0, 1, 1])
    learned = Shares("learned", (), rate=0.1, floor=0.2, learn_from=2)
    np.testing.assert_allclose(learned.after(state, nearest), [0.68, 0.23, 0.09, 0.0], atol=1e-6)
    np.testing.assert_allclose(learned.of(state), [0.7, 0.2, 0.1, 0.05], atol=1e-6)
    later = learned._replace(learn_from=3)
    np.testing.assert_array_equal(later.after(state, nearest), state.shares)
    warmup = state.replace(anchors_step=np.int32(-1))
    np.testing.assert_array_equal(learned.after(warmup, nearest), state.shares)
    assert learned._replace(kind="equal").of(state) is None
    given = learned._replace(kind="given", given=(3.0, 1.0, 0.0, 0.0))
    np.testing.assert_array_equal(given.of(state), [3, 1, 0, 0])


@pytest.mark.parametrize("shares", [(), (1.0,), (0.0,) * 4, (1.0, 1.0, 1.0, -1.0)])
def test_given_shares_that_do_not_fit_are_refused(setup, shares):
    config = changed(setup[0], {"anchors.shares": "given", "anchors.given_shares": shares})
    with pytest.raises(UserError, match=r"anchors\.given_shares is .* give 4 numbers"):
        make_experiment(config, ArraySource(setup[3]["image"]).spec, None)


def test_neighbors_of_batches_without_numbers_are_refused(setup, tmp_path):
    config = changed(setup[0], {"anchors.neighbors": 3})
    with pytest.raises(UserError, match=r"anchors\.neighbors needs .* only has batches"):
        train(config, tmp_path / "run", train_data=[setup[3]])


def test_merging_without_neighbors_is_refused(setup):
    config = changed(setup[0], {"anchors.init": "merge"})
    with pytest.raises(UserError, match=r"anchors\.init=merge .* anchors\.neighbors is 0"):
        make_experiment(config, ArraySource(setup[3]["image"]).spec, None)
