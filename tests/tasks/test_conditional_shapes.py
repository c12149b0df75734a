"""Several answers to a partial shape: what is told of them is what the tasks measure."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.tasks import make_task
from nvc_jax.training.answering import measure_answers_step
from nvc_jax.training.experiment import init_state, make_experiment
from nvc_jax.training.step import eval_step, train_step
from tests.tasks import test_point_completion as clouds
from tests.tasks import test_voxel_completion as volumes

CONDITIONAL = {
    "model__conditional": True,
    "loss__own__value": 1.0,
    "loss__triplet__value": 0.0,
    "anchors__init": "normal",
    "optimizer__learning_rate": 0.03,
    "eval__best_of": (1, 2),
    "eval__draws": 4,
}


BY_ERROR = {"anchors__choose_by": "error", "anchors__choose_from": 0.0, "anchors__candidates": 2}


@pytest.mark.parametrize(("kind", "changes"), [(volumes, BY_ERROR), (clouds, {})])
def test_a_step_trains_all_parts_and_answers_are_measured_as_the_task_does(kind, changes):
    config = kind.config_of(**CONDITIONAL, **changes)
    batch, spec = kind.boxes(4), kind.spec_of()
    if kind is volumes:
        batch = batch.gather(np.arange(4))
    experiment = make_experiment(config, spec, None)
    task = make_task(config, spec)
    assert task.gives_answers and not task.decodes_codes
    state = init_state(experiment, config)
    step = jax.jit(partial(train_step, experiment=experiment))

    @jax.jit
    def look(state):
        whole = {name: jnp.asarray(values) for name, values in batch.items()}
        told = eval_step(state, whole, experiment=experiment)
        return told, measure_answers_step(state, whole, experiment=experiment)

    with jax.numpy_dtype_promotion("standard"):
        for _ in range(2):  # heads of zeros hold gradients up for a step
            before, (state, metrics) = state, step(state, batch)
        told, found = jax.device_get(look(state))
    assert all(np.isfinite(value) for value in metrics.values())
    for old, new in zip(*map(jax.tree.leaves, (before.params, state.params)), strict=True):
        assert np.abs(new - old).max() > 0
    if kind is volumes:
        expected = 1 - told["intersection"][:, 0] / told["union"][:, 0]
        assert found["reduced_error/2"].shape == (4,)
    else:
        expected = told["chamfer_l1"]
        assert "reduced_error/1" not in found  # points are in no order
    np.testing.assert_allclose(found["answer_error"][:, 0], expected, rtol=1e-4)
    assert found["answer_error"].shape == (4, 2) and "log_likelihood" not in found
    assert (found["answer_distance"] >= 0).all()
