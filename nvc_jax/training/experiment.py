"""From a config to the objects that a step is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from nvc_jax.core.errors import UserError
from nvc_jax.core.logs import logger
from nvc_jax.data.base.source import FieldSpec
from nvc_jax.model.losses import TERMS
from nvc_jax.tasks import Learned, make_task
from nvc_jax.tasks.base import Task
from nvc_jax.training.optimizer import make_optimizer
from nvc_jax.training.schedules import Schedule, make_learning_rate, make_weight_schedule
from nvc_jax.training.state import TrainState, make_state

ANCHOR_INITS = ("kmeans", "kmeans++", "normal", "spread")
AUGMENT_VIEWS = ("clean", "augmented")
LOSS_OPTIONS = (
    "anchor_scale",
    "triplet_form",
    "triplet_alpha",
    "triplet_margin",
    "triplet_mining",
    "triplet_squared",
    "gravity_form",
    "gravity_radius",
    "gravity_reduction",
)


class Experiment(NamedTuple):
    """What the steps of one config share.

    Attributes:
      task: the task, which knows the data.
      model: the Flax module, made for the mapped axis `axis_name`.
      optimizer: the optax transformation.
      learning_rate: schedule of the global step.
      weights: schedule of the weight of every loss term.
      loss_options: keyword arguments of `nvc_loss`.
      max_skipped: this many skipped steps in a row halt the run.
      patience: an anchor unused for this many steps counts as dead.
      balanced: keep the anchors' shares of every training batch equal.
      microbatches: equal parts of a device's share that a step works through one by one.
      axis_name: name of the mapped axis, None for one device.
    """

    task: Task
    model: nn.Module
    optimizer: optax.GradientTransformation
    learning_rate: Schedule
    weights: Mapping[str, Schedule]
    loss_options: Mapping[str, Any]
    max_skipped: int
    patience: int
    balanced: bool
    microbatches: int
    axis_name: str | None

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
      config: a config with the keys of `nvc_jax.config.default_config`.
      spec: name, shape and dtype of the data's fields.
      axis_name: name of the mapped axis; None for a step on one device.
      learned: what `nvc_jax.tasks.open_training` learned.

    Returns:
      The experiment.

    Raises:
      UserError: for a value that the config's keys do not allow.
    """
    _check(config)
    task = make_task(config, spec, learned)
    return Experiment(
        task=task,
        model=task.make_model(axis_name),
        optimizer=make_optimizer(config.optimizer, train_anchors=config.anchors.train),
        learning_rate=make_learning_rate(
            config.optimizer,
            config.train.num_steps,
            phase_start=config.anchors.warmup_steps if _has_two_phases(config) else 0,
        ),
        weights={name: make_weight_schedule(config.loss[name], f"loss.{name}") for name in TERMS},
        loss_options={name: config.loss[name] for name in LOSS_OPTIONS},
        max_skipped=config.optimizer.max_skipped,
        patience=config.anchors.patience,
        balanced=config.anchors.balanced,
        microbatches=config.train.microbatches,
        axis_name=axis_name,
    )


def _check(config: ml_collections.ConfigDict) -> None:
    """Checks the values whose mistakes would show late or not at all."""
    positive = {
        "model.num_anchors": config.model.num_anchors,
        "model.latent_dim": config.model.latent_dim,
        "train.num_steps": config.train.num_steps,
        "train.batch_size": config.train.batch_size,
        "train.microbatches": config.train.microbatches,
        "train.log_every": config.train.log_every,
        "train.keep": config.train.keep,
        "eval.batch_size": config.eval.batch_size,
        "optimizer.learning_rate": config.optimizer.learning_rate,
        "optimizer.max_skipped": config.optimizer.max_skipped,
        "anchors.patience": config.anchors.patience,
    }
    for name, value in positive.items():
        if not value > 0:
            raise UserError(f"{name} is {value}: it must be greater than 0.")
    if config.train.best_mode not in ("min", "max"):
        raise UserError(f"train.best_mode is {config.train.best_mode!r}: use 'min' or 'max'.")
    for name in ("target", "assign_from"):
        if config.augment[name] not in AUGMENT_VIEWS:
            raise UserError(
                f"augment.{name} is {config.augment[name]!r}: use one of {', '.join(AUGMENT_VIEWS)}."
            )
    if config.train.microbatches > 1 and config.model.batch_norm:
        raise UserError(
            f"train.microbatches = {config.train.microbatches} and model.batch_norm = True exclude "
            "each other, because batch normalization needs all examples at once: set "
            "train.microbatches=1, and model.remat=true to save memory."
        )
    if config.anchors.init not in ANCHOR_INITS:
        raise UserError(
            f"anchors.init is {config.anchors.init!r}: use one of {', '.join(ANCHOR_INITS)}."
        )
    if config.anchors.warmup_steps < 0:
        raise UserError(
            f"anchors.warmup_steps is {config.anchors.warmup_steps}: it must not be negative."
        )
    if uses_data_for_anchors(config) and config.anchors.warmup_steps >= config.train.num_steps:
        logger.warning(
            "anchors.warmup_steps = %d is not below train.num_steps = %d: the run ends as a plain "
            "autoencoder, before anchors are set.",
            config.anchors.warmup_steps, config.train.num_steps,
        )  # fmt: skip


def uses_data_for_anchors(config: ml_collections.ConfigDict) -> bool:
    """Whether anchors are set from encoded training data after the warm-up."""
    return config.anchors.init in ("kmeans", "kmeans++")


def _has_two_phases(config: ml_collections.ConfigDict) -> bool:
    """Whether the learning rate starts anew where anchors are set."""
    return config.optimizer.restart and uses_data_for_anchors(config)


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
            anchors_ready=not uses_data_for_anchors(config),
        )

    return init
