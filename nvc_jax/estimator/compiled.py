"""The compiled functions of an estimator's config: one compilation serves all seeds and sizes.

Training is that of `nvc_jax.training.trainer`, on one device and without a work directory.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from nvc_jax.config import from_json
from nvc_jax.data import FieldSpec, Source
from nvc_jax.model.guidance import Guidance
from nvc_jax.training.encoding import decode_in_blocks, encode_source
from nvc_jax.training.experiment import abstract_state, init_state, make_experiment
from nvc_jax.training.parallel import OneDevice
from nvc_jax.training.state import TrainState
from nvc_jax.training.trainer import Steps, Trainer, make_steps

# Compilation takes longer than a short run: the initialization, which runs once, and the step of
# few steps get no optimization, and other steps a little, which makes their compilation a third shorter
# and them a sixth slower.
_LEVEL = "xla_backend_optimization_level"
_FEW_STEPS = 200

FIELDS = {"table": "features", "image": "image", "counts": "counts"}
"""By task, whose examples are one float32 array and the label."""


class Compiled(NamedTuple):
    """What the fits of one config share.

    Attributes:
      config: the config; its seed is not looked at.
      field: name of the examples' array.
      steps: the steps, on one device.
      init: seed → state of step 0.
      decode_sample: (state, latent vectors `[B, D]`) → the decoder's output.
    """

    config: ml_collections.ConfigDict
    field: str
    steps: Steps
    init: Callable[[int], TrainState]
    decode_sample: Callable[..., Any]

    def empty_state(self) -> TrainState:
        """Shapes and dtypes of the state."""
        return abstract_state(self.steps.experiment, self.config)

    def _trainer(self, state: TrainState, source: Source, seed: int, *known: Any) -> Trainer:
        """A trainer with a seed of its own; see there for what is known."""
        config = self.config.copy_and_resolve_references()
        config.seed = seed
        return Trainer(config, self.steps, source, state, *known)

    def train(
        self,
        state: TrainState,
        source: Source,
        num_steps: int,
        *,
        seed: int,
        progress: bool,
        guidance: Guidance | None = None,
        neighbors: np.ndarray | None = None,
    ) -> tuple[TrainState, np.ndarray | None]:
        """Takes further steps; the seed decides the order of examples and k-means.

        Returns:
          (the state; the anchors that were given by guidance, int32 `[N]`, -1 where none was, or None).

        Raises:
          DivergedError: if too many steps in a row were not finite.
        """
        trainer = self._trainer(state, source, seed, guidance, neighbors)
        last, every = trainer.step + num_steps, self.config.train.log_every
        for _, metrics in trainer.run(last, progress=progress):
            if progress and (trainer.step % every == 0 or trainer.step == last):
                trainer.show(metrics)
        trainer.check_finite()
        trainer.recenter()
        return trainer.host_state(), None if trainer.hints is None else trainer.hints.known

    def warm_up(
        self, state: TrainState, source: Source, *, seed: int, progress: bool
    ) -> tuple[TrainState, np.ndarray | None]:
        """Takes the steps before anchors are set: those of an autoencoder.

        Returns:
          (the state; the examples' neighbors, as `train` takes them).

        Raises:
          DivergedError: if too many steps in a row were not finite.
        """
        trainer = self._trainer(state, source, seed)
        for _ in trainer.run(self.steps.experiment.warmup, progress=progress):
            pass
        trainer.check_finite()
        return trainer.host_state(), trainer.neighbors

    def encode(self, state: TrainState, source: Source) -> dict[str, np.ndarray]:
        """See `encode_source`."""
        size, devices = self.config.eval.batch_size, self.steps.devices
        return encode_source(self.steps.evaluate, state, source, size, devices=devices)

    def features(self, source: Source, ids: np.ndarray) -> np.ndarray:
        """Some inputs as vectors, `[n, F]`."""
        return self.steps.experiment.task.features(source.gather(ids))

    def decode(self, state: TrainState, sample: np.ndarray) -> np.ndarray:
        """The decoder's output for latent vectors `[N, D]`."""
        decode = functools.partial(self.decode_sample, state)
        return decode_in_blocks(decode, sample, self.config.eval.batch_size)


@functools.lru_cache(maxsize=32)
def compile_config(text: str, shape: tuple[int, ...]) -> Compiled:
    """The compiled functions of a config; those of the latest configs are kept.

    Args:
      text: JSON of `to_json`, of a task of `FIELDS`.
      shape: of an example.

    Raises:
      UserError: for a value that the config's keys do not allow.
    """
    config = from_json(text, "the estimator's config")
    field = FIELDS[config.task]
    spec = {
        field: FieldSpec(shape, np.dtype(np.float32)),
        "label": FieldSpec((), np.dtype(np.int32)),
    }
    experiment = make_experiment(config, spec, OneDevice.axis_name)

    def init(seed: jax.Array) -> TrainState:
        seeded = config.copy_and_resolve_references()
        with seeded.ignore_type():
            seeded.seed = seed  # an argument: one compilation serves all seeds
        return init_state(experiment, seeded)

    def decode(state: TrainState, sample: jax.Array) -> Any:
        return experiment.apply(state, sample, method="decode")

    level = {_LEVEL: int(config.train.num_steps > _FEW_STEPS)}
    return Compiled(
        config,
        field,
        make_steps(experiment, OneDevice(), **level),
        jax.jit(init, compiler_options={_LEVEL: 0}),
        jax.jit(decode),
    )
