"""The host side of training: data in, steps, logs, evaluation and checkpoints out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from nvc_jax.config import changed, differences
from nvc_jax.core.errors import DivergedError, UserError
from nvc_jax.core.logs import logger
from nvc_jax.core.options import leaves
from nvc_jax.data import IterableSource, Source, subset, train_batches
from nvc_jax.tasks import Learned, open_examples, open_training
from nvc_jax.training import parallel, workdir
from nvc_jax.training.anchoring import centers_of, examples_for_anchors, set_anchors
from nvc_jax.training.checkpoint import BEST, Checkpoints
from nvc_jax.training.encoding import encode_source, latent_health, means_of
from nvc_jax.training.experiment import Experiment, init_state, make_experiment
from nvc_jax.training.logging import MetricWriter, Progress, purge_after
from nvc_jax.training.monitoring import show_examples, show_latents
from nvc_jax.training.optimizer import describe_groups
from nvc_jax.training.state import CULPRITS, TrainState, find_anchors
from nvc_jax.training.step import eval_step, predict_step, revive_step, train_step
from nvc_jax.training.stopping import StopRequest, listen_for_stop
from nvc_jax.training.warm_start import warm_start

SHOWN = ("loss", "anchors_used")


class TrainResult(NamedTuple):
    """How a run ended.

    Attributes:
      state: the last state on the host, unreplicated.
      stopped: why it ended before the last step; None if it did not.
      first_step_seconds: compilation and the first step.
      steps_per_second: after the first step, evaluation and checkpoints included.
    """

    state: TrainState
    stopped: str | None
    first_step_seconds: float
    steps_per_second: float


def train(
    config: ml_collections.ConfigDict,
    directory: str | Path,
    *,
    train_data: Source | Iterable[dict[str, np.ndarray]] | None = None,
    validation_data: Source | None = None,
    resume: str = "auto",
    resume_step: int | None = None,
    overwrite: bool = False,
    stop_after: int | None = None,
    init_from: str | Path | None = None,
    init_include: str = "",
    progress: bool = False,
) -> TrainResult:
    """Trains a model as the config says, and leaves a work directory that `evaluate` can open.

    Args:
      config: see `nvc_jax.config.make_config`.
      directory: the work directory.
      train_data: a source, or a re-iterable of dict batches; None opens what the config names.
      validation_data: a source; None takes the config's, or nothing where `train_data` is given.
      resume: `auto`, `never` or `must`.
      resume_step: go on from this checkpoint instead of the newest one that can be read. Either
        way, later ones are moved to `discarded/`.
      overwrite: delete an earlier run in the directory.
      stop_after: stop at this step as a preemption would.
      init_from: a fresh run takes parameters from the newest checkpoint of this work directory.
      init_include: only those whose name this regular expression is found in.
      progress: show a progress bar.

    Returns:
      The last state and how the run ended.

    Raises:
      UserError: for mistakes in config, data or directory.
      DivergedError: when too many steps in a row were not finite.
    """
    path = Path(directory).absolute()
    config = _with_absolute_paths(config)
    if train_data is not None:
        config = changed(config, {"data.source": "python"})
    first = parallel.process_index() == 0
    with contextlib.ExitStack() as held:

        def begin() -> tuple[Any, Source | None, Experiment, Learned, workdir.Claim | None]:
            resumes = bool(Checkpoints(path).steps()) and not overwrite
            learned: Learned = workdir.read_learned(path) if resumes else {}
            if train_data is None:
                source, learned = open_training(config, learned)
            else:
                source = _as_source(train_data)
            validation = validation_data
            wanted = config.data.get("validation_fraction", 1.0) > 0
            if train_data is None and validation is None and wanted:
                validation = open_examples(config, "validation", learned)
            parallel.check_batch_size(
                config.train.batch_size, "train.batch_size", config.train.microbatches
            )
            experiment = make_experiment(config, source.spec, parallel.AXIS, learned)
            ready = workdir.prepare(
                path, resume=resume, resume_step=resume_step, overwrite=overwrite
            )
            claim = held.enter_context(ready) if first else None
            return source, validation, experiment, learned, claim

        source, validation, experiment, learned, claim = parallel.all_or_none(begin)
        parallel.check_alike(_essence(config, source, validation))
        workdir.check_shared(path)
        run = _Run(config, path, claim, experiment, source, validation)
        if first:
            workdir.write_learned(path, learned)
        origin = None if init_from is None else Path(init_from).absolute()
        run.start(resume_step, origin, init_include)
        bar = Progress(config.train.num_steps, run.step, enabled=progress and first)
        with listen_for_stop(stop_after) as stop:
            return run.to_the_end(stop, bar)


def _essence(
    config: ml_collections.ConfigDict, source: Any, validation: Source | None
) -> dict[str, Any]:
    """What must be alike on all processes of a run; the data may lie in different places."""
    values = {name: value for name, value in leaves(config).items() if name != "data.dir"}
    sources = {"training": source, "validation": validation}
    for name, data in sources.items():
        if isinstance(data, Source):
            values[f"number of {name} examples"] = len(data)
    return {**values, "fields": {k: [*v.shape, v.dtype.name] for k, v in source.spec.items()}}


def _with_absolute_paths(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """A copy whose data folder is found from anywhere, as the saved config is read later."""
    folder = config.data.get("dir", "")
    return changed(config, {"data.dir": str(Path(folder).absolute())} if folder else {})


def _as_source(data: Any) -> Any:
    """The given training data; plain iterables are wrapped."""
    return data if isinstance(data, Source) else IterableSource(data)


class _Run:
    """The mutable side of one run."""

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        path: Path,
        claim: workdir.Claim | None,
        experiment: Experiment,
        source: Any,
        validation: Source | None,
    ):
        self.config, self.path, self.claim, self.experiment = config, path, claim, experiment
        self.source, self.validation = source, validation
        self.checkpoints = Checkpoints(path, config.train.keep)
        self.train_step = parallel.map_step(
            partial(train_step, experiment=experiment), donate_state=True
        )
        self.eval_step = parallel.map_step(partial(eval_step, experiment=experiment))
        self.revive_step = parallel.map_step(
            partial(revive_step, experiment=experiment), donate_state=True
        )
        self.writer: MetricWriter | None = None
        self.best = float("inf")
        self.step = 0
        self.state: Any = None
        self.anchors_ready = False  # as in the state; asking the device would wait for it

    def start(self, resume_step: int | None, init_from: Path | None, init_include: str) -> None:
        """Makes a fresh state or restores one; clears what is later than it out of the way."""
        fresh = jax.device_get(init_state(self.experiment, self.config))

        def make() -> TrainState:
            return fresh if init_from is None else warm_start(fresh, init_from, init_include)

        devices = parallel.device_count()
        found = self.checkpoints.restore(fresh, step=resume_step)
        if found is None:
            state = parallel.on_first_process(make, fresh)
            logger.info("Fresh run in %s on %d devices.", self.path, devices)
        else:
            state, step = found[0], int(found[0].step)
            logger.info("Resumed %s at step %d on %d devices.", self.path, step, devices)
        self.step, self.anchors_ready = int(state.step), bool(state.anchors_ready)
        self.state = parallel.replicate(state)
        self.checkpoints.discard_after(self.step)
        if found is not None and self.checkpoints.agreed_steps(BEST):
            self.best = found[1]["best"]
        if parallel.process_index() == 0:
            workdir.write_config(self.path, self.config)
            workdir.write_spec(self.path, self.experiment.task.batch_spec)
            purge_after(self.path, self.step)
            self.writer = MetricWriter(self.path)
        logger.info("Settings that differ from the defaults: %s", differences(self.config))
        groups = describe_groups(
            state.params, self.config.optimizer, train_anchors=self.config.anchors.train
        )
        logger.info("Parameter groups: %s.", groups)

    def to_the_end(self, stop: StopRequest, bar: Progress) -> TrainResult:
        """Steps until the last step or a request to stop, then saves and verifies."""
        train, began = self.config.train, self.step
        batches = self._batches()
        first_step_seconds, clock = 0.0, time.perf_counter()
        try:
            while self.step < train.num_steps and not stop.asked(self.step):
                if self.step >= self.experiment.warmup:
                    self._set_anchors_once()
                batch = parallel.shard(next(batches))
                self.state, metrics = self.train_step(self.state, batch)
                self.step += 1
                if self.step == began + 1:
                    jax.block_until_ready(metrics)
                    first_step_seconds = time.perf_counter() - clock
                    logger.info("First step, with compilation: %.1f s.", first_step_seconds)
                    clock = time.perf_counter()
                bar.advance()
                self._after_step(batch, metrics, bar, clock, began)
            elapsed = max(time.perf_counter() - clock, 1e-9)
            return self._finish(stop, first_step_seconds, max(self.step - began - 1, 0) / elapsed)
        except BaseException:
            with contextlib.suppress(UserError):  # the first error is the one to tell
                self.checkpoints.close()
            raise
        finally:
            batches.close()
            bar.close()
            if self.writer is not None:
                self.writer.close()

    def _after_step(
        self, batch: Any, metrics: Any, bar: Progress, clock: float, began: int
    ) -> None:
        """What is due after the step: log, revive, evaluate, save. Touches the device only then."""
        config, step = self.config, self.step
        last = step == config.train.num_steps
        if step % config.train.log_every == 0 or last or step == began + 1:
            self._log(metrics, bar, (step - began - 1) / max(time.perf_counter() - clock, 1e-9))
        if _due(step, config.anchors.revive_every) and config.anchors.train and not last:
            self.state, revived = self.revive_step(self.state, batch)
            count = int(parallel.unreplicate(revived))
            if count:
                logger.info("Step %d: revived %d dead anchors.", step, count)
        if self.validation is not None and (_due(step, config.train.eval_every) or last):
            self._evaluate(last)
        if _due(step, config.train.checkpoint_every) and not last:
            self._save()

    def _batches(self) -> Generator[dict[str, np.ndarray], None, None]:
        """This process's batches from the present step on, without an end."""
        data = self.config.data
        batches = train_batches(
            self.source,
            self.config.train.batch_size,
            seed=self.config.seed,
            start_step=self.step,
            process_index=parallel.process_index(),
            process_count=parallel.process_count(),
            num_threads=data.num_threads,
            num_workers=data.num_workers,
        )
        try:
            for batch in batches:
                self.experiment.task.check_batch(batch)
                yield batch
        finally:
            batches.close()

    def _set_anchors_once(self) -> None:
        """After the warm-up: anchors from k-means on encoded training data, moments cleared."""
        if self.anchors_ready:
            return
        self._check_alive()
        self.anchors_ready = True
        examples = examples_for_anchors(self.source, self.config)
        encoded = encode_source(self.eval_step, self.state, examples, self.config.eval.batch_size)
        state = parallel.unreplicate(self.state)
        centers = parallel.on_first_process(
            lambda: centers_of(encoded["mean"], self.config, self.step),
            np.zeros_like(find_anchors(state.params)),
        )
        self.state = parallel.replicate(set_anchors(state, centers, self.experiment))

    def _log(self, metrics: Any, bar: Progress, rate: float) -> None:
        """Fetches the step's metrics: the one place where the host waits for the device."""
        values = {name: float(value) for name, value in parallel.unreplicate(metrics).items()}
        if rate > 0:
            values["steps_per_second"] = rate
            if isinstance(self.source, Source):  # an iterable has batches of its own sizes
                values["examples_per_second"] = rate * self.config.train.batch_size
        bar.show(values, SHOWN)
        if self.writer is not None:
            self.writer.scalars(self.step, values)
        self._check_alive()

    def _check_alive(self) -> None:
        """Ends a run that cannot go on: its directory is gone, or its steps are not finite.

        The last checkpoint stays as it is.
        """
        if self.claim is not None:
            self.claim.check()
        skipped = int(parallel.unreplicate(self.state.skipped_in_a_row))
        if skipped < self.experiment.max_skipped:
            return
        state = parallel.unreplicate(self.state)
        guilty = [name for name, bad in zip(CULPRITS, state.culprits, strict=True) if bad]
        raise DivergedError(
            f"Stopped at step {int(state.step)}: {self.experiment.max_skipped} steps in a row were "
            f"not finite, because of {' and '.join(guilty)}; check the data for NaN, or lower "
            "optimizer.learning_rate."
        )

    def _evaluate(self, last: bool) -> None:
        """Validation means, anchor usage, and the best checkpoint; no label is used.

        After the last step also the task's figures: the predictions take a compilation of their own.
        """
        assert self.validation is not None
        encoded = encode_source(
            self.eval_step, self.state, self.validation, self.config.eval.batch_size
        )
        anchors = np.asarray(find_anchors(parallel.unreplicate(self.state.params)))
        summary = self.experiment.task.summary(encoded, self.validation)
        values = {**means_of(encoded), **summary, **latent_health(encoded, anchors)}
        values["anchors_dead"] = len(anchors) - values["anchors_used"]
        collapsed = values["anchor_perplexity"] < 1.5 < len(anchors)
        if self.step > self.experiment.warmup and collapsed:
            logger.warning(
                "Step %d: the latent space collapsed: %.0f %% of the validation examples belong to "
                "one anchor.", self.step, 100 * values["anchor_max_share"],
            )  # fmt: skip
        shown = self._predict_some() if last else None
        if self.writer is not None:
            self.writer.scalars(self.step, values, prefix="validation")
            show_latents(self.writer, self.step, encoded, anchors)
            if shown is not None:
                show_examples(self.writer, self.step, self.experiment.task, *shown)
        metric = self.config.train.best_metric
        if metric not in values:
            raise UserError(
                f"train.best_metric is {metric!r}: use one of {', '.join(sorted(values))}."
            )
        value = values[metric] if self.config.train.best_mode == "min" else -values[metric]
        if self.anchors_ready and value < self.best:
            self.best = value
            self._save(BEST)

    def _predict_some(self) -> tuple[dict[str, np.ndarray], np.ndarray] | None:
        """The first validation examples, and what the model makes of them."""
        assert self.validation is not None
        ids = np.arange(min(len(self.validation), self.config.eval.shown_examples))
        if not len(ids):
            return None
        step = parallel.map_step(partial(predict_step, experiment=self.experiment))
        outputs = encode_source(step, self.state, subset(self.validation, ids), len(ids))
        return self.validation.gather(ids), self.experiment.task.postprocess(outputs["output"])

    def _save(self, kind: str | None = None) -> TrainState:
        """Starts a checkpoint of the present state, which is copied to the host first."""
        self._check_alive()
        state = parallel.unreplicate(self.state)
        save: Callable[..., None] = self.checkpoints.save
        save(self.step, state, {"best": self.best}, **({} if kind is None else {"kind": kind}))
        return state

    def _finish(
        self, stop: StopRequest, first_step_seconds: float, steps_per_second: float
    ) -> TrainResult:
        """The last checkpoint, verified."""
        if self.step in self.checkpoints.agreed_steps():
            state = parallel.unreplicate(self.state)
        else:
            state = self._save()
        self.checkpoints.verify(self.step, state)
        self.checkpoints.close()
        if stop.reason:
            logger.info("Stopped at step %d by %s; saved.", self.step, stop.reason)
        else:
            logger.info("Finished at step %d.", self.step)
        return TrainResult(state, stop.reason, first_step_seconds, steps_per_second)


def _due(step: int, every: int) -> bool:
    """Whether something done every so many steps is due; 0 means never."""
    return every > 0 and step % every == 0
