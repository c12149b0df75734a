"""One training step on one device and on eight, as a run takes it."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import ml_collections
import numpy as np

from nvc_jax.training import parallel
from nvc_jax.training.experiment import Experiment, abstract_state, make_experiment
from nvc_jax.training.step import train_step
from tests.networks.test_images import fill
from tests.training.test_devices import largest_change


class Step(NamedTuple):
    """A step that one device and eight have taken alike, before and after the anchors are set.

    Attributes:
      alone: the experiment of one device.
      start: the state before, without anchors.
      warmup: metrics of the step in the warm-up.
      metrics: metrics of the step with anchors.
    """

    alone: Experiment
    start: Any
    warmup: dict[str, Any]
    metrics: dict[str, Any]


def step_of_one_and_eight(
    config: ml_collections.ConfigDict,
    spec: Mapping[str, Any],
    batch: dict[str, np.ndarray],
    learned: Mapping[str, bytes] | None = None,
) -> Step:
    """Takes a step of a run on one device and on eight, and compares what comes of it.

    With Adam, whose first step is the gradient's sign, its moments are compared in place of the
    parameters. Where a run of the same config and batch size came before, eight devices take its
    compiled step from the cache.
    """
    experiments = [make_experiment(config, spec, name, learned) for name in (None, parallel.AXIS)]
    steps = [partial(train_step, experiment=experiment) for experiment in experiments]
    single, mapped = jax.jit(steps[0]), parallel.map_step(steps[1], donate_state=True)
    start = abstract_state(experiments[0], config)
    params = fill(start.params)  # zeros and these take no time to compile
    start = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), start)
    start = start.replace(params=params, anchors_step=np.int32(-1))
    assert parallel.device_count() == 8
    measured = []
    for state in (start, start.replace(anchors_step=np.int32(0))):
        with jax.numpy_dtype_promotion("standard"):  # optax's Adam needs it
            expected, metrics = jax.device_get(single(state, batch))
            found = jax.device_get(mapped(parallel.replicate(state), parallel.shard(batch)))
        for leaf in jax.tree.leaves(found):
            assert leaf.tobytes() == leaf[0].tobytes() * 8
        found, same = jax.tree.map(lambda leaf: leaf[0], found)
        chex.assert_trees_all_close(same, metrics, rtol=1e-5, atol=1e-6)
        assert largest_change(start.params, expected.params) > 1e-3
        part = "params" if config.optimizer.name == "sgd" else "opt_state"
        chex.assert_trees_all_close(
            getattr(found, part), getattr(expected, part), rtol=0, atol=1e-6
        )
        measured.append(metrics)
    return Step(experiments[0], start, *measured)
