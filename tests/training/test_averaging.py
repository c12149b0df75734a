"""Averages of parameters: values by hand, dtypes, and which checkpoints go into them."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.core.errors import UserError
from nvc_jax.training.averaging import average_checkpoints, average_params
from nvc_jax.training.checkpoint import Checkpoints
from nvc_jax.training.state import make_state


def params(value, count=7):
    return {
        "anchors": np.full((2, 3), value, np.float32),
        "encoder": {"kernel": jnp.full(4, value, jnp.bfloat16), "uses": np.int32(count)},
    }


def test_mean_by_hand_and_counters_of_the_newest():
    found = average_params([params(1.0, 3), params(2.0, 4), params(6.0, 9)])
    chex.assert_trees_all_equal(found, params(3.0, 9))
    chex.assert_trees_all_equal_shapes_and_dtypes(found, params(3.0))
    assert isinstance(found["encoder"]["kernel"], np.ndarray)


def test_sums_do_not_round_and_equal_sets_stay_as_they_are():
    values = np.array([0.1, 1e-30, 3e38, -7.7], np.float32)
    chex.assert_trees_all_equal(average_params([values] * 7), values)  # 3e38 · 7 is no float32
    large = [np.float32(v) for v in (2**24, 1, 1, 1, 1)]  # in float32 every 1 is lost
    assert average_params(large) == np.float32((2**24 + 4) / 5)
    one = np.array([1, 1.0078125], jnp.bfloat16)  # a bfloat16 and the next
    assert average_params([one[:1], one[1:], one[1:]])[0] == one[1]


def test_sets_are_taken_one_by_one():
    chex.assert_trees_all_equal(average_params(params(v) for v in (2.0, 4.0)), params(3.0))
    chex.assert_trees_all_equal(average_params([params(2.0)]), params(2.0))
    assert average_params([{}, {}]) == {}


def test_sets_that_are_not_alike():
    with pytest.raises(UserError, match="no parameters"):
        average_params([])
    # NumPy would stretch the second to the shape of the first.
    with pytest.raises(UserError, match="Set 2 "):
        average_params([{"a": np.ones((3, 2))}, {"a": np.ones(2)}])
    with pytest.raises(UserError, match="Set 3 "):
        average_params([{"a": np.ones(2)}, {"a": np.ones(2)}, {"b": np.ones(2)}])


def state_at(step, anchors_set=True):
    """Parameters, statistics and moments that are all the step's number."""
    value = np.float32(step)
    variables = {
        "params": {"bottleneck": {"anchors": np.full((2, 3), value)}},
        "batch_stats": {"mean": np.full(2, 10 * value)},
    }
    state = make_state(variables, np.full(2, value), seed=7, anchors_set=anchors_set)
    return jax.device_get(state.replace(step=jnp.int32(step)))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with checkpoints of the steps 1, 3, 5 and 9; anchors were set after the first."""
    checkpoints = Checkpoints(tmp_path_factory.mktemp("run"), keep=10)
    for step in (1, 3, 5, 9):
        checkpoints.save(step, state_at(step, anchors_set=step > 1), {"best": 0.0})
    checkpoints.close()
    return checkpoints


def test_the_last_checkpoints_are_averaged(run):
    found = average_checkpoints(run, state_at(0), 2)
    np.testing.assert_array_equal(found.params["bottleneck"]["anchors"], np.full((2, 3), 7.0))
    np.testing.assert_array_equal(found.batch_stats["mean"], [70.0, 70.0])
    newest = state_at(9)
    chex.assert_trees_all_equal(
        found.replace(params=newest.params, batch_stats=newest.batch_stats), newest
    )
    chex.assert_trees_all_equal(average_checkpoints(run, state_at(0), 1), newest)


def test_too_few_checkpoints_or_anchors_set_between_them(run):
    for number in (0, 5):
        with pytest.raises(UserError, match=r"has 4: .*train\.keep"):
            average_checkpoints(run, state_at(0), number)
    with pytest.raises(UserError, match="anchors were set between"):
        average_checkpoints(run, state_at(0), 4)
    assert average_checkpoints(run, state_at(0), 3).step == 9
