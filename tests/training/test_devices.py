"""The same global batch gives the same update on any number of devices, whole or in microbatches.

The reference is the plain step: one device, no mapped axis, the batch in one piece.
"""

import dataclasses
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.data import NEIGHBOR, ArraySource
from nvc_jax.training import parallel
from nvc_jax.training.encoding import encode_source, means_of
from nvc_jax.training.experiment import ActiveTerm, init_state, make_experiment
from nvc_jax.training.state import find_anchors, replace_anchors
from nvc_jax.training.step import eval_step, revive_step, train_step

SIZE = 16
KIND = np.array([0, 0, 1, 3, 2, 0, 3, 3, 1, 1, 2, 0, 3, 2, 2, 1])
ONE_OF_EACH = np.array([0, 2, 4, 3])

# What the compared configs change in `small_config`.
CHANGES: dict[str, dict[str, Any]] = {
    "terms": {},
    "one anchor": {"model.num_anchors": 1},
    "options": {
        "model.condition_on_assignment": True,
        "augment.shift": 0.5,
        "augment.rotation": 0.2,
        "anchors.shares": "learned",
        "anchors.learn_from": 0.0,
    },
}
CHANGES["batch_norm"] = {**CHANGES["options"], "model.batch_norm": True}

# Further forms, each as a term of its own: one compiled step serves them all.
FORMS: dict[str, tuple[str, dict[str, str]]] = {
    "triplet_ratio": ("triplet", {"triplet_form": "ratio"}),
    "triplet_hinge_hard": ("triplet", {"triplet_form": "hinge", "triplet_mining": "hard"}),
    "triplet_hinge_all": ("triplet", {"triplet_form": "hinge", "triplet_mining": "all"}),
    "gravity_paper": ("gravity", {"gravity_form": "paper"}),
}
VAE = {"reconstruction": 0.05, "kl": 0.3}
ALL_TERMS = {**VAE, "triplet": 0.3, "gravity": 0.01, "pull": 0.1}

# A config, and the weights of its terms, 0 where none is given.
CASES: dict[str, tuple[str, dict[str, float]]] = {
    "reconstruction (autoencoder)": ("terms", {"reconstruction": 0.05}),
    "kl": ("terms", {"kl": 0.3}),
    "triplet, anchor": ("terms", {"triplet": 0.3}),
    "triplet, ratio": ("terms", {"triplet_ratio": 1.0}),
    "triplet, hinge-hard": ("terms", {"triplet_hinge_hard": 0.3}),
    "triplet, hinge-all": ("terms", {"triplet_hinge_all": 0.3}),
    "gravity, bounded": ("terms", {"gravity": 0.01}),
    "gravity, paper": ("terms", {"gravity_paper": 1e-3}),
    "pull": ("terms", {"pull": 1.0}),
    "NVC": ("terms", ALL_TERMS),
    "NVC of the paper": (
        "terms",
        {**VAE, "triplet_ratio": 0.3, "gravity_paper": 1e-3, "pull": 0.1},
    ),
    "VAE": ("one anchor", VAE),
    "NVC, options": ("options", ALL_TERMS),
    "NVC, options and batch_norm": ("batch_norm", ALL_TERMS),
    "VAE, batch_norm": ("batch_norm", VAE),
    "autoencoder, batch_norm": ("batch_norm", {"reconstruction": 0.05}),
}
TERM_CASES = [name for name, case in CASES.items() if case[0] == "terms"]
OTHER_CASES = [name for name in CASES if name == "VAE" or "batch_norm" in name]


def with_forms(terms: tuple[ActiveTerm, ...]) -> tuple[ActiveTerm, ...]:
    """The terms, and further forms of them beside, without metrics of their own."""
    active = {active.term.name: active for active in terms}

    def other(name: str, like: ActiveTerm, keywords: dict[str, str]) -> ActiveTerm:
        def value_alone(inputs: Any, **keywords: Any) -> Any:
            found = like.term.function(inputs, **keywords)
            return found[0] if isinstance(found, tuple) else found

        term = dataclasses.replace(like.term, name=name, function=value_alone)
        return like._replace(term=term, keywords={**like.keywords, **keywords})

    return (*terms, *(other(name, active[like], keys) for name, (like, keys) in FORMS.items()))


class Taken(NamedTuple):
    """A state, and what the step made of it."""

    before: Any
    after: Any
    metrics: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def batch() -> dict[str, np.ndarray]:
    """Images of four kinds: a shard of two sees one or two of them."""
    rng = np.random.default_rng(0)
    kinds, noise = rng.integers(0, 2, (4, 6, 6, 1)), rng.random((SIZE, 6, 6, 1), np.float32)
    images = (0.8 * kinds[KIND] + 0.2 * noise).astype(np.float32)
    return ArraySource(images).gather(np.arange(SIZE))


class Setup:
    """Experiments of the compared configs, and the state that all of one config begin with.

    Weights are tables that the state's step looks up: one compiled step serves many cases.
    """

    def __init__(self, make_config: Callable[[], Any], batch: dict[str, np.ndarray]):
        self.make_config, self.batch = make_config, batch
        self.start = cache(self._start)
        self.step = cache(self._step)

    def experiment(self, changes: str, axis_name: str | None = None, microbatches: int = 1) -> Any:
        config = self._config(changes)
        config.train.microbatches = microbatches
        experiment = make_experiment(config, ArraySource(self.batch["image"]).spec, axis_name)
        terms = with_forms(experiment.terms) if changes == "terms" else experiment.terms

        def looked_up(active: ActiveTerm) -> ActiveTerm:
            name = active.term.name
            table = jnp.asarray([weights.get(name, 0.0) for _, weights in CASES.values()])
            return active._replace(schedule=table.__getitem__)

        return experiment._replace(terms=tuple(map(looked_up, terms)))

    def _config(self, changes: str) -> Any:
        config = self.make_config()
        config.anchors.init = "spread"
        config.loss.gravity_radius = 3.0
        config.optimizer.name, config.optimizer.learning_rate = "sgd", 0.1
        config.optimizer.warmup = 0.0
        config.update_from_flattened_dict(CHANGES[changes])
        return config

    def _start(self, changes: str) -> Any:
        """The first state, with anchors on examples of every kind: all are in use."""
        experiment, config = self.experiment(changes), self._config(changes)

        @jax.jit
        def make() -> Any:
            state = init_state(experiment, config)
            inputs = experiment.task.prepare(jax.tree.map(jnp.asarray, self.batch))
            mean = experiment.apply(state, inputs, method="encode").mean
            anchors = mean[ONE_OF_EACH[: config.model.num_anchors]]
            return state.replace(params=replace_anchors(state.params, anchors))

        return jax.device_get(make())

    def _step(self, changes: str, devices: int, microbatches: int) -> Callable[..., Any]:
        axis_name = parallel.AXIS if devices else None
        experiment = self.experiment(changes, axis_name, microbatches)
        return over(devices, partial(train_step, experiment=experiment))

    def take(self, case: str, devices: int = 0, microbatches: int = 1) -> Taken:
        """Takes one step of a case; 0 devices: the plain step, without a mapped axis."""
        changes = CASES[case][0]
        state = self.start(changes).replace(step=np.int32(list(CASES).index(case)))
        batch = self.batch
        if "anchors.shares" in CHANGES[changes]:
            state = state.replace(shares=np.array([0.5, 0.2, 0.2, 0.1], np.float32))
            batch = {**batch, NEIGHBOR + "image": np.roll(batch["image"], 1, axis=0)}
        return Taken(state, *self.step(changes, devices, microbatches)(state, batch))


@pytest.fixture(scope="module")
def setup(make_config, batch) -> Setup:
    return Setup(make_config, batch)


def over(devices: int, step: Callable[..., Any]) -> Callable[..., Any]:
    """The step as a function of one state and the global batch; 0 devices: no mapped axis.

    What it returns has to be the same bits on all devices.
    """
    if devices == 0:
        compiled = jax.jit(step)
        return lambda state, batch: jax.device_get(compiled(state, batch))
    mapped = jax.pmap(step, axis_name=parallel.AXIS, devices=jax.devices()[:devices])

    def call(state, batch):
        states = jax.tree.map(lambda x: np.stack([x] * devices), state)
        shards = jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)
        replicas = jax.device_get(mapped(states, shards))
        for leaf in jax.tree.leaves(replicas):
            assert leaf.tobytes() == leaf[0].tobytes() * devices
        return jax.tree.map(lambda leaf: leaf[0], replicas)

    return call


def largest_change(before: Any, after: Any) -> float:
    return max(jax.tree.leaves(jax.tree.map(lambda a, b: np.abs(a - b).max(), before, after)))


def assert_same(found: Taken, expected: Taken) -> None:
    """Same loss terms, gradient (by the update of SGD), statistics and use of the anchors."""
    assert largest_change(found.after.params, expected.after.params) <= 1e-6
    chex.assert_trees_all_close(
        found.after.batch_stats, expected.after.batch_stats, rtol=0, atol=1e-6
    )
    np.testing.assert_array_equal(found.after.last_used, expected.after.last_used)
    np.testing.assert_array_equal(found.after.shares, expected.after.shares)
    chex.assert_trees_all_close(found.metrics, expected.metrics, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_the_reference_can_tell_a_difference(setup, case):
    """The case's terms alone make the loss, and move the parameters; shards are unlike."""
    before, after, metrics = setup.take(case)
    weights = CASES[case][1]
    np.testing.assert_allclose(
        metrics["loss"], sum(weight * metrics[term] for term, weight in weights.items()), rtol=1e-5
    )
    assert all(metrics[term] != 0 for term in weights)
    assert largest_change(before.params, after.params) > 1e-3
    if "batch_norm" in case:
        assert largest_change(before.batch_stats, after.batch_stats) > 1e-3


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("case", TERM_CASES)
def test_same_update_of_every_term_on_any_number_of_devices(setup, case, devices):
    assert_same(setup.take(case, devices), setup.take(case))


@pytest.mark.parametrize("case", OTHER_CASES)
def test_same_update_of_every_kind_of_model_on_devices(setup, case):
    assert_same(setup.take(case, 8), setup.take(case))


@pytest.mark.parametrize("case", TERM_CASES)
def test_same_update_of_every_term_in_two_microbatches(setup, case):
    assert_same(setup.take(case, microbatches=2), setup.take(case))


def test_same_update_in_microbatches_on_devices(setup):
    case = "NVC, options"
    assert_same(setup.take(case, devices=4, microbatches=2), setup.take(case))


def test_revival_on_any_number_of_devices_places_the_same_anchors(setup, batch):
    start, revived = setup.start("terms"), {}
    for devices in (0, 8):
        experiment = setup.experiment("terms", parallel.AXIS if devices else None)
        state = start.replace(step=np.int32(10), last_used=np.array([10, 0, 9, 0], np.int32))
        found, count = over(devices, partial(revive_step, experiment=experiment))(state, batch)
        assert count == 2
        revived[devices] = found
    for found in revived.values():
        chex.assert_trees_all_close(found.params, revived[0].params, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(found.last_used, [10, 10, 9, 10])
    moved = find_anchors(revived[0].params) != find_anchors(start.params)
    np.testing.assert_array_equal(moved.all(axis=1), [False, True, False, True])


def test_means_over_padded_shards_are_the_means_over_the_examples(setup, batch):
    """Ten examples on eight devices: six of sixteen places are padding."""
    experiment, start = setup.experiment("terms"), setup.start("terms")
    image = batch["image"][:10]
    step = partial(eval_step, experiment=experiment)
    found = means_of(
        encode_source(parallel.map_step(step), parallel.replicate(start), ArraySource(image), 16)
    )
    alone = jax.device_get(jax.jit(step)(start, {"image": image}))
    for name in ("reconstruction", "kl", "squared_error"):
        assert found[name] == pytest.approx(alone[name].astype(np.float64).mean(), rel=1e-6)
