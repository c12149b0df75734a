"""One step of the tasks on points gives the same update on one device and on eight."""

from __future__ import annotations

from functools import partial

import chex
import jax
import numpy as np
import pytest

from nvc_jax.data import FieldSource
from nvc_jax.metrics import chamfer
from nvc_jax.training import parallel
from nvc_jax.training.experiment import init_state, make_experiment
from nvc_jax.training.step import train_step
from tests.tasks import test_point_completion as completion
from tests.tasks import test_point_segmentation as segmentation

# The runs of these modules have compiled the step of eight devices already.
CASES = {
    "completion": (completion.run_config, completion.boxes),
    "segmentation": (segmentation.run_config, segmentation.shapes),
}


@pytest.mark.parametrize("case", CASES)
def test_one_device_and_eight_make_the_same_step(case, monkeypatch):
    monkeypatch.setattr(chamfer, "_CANDIDATES", completion.CANDIDATES)
    config, batch = CASES[case][0](), CASES[case][1](8)
    spec = FieldSource(batch).spec
    alone = make_experiment(config, spec, None)
    start = jax.device_get(init_state(alone, config)).replace(anchors_step=np.int32(0))
    expected, metrics = jax.device_get(jax.jit(partial(train_step, experiment=alone))(start, batch))
    assert parallel.device_count() == 8
    step = partial(train_step, experiment=make_experiment(config, spec, parallel.AXIS))
    mapped = parallel.map_step(step, donate_state=True)
    found = mapped(parallel.replicate(start), parallel.shard(batch))
    state, same_metrics = (parallel.unreplicate(tree) for tree in found)
    chex.assert_trees_all_close(state.params, expected.params, rtol=0, atol=1e-6)
    chex.assert_trees_all_close(same_metrics, metrics, rtol=1e-5, atol=1e-6)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), start.params, expected.params)
    assert max(jax.tree.leaves(moved)) > 1e-3
    assert metrics["weighted/reconstruction"] > 0 and metrics["weighted/kl"] > 0
