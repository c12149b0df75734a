"""A run in a work directory: data in, logs, evaluation and checkpoints out."""

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from nvc_jax.config import changed, differences, to_json
from nvc_jax.core.errors import UserError
from nvc_jax.core.logs import logger
from nvc_jax.core.options import leaves
from nvc_jax.data import IterableSource, Source, subset
from nvc_jax.tasks import Learned, Task, open_examples, open_training
from nvc_jax.training import parallel, workdir
from nvc_jax.training.checkpoint import BEST, LATEST, Checkpoints
from nvc_jax.training.encoding import encode_source, latent_health, means_of
from nvc_jax.training.experiment import Experiment, init_state, learning_rate_of, make_experiment
from nvc_jax.training.loggers import check_loggers
from nvc_jax.training.logging import MetricWriter, purge_after
from nvc_jax.training.optimizer import describe_groups
from nvc_jax.training.state import TrainState, anchor_scales, find_anchors
from nvc_jax.training.step import predict_step
from nvc_jax.training.stopping import StopRequest, listen_for_stop
from nvc_jax.training.trainer import Trainer, make_steps
from nvc_jax.training.warm_start import warm_start

PLACES = ("data.dir", "data.split_file")
"""Keys of paths, which may differ between the machines of a run."""


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
      progress: show a progress bar, or lines where no terminal is.

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
    check_loggers(config.train.loggers)
    first = parallel.process_index() == 0
    with contextlib.ExitStack() as held:

        def begin() -> tuple[Any, Source | None, Experiment, Learned, workdir.Claim | None]:
            resumes = bool(Checkpoints(path).steps()) and not overwrite
            learned: Learned = workdir.read_learned(path) if resumes else {}
            if train_data is None:
                source, learned = open_training(config, learned, warns=first)
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
        with listen_for_stop(stop_after) as stop:
            return run.to_the_end(stop, progress and first)


def _essence(
    config: ml_collections.ConfigDict, source: Any, validation: Source | None
) -> dict[str, Any]:
    """What must be alike on all processes of a run; the data may lie in different places."""
    values = {name: value for name, value in leaves(config).items() if name not in PLACES}
    sources = {"training": source, "validation": validation}
    for name, data in sources.items():
        if isinstance(data, Source):
            values[f"number of {name} examples"] = len(data)
    return {**values, "fields": {k: [*v.shape, v.dtype.name] for k, v in source.spec.items()}}


def _with_absolute_paths(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """A copy whose data folder is found from anywhere, as the saved config is read later."""
    values = leaves(config)
    places = {name: values[name] for name in PLACES if values.get(name)}
    return changed(config, {name: str(Path(place).absolute()) for name, place in places.items()})


def _as_source(data: Any) -> Any:
    """The given training data; plain iterables are wrapped."""
    return data if isinstance(data, Source) else IterableSource(data)


def _tell_rate(path: Path, config: ml_collections.ConfigDict, step: int) -> None:
    """Warns where the learning rate of a resumed run is another one than it would have been at that step.

    Schedules are stretched over the whole run, so that with more steps the rate jumps.
    """
    with contextlib.suppress(UserError):  # of an earlier config that cannot be read any more
        rates = [
            np.asarray(learning_rate_of(c)(step)).item()
            for c in (workdir.read_config(path), config)
        ]
        if abs(rates[1] - rates[0]) > 0.01 * max(rates):
            logger.warning(
                "The learning rate at step %d was %.3g with the earlier config, and is %.3g now, as the schedule "
                "%s goes by the present settings.", step, *rates, config.optimizer.schedule,
            )  # fmt: skip


class _Run:
    """What a run has beside its `Trainer`: a work directory, logs, evaluation and checkpoints."""

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
        self.writer: MetricWriter | None = None
        self.best = float("inf")
        self.value: tuple[int, float] | None = None  # step of the latest evaluation, and its value
        self.trainer: Trainer
        self.hints_kept = False

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
        steps = make_steps(self.experiment, parallel.Devices())
        self.trainer = Trainer(self.config, steps, self.source, state)
        nothing = self.trainer.hints
        if nothing is not None and self.trainer.anchors_set:
            self.hints_kept = True
            self.trainer.hints = parallel.on_first_process(
                lambda: workdir.read_hints(self.path, nothing), nothing
            )
        self.checkpoints.discard_after(self.trainer.step)
        self._recover_best(fresh)
        if parallel.process_index() == 0:
            if found is not None:
                _tell_rate(self.path, self.config, self.trainer.step)
            workdir.write_config(self.path, self.config)
            workdir.write_spec(self.path, self.experiment.task.batch_spec)
            purge_after(self.path, self.trainer.step)
            config = json.loads(to_json(self.config))
            self.writer = MetricWriter(self.path, self.config.train.loggers, config)
        logger.info("Settings that differ from the defaults: %s", differences(self.config))
        groups = describe_groups(
            state.params, self.config.optimizer, train_anchors=self.config.anchors.train
        )
        logger.info("Parameter groups: %s.", groups)

    def _recover_best(self, target: TrainState) -> None:
        """Makes the best of the checkpoints that are there the best one.

        The one that was it is gone where the run goes back to a step before it.
        """
        known = [
            (self._rank(record["value"]), step, kind)
            for kind in (BEST, LATEST)
            for step, record in self.checkpoints.records(kind).items()
            if record.get("metric") == self.config.train.best_metric
        ]
        for value, step, kind in sorted(known):  # BEST sorts before LATEST
            try:
                if kind == LATEST:
                    found = self.checkpoints.restore(target, step=step)
                    assert found is not None  # a step that is named is read, or raises
                    self.checkpoints.save(step, *found, BEST)
                self.best = value
                return
            except UserError as error:
                logger.warning("%s It cannot be the best one.", error)

    def _rank(self, value: float) -> float:
        """The value of `train.best_metric` with the sign that makes the smallest the best."""
        return value if self.config.train.best_mode == "min" else -value

    def to_the_end(self, stop: StopRequest, progress: bool) -> TrainResult:
        """Steps until the last step or a request to stop, then saves and verifies."""
        trainer, began, last = self.trainer, self.trainer.step, self.config.train.num_steps
        first_step_seconds, clock = 0.0, time.perf_counter()

        def rate() -> float:
            """Steps a second after the first."""
            return max(trainer.step - began - 1, 0) / max(time.perf_counter() - clock, 1e-9)

        taking = trainer.run(last, stop.asked, progress=progress)
        try:
            for batch, metrics in taking:
                first = trainer.step == began + 1
                if first:
                    jax.block_until_ready(metrics)
                    first_step_seconds = time.perf_counter() - clock
                    logger.info("First step, with compilation: %.1f s.", first_step_seconds)
                    clock = time.perf_counter()
                if first or trainer.step == last or _due(trainer.step, self.config.train.log_every):
                    self._log(metrics, rate())
                self._keep_hints()
                self._after_step(batch)
            return self._finish(stop, first_step_seconds, rate())
        except BaseException:
            with contextlib.suppress(UserError):  # the first error is the one to tell
                self.checkpoints.close()
            raise
        finally:
            taking.close()
            if self.writer is not None:
                self.writer.close()

    def _after_step(self, batch: Any) -> None:
        """What else is due after a step: revive, evaluate, save. Touches the device only then."""
        config, trainer = self.config, self.trainer
        step, last = trainer.step, trainer.step == config.train.num_steps
        if _due(step, config.anchors.revive_every) and config.anchors.train and not last:
            trainer.revive(batch)
        if last:
            trainer.recenter()
        if self.validation is not None and (_due(step, config.train.eval_every) or last):
            self._evaluate(last)
        if _due(step, config.train.checkpoint_every) and not last:
            self._save()

    def _keep_hints(self) -> None:
        """Once anchors are set, writes which examples were given to which, for a run that goes on later."""
        hints = self.trainer.hints
        if not self.hints_kept and hints is not None and self.trainer.anchors_set:
            self.hints_kept = True
            if parallel.process_index() == 0:
                workdir.write_hints(self.path, hints)

    def _log(self, metrics: Any, rate: float) -> None:
        """Fetches the step's metrics: the one place where the host waits for the device."""
        values = self.trainer.show(metrics)
        if rate > 0:
            values["steps_per_second"] = rate
            if isinstance(self.source, Source):  # an iterable has batches of its own sizes
                values["examples_per_second"] = rate * self.config.train.batch_size
        if self.writer is not None:
            self.writer.scalars(self.trainer.step, values)
        self._check_alive()

    def _check_alive(self) -> None:
        """Ends a run that cannot go on: its directory is gone, or its steps are not finite.

        The last checkpoint stays as it is.
        """
        if self.claim is not None:
            self.claim.check()
        self.trainer.check_finite()

    def _evaluate(self, last: bool) -> None:
        """Validation means, anchor usage, and the best checkpoint; no label is used.

        After the last step also the task's figures: the predictions take a compilation of their own.
        """
        assert self.validation is not None
        step, encoded = self.trainer.step, self.trainer.encode(self.validation)
        state = self.trainer.host_state()
        anchors = np.asarray(find_anchors(state.params))
        scales = anchor_scales(state, self.experiment.anchor_scale)
        summary = self.experiment.task.summary(encoded, self.validation)
        values = {**means_of(encoded), **summary, **latent_health(encoded, anchors, scales)}
        values["anchors_dead"] = len(anchors) - values["anchors_used"]
        if self.trainer.anchors_set and values["anchor_perplexity"] < 1.5 < len(anchors):
            logger.warning(
                "Step %d: the latent space collapsed: %.0f %% of the validation examples belong to "
                "one anchor.", step, 100 * values["anchor_max_share"],
            )  # fmt: skip
        figures = self.config.train.figures
        shown = self._predict_some() if last and figures else None
        if self.writer is not None:
            self.writer.scalars(step, values, prefix="validation")
            show_latents(self.writer, step, encoded, anchors if figures else None)
            if shown is not None:
                show_examples(self.writer, step, self.experiment.task, *shown)
        metric = self.config.train.best_metric
        if metric not in values:
            raise UserError(
                f"train.best_metric is {metric!r}: use one of {', '.join(sorted(values))}."
            )
        if not self.trainer.anchors_set or not np.isfinite(values[metric]):
            return
        self.value = step, values[metric]
        if self._rank(values[metric]) < self.best:
            self.best = self._rank(values[metric])
            self._save(BEST)

    def _predict_some(self) -> tuple[dict[str, np.ndarray], np.ndarray] | None:
        """The first validation examples, and what the model makes of them."""
        assert self.validation is not None
        ids = np.arange(min(len(self.validation), self.config.eval.shown_examples))
        if not len(ids):
            return None
        step = parallel.map_step(partial(predict_step, experiment=self.experiment))
        outputs = encode_source(step, self.trainer.state, subset(self.validation, ids), len(ids))
        return self.validation.gather(ids), self.experiment.task.postprocess(outputs["output"])

    def _save(self, kind: str = LATEST) -> TrainState:
        """Starts a checkpoint of the present state, which is copied to the host first.

        Its record has the value of this step's evaluation, if there was one.
        """
        self._check_alive()
        state, step, record = self.trainer.host_state(), self.trainer.step, {}
        if self.value is not None and self.value[0] == step:
            record = {"metric": self.config.train.best_metric, "value": self.value[1]}
        self.checkpoints.save(step, state, record, kind)
        return state

    def _finish(
        self, stop: StopRequest, first_step_seconds: float, steps_per_second: float
    ) -> TrainResult:
        """The last checkpoint, verified."""
        step = self.trainer.step
        if step in self.checkpoints.agreed_steps():
            state = self.trainer.host_state()
        else:
            state = self._save()
        self.checkpoints.verify(step, state)
        self.checkpoints.tidy()
        self.checkpoints.close()
        if stop.reason:
            logger.info("Stopped at step %d by %s; saved.", step, stop.reason)
        else:
            logger.info("Finished at step %d.", step)
        return TrainResult(state, stop.reason, first_step_seconds, steps_per_second)


def _due(step: int, every: int) -> bool:
    """Whether something done every so many steps is due; 0 means never."""
    return every > 0 and step % every == 0


def show_latents(
    writer: MetricWriter, step: int, encoded: Mapping[str, np.ndarray], anchors: np.ndarray | None
) -> None:
    """Histograms of the means and assignments of `encode_source`; with anchors a scatter, too."""
    for name in ("mean", "assignment"):
        writer.histogram(step, f"validation/{name}", encoded[name])
    if anchors is None:
        return
    from nvc_jax import plots  # matplotlib is slow to import

    draw = partial(plots.latent_scatter, anchors=anchors, max_points=2000)
    _show(writer, step, lambda: {"latent": draw(encoded["mean"], encoded["assignment"])})


def show_examples(
    writer: MetricWriter,
    step: int,
    task: Task,
    batch: Mapping[str, np.ndarray],
    predicted: np.ndarray,
) -> None:
    """The task's figures of a few examples; see `Display.figures`."""
    from nvc_jax.displays import make_display  # matplotlib is slow to import

    _show(writer, step, lambda: make_display(task).figures(batch, predicted))


def _show(writer: MetricWriter, step: int, draw: Callable[[], dict[str, Any]]) -> None:
    """Draws figures and writes them under `validation/`; one that fails never stops a run."""
    try:
        figures = {f"validation/{name}": figure for name, figure in draw().items()}
        writer.figures(step, figures)
    except UserError:  # a full disk
        raise
    except Exception as error:
        logger.warning("A figure failed: %s", error)
