"""Runs that begin with another run's parameters."""

import chex
import jax
import numpy as np
import pytest

from nvc_jax.core.errors import UserError
from nvc_jax.training import parallel
from nvc_jax.training.experiment import init_state, make_experiment
from nvc_jax.training.loop import train
from nvc_jax.training.state import find_anchors
from nvc_jax.training.warm_start import warm_start


@pytest.fixture(scope="module")
def source(tmp_path_factory, make_config, data):
    """A finished run and its last state."""
    directory = tmp_path_factory.mktemp("source")
    config = make_config()
    config.train.num_steps = 8
    return directory, train(config, directory, **data).state


@pytest.fixture
def fresh(config, data):
    """A state of another seed."""
    config.seed = 1
    experiment = make_experiment(config, data["train_data"].spec, parallel.AXIS)
    return jax.device_get(init_state(experiment, config))


def test_only_matching_parameters_are_taken(source, fresh, messages):
    directory, state = source
    begun = warm_start(fresh, directory, "encoder")
    chex.assert_trees_all_equal(begun.params["encoder"], state.params["encoder"])
    assert not np.array_equal(
        begun.params["encoder"]["Dense_0"]["kernel"], fresh.params["encoder"]["Dense_0"]["kernel"]
    )
    for part in ("bottleneck", "decoder"):
        chex.assert_trees_all_equal(begun.params[part], fresh.params[part])
    chex.assert_trees_all_equal(begun.opt_state, fresh.opt_state)
    assert begun.step == 0
    assert begun.anchors_step == -1
    assert any("params/encoder/Dense_0/kernel" in message for message in messages)


def test_taken_anchors_are_not_set_again(source, config, data, tmp_path):
    directory, state = source
    config.train.num_steps = 6  # past the warm-up
    config.anchors.train = False
    config.anchors.revive_every = 0
    begun = train(config, tmp_path, init_from=directory, **data).state
    chex.assert_trees_all_equal(find_anchors(begun.params), find_anchors(state.params))


def test_a_resumed_run_does_not_begin_again(source, config, data, tmp_path):
    config.train.num_steps = 4
    first = train(config, tmp_path, **data).state
    again = train(config, tmp_path, init_from=source[0], **data).state
    chex.assert_trees_all_equal(first, again)


def test_mistakes_are_told(source, fresh, tmp_path):
    with pytest.raises(UserError, match=r"matches nothing.*params/bottleneck/anchors"):
        warm_start(fresh, source[0], "enkoder")
    with pytest.raises(UserError, match="regular expression"):
        warm_start(fresh, source[0], "(")
    with pytest.raises(UserError, match="no checkpoint"):
        warm_start(fresh, tmp_path, "")
    wider = fresh.replace(
        params={**fresh.params, "bottleneck": {"anchors": np.zeros((5, 2), np.float32)}}
    )
    with pytest.raises(UserError, match=r"bottleneck/anchors.*\(5, 2\), got shape \(4, 2\)"):
        warm_start(wider, source[0], "anchors")
