"""From a config to what a step is made of: which values are refused, which reach the optimizer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.config import changed
from nvc_jax.core.errors import UserError
from nvc_jax.data.base.source import FieldSpec
from nvc_jax.training.experiment import init_state, make_experiment
from nvc_jax.training.state import find_anchors

SPEC = {
    "image": FieldSpec((6, 6, 1), np.dtype(np.float32)),
    "label": FieldSpec((), np.dtype(np.int32)),
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model.num_anchors", 0),
        ("model.latent_dim", -1),
        ("train.num_steps", 0),
        ("train.log_every", 0),
        ("train.keep", 0),
        ("eval.batch_size", 0),
        ("optimizer.learning_rate", 0.0),
        ("optimizer.learning_rate", float("nan")),
        ("optimizer.max_skipped", 0),
        ("anchors.patience", 0),
        ("anchors.warmup", -1.0),
        ("anchors.warmup", 2.5),
        ("train.microbatches", 0),
        ("train.microbatches", -2),
        ("anchors.init", "random"),
        ("augment.target", "both"),
        ("augment.assign_from", "both"),
        ("loss.kl.schedule", "step"),
        ("optimizer.schedule", "step"),
    ],
)
def test_values_that_cannot_work_are_refused_by_name(config, name, value):
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        changed(config, {name: value})


@pytest.mark.parametrize("trains", [True, False])
def test_anchors_train_only_if_asked_to(config, trains):
    config.anchors.train = trains
    experiment = make_experiment(config, SPEC, None)
    params = {"anchors": jnp.ones((4, 2)), "kernel": jnp.ones((2, 2))}
    updates, _ = experiment.optimizer.update(params, experiment.optimizer.init(params), params)
    assert bool(jnp.any(updates["anchors"] != 0)) == trains and jnp.all(updates["kernel"] > 0)


@pytest.mark.parametrize(("init", "set_at"), [("spread", 0), ("kmeans++", -1)])
def test_anchors_wait_for_data_only_where_they_come_from_it(config, init, set_at):
    config.anchors.init = init
    state = init_state(make_experiment(config, SPEC, None), config)
    assert int(state.anchors_step) == set_at and int(state.step) == 0
    assert len(np.unique(find_anchors(state.params), axis=0)) == 4
    assert state.batch_stats == {}
    np.testing.assert_array_equal(state.rng, jax.random.key_data(jax.random.key(config.seed)))


@pytest.mark.parametrize("params", [{"kernel": 1}, {"a": {"anchors": 1}, "b": {"anchors": 2}}])
def test_a_model_has_one_set_of_anchors(params):
    with pytest.raises(ValueError, match="one parameter named 'anchors'"):
        find_anchors(params)


@pytest.mark.parametrize(("warmup", "warned"), [(20.0, True), (1.0, True), (19.0, False)])
def test_a_run_that_ends_before_its_anchors_are_set_is_told(config, messages, warmup, warned):
    config.anchors.warmup = warmup
    make_experiment(config, SPEC, None)
    assert any("plain autoencoder" in message for message in messages) == warned


@pytest.mark.parametrize("restart", [True, False])
def test_learning_rate_starts_anew_with_the_anchors_only_if_asked_to(config, restart):
    config.update_from_flattened_dict({
        "optimizer.schedule": "linear", "optimizer.learning_rate": 1.0, "optimizer.restart": restart, "optimizer.warmup": 0.0,
        "train.num_steps": 10, "anchors.init": "kmeans", "anchors.warmup": 5.0,
    })  # fmt: skip
    rate = make_experiment(config, SPEC, None).learning_rate
    found = [float(rate(step)) for step in (0, 4, 5, 10)]
    np.testing.assert_allclose(found, [1, 0.2, 1, 0] if restart else [1, 0.6, 0.5, 0], atol=1e-6)
