"""One step on eight devices: noise, skipped steps, revival. On other numbers: `test_devices.py`."""

from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.config import ramp
from nvc_jax.core.errors import UserError
from nvc_jax.data import ArraySource
from nvc_jax.model.losses import TERMS
from nvc_jax.tasks import TASKS
from nvc_jax.tasks.image import ImageTask
from nvc_jax.training import parallel
from nvc_jax.training.encoding import encode_source, means_of
from nvc_jax.training.experiment import init_state, make_experiment
from nvc_jax.training.state import find_anchors, replace_anchors
from nvc_jax.training.step import culprits_of, eval_step, revive_step, train_step

LIMIT = 3

PLAIN = tuple(name for name in TERMS if name != "own")  # that is of a conditional nebula


class RecordingTask(ImageTask):
    """Notes what the decoder was given."""

    samples: list[np.ndarray] = []  # noqa: RUF012

    def reconstruction(self, outputs, batch):
        jax.debug.callback(self.samples.append, outputs.latent.sample)
        return super().reconstruction(outputs, batch)


class Setup(NamedTuple):
    experiment: Any
    train_step: Any
    revive_step: Any
    start: Any
    batch: dict[str, np.ndarray]
    traces: list[int]

    def step(self, state, batch=None):
        """The next state, replicated, and the metrics of the first device as floats."""
        batch = self.batch if batch is None else batch
        state, metrics = self.train_step(state, parallel.shard(batch))
        return state, {k: float(v) for k, v in parallel.unreplicate(metrics).items()}

    def samples(self, state, batch):
        """What the decoder is given in one step, `[B, D]`."""
        RecordingTask.samples.clear()
        self.step(state, batch)
        jax.effects_barrier()
        return np.concatenate(RecordingTask.samples)


@pytest.fixture(scope="module")
def setup(make_config, make_images):
    """Every loss term, batch normalization and Adam."""
    config = make_config()
    config.task = "recording"
    config.anchors.init = "spread"
    config.model.batch_norm = True
    config.optimizer.warmup = 0.0
    config.optimizer.max_skipped = LIMIT
    config.loss.kl.update(ramp(1.0, over=1000))
    batch = ArraySource(make_images(16)).gather(np.arange(16))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, "recording", RecordingTask)
        experiment = make_experiment(config, ArraySource(batch["image"]).spec, parallel.AXIS)
    start = parallel.replicate(jax.device_get(init_state(experiment, config)))
    traces: list[int] = []

    def traced_step(state, batch):
        traces.append(1)
        return train_step(state, batch, experiment=experiment)

    return Setup(
        experiment,
        parallel.map_step(traced_step),
        parallel.map_step(partial(revive_step, experiment=experiment)),
        start,
        batch,
        traces,
    )


def at(state, **changes):
    """The replicated state with other values in some fields."""
    return parallel.replicate(parallel.unreplicate(state).replace(**changes))


def with_nan_pixel(batch):
    image = batch["image"].copy()
    image[11, 2, 3, 0] = np.nan
    return {**batch, "image": image}


def assert_replicas_equal(state):
    for leaf in jax.tree.leaves(state):
        copies = np.asarray(leaf)
        np.testing.assert_array_equal(copies, np.broadcast_to(copies[:1], copies.shape))


def test_step_compiles_once_for_new_restored_and_trained_states(setup):
    state = setup.start
    for _ in range(3):
        state, _ = setup.step(state)
    setup.step(at(state))
    assert len(setup.traces) == 1


def test_total_is_the_sum_of_weighted_terms(setup):
    _, metrics = setup.step(at(setup.start, step=np.int32(500)))
    for name in PLAIN:
        assert metrics[f"weighted/{name}"] == pytest.approx(
            metrics[f"weight/{name}"] * metrics[name], rel=1e-6
        )
    assert metrics["weight/kl"] == 0.5
    total = sum(metrics[f"weighted/{name}"] for name in PLAIN)
    assert metrics["loss"] == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize(("step", "weight"), [(0, 0.0), (250, 0.25), (251, 0.251), (5000, 1.0)])
def test_kl_weight_follows_the_global_step_and_raw_kl_is_told(setup, step, weight):
    _, metrics = setup.step(at(setup.start, step=np.int32(step)))
    assert metrics["weight/kl"] == pytest.approx(weight, abs=1e-7)
    assert metrics["kl"] > 0 and (metrics["weighted/kl"] > 0) == (weight > 0)


def test_weights_count_from_where_the_anchors_were_set(setup):
    _, metrics = setup.step(at(setup.start, step=np.int32(500), anchors_step=np.int32(400)))
    assert metrics["weight/kl"] == pytest.approx(0.1) and metrics["weight/reconstruction"] == 1


def test_warm_up_is_a_plain_autoencoder(setup):
    _, metrics = setup.step(at(setup.start, anchors_step=np.int32(-1), step=np.int32(500)))
    assert metrics["loss"] == metrics["reconstruction"] > 0
    assert metrics["triplet"] > 0 and all(
        metrics[f"weight/{name}"] == 0 for name in PLAIN if name != "reconstruction"
    )


def test_noise_differs_by_example_and_step_and_comes_from_the_seed(setup):
    same = {**setup.batch, "image": np.repeat(setup.batch["image"][:1], 16, axis=0)}
    state = at(setup.start, step=np.int32(500))
    found = setup.samples(state, same)
    assert len(np.unique(found, axis=0)) == 16
    both = np.concatenate([found, setup.samples(at(state, step=np.int32(501)), same)])
    assert len(np.unique(both, axis=0)) == 32
    again = setup.samples(state, same)
    np.testing.assert_array_equal(np.sort(again, axis=0), np.sort(found, axis=0))
    other_seed = jax.random.key_data(jax.random.key(1))
    both = np.concatenate([found, setup.samples(at(state, rng=other_seed), same)])
    assert len(np.unique(both, axis=0)) == 32


def test_step_with_one_bad_pixel_changes_nothing_but_counters(setup):
    state, _ = setup.step(setup.start)
    before, _ = setup.step(state)
    after, metrics = setup.step(before, with_nan_pixel(setup.batch))
    assert metrics["skipped_steps"] == 1
    old, new = parallel.unreplicate((before, after))
    for name in ("params", "batch_stats", "opt_state", "last_used", "rng"):
        chex.assert_trees_all_equal(getattr(new, name), getattr(old, name))
    assert (new.step, new.skipped_steps, new.skipped_in_a_row) == (3, 1, 1)
    assert culprits_of(setup.experiment, new)[0] == "reconstruction"
    assert_replicas_equal(after)
    trained, metrics = setup.step(after)
    trained = parallel.unreplicate(trained)
    assert metrics["skipped_steps"] == 1 and trained.skipped_in_a_row == 0
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), trained.params, new.params)
    assert moved["bottleneck"]["anchors"] and moved["bottleneck"]["mean"]["kernel"]
    chex.assert_tree_all_finite(trained)


def test_after_too_many_bad_steps_in_a_row_the_state_stands_still(setup):
    state = setup.start
    for _ in range(LIMIT + 2):
        state, _ = setup.step(state, with_nan_pixel(setup.batch))
    halted = parallel.unreplicate(state)
    assert halted.step == halted.skipped_steps == halted.skipped_in_a_row == LIMIT
    later = parallel.unreplicate(setup.step(state)[0])
    chex.assert_trees_all_equal(later, halted)
    chex.assert_trees_all_equal(later.params, parallel.unreplicate(setup.start).params)


def test_revival_moves_dead_anchors_and_clears_their_moments_only(setup):
    state, _ = setup.step(setup.start)
    state = at(state, step=np.int32(100), last_used=np.array([97, 0, 98, 100], np.int32))
    revived, count = setup.revive_step(state, parallel.shard(setup.batch))
    assert_replicas_equal(revived)
    old, new = parallel.unreplicate((state, revived))
    dead, alive = [0, 1], [2, 3]
    assert np.asarray(count).tolist() == [2] * 8
    encoded = setup.experiment.apply(
        jax.tree.map(jnp.asarray, old),
        setup.experiment.task.prepare(jax.tree.map(jnp.asarray, setup.batch)),
        method="encode",
    ).mean
    distance = np.abs(np.asarray(encoded)[None] - find_anchors(new.params)[dead][:, None])
    assert np.all(distance.sum(-1).min(1) < 1e-5)
    np.testing.assert_array_equal(new.last_used, [100, 100, 98, 100])
    adam_old, adam_new = old.opt_state[0], new.opt_state[0]
    for before, after in [(adam_old.mu, adam_new.mu), (adam_old.nu, adam_new.nu)]:
        assert np.all(find_anchors(after)[dead] == 0) and np.all(find_anchors(before)[dead] != 0)
        np.testing.assert_array_equal(find_anchors(after)[alive], find_anchors(before)[alive])
        chex.assert_trees_all_equal(replace_anchors(after, find_anchors(before)), before)
    np.testing.assert_array_equal(find_anchors(new.params)[alive], find_anchors(old.params)[alive])
    chex.assert_trees_all_equal(replace_anchors(new.params, find_anchors(old.params)), old.params)


def test_replicas_stay_equal_through_fifty_steps_with_revival(setup):
    state = setup.start
    rng = np.random.default_rng(0)
    revived = 0
    for step in range(50):
        batch = {**setup.batch, "image": rng.random((16, 6, 6, 1), np.float32)}
        if step == 20:  # one anchor far from everything
            params = parallel.unreplicate(state.params)
            anchors = find_anchors(params).copy()
            anchors[2] = 1e3
            state = at(state, params=replace_anchors(params, anchors))
        state, _ = setup.step(state, batch)
        if step % 4 == 3:
            state, count = setup.revive_step(state, parallel.shard(batch))
            revived += int(parallel.unreplicate(count))
    assert_replicas_equal(state)
    assert revived > 0
    assert np.abs(find_anchors(parallel.unreplicate(state.params))).max() < 100


def test_an_anchor_that_one_device_sees_is_alive(setup):
    image = np.zeros((16, 6, 6, 1), np.float32)
    image[15] = 1.0
    batch = {**setup.batch, "image": image}
    two = np.unique(setup.samples(setup.start, batch), axis=0)  # without noise at step 0
    anchors = np.stack([two[0], two[0] + 1e3, two[1], two[1] - 1e3])
    params = parallel.unreplicate(setup.start.params)
    state, _ = setup.step(at(setup.start, params=replace_anchors(params, anchors)), batch)
    assert_replicas_equal(state)
    np.testing.assert_array_equal(parallel.unreplicate(state.last_used), [1, 0, 1, 0])


def test_evaluation_counts_every_example_once_with_one_compilation(setup, make_images):
    images = make_images(26, seed=3)
    labels = np.arange(26, dtype=np.int32)

    @chex.assert_max_traces(n=1)
    def step(state, batch):
        return eval_step(state, batch, experiment=setup.experiment)

    mapped = parallel.map_step(step)
    few = encode_source(mapped, setup.start, ArraySource(images[:10], labels[:10]), 16)
    assert {len(values) for values in few.values()} == {10}
    np.testing.assert_array_equal(few["label"], labels[:10])
    many = encode_source(mapped, setup.start, ArraySource(images, labels), 16)
    np.testing.assert_array_equal(many["label"], labels)
    assert len(np.unique(many["mean"], axis=0)) == 26
    for name, values in few.items():  # neither padding nor neighbors change an example
        np.testing.assert_allclose(values, many[name][:10], rtol=1e-6, atol=1e-7)
    means = means_of(few)
    assert means["reconstruction"] == pytest.approx(few["reconstruction"].astype(np.float64).mean())
    assert {"kl", "squared_error"} <= means.keys() and not {"label", "mean"} & means.keys()


@pytest.mark.parametrize(
    ("size", "nearest"), [(10, "8 or 16"), (3, "8"), (0, "8"), (23, "16 or 24")]
)
def test_batches_that_do_not_divide_name_the_nearest_sizes(size, nearest):
    with pytest.raises(UserError, match=f"train.batch_size = {size} .* 8 devices.* {nearest}\\."):
        parallel.check_batch_size(size, "train.batch_size")


def test_batches_have_to_divide_into_microbatches_too():
    parallel.check_batch_size(48, "train.batch_size", 3)
    with pytest.raises(UserError, match=r"= 16 .* 8 devices in 3 microbatches.* 24, such as 24\."):
        parallel.check_batch_size(16, "train.batch_size", 3)


def test_a_ragged_batch_is_told():
    with pytest.raises(UserError, match=r"batch of 10 examples .* 8 devices"):
        parallel.shard({"image": np.zeros((10, 2))})


def test_sharding_keeps_the_order():
    batch = {"x": np.arange(32).reshape(16, 2)}
    sharded = parallel.shard(batch)
    assert sharded["x"].shape == (8, 2, 2)
    chex.assert_trees_all_equal(parallel.gather_to_host(sharded), batch)
