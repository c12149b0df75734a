"""Loss weights and learning rates as functions of the global step, and the length of a recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import ml_collections
import optax
from jax.typing import ArrayLike

from nvc_jax.config import leaves
from nvc_jax.core.errors import UserError
from nvc_jax.model.losses import TERMS

Schedule = Callable[[ArrayLike], ArrayLike]

WEIGHT_SCHEDULES = ("constant", "linear", "cosine", "cyclic")
RATE_SCHEDULES = ("constant", "linear", "cosine", "inverse_sqrt")
_IN_STEPS = (
    "train.num_steps",
    "train.eval_every",
    "train.checkpoint_every",
    "anchors.warmup_steps",
    "optimizer.warmup_steps",
    *(f"loss.{term}.{name}" for term in TERMS for name in ("begin", "steps")),
)


def make_weight_schedule(options: Mapping[str, Any], name: str = "weight") -> Schedule:
    """Makes the schedule of one loss weight.

    With progress `p = clip((step − begin) / steps, 0, 1)`:

    * `constant`: `value` at every step.
    * `linear`: `start + (value − start)·p`; `steps = 0` jumps at `begin`.
    * `cosine`: `start + (value − start)·(1 − cos(π·p)) / 2`.
    * `cyclic`: from `begin` on, every `steps` steps: a linear rise from `start` to `value` in the
      first half, then `value` in the second.

    Args:
      options: `schedule`, `start`, `value`, `begin` (step) and `steps` (number of steps).
      name: the configuration key, for messages.

    Returns:
      Function of the global step.

    Raises:
      UserError: for an unknown schedule or a negative number of steps.

    Reference: the cyclic form is Fu et al., "Cyclical Annealing Schedule", NAACL 2019.
    """
    kind = options["schedule"]
    start, value = float(options["start"]), float(options["value"])
    begin, steps = int(options["begin"]), int(options["steps"])
    if kind not in WEIGHT_SCHEDULES:
        raise UserError(f"{name}.schedule is {kind!r}: use one of {', '.join(WEIGHT_SCHEDULES)}.")
    if steps < 0 or begin < 0 or (kind == "cyclic" and steps == 0):
        raise UserError(
            f"{name} has begin = {begin} and steps = {steps}: neither may be negative, "
            f"and a cyclic schedule needs steps > 0."
        )
    if kind == "constant":
        return optax.constant_schedule(value)

    def schedule(step: ArrayLike) -> ArrayLike:
        elapsed = jnp.asarray(step, jnp.float32) - begin
        if kind == "cyclic":
            rise = 2.0 * jnp.mod(elapsed, steps) / steps
            progress = jnp.where(elapsed < 0, 0.0, jnp.minimum(rise, 1.0))
        elif steps == 0:
            progress = (elapsed >= 0).astype(jnp.float32)
        else:
            progress = jnp.clip(elapsed / steps, 0.0, 1.0)
        if kind == "cosine":
            progress = 0.5 * (1.0 - jnp.cos(jnp.pi * progress))
        return start + (value - start) * progress

    return schedule


def make_learning_rate(
    options: Mapping[str, Any], num_steps: int, phase_start: int = 0
) -> Schedule:
    """Makes the learning-rate schedule of a run of one or two phases.

    Each phase rises linearly from 0 over `warmup_steps`, then decays from the peak:

    * `constant`: not at all.
    * `linear`, `cosine`: to `end_factor·peak` at the phase's last step.
    * `inverse_sqrt`: as `peak·sqrt(warmup_steps / step)`, whatever the number of steps.

    A second phase begins where anchors are set from data: the objective changes there, so the rate
    starts anew.

    Args:
      options: `learning_rate` (peak), `schedule` (decay), `warmup_steps`, `end_factor`.
      num_steps: number of steps of the whole run.
      phase_start: first step of the second phase; 0 for a single phase.

    Returns:
      Function of the global step.

    Raises:
      UserError: for an unknown schedule, or `inverse_sqrt` without a warm-up.

    Reference: `inverse_sqrt` is that of Vaswani et al., 2017, with the peak given directly.
    """
    if not 0 < phase_start < num_steps:
        return _one_phase(options, num_steps)
    phases = [_one_phase(options, phase_start), _one_phase(options, num_steps - phase_start)]
    return optax.join_schedules(phases, [phase_start])


def _one_phase(options: Mapping[str, Any], num_steps: int) -> Schedule:
    """Linear rise, then decay; steps count from the phase's first."""
    kind, peak, end_factor = options["schedule"], options["learning_rate"], options["end_factor"]
    warmup = int(options["warmup_steps"])
    decay_steps = max(num_steps - warmup, 1)
    if kind == "constant":
        decay: Schedule = optax.constant_schedule(peak)
    elif kind == "linear":
        decay = optax.linear_schedule(peak, end_factor * peak, decay_steps)
    elif kind == "cosine":
        decay = optax.cosine_decay_schedule(peak, decay_steps, end_factor)
    elif kind == "inverse_sqrt":
        if warmup <= 0:
            raise UserError(
                f"optimizer.warmup_steps is {warmup}: optimizer.schedule = 'inverse_sqrt' needs a "
                "warm-up, because its decay is measured in warm-ups; set, say, 4000."
            )

        def decay(since: ArrayLike) -> ArrayLike:
            return peak * jnp.sqrt(warmup / (warmup + jnp.maximum(since, 0)))

    else:
        raise UserError(f"optimizer.schedule is {kind!r}: use one of {', '.join(RATE_SCHEDULES)}.")
    if warmup == 0:
        return decay
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), decay], [warmup])


def scale_steps(config: ml_collections.ConfigDict, num_steps: int) -> None:
    """Makes a recipe shorter or longer: warm-ups, ramps and intervals change in proportion.

    Args:
      config: the recipe, changed in place.
      num_steps: its new number of steps.
    """
    old = dict(leaves(config))
    factor = num_steps / old["train.num_steps"]
    config.update_from_flattened_dict(
        {name: max(round(factor * old[name]), 1) if old[name] else 0 for name in _IN_STEPS}
    )
