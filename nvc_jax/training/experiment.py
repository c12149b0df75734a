"""From a config to the objects that a step is made of."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from nvc_jax.core.errors import UserError
from nvc_jax.core.forks import check_not_forked
from nvc_jax.core.logs import logger
from nvc_jax.core.options import steps_of
from nvc_jax.data.base.source import FieldSpec
from nvc_jax.model.anchors import usage
from nvc_jax.model.losses import TERMS, Term
from nvc_jax.tasks import Learned, make_task
from nvc_jax.tasks.base import Task
from nvc_jax.training.optimizer import make_optimizer
from nvc_jax.training.schedules import Schedule, make_learning_rate, make_weight_schedule
from nvc_jax.training.state import TrainState, make_state


def learning_rate_of(config: ml_collections.ConfigDict) -> Schedule:
    """The learning rate of a run by step."""
    start = warmup_steps(config) if config.optimizer.restart else 0
    return make_learning_rate(config.optimizer, config.train.num_steps, phase_start=start)


class ActiveTerm(NamedTuple):
    """A term of a run's loss, with what the config says of it.

    Attributes:
      term: the term.
      keywords: of its function.
      schedule: its weight, of the steps since the anchors were set, or of all where it counts in the
        warm-up.
    """

    term: Term
    keywords: Mapping[str, Any]
    schedule: Schedule


class Shares(NamedTuple):
    """Shares of the anchors in a training batch.

    Attributes:
      kind: `free`, `equal`, `learned` or `given`.
      given: where they are given.
      rate: of the moving average that learned ones are.
      floor: least learned share, in units of 1/K.
      learn_from: steps after the anchors were set, before which learned shares are the first ones.
    """

    kind: str
    given: tuple[float, ...]
    rate: float
    floor: float
    learn_from: int

    def of(self, state: TrainState) -> jax.Array | None:
        """What a batch is shared out by, `[K]`; None: equal shares."""
        if self.kind == "given":
            return jnp.asarray(self.given, jnp.float32)
        if self.kind == "equal":
            return None
        return jnp.maximum(state.shares, self.floor / state.shares.shape[0])

    def after(self, state: TrainState, nearest: jax.Array) -> jax.Array:
        """The moving average after a batch with these nearest anchors, float32 `[K]`."""
        counts = usage(nearest, state.shares.shape[0]).counts
        moved = state.shares + self.rate * (counts / nearest.size - state.shares)
        due = (state.anchors_step >= 0) & (state.step - state.anchors_step >= self.learn_from)
        return jnp.where(due, moved, state.shares)


class Choice(NamedTuple):
    """How examples of a conditional nebula get their anchors; see `nvc_jax.training.choice`.

    Attributes:
      by: `code` or `error`.
      candidates: of an example, by code, whose errors are compared.
      begin: of choosing by errors, in steps after the anchors were set.
    """

    by: str
    candidates: int
    begin: int


class Experiment(NamedTuple):
    """What the steps of one config share.

    Attributes:
      task: the task, which knows the data.
      model: the Flax module, made for the mapped axis `axis_name`.
      optimizer: the optax transformation.
      learning_rate: schedule of the global step.
      terms: what the loss is the sum of.
      warmup: step at which the anchors are set from data.
      anchor_scale: standard deviation around an anchor.
      max_skipped: this many skipped steps in a row halt the run.
      patience: an anchor unused for this many steps counts as dead.
      shares: of the anchors in a training batch.
      microbatches: equal parts of a device's share that a step works through one by one.
      axis_name: name of the mapped axis, None for one device.
      choice: how anchors are chosen by a conditional nebula; None: the model is none.
    """

    task: Task
    model: nn.Module
    optimizer: optax.GradientTransformation
    learning_rate: Schedule
    terms: tuple[ActiveTerm, ...]
    warmup: int
    anchor_scale: float
    max_skipped: int
    patience: int
    shares: Shares
    microbatches: int
    axis_name: str | None
    choice: Choice | None = None

    def apply(self, state: TrainState, *args: Any, params: Any = None, **options: Any) -> Any:
        """Applies the model with a state's statistics and parameters, or with other parameters."""
        variables = {
            "params": state.params if params is None else params,
            "batch_stats": state.batch_stats,
        }
        return self.model.apply(variables, *args, **options)


def make_experiment(
    config: ml_collections.ConfigDict,
    spec: Mapping[str, FieldSpec],
    axis_name: str | None,
    learned: Learned | None = None,
) -> Experiment:
    """Makes task, model, optimizer and schedules.

    Args:
      config: a whole config, see `nvc_jax.config.make_config`.
      spec: name, shape and dtype of the data's fields.
      axis_name: name of the mapped axis; None for a step on one device.
      learned: what `nvc_jax.tasks.open_training` learned.

    Returns:
      The experiment.

    Raises:
      UserError: for a value that the config's keys do not allow.
    """
    check_not_forked()
    _check(config)
    task = make_task(config, spec, learned)
    return Experiment(
        task=task,
        model=task.make_model(axis_name),
        optimizer=make_optimizer(config.optimizer, train_anchors=config.anchors.train),
        learning_rate=learning_rate_of(config),
        terms=active_terms(config),
        warmup=warmup_steps(config),
        anchor_scale=config.loss.anchor_scale,
        max_skipped=config.optimizer.max_skipped,
        patience=config.anchors.patience,
        shares=make_shares(config),
        microbatches=config.train.microbatches,
        axis_name=axis_name,
        choice=make_choice(config),
    )


def active_terms(config: ml_collections.ConfigDict) -> tuple[ActiveTerm, ...]:
    """The terms whose weight is not 0 for the whole run; no other is computed.

    Raises:
      UserError: if there is none, or a schedule cannot be followed.
    """
    active = []
    for name, term in TERMS.items():
        weight = config.loss[name]
        if weight.value != 0 or (weight.schedule != "constant" and weight.start != 0):
            schedule = make_weight_schedule(weight, config.train.num_steps, f"loss.{name}")
            active.append(ActiveTerm(term, term.keywords(config.loss), schedule))
    if not active:
        raise UserError("Every loss.*.value is 0: give one of the terms a weight.")
    return tuple(active)


def make_shares(config: ml_collections.ConfigDict) -> Shares:
    """The shares that a config asks for.

    Raises:
      UserError: for given shares that do not fit the anchors.
    """
    options = config.anchors
    given = tuple(options.given_shares)
    count = config.model.num_anchors
    fits = len(given) == count and min(given, default=0) >= 0 and sum(given) > 0
    if options.shares == "given" and not fits:
        raise UserError(
            f"anchors.given_shares is {given}: give {count} numbers, one for each anchor, not "
            "negative and not all 0."
        )
    learn_from = steps_of(options.learn_from, config.train.num_steps)
    return Shares(options.shares, given, options.share_rate, options.share_floor, learn_from)


def make_choice(config: ml_collections.ConfigDict) -> Choice | None:
    """How a conditional nebula chooses anchors; None where the model is none."""
    if not config.model.get("conditional", False):
        return None
    options = config.anchors
    return Choice(
        options.choose_by,
        min(options.candidates, config.model.num_anchors),
        steps_of(options.choose_from, config.train.num_steps),
    )


def _check(config: ml_collections.ConfigDict) -> None:
    """Checks values that do not go together."""
    if config.train.microbatches > 1 and config.model.get("batch_norm", False):
        raise UserError(
            f"train.microbatches = {config.train.microbatches} and model.batch_norm = True exclude "
            "each other, because batch normalization needs all examples at once: set "
            "train.microbatches=1, and model.remat=true to save memory."
        )
    if config.anchors.init == "merge" and not config.anchors.neighbors:
        raise UserError(
            "anchors.init=merge goes along the graph of neighbors, and anchors.neighbors is 0: set it, to "
            "10 for example, or anchors.init=kmeans."
        )
    if config.model.get("conditional", False):
        for name in ("revive_every", "neighbors"):
            if config.anchors[name]:
                raise UserError(
                    f"anchors.{name} = {config.anchors[name]} does not go with model.conditional=true, whose "
                    "anchors are chosen by what is not seen: set it to 0."
                )
        if config.model.condition_on_assignment:
            raise UserError(
                "model.condition_on_assignment is not of a conditional nebula: use model.tell_anchor."
            )
    elif config.loss.own.value or config.loss.own.start:
        raise UserError(
            "loss.own is of a conditional nebula: set model.conditional=true, or loss.own.value=0."
        )
    if warmup_steps(config) >= config.train.num_steps:
        logger.warning(
            "anchors.warmup = %g is not below the whole run of %d steps: it ends as a plain "
            "autoencoder, before anchors are set.", config.anchors.warmup, config.train.num_steps,
        )  # fmt: skip


def warmup_steps(config: ml_collections.ConfigDict) -> int:
    """Steps of plain autoencoding, after which the anchors are set from data; 0 where they are not."""
    if not uses_data_for_anchors(config):
        return 0
    return steps_of(config.anchors.warmup, config.train.num_steps)


def uses_data_for_anchors(config: ml_collections.ConfigDict) -> bool:
    """Whether anchors are set from encoded training data after the warm-up."""
    return config.anchors.init in ("kmeans", "kmeans++", "merge")


def init_state(experiment: Experiment, config: ml_collections.ConfigDict) -> TrainState:
    """Makes the state of step 0 from the config's seed, on one device."""
    return jax.jit(_initializer(experiment, config))()


def abstract_state(experiment: Experiment, config: ml_collections.ConfigDict) -> TrainState:
    """The state's shapes and dtypes, without its values: nothing is compiled or run."""
    return jax.eval_shape(_initializer(experiment, config))


def _initializer(
    experiment: Experiment, config: ml_collections.ConfigDict
) -> Callable[[], TrainState]:
    """The function that makes the state of step 0."""
    batch = {
        name: np.zeros((2, *field.shape), field.dtype)
        for name, field in experiment.task.batch_spec.items()
    }

    def init() -> TrainState:
        key = jax.random.key(config.seed)
        variables = experiment.model.init(
            {"params": key, "noise": key},
            experiment.task.prepare(jax.tree.map(jnp.asarray, batch)),
            train=False,
        )
        return make_state(
            variables,
            experiment.optimizer.init(variables["params"]),
            config.seed,
            anchors_set=not uses_data_for_anchors(config),
        )

    return init
