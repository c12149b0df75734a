"""Gradients made piece by piece: exact, in less memory. On devices: see `test_devices.py`."""

from functools import partial

import chex
import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.config import changed
from nvc_jax.core.errors import UserError
from nvc_jax.data import ArraySource
from nvc_jax.training.accumulation import map_pieces, value_and_grad_in_pieces
from nvc_jax.training.experiment import abstract_state, init_state, make_experiment
from nvc_jax.training.state import find_anchors
from nvc_jax.training.step import revive_step, train_step
from tests.numeric import normal


@pytest.mark.parametrize("num_pieces", [1, 2, 4])
def test_square_of_a_sum_by_hand(num_pieces):
    """L = (Σ a·x)² + a·b with x = 1, 2, 3, 4, a = 2, b = 5: dL/da = 2·20·10 + 5, dL/db = 2."""

    def loss(params, y, signs):
        return jnp.sum(y) ** 2 + params["a"] * params["b"], (y, signs)

    (value, (y, signs)), gradient = value_and_grad_in_pieces(
        lambda params, x: (params["a"] * x, jnp.sign(x - 2.5).astype(jnp.int32)),
        loss,
        {"a": jnp.asarray(2.0), "b": jnp.asarray(5.0)},
        jnp.arange(1.0, 5.0),
        num_pieces,
    )
    assert value == 410.0 and gradient == {"a": 405.0, "b": 2.0}
    np.testing.assert_array_equal(y, [2.0, 4.0, 6.0, 8.0])
    np.testing.assert_array_equal(signs, [-1, -1, 1, 1])


def forward(params, examples):
    hidden = jnp.tanh(examples["x"] @ params["w"]) + params["direct"][None]
    return {"y": hidden @ params["v"], "norm": jnp.sum(hidden**2, axis=1)}, jnp.argmax(hidden, 1)


def loss(params, outputs, label):
    """Pairs of examples, labels and a parameter that `forward` uses too."""
    apart = jnp.sum((outputs["y"][:, None] - outputs["y"][None]) ** 2, axis=-1)
    same = label[:, None] == label[None, :]
    pairs = jnp.sum(jnp.where(same, apart, 1.0 / (1.0 + apart)))
    return pairs + jnp.max(outputs["norm"]) * jnp.sum(params["direct"] ** 2), label


@pytest.mark.parametrize("num_pieces", [1, 2, 3, 12])
def test_any_function_has_the_gradient_of_the_whole(num_pieces):
    params = {"w": normal(0, 3, 4), "v": normal(1, 4, 2), "direct": normal(2, 4)}
    examples = {"x": normal(3, 12, 3), "unused": np.arange(12)}

    def whole(params):
        return loss(params, *forward(params, examples))

    expected = jax.value_and_grad(whole, has_aux=True)(params)
    found = value_and_grad_in_pieces(forward, loss, params, examples, num_pieces)
    chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-5)
    assert len(np.unique(found[0][1])) > 1


@pytest.mark.parametrize(("num_pieces", "size", "passes"), [(1, 12, 1), (3, 4, 2)])
def test_one_piece_has_no_second_pass_and_more_never_see_the_whole(num_pieces, size, passes):
    sizes = []

    def watched(params, examples):
        sizes.append(len(examples["x"]))
        return forward(params, examples)

    params = {"w": normal(0, 3, 4), "v": normal(1, 4, 2), "direct": normal(2, 4)}
    value_and_grad_in_pieces(watched, loss, params, {"x": normal(3, 12, 3)}, num_pieces)
    assert sizes == [size] * passes


def test_pieces_keep_the_order_and_every_axis():
    x = normal(0, 6, 2, 3)
    found = map_pieces(lambda piece: (piece["x"] * 2, piece["i"]), {"x": x, "i": np.arange(6)}, 3)
    chex.assert_trees_all_equal(jax.device_get(found), (x * 2, np.arange(6)))


def test_examples_that_do_not_divide_are_told():
    with pytest.raises(UserError, match=r"train\.microbatches = 4 .* 10 examples"):
        map_pieces(lambda x: x, np.arange(10), 4)


def setting(config, images):
    """Experiment and stored batch, with augmentation, equal shares and every loss term."""
    config.anchors.init = "spread"
    config.anchors.shares = "equal"
    config.augment.shift = 0.5
    source = ArraySource(images)
    return make_experiment(config, source.spec, None), source.gather(np.arange(len(images)))


def test_a_convolutional_step_in_eight_pieces_takes_a_quarter_of_the_memory_at_most(config):
    config = changed(config, {"model.network": "conv"})
    experiment, batch = setting(config, np.zeros((256, 8, 8, 1), np.uint8))
    state = abstract_state(experiment, config)
    bytes_used = []
    for microbatches in (1, 8):
        step = partial(train_step, experiment=experiment._replace(microbatches=microbatches))
        compiled = jax.jit(step).lower(state, batch).compile()
        bytes_used.append(compiled.memory_analysis().temp_size_in_bytes)
    assert bytes_used[1] < bytes_used[0] / 4


def test_revival_in_pieces_places_the_same_anchors(config, make_images):
    experiment, batch = setting(config, make_images(16))
    state = init_state(experiment, config).replace(
        step=jnp.int32(10), last_used=jnp.asarray([0, 10, 0, 10], jnp.int32)
    )
    anchors = []
    for microbatches in (1, 4):
        step = partial(revive_step, experiment=experiment._replace(microbatches=microbatches))
        revived, count = jax.jit(step)(state, batch)
        assert count == 2
        anchors.append(find_anchors(revived.params))
    np.testing.assert_allclose(anchors[1], anchors[0], rtol=0, atol=1e-6)


def test_batch_normalization_is_refused_with_a_way_out(config, make_images):
    config.model.batch_norm, config.train.microbatches = True, 2
    with pytest.raises(
        UserError, match=r"train\.microbatches = 2 and model\.batch_norm = True .* model\.remat"
    ):
        setting(config, make_images(16))


def test_a_model_with_statistics_of_its_own_does_not_train_on_pieces(config, make_images):
    config.model.batch_norm = True
    experiment, batch = setting(config, make_images(16))
    step = partial(train_step, experiment=experiment._replace(microbatches=2))
    with pytest.raises(flax.errors.ModifyScopeVariableError, match="batch_stats"):
        jax.eval_shape(step, abstract_state(experiment, config), batch)
