"""The loop over steps that every training is: the program's and the estimator's.

A `Trainer` takes steps, sets the anchors from data where the warm-up ends, and ends a run that cannot
go on. What else is due after a step is up to who iterates over them.
"""

from collections.abc import Callable, Generator
from functools import partial
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from nvc_jax.core.errors import DivergedError, UserError
from nvc_jax.core.logs import logger
from nvc_jax.core.options import steps_of
from nvc_jax.data import Hints, IterableSource, Source, train_batches
from nvc_jax.data.base.neighbors import leading_components, neighbor_ids
from nvc_jax.data.base.source import BatchSource
from nvc_jax.model.guidance import UNKNOWN, Guidance
from nvc_jax.model.nebulae import Nebulae, measure_nebulae
from nvc_jax.training.encoding import encode_source
from nvc_jax.training.experiment import Experiment
from nvc_jax.training.logging import Progress
from nvc_jax.training.parallel import Devices
from nvc_jax.training.placing import Placed, examples_for_anchors, place_anchors, set_anchors
from nvc_jax.training.state import TrainState, find_anchors, replace_anchors
from nvc_jax.training.step import culprits_of, eval_step, revive_step, train_step

SHOWN = ("loss", "anchors_used")


class Steps(NamedTuple):
    """The steps of an experiment, compiled for some devices at their first use.

    Attributes:
      experiment: what the config made, for the devices' axis.
      devices: where they run.
      train: see `train_step`; the state is donated.
      evaluate: see `eval_step`.
      revive: see `revive_step`; the state is donated.
    """

    experiment: Experiment
    devices: Devices
    train: Callable[..., Any]
    evaluate: Callable[..., Any]
    revive: Callable[..., Any]


def make_steps(experiment: Experiment, devices: Devices, **compiler_options: Any) -> Steps:
    """The steps; `compiler_options` are those of the training step on one device."""
    return Steps(
        experiment,
        devices,
        devices.map_step(
            partial(train_step, experiment=experiment), donate_state=True, **compiler_options
        ),
        devices.map_step(partial(eval_step, experiment=experiment)),
        devices.map_step(partial(revive_step, experiment=experiment), donate_state=True),
    )


class Trainer:
    """The mutable side of a training.

    Args:
      config: the config, whose seed decides the order of examples and k-means.
      steps: the steps.
      source: the training data.
      state: the state to go on from, on the host.
      guidance: what is known of the examples' anchors.
      neighbors: of the examples, as `find_neighbors` gives them, where they are known.

    Attributes:
      step: number of steps taken, as in the state; asking the device would wait for it.
      anchors_set: whether the anchors are set, as in the state.
      state: the state on the devices.
      neighbors: of the examples, from the first step on.
      hints: anchors that are given to examples, or None.
      bar: the progress bar of the present `run`.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        steps: Steps,
        source: Source | IterableSource,
        state: TrainState,
        guidance: Guidance | None = None,
        neighbors: np.ndarray | None = None,
    ):
        self.config, self.steps, self.source = config, steps, source
        self.experiment, self.devices = steps.experiment, steps.devices
        self.step, self.anchors_set = int(state.step), bool(state.anchors_step >= 0)
        self.state: Any = self.devices.replicate(state)
        self.bar = Progress(0, 0, enabled=False)
        self.guidance = guidance
        self.neighbors = neighbors
        self.hints: Hints | None = None
        if guidance is not None or config.anchors.init == "merge":
            self.hints = self._no_hints()
        if guidance is not None and self.anchors_set:
            self.hints = self._no_hints()._replace(known=guidance.labels)

    def run(
        self,
        last: int,
        stop: Callable[[int], bool] = lambda step: False,
        *,
        progress: bool = False,
    ) -> Generator[tuple[Any, Any], None, None]:
        """Takes steps until the last one or a request to stop.

        Args:
          last: number of steps to have taken in the end.
          stop: asked with the number of steps taken, before the next one is begun.
          progress: show a progress bar, or lines where no terminal is.

        Yields:
          (batch, metrics) on the devices after every step; nothing waits for them here.

        Raises:
          DivergedError: if too many steps in a row were not finite when the anchors are to be set.
        """
        batches = self._batches()
        size = self.config.train.batch_size
        self.bar = Progress(last, self.step, size, enabled=progress)
        try:
            while self.step < last and not stop(self.step):
                if self.step >= self.experiment.warmup and not self.anchors_set:
                    self.check_finite()
                    self._set_anchors()
                    if self.hints is not None:  # batches have been read ahead without them
                        batches.close()
                        batches = self._batches()
                batch = self.devices.shard(next(batches))
                self.state, metrics = self.steps.train(self.state, batch)
                self.step += 1
                self.bar.advance()
                yield batch, metrics
        finally:
            batches.close()
            self.bar.close()

    def _batches(self) -> Generator[dict[str, np.ndarray], None, None]:
        """This process's batches from the present step on, without an end."""
        data = self.config.data
        if self.neighbors is None:  # found at the first step: a finished run is only opened
            self.neighbors = find_neighbors(self.source, self.experiment, self.config, self.devices)
        batches = train_batches(
            self.source,
            self.config.train.batch_size,
            seed=self.config.seed,
            start_step=self.step,
            process_index=self.devices.process_index(),
            process_count=self.devices.process_count(),
            num_threads=data.num_threads,
            num_workers=data.num_workers,
            neighbors=self.neighbors,
            hints=self.hints,
        )
        try:
            for batch in batches:
                self.experiment.task.check_batch(batch)
                yield batch
        finally:
            batches.close()

    def _no_hints(self) -> Hints:
        """No anchor is given to any example."""
        count = len(self.source) if isinstance(self.source, Source) else 0
        nothing = np.full(count, UNKNOWN, np.int32)
        return Hints(nothing, nothing, 0)

    def _set_anchors(self) -> None:
        """After the warm-up: anchors from encoded training data, moments cleared."""
        merging = self.config.anchors.init == "merge"
        source, ids = examples_for_anchors(
            self.source, self.config, self.guidance, everything=merging
        )
        encoded, state, nothing = self.encode(source), self.host_state(), self._no_hints()
        codes = encoded.get("relative", encoded["mean"])
        anchors = np.asarray(find_anchors(state.params))

        def place() -> Placed:
            inputs = None
            if merging and self.config.anchors.merge_inputs:
                features = features_of(source, self.experiment)
                inputs = leading_components(features, self.config.seed)
            return place_anchors(
                codes, ids, len(nothing.known), self.config,
                neighbors=self.neighbors, inputs=inputs, guidance=self.guidance,
            )  # fmt: skip

        placed = self.devices.on_first_process(
            place, Placed(anchors, np.asarray(state.shares), nothing.known, nothing.held)
        )
        if self.hints is not None:
            hold = steps_of(self.config.anchors.hold, self.config.train.num_steps)
            self.hints = Hints(placed.known, placed.held, self.step + hold)
        self.state = self.devices.replicate(set_anchors(state, placed, self.experiment))
        self.anchors_set = True

    def recenter(self) -> None:
        """At the end of a run: anchors to the means of their codes, and the codes' spread around them.

        In training codes are those of augmented examples, and the triplet term draws them past their
        anchors: they end beside them. The parameters of the network stay as they are.
        """
        options = self.config.anchors
        if not (options.recenter and options.train and self.anchors_set):
            return
        if self.experiment.choice is not None:  # the prior says where codes are, and their spread
            return
        encoded = self.encode(examples_for_anchors(self.source, self.config)[0])
        state, finite = self.host_state(), np.isfinite(encoded["mean"]).all(axis=1)
        if not finite.any():
            return
        anchors = np.asarray(find_anchors(state.params))
        codes, assignment = encoded["mean"][finite], encoded["assignment"][finite]
        found = self.devices.on_first_process(
            lambda: measure_nebulae(codes, assignment, anchors),
            Nebulae(anchors, np.asarray(state.scales), np.asarray(state.shares)),
        )
        state = state.replace(
            params=replace_anchors(state.params, found.centers),
            scales=found.scales,
            shares=found.shares,
        )
        self.state = self.devices.replicate(state)

    def revive(self, batch: Any) -> None:
        """Moves dead anchors onto examples of a batch on the devices; see `revive_step`."""
        self.state, revived = self.steps.revive(self.state, batch)
        count = int(self.devices.unreplicate(revived))
        if count:
            logger.info("Step %d: revived %d dead anchors.", self.step, count)

    def encode(self, source: Source) -> dict[str, np.ndarray]:
        """Evaluates every example of a source; see `encode_source`."""
        size = self.config.eval.batch_size
        return encode_source(self.steps.evaluate, self.state, source, size, devices=self.devices)

    def show(self, metrics: Any) -> dict[str, float]:
        """Fetches a step's metrics, waiting for the device, and shows some beside the bar."""
        values = {k: float(v) for k, v in self.devices.unreplicate(metrics).items()}
        self.bar.show(values, SHOWN)
        return values

    def host_state(self) -> TrainState:
        """A copy of the state on the host."""
        return self.devices.unreplicate(self.state)

    def check_finite(self) -> None:
        """Ends a run whose steps are not finite; waits for the device.

        Raises:
          DivergedError: if the state stands still for good.
        """
        skipped = int(self.devices.unreplicate(self.state.skipped_in_a_row))
        if skipped < self.experiment.max_skipped:
            return
        state = self.host_state()
        raise DivergedError(
            f"Stopped at step {int(state.step)}: {self.experiment.max_skipped} steps in a row were "
            f"not finite, because of {' and '.join(culprits_of(self.experiment, state))}; check the "
            "data for NaN, or lower the learning rate."
        )


def features_of(source: Source, experiment: Experiment) -> np.ndarray:
    """What the task gives as features of the inputs, of every example, `[N, F]`."""
    return experiment.task.features(source.gather(np.arange(len(source))))


def find_neighbors(
    source: Source | IterableSource,
    experiment: Experiment,
    config: ml_collections.ConfigDict,
    devices: Devices,
) -> np.ndarray | None:
    """Neighbors of the training examples, int32 `[N, k]`, all others where there are fewer; or None.

    They are found once, in what the task gives as features of the inputs, and thus are those of the
    whole run, however often it is resumed.

    Raises:
      UserError: if the examples have no numbers, or the task no features.
    """
    if not config.anchors.neighbors:
        return None
    if isinstance(source, BatchSource):
        raise UserError(
            "anchors.neighbors needs training examples that can be asked for by number, and "
            f"{type(source).__name__} only has batches: give a source, or set anchors.neighbors=0."
        )

    count = min(config.anchors.neighbors, len(source) - 1)
    if not count:
        return None

    def find() -> np.ndarray:
        return neighbor_ids(features_of(source, experiment), count, config.seed)

    return devices.on_first_process(find, np.zeros((len(source), count), np.int32))
