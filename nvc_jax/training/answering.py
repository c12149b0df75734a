"""Steps that ask a conditional nebula for several answers, and measure them."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nvc_jax.model.answers import reduce_answers
from nvc_jax.model.mixture import (
    Prior,
    importance_log_likelihood,
    mixture_log_density,
    prior_draws,
    prior_mean,
    take_anchor,
)
from nvc_jax.tasks.base import Outputs
from nvc_jax.training.experiment import Experiment
from nvc_jax.training.state import TrainState

AT_ONCE = 10
"""Answers of every example that are decoded at once."""


def noise_of(seed: int, draws: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """What draws are made of, the same for every example: normal `[S, D]`, and shuffled places `[S]`."""
    rng = np.random.default_rng(seed)
    place = (rng.permutation(draws) + 0.5) / draws
    return rng.standard_normal((draws, dim)).astype(np.float32), place.astype(np.float32)


def answer_step(
    state: TrainState,
    batch: dict[str, jax.Array],
    *,
    experiment: Experiment,
    number: int,
    expected: bool = False,
) -> dict[str, jax.Array]:
    """Answers to a shard, each with its probability.

    Args:
      state: the state; not donated.
      batch: this shard's examples.
      experiment: what the config made.
      number: n.
      expected: the answers of the least expected error of the best, see `reduce_answers`; otherwise those of the most
        probable anchors, and where n is more than K, draws around anchors after them, each of probability 0.

    Returns:
      `answer` `[b, n, …]` and `probability` `[b, n]`.
    """
    prepared = experiment.task.prepare(batch)
    prior = experiment.apply(state, prepared, method="encode").prior
    count = prior.log_weight.shape[1]
    if expected and number == 1 and experiment.task.config.loss.own_of_mean > 0:
        answer = mean_answer(experiment, state, prepared, prior)
        return {"answer": answer, "probability": jnp.ones(answer.shape[:2])}
    if expected and count > 1:
        every = own_answers(experiment, state, prepared, prior, count)
        answer, probability = reduced(every, jnp.exp(prior.log_weight), min(number, count))
        return {"answer": answer, "probability": probability}
    first = min(number, count)
    index = jax.lax.top_k(prior.log_weight, first)[1]
    answer = decoded(experiment, state, prepared, take_anchor(prior.mean, index), index)
    probability = jnp.exp(take_anchor(prior.log_weight, index))
    if number > first:
        more = drawn(experiment, state, prepared, prior, number - first)
        answer = jnp.concatenate([answer, more], axis=1)
        probability = jnp.pad(probability, ((0, 0), (0, number - first)))
    return {"answer": answer, "probability": probability}


def measure_answers_step(
    state: TrainState, batch: dict[str, jax.Array], *, experiment: Experiment
) -> dict[str, jax.Array]:
    """What is told of the answers to a shard, given the truth.

    Args:
      state: the state; not donated.
      batch: this shard's examples.
      experiment: what the config made.

    Returns:
      Per-example arrays: `prior_weight` `[b, K]`; `answer_error` `[b, N]` of the most probable anchors' answers, the most
      probable first, and `answer_distance` `[b]`, their mean squared distance in pairs (of the first
      `eval.shown_answers`); `mean_error` `[b]` of the answer decoded from the prior's mean; `draw_error` `[b, N]` of draws; `reduced_error/n` and `reduced_draws_error/n` `[b]`, of the
      best of n that stand for all answers, or all draws; `log_likelihood` `[b]`.
    """
    config, task = experiment.task.config, experiment.task
    prepared = task.prepare(batch)
    posterior = experiment.apply(state, prepared, method="posterior")
    prior = posterior.prior
    count, dim = prior.mean.shape[1:]
    numbers, draws = tuple(config.eval.best_of), config.eval.draws
    weight = jnp.exp(prior.log_weight)

    every = own_answers(experiment, state, prepared, prior, count)
    errors = errors_of(experiment, every, prepared)
    order = jax.lax.top_k(weight, min(count, max(numbers)))[1]
    shown = take_anchor(every, order[:, : config.eval.shown_answers])
    found = {
        "prior_weight": weight,
        "answer_error": take_anchor(errors, order),
        "answer_distance": pair_distance(shown),
        "best_anchor": jnp.argmin(errors, axis=1).astype(jnp.int32),
    }
    mean = mean_answer(experiment, state, prepared, prior)
    found["mean_error"] = errors_of(experiment, mean, prepared)[:, 0]
    some = drawn(experiment, state, prepared, prior, draws)
    found["draw_error"] = errors_of(experiment, some[:, : max(numbers)], prepared)
    if task.averages_answers:
        even = jnp.ones(some.shape[:2])
        for name, pool, mass in (("reduced", every, weight), ("reduced_draws", some, even)):
            for n in (n for n in numbers if n <= pool.shape[1]):
                best = errors_of(experiment, reduced(pool, mass, n)[0], prepared)
                found[f"{name}_error/{n}"] = jnp.min(best, axis=1)
    if task.measures_likelihood:
        noise, _ = noise_of(config.seed, draws, dim)
        code = posterior.mean[:, None] + jnp.exp(0.5 * posterior.logvar)[:, None] * noise[None]
        found["log_likelihood"] = log_likelihood(
            experiment, state, prepared, posterior, code, noise
        )
    return found


def log_likelihood(
    experiment: Experiment,
    state: TrainState,
    prepared: Any,
    posterior: Any,
    code: jax.Array,
    noise: Any,
) -> jax.Array:
    """Conditional log-likelihood in nats by importance sampling from the posterior, `[b]`."""
    prior: Prior = posterior.prior
    exponent = jnp.square(noise)[None] + posterior.logvar[:, None] + jnp.log(2 * jnp.pi)
    log_q = -0.5 * jnp.sum(exponent, axis=-1)
    index = jnp.broadcast_to(posterior.assignment[:, None], code.shape[:2])
    error = decoded(experiment, state, prepared, code, index, errors=True)
    return importance_log_likelihood(mixture_log_density(code, prior) - log_q - error)


def mean_answer(
    experiment: Experiment, state: TrainState, prepared: Any, prior: Prior
) -> jax.Array:
    """The answer decoded from the mean of the prior, `[b, 1, …]`."""
    index = jnp.argmax(prior.log_weight, axis=1)[:, None]
    return decoded(experiment, state, prepared, prior_mean(prior)[:, None], index)


def own_answers(
    experiment: Experiment, state: TrainState, prepared: Any, prior: Prior, count: int
) -> jax.Array:
    """Answers of all anchors, `[b, K, …]`."""
    index = jnp.broadcast_to(jnp.arange(count)[None], prior.log_weight.shape)
    return decoded(experiment, state, prepared, prior.mean, index)


def drawn(
    experiment: Experiment, state: TrainState, prepared: Any, prior: Prior, draws: int
) -> jax.Array:
    """Answers decoded from draws of the prior, `[b, S, …]`."""
    noise, place = noise_of(experiment.task.config.seed, draws, prior.mean.shape[-1])
    return decoded(experiment, state, prepared, *prior_draws(prior, noise, place))


def decoded(
    experiment: Experiment,
    state: TrainState,
    prepared: Any,
    code: jax.Array,
    index: jax.Array,
    errors: bool = False,
) -> jax.Array:
    """Answers of codes `[b, n, D]` of anchors `[b, n]`, a few at once: `[b, n, …]`; or their reconstruction errors."""
    number = code.shape[1]
    size = min(AT_ONCE, number)
    blocks = -(-number // size)
    padding = ((0, 0), (0, blocks * size - number))

    def split(values: jax.Array) -> jax.Array:
        padded = jnp.pad(values, padding + ((0, 0),) * (values.ndim - 2))
        return jnp.moveaxis(padded.reshape(padded.shape[0], blocks, size, *padded.shape[2:]), 1, 0)

    def one(output: Any) -> jax.Array:
        if errors:
            return experiment.task.reconstruction(Outputs(output, None), prepared)  # type: ignore[arg-type]
        return experiment.task.answer(output, prepared)

    def block(part: tuple[jax.Array, jax.Array]) -> jax.Array:
        outputs = experiment.apply(state, prepared, *part, method="answers")
        return jax.vmap(one, in_axes=1, out_axes=1)(outputs)

    found = jnp.moveaxis(jax.lax.map(block, (split(code), split(index))), 0, 1)
    return found.reshape(found.shape[0], blocks * size, *found.shape[3:])[:, :number]


def errors_of(experiment: Experiment, answers: jax.Array, prepared: Any) -> jax.Array:
    """Errors of answers `[b, n, …]`, `[b, n]`."""
    error = partial(experiment.task.answer_error, batch=prepared)
    return jax.vmap(error, in_axes=1, out_axes=1)(answers)


def reduced(answers: jax.Array, weight: jax.Array, number: int) -> tuple[jax.Array, jax.Array]:
    """`reduce_answers` of every example: `[b, M, …]` → `[b, n, …]`, and weights `[b, n]`."""
    flat = answers.reshape(*answers.shape[:2], -1)
    centers, weights = jax.vmap(partial(reduce_answers, number=number))(flat, weight)
    return centers.reshape(*centers.shape[:2], *answers.shape[2:]), weights


def pair_distance(answers: jax.Array) -> jax.Array:
    """Mean squared distance over pairs of answers `[b, n, …]`, `[b]`; 0 for a single one."""
    flat = answers.reshape(*answers.shape[:2], -1)
    number = flat.shape[1]
    spread = flat - jnp.mean(flat, axis=1, keepdims=True)
    return 2.0 * jnp.sum(jnp.square(spread), axis=(1, 2)) / max(number - 1, 1)
