"""The optimizer's groups: what decays, what the anchors get."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nvc_jax.config import make_config
from nvc_jax.core.errors import UserError
from nvc_jax.training.optimizer import describe_groups, make_optimizer

RATE = 0.1


def parameters():
    return {
        "bottleneck": {"anchors": jnp.array([[10.0, 0.0]])},
        "decoder": {"kernel": jnp.array([[10.0, -2.0]]), "bias": jnp.array([10.0, 1.0])},
    }


def options(**changes):
    return {**make_config().optimizer.to_dict(), "learning_rate": RATE, **changes}


def descend(gradients, train_anchors=True, **changes):
    """Parameters after one step a gradient, as the training step takes it."""
    optimizer = make_optimizer(options(**changes), train_anchors=train_anchors)
    params = parameters()
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, gradient):
        updates, state = optimizer.update(gradient, state, params)
        updates = jax.tree.map(lambda update: -RATE * update, updates)
        return optax.apply_updates(params, updates), state

    for gradient in gradients:
        params, state = step(params, state, gradient)
    return params, state


def constant(value):
    return jax.tree.map(lambda leaf: jnp.full_like(leaf, value), parameters())


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_decay_spares_anchors_and_biases(name):
    params, _ = descend([constant(0.0)] * 100, name=name, weight_decay=0.1)
    start = parameters()
    chex.assert_trees_all_equal(params["bottleneck"], start["bottleneck"])
    chex.assert_trees_all_equal(params["decoder"]["bias"], start["decoder"]["bias"])
    expected = start["decoder"]["kernel"] * (1 - RATE * 0.1) ** 100
    np.testing.assert_allclose(params["decoder"]["kernel"], expected, rtol=1e-4)


def test_a_real_step_moves_the_anchors():
    params, _ = descend([constant(2.0)], name="adamw", weight_decay=0.1)
    np.testing.assert_allclose(params["bottleneck"]["anchors"], [[9.9, -0.1]], rtol=1e-5)


def test_anchors_that_do_not_train_stay_bit_identical():
    params, _ = descend(
        [constant(2.0)] * 3, train_anchors=False, name="adamw", anchor_learning_rate=1.0
    )
    chex.assert_trees_all_equal(params["bottleneck"], parameters()["bottleneck"])
    assert np.all(params["decoder"]["bias"] < parameters()["decoder"]["bias"])


@pytest.mark.parametrize("anchor_rate", [0.02, 0.5])
def test_anchors_have_a_learning_rate_of_their_own(anchor_rate):
    params, _ = descend([constant(1.0)], name="sgd", anchor_learning_rate=anchor_rate)
    np.testing.assert_allclose(
        params["bottleneck"]["anchors"], [[10 - anchor_rate, -anchor_rate]], rtol=1e-6
    )
    np.testing.assert_allclose(params["decoder"]["bias"], [10 - RATE, 1 - RATE], rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "reference"),
    [
        ({"name": "adam"}, optax.adam(RATE)),
        ({"name": "sgd", "momentum": 0.9}, optax.sgd(RATE, momentum=0.9)),
        ({"name": "sgd", "clip_norm": 0.5},
         optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(RATE))),
    ],
)  # fmt: skip
def test_steps_are_those_of_optax(changes, reference):
    gradients = [constant(1.0), constant(-3.0), constant(0.2)]
    expected = parameters()
    state = reference.init(expected)
    for gradient in gradients:
        updates, state = reference.update(gradient, state, expected)
        expected = optax.apply_updates(expected, updates)
    chex.assert_trees_all_close(descend(gradients, **changes)[0], expected, rtol=1e-5)


def test_adam_state_comes_first_and_counts():
    _, state = descend([constant(1.0)] * 5)
    assert isinstance(state[0], optax.ScaleByAdamState) and int(state[0].count) == 5


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"name": "lion"}, "'lion'.*adamw"),
        ({"name": "adam", "weight_decay": 0.1}, "weight_decay.*'adamw'"),
    ],
)
def test_impossible_options(changes, text):
    with pytest.raises(UserError, match=text):
        make_optimizer(options(**changes), train_anchors=True)


def test_groups_are_told():
    changes = options(weight_decay=0.2, anchor_learning_rate=0.5)
    text = describe_groups(parameters(), changes, train_anchors=True)
    assert set(text.split("; ")) == {
        "anchors: learning rate 0.5, no decay (1 arrays, 2 values)",
        "weights: learning rate 0.1, decay 0.2 (1 arrays, 2 values)",
        "biases and scales: learning rate 0.1, no decay (1 arrays, 2 values)",
    }
    frozen = describe_groups(parameters(), changes, train_anchors=False)
    assert "anchors: learning rate 0, no decay" in frozen
