"""A trained model from a work directory: embed, assign, reconstruct, decode, sample."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.typing import ArrayLike

from nvc_jax.config import overridden
from nvc_jax.core.errors import UserError
from nvc_jax.core.forks import check_not_forked
from nvc_jax.data import Source
from nvc_jax.export import Deployable, read_arrays, state_of
from nvc_jax.export.folder import WEIGHTS
from nvc_jax.metrics.hypotheses import summarize_answers
from nvc_jax.tasks import Learned
from nvc_jax.training import parallel, workdir
from nvc_jax.training.answering import answer_step, measure_answers_step
from nvc_jax.training.averaging import average_checkpoints
from nvc_jax.training.checkpoint import BEST, LATEST, Checkpoints
from nvc_jax.training.encoding import encode_source
from nvc_jax.training.experiment import Experiment, abstract_state, make_experiment
from nvc_jax.training.state import TrainState, anchor_scales, find_anchors
from nvc_jax.training.step import eval_step, predict_step

if TYPE_CHECKING:
    from nvc_jax.displays import Display

CHANGEABLE = ("data.", "eval.")
KINDS = {"latest": LATEST, "best": BEST}


class Completion(NamedTuple):
    """Several answers to each of N inputs.

    Attributes:
      answers: what the task shows, `[N, n, …]`: for images probabilities of pixels `[N, n, H, W, C]`.
      probabilities: float32 `[N, n]`.
    """

    answers: np.ndarray
    probabilities: np.ndarray


class TrainedModel:
    """Parameters and what they mean. Everything is deterministic unless a key is given.

    Args:
      config: the config of the run.
      experiment: what the config made for the mapped axis.
      state: the state on the host, unreplicated.
      learned: what the task learned before the training.

    Attributes:
      config: the config of the run.
      step: number of training steps taken.
      anchors_step: step at which the anchors were set, −1 before.
      anchors: float32 `[K, D]`.
      scales: standard deviations of the codes around them, float32 `[K, D]`: those that were measured at
        the end of the run, or `loss.anchor_scale`.
      task: the task.
      learned: what it learned before the training, such as a vocabulary, by file name.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        experiment: Experiment,
        state: TrainState,
        learned: Learned,
    ):
        self.config, self.task, self.learned = config, experiment.task, learned
        self._experiment, self._state = experiment, state
        self.step, self.anchors = int(state.step), np.asarray(find_anchors(state.params))
        self.anchors_step = int(state.anchors_step)
        self.scales = anchor_scales(state, experiment.anchor_scale)
        self._replicated = parallel.replicate(state)
        self._eval_step = parallel.map_step(partial(eval_step, experiment=experiment))
        self._predict_step = parallel.map_step(partial(predict_step, experiment=experiment))
        self._measure_step = parallel.map_step(partial(measure_answers_step, experiment=experiment))
        self._answer_step = functools.cache(
            lambda number, expected: parallel.map_step(
                partial(answer_step, experiment=experiment, number=number, expected=expected)
            )
        )
        self._decode = jax.jit(
            lambda sample: experiment.apply(state, sample, method="decode")
        )  # the parameters are constants of it
        self._size = config.eval.batch_size

    def encode(self, source: Source) -> dict[str, np.ndarray]:
        """Evaluates every example of a source on all devices.

        Returns:
          Arrays `[N, ...]` in the source's order: `mean`, `logvar`, `assignment`, `label`,
          `reconstruction` (error), `kl`, and the task's own metrics.

        Raises:
          UserError: if the examples differ in shape from those of the training, or their values
            cannot be what the model was trained on.
        """
        self._check_fields(source)
        return encode_source(
            self._eval_step, self._replicated, source, self._size, self.task.check_values
        )

    def _check_fields(self, source: Source) -> None:
        """Compares a source with the fields of the training."""
        got = {name: source.spec[name].shape for name in source.spec}
        expected = {name: field.shape for name, field in self.task.batch_spec.items()}
        if got != expected:
            raise UserError(
                f"The examples do not fit the trained model: expected fields {expected}, got {got}."
            )

    def _source(self, inputs: Any) -> Source:
        """A user's inputs as a source of the fields of the training."""
        return self.task.examples.from_arrays(inputs, self.task.batch_spec, self.learned)

    @functools.cached_property
    def display(self) -> Display:
        """How the task's examples and outputs are shown."""
        from nvc_jax.displays import make_display  # matplotlib is slow to import

        return make_display(self.task)

    def embed(self, inputs: np.ndarray, rng: jax.Array | None = None) -> np.ndarray:
        """Latent vectors of inputs.

        Args:
          inputs: an array of any number N of what the task encodes, as in training: images
            `[N, H, W, C]` or `[N, H, W]`, partial volumes `[N, X, Y, Z]`.
          rng: JAX key: draw from the posterior `N(mean, e^logvar)`. None: its mean.

        Returns:
          float32 `[N, D]`.
        """
        encoded = self.encode(self._source(inputs))
        if rng is None:
            return encoded["mean"]
        noise = np.asarray(jax.random.normal(rng, encoded["mean"].shape, jnp.float32))
        return encoded["mean"] + np.exp(0.5 * encoded["logvar"]) * noise

    def assign(self, inputs: np.ndarray) -> np.ndarray:
        """Nearest anchor of each input, int32 `[N]`; ties go to the lowest index."""
        return self.encode(self._source(inputs))["assignment"]

    def reconstruct(self, inputs: np.ndarray) -> np.ndarray:
        """What the whole model makes of inputs, decoded from their means; see `predict`."""
        return self.predict(self._source(inputs))

    def predict(self, source: Source) -> np.ndarray:
        """What the whole model makes of every example of a source, on all devices.

        Returns:
          What the task shows, in the source's order: for images float32 `[N, H, W, C]` from 0 to 1.
        """
        self._check_fields(source)
        outputs = encode_source(
            self._predict_step, self._replicated, source, self._size, self.task.check_values
        )
        return self.task.postprocess(outputs["output"])

    def complete(self, inputs: np.ndarray, n: int = 5, by: str = "probable") -> Completion:
        """Several answers to each input, of a model that was trained with `model.conditional`.

        Args:
          inputs: see `embed`.
          n: how many.
          by: `probable`: those of the most probable anchors, the most probable first; where n is more than K, draws
            around anchors after them. `expected`: those of the least expected squared error of the best, each the
            mean of answers that are alike; K at most.

        Returns:
          The answers and their probabilities.

        Raises:
          UserError: for a model that is not conditional, or another n or way to choose.
        """
        return self.complete_source(self._source(inputs), n, by)

    def complete_source(self, source: Source, n: int = 5, by: str = "probable") -> Completion:
        """`complete` for every example of a source."""
        self._check_answers()
        if n < 1 or by not in ("probable", "expected"):
            raise UserError(
                f"There are n = {n} answers by {by!r} asked for: ask for one or more, by 'probable' or 'expected'."
            )
        if by == "expected" and not self.task.averages_answers:
            raise UserError(
                f"Answers of the task {self.config.task} have no mean: ask for those by 'probable'."
            )
        self._check_fields(source)
        step = self._answer_step(n, by == "expected")
        found = encode_source(step, self._replicated, source, self._size, self.task.check_values)
        return Completion(found["answer"], found["probability"])

    def measure_answers(self, source: Source) -> dict[str, float]:
        """How good the answers to the examples of a source are; see `nvc_jax.metrics.hypotheses`."""
        self._check_answers()
        self._check_fields(source)
        found = encode_source(
            self._measure_step, self._replicated, source, self._size, self.task.check_values
        )
        return summarize_answers(found, self.config.eval.best_of)

    def _check_answers(self) -> None:
        """Raises where the model has one answer alone."""
        if not self.task.gives_answers:
            raise UserError(
                "The model gives one answer, because it was trained without model.conditional=true: use predict or "
                "reconstruct."
            )

    def decode(self, sample: ArrayLike) -> np.ndarray:
        """Decodes latent vectors `[N, D]`, such as `anchors`, to what the task shows.

        Returns:
          For images float32 `[N, H, W, C]` from 0 to 1.

        Raises:
          UserError: if the task's decoder needs more than a latent vector.
        """
        if not self.task.decodes_codes:
            raise UserError(
                f"The task {self.config.task} decodes no latent vector alone, because its decoder "
                "also sees the input: use predict or reconstruct."
            )
        check_not_forked()
        sample = np.asarray(sample, np.float32)
        # Blocks of one size: one compilation, and no more memory than training takes.
        padding = max(-(-len(sample) // self._size), 1) * self._size - len(sample)
        padded = np.concatenate([sample, np.zeros((padding, *sample.shape[1:]), np.float32)])
        blocks = padded.reshape(-1, self._size, *sample.shape[1:])
        outputs = [self.task.postprocess(jax.device_get(self._decode(block))) for block in blocks]
        return np.concatenate(outputs)[: len(sample)]

    def sample(self, anchor: int, number: int, rng: jax.Array) -> np.ndarray:
        """Decodes draws from around one anchor, `N(A_k, s_k²)`, with the scales of its codes.

        Args:
          anchor: k, from 0 to K − 1.
          number: how many.
          rng: JAX key.

        Returns:
          For images float32 `[number, H, W, C]` from 0 to 1.

        Raises:
          UserError: if there is no such anchor, or the task's decoder needs more than a code.
        """
        if not 0 <= anchor < len(self.anchors):
            raise UserError(
                f"There is no anchor {anchor}: they go from 0 to {len(self.anchors) - 1}."
            )
        noise = jax.random.normal(rng, (number, self.anchors.shape[1]), jnp.float32)
        return self.decode(self.anchors[anchor] + self.scales[anchor] * np.asarray(noise))

    def deployable(self) -> Deployable:
        """The model for `nvc_jax.export`; its probabilities have twice the mean variance around anchors as T."""
        temperature = 2.0 * float(np.mean(np.square(self.scales)))
        return Deployable(self._experiment, self._state, self.task.batch_spec, temperature)

    def samples(self) -> np.ndarray:
        """`eval.shown_samples` draws around every anchor, `[K, S, ...]`, a function of the seed."""
        keys = jax.random.split(jax.random.key(self.config.seed), len(self.anchors))
        number = self.config.eval.shown_samples
        return np.stack([self.sample(k, number, key) for k, key in enumerate(keys)])


def load(
    directory: str | Path,
    checkpoint: str | int = "latest",
    *,
    overrides: Iterable[tuple[str, str]] = (),
) -> TrainedModel:
    """Restores a run on whatever devices there are. Runs no code found in the directory.

    Args:
      directory: work directory of a run, or a folder that `nvc-export --format=safetensors` wrote.
      checkpoint: `latest`, `best`, or a step.
      overrides: (dotted key, text) pairs for keys under `data.` and `eval.`.

    Returns:
      The model.

    Raises:
      UserError: if there is no run or no such checkpoint, or another key is set.
    """
    path = Path(directory).absolute()
    config = workdir.read_config(path)
    overrides = list(overrides)
    for name, _ in overrides:
        if not name.startswith(CHANGEABLE):
            raise UserError(
                f"config.{name} was fixed in training: only keys under data. and eval. can be set."
            )
    config = overridden(config, overrides)
    text = str(checkpoint)
    if text not in KINDS and not text.isdecimal():
        raise UserError(f"The checkpoint is {text!r}: use latest, best, or the step of one.")
    learned = workdir.read_learned(path)
    experiment = make_experiment(config, workdir.read_spec(path), parallel.AXIS, learned)
    target = abstract_state(experiment, config)
    if (path / WEIGHTS).is_file() and not Checkpoints(path).steps():
        return TrainedModel(config, experiment, state_of(read_arrays(path), target, path), learned)
    return TrainedModel(config, experiment, _restore(path, target, text, config), learned)


def _restore(path: Path, target: Any, text: str, config: ml_collections.ConfigDict) -> Any:
    """The state of a checkpoint, or the average of several."""
    checkpoints = Checkpoints(path)
    if config.eval.average_checkpoints > 1:
        if text != "latest":
            raise UserError(
                f"The checkpoint is {text!r} with eval.average_checkpoints = "
                f"{config.eval.average_checkpoints}: averages are of the latest ones."
            )
        return average_checkpoints(checkpoints, target, config.eval.average_checkpoints)
    step = int(text) if text.isdecimal() else None
    found = checkpoints.restore(target, step=step, kind=KINDS.get(text, LATEST))
    if found is None:
        raise UserError(f"There is no {text} checkpoint in {path}: train first.")
    return found[0]
