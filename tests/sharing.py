"""Steps that runs of equal configs share, so that each is traced and lowered once in a process."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ml_collections
import pytest

from nvc_jax.core.options import leaves
from nvc_jax.evaluation import trained
from nvc_jax.model.losses import TERMS
from nvc_jax.tasks import TASKS
from nvc_jax.training import experiment, loop, parallel

# What an experiment does not depend on.
LEFT_OUT = {
    "seed",
    *(f"train.{name}_every" for name in ("log", "eval", "checkpoint")),
    *(f"train.{name}" for name in ("keep", "figures", "best_metric", "best_mode")),
}


@contextlib.contextmanager
def shared_steps() -> Iterator[None]:
    """Within it, `train` and `load` of a config that was there before take its compiled steps."""
    make_experiment, init_state = experiment.make_experiment, experiment.init_state
    map_step = parallel.map_step
    made: dict[Any, experiment.Experiment] = {}
    mapped: dict[Any, Callable[..., Any]] = {}
    states: dict[Any, Any] = {}

    def make_once(
        config: ml_collections.ConfigDict,
        spec: Mapping[str, Any],
        axis_name: str | None,
        learned: Mapping[str, bytes] | None = None,
    ) -> experiment.Experiment:
        settings = {k: v for k, v in leaves(config).items() if k not in LEFT_OUT}
        # Tests put tasks and terms of their own in place of others.
        known = (TASKS.get(config.task), tuple(TERMS.values()))
        key = repr((settings, dict(spec), axis_name, learned, known))
        if key not in made:
            made[key] = make_experiment(config, spec, axis_name, learned)
        return made[key]

    def map_once(step: Callable[..., Any], *, donate_state: bool = False) -> Callable[..., Any]:
        keywords = step.keywords if isinstance(step, functools.partial) else {}
        found = keywords.get("experiment")
        if not any(found is known for known in made.values()):
            return map_step(step, donate_state=donate_state)
        others = tuple((k, v) for k, v in keywords.items() if k != "experiment")
        key = (step.func, id(found), donate_state, others)  # type: ignore[attr-defined]
        if key not in mapped:
            mapped[key] = map_step(step, donate_state=donate_state)
        return mapped[key]

    def init_once(made_for: experiment.Experiment, config: ml_collections.ConfigDict) -> Any:
        if not any(made_for is known for known in made.values()):
            return init_state(made_for, config)
        key = (id(made_for), config.seed)
        if key not in states:
            states[key] = init_state(made_for, config)
        return states[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "init_state", init_once)
        for module in (loop, trained):
            patch.setattr(module, "make_experiment", make_once)
        patch.setattr(parallel, "map_step", map_once)
        yield
