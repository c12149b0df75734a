"""Loss weights and learning rates as functions of the step."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import steps_of

Schedule = Callable[[ArrayLike], ArrayLike]


def make_weight_schedule(
    options: Mapping[str, Any], num_steps: int, name: str = "weight"
) -> Schedule:
    """Makes the schedule of one loss weight.

    With progress `p = clip((step − begin) / duration, 0, 1)`, where steps count from where the anchors are set:

    * `constant`: `value` at every step.
    * `linear`: `start + (value − start)·p`; `duration = 0` jumps at `begin`.
    * `cosine`: `start + (value − start)·(1 − cos(π·p)) / 2`.
    * `cyclic`: from `begin` on, in every `duration`: a linear rise from `start` to `value` in the
      first half, then `value` in the second.

    Args:
      options: `schedule`, `start`, `value`, `begin` and `duration`, which are shares of the run, or steps above 1.
      num_steps: number of steps of the whole run.
      name: the configuration key, for messages.

    Returns:
      Function of the number of steps since the anchors were set.

    Raises:
      UserError: for a cyclic schedule without a duration.

    Reference: the cyclic form is Fu et al., "Cyclical Annealing Schedule", NAACL 2019.
    """
    kind = options["schedule"]
    start, value = float(options["start"]), float(options["value"])
    begin, duration = (steps_of(options[key], num_steps) for key in ("begin", "duration"))
    if kind == "cyclic" and duration == 0:
        raise UserError(f"{name}.duration is {options['duration']}: a cyclic schedule needs one.")
    if kind == "constant":
        return optax.constant_schedule(value)

    def schedule(step: ArrayLike) -> ArrayLike:
        elapsed = jnp.asarray(step, jnp.float32) - begin
        if kind == "cyclic":
            rise = 2.0 * jnp.mod(elapsed, duration) / duration
            progress = jnp.where(elapsed < 0, 0.0, jnp.minimum(rise, 1.0))
        elif duration == 0:
            progress = (elapsed >= 0).astype(jnp.float32)
        else:
            progress = jnp.clip(elapsed / duration, 0.0, 1.0)
        if kind == "cosine":
            progress = 0.5 * (1.0 - jnp.cos(jnp.pi * progress))
        return start + (value - start) * progress

    return schedule


def make_learning_rate(
    options: Mapping[str, Any], num_steps: int, phase_start: int = 0
) -> Schedule:
    """Makes the learning-rate schedule of a run of one or two phases.

    Each phase rises linearly from 0 over `warmup`, then decays from the peak:

    * `constant`: not at all.
    * `linear`, `cosine`: to `end_factor·peak` at the phase's last step.
    * `inverse_sqrt`: as `peak·sqrt(warmup / step)`, whatever the number of steps.

    A second phase begins where anchors are set from data: the objective changes there, so the rate
    starts anew.

    Args:
      options: `learning_rate` (peak), `schedule` (decay), `warmup` (a share of the run, or steps above 1), `end_factor`.
      num_steps: number of steps of the whole run.
      phase_start: first step of the second phase; 0 for a single phase.

    Returns:
      Function of the global step.

    Raises:
      UserError: for `inverse_sqrt` without a warm-up.

    Reference: `inverse_sqrt` is that of Vaswani et al., 2017, with the peak given directly.
    """
    warmup = steps_of(options["warmup"], num_steps)
    if not 0 < phase_start < num_steps:
        return _one_phase(options, num_steps, warmup)
    phases = [
        _one_phase(options, length, warmup) for length in (phase_start, num_steps - phase_start)
    ]
    return optax.join_schedules(phases, [phase_start])


def _one_phase(options: Mapping[str, Any], num_steps: int, warmup: int) -> Schedule:
    """Linear rise, then decay; steps count from the phase's first."""
    kind, peak, end_factor = options["schedule"], options["learning_rate"], options["end_factor"]
    decay_steps = max(num_steps - warmup, 1)
    if kind == "constant":
        decay: Schedule = optax.constant_schedule(peak)
    elif kind == "linear":
        decay = optax.linear_schedule(peak, end_factor * peak, decay_steps)
    elif kind == "cosine":
        decay = optax.cosine_decay_schedule(peak, decay_steps, end_factor)
    else:  # inverse_sqrt
        if warmup <= 0:
            raise UserError(
                f"optimizer.warmup is {warmup}: optimizer.schedule = 'inverse_sqrt' needs a "
                "warm-up, because its decay is measured in warm-ups; set, say, 0.05."
            )

        def decay(since: ArrayLike) -> ArrayLike:
            return peak * jnp.sqrt(warmup / (warmup + jnp.maximum(since, 0)))

    if warmup == 0:
        return decay
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), decay], [warmup])
