"""Training on arrays in memory, on one device, without a work directory: for many small runs.

The steps are those of `nvc_jax.training.step`. They are compiled once for each config and shape of the
data, whatever the seed and the number of examples.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from nvc_jax.config import from_json
from nvc_jax.core.errors import DivergedError
from nvc_jax.data import FieldSpec, Source, eval_batches, train_batches
from nvc_jax.training.anchoring import centers_of, examples_for_anchors, set_anchors
from nvc_jax.training.experiment import Experiment, abstract_state, init_state, make_experiment
from nvc_jax.training.logging import Progress
from nvc_jax.training.state import TrainState
from nvc_jax.training.step import eval_step, train_step

SHOWN = ("loss", "anchors_used")
# Compilation takes longer than a short run: the initialization, which runs once, and the step of
# few steps get no optimization, and other steps a little, which makes their compilation a third shorter
# and them a sixth slower.
_LEVEL = "xla_backend_optimization_level"
_FEW_STEPS = 200


class Compiled(NamedTuple):
    """What the runs of one config share.

    Attributes:
      config: the config; its seed is not looked at.
      experiment: what the config made.
      init: seed → state of step 0.
      train: see `train_step`; the state is donated.
      evaluate: see `eval_step`.
      decode: (state, latent vectors `[B, D]`) → the decoder's output.
    """

    config: ml_collections.ConfigDict
    experiment: Experiment
    init: Callable[[int], TrainState]
    train: Callable[..., Any]
    evaluate: Callable[..., Any]
    decode: Callable[..., Any]

    def empty_state(self) -> TrainState:
        """Shapes and dtypes of the state."""
        return abstract_state(self.experiment, self.config)


def compile_config(config: str, field: str, spec: FieldSpec) -> Compiled:
    """The compiled functions of a config; those of the latest configs are kept.

    Args:
      config: JSON of `to_json`, of a task whose examples are one array and the label.
      field: name of the array.
      spec: its shape and dtype.

    Raises:
      UserError: for a value that the config's keys do not allow.
    """
    return _compile(config, field, tuple(spec.shape), np.dtype(spec.dtype))


@functools.lru_cache(maxsize=32)
def _compile(text: str, field: str, shape: tuple[int, ...], dtype: np.dtype) -> Compiled:
    """See `compile_config`."""
    config = from_json(text, "the estimator's config")
    spec = {field: FieldSpec(shape, dtype), "label": FieldSpec((), np.dtype(np.int32))}
    experiment = make_experiment(config, spec, axis_name=None)

    def init(seed: jax.Array) -> TrainState:
        seeded = config.copy_and_resolve_references()
        with seeded.ignore_type():
            seeded.seed = seed  # an argument: one compilation serves all seeds
        return init_state(experiment, seeded)

    def decode(state: TrainState, sample: jax.Array) -> Any:
        return experiment.apply(state, sample, method="decode")

    return Compiled(
        config,
        experiment,
        jax.jit(init, compiler_options={_LEVEL: 0}),
        jax.jit(
            partial(train_step, experiment=experiment),
            donate_argnums=0,
            compiler_options={_LEVEL: int(config.train.num_steps > _FEW_STEPS)},
        ),
        jax.jit(partial(eval_step, experiment=experiment)),
        jax.jit(decode),
    )


def train_in_memory(
    compiled: Compiled,
    state: TrainState,
    source: Source,
    num_steps: int,
    *,
    seed: int,
    progress: bool = False,
) -> TrainState:
    """Takes training steps, and sets the anchors from data where the warm-up ends.

    Args:
      compiled: the functions.
      state: the state to go on from.
      source: the examples; the order is a function of seed and step.
      num_steps: how many.
      seed: of the order, and of k-means.
      progress: show a progress bar.

    Returns:
      The last state, on the host.

    Raises:
      DivergedError: if too many steps in a row were not finite.
    """
    config = compiled.config.copy_and_resolve_references()
    config.seed = seed
    step, anchors_ready = int(state.step), bool(state.anchors_ready)
    last = step + num_steps
    batches = train_batches(source, config.train.batch_size, seed=seed, start_step=step)
    bar = Progress(last, step, enabled=progress)
    try:
        while step < last:
            if step >= compiled.experiment.warmup and not anchors_ready:
                state, anchors_ready = _anchored(compiled, state, source, config, step), True
            state, metrics = compiled.train(state, next(batches))
            step += 1
            bar.advance()
            if progress and (step % config.train.log_every == 0 or step == last):
                bar.show({name: float(metrics[name]) for name in SHOWN}, SHOWN)
    finally:
        bar.close()
        batches.close()
    state = jax.device_get(state)
    if state.skipped_in_a_row >= compiled.experiment.max_skipped:
        raise DivergedError(
            f"Stopped at step {int(state.step)}: {compiled.experiment.max_skipped} steps in a row "
            "were not finite; lower the learning rate."
        )
    return state


def _anchored(
    compiled: Compiled,
    state: TrainState,
    source: Source,
    config: ml_collections.ConfigDict,
    step: int,
) -> TrainState:
    """The state with anchors from encoded examples."""
    mean = encode_in_memory(compiled, state, examples_for_anchors(source, config))["mean"]
    return set_anchors(jax.device_get(state), centers_of(mean, config, step), compiled.experiment)


def encode_in_memory(
    compiled: Compiled, state: TrainState, source: Source
) -> dict[str, np.ndarray]:
    """What `eval_step` gives for every example of a source, `[N, ...]` each, in its order."""
    parts = []
    for batch in eval_batches(source, compiled.config.eval.batch_size):
        mask = batch.pop("mask")
        del batch["id"]
        outputs = jax.device_get(compiled.evaluate(state, batch))
        parts.append({name: values[mask] for name, values in outputs.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def decode_in_memory(compiled: Compiled, state: TrainState, sample: np.ndarray) -> np.ndarray:
    """The decoder's output for latent vectors `[N, D]`, `[N, ...]`, in blocks of one size."""
    size = compiled.config.eval.batch_size
    padded = np.pad(np.asarray(sample, np.float32), ((0, -len(sample) % size), (0, 0)))
    blocks = padded.reshape(-1, size, padded.shape[1])
    outputs = [np.asarray(compiled.decode(state, block)) for block in blocks]
    return np.concatenate(outputs)[: len(sample)]
