"""Pure steps: (state, batch) → (state, metrics). No input or output, no device names.

Each step is written for the shard of one device; `axis_name` names the axis it is mapped over, or
is None. Terms that compare examples see the global batch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from nvc_jax.model import anchors as anchor_lib
from nvc_jax.model.losses import TERMS, anchor_kl, nvc_loss
from nvc_jax.training import parallel
from nvc_jax.training.accumulation import map_pieces, value_and_grad_in_pieces
from nvc_jax.training.experiment import Experiment
from nvc_jax.training.state import TrainState, find_anchors, replace_anchors

LATENT_TERMS = tuple(name for name in TERMS if name != "reconstruction")


def _batch_size(batch: dict[str, jax.Array]) -> int:
    """Number of examples in this shard."""
    return next(iter(batch.values())).shape[0]


def term_weights(experiment: Experiment, state: TrainState) -> dict[str, jax.Array]:
    """Weight of every loss term at the state's step, float32 `[]` each.

    Until the anchors are set from data, every latent term weighs 0: the warm-up is a plain
    autoencoder.
    """
    weights = {
        name: jnp.asarray(
            schedule(state.step - (experiment.warmup if name in LATENT_TERMS else 0)), jnp.float32
        )
        for name, schedule in experiment.weights.items()
    }
    for name in LATENT_TERMS:
        weights[name] = jnp.where(state.anchors_ready, weights[name], 0.0)
    return weights


def train_step(
    state: TrainState, batch: dict[str, jax.Array], *, experiment: Experiment
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Takes one optimizer step on the global batch.

    The gradient is that of `Σ weight·term` over the global batch, whatever the number of devices.
    Noise and augmentation are functions of (seed, step, position in the global batch). With a KL
    weight of 0 the posterior is a point: the sample is the mean, so an autoencoder is the same
    model with weights of 0. A step with a non-finite loss or gradient changes nothing but the
    counters; after `max_skipped` in a row the state stands still for good.

    With `microbatches` = M the shard is worked through in M equal parts: prepared, encoded and
    decoded one after the other. Terms that compare examples still see the global batch, and
    metrics and update are those of M = 1 but for rounding; memory for the network's activations
    falls by M, at the cost of one more forward pass. See `value_and_grad_in_pieces`.

    Args:
      state: the state; donated by the training loop.
      batch: this shard's examples.
      experiment: what the config made.

    Returns:
      The next state and the step's metrics, float32 scalars, equal on every device.

    Raises:
      UserError: if the shard does not divide into microbatches.
    """
    weights = term_weights(experiment, state)
    found, gradient = _value_and_grad(experiment, state, batch, weights)
    total, (terms, batch_stats, assignment) = found
    terms = jax.tree.map(lambda x: x.astype(jnp.float32), terms)
    total, terms, gradient = parallel.pmean((total, terms, gradient), experiment.axis_name)
    learning_rate = jnp.asarray(experiment.learning_rate(state.step), jnp.float32)
    gradient_norm = optax.tree.norm(gradient)

    def update() -> TrainState:
        updates, opt_state = experiment.optimizer.update(gradient, state.opt_state, state.params)
        updates = jax.tree.map(lambda update: -learning_rate * update, updates)
        return state.replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
            last_used=state.last_used.at[assignment].set(state.step + 1),
            skipped_in_a_row=jnp.zeros_like(state.skipped_in_a_row),
        )

    # All of it is averaged over devices, so every replica decides the same. A branch, and not a
    # choice between two states, because it does not touch the old state's memory.
    halted = state.skipped_in_a_row >= experiment.max_skipped
    accepted = jnp.isfinite(total) & jnp.isfinite(gradient_norm) & ~halted
    state = jax.lax.cond(accepted, update, lambda: _skip(state, terms, halted))
    metrics = {
        "loss": total,
        **{name: terms[name] for name in TERMS},
        **{f"weighted/{name}": weights[name] * terms[name] for name in TERMS},
        **{f"weight/{name}": weights[name] for name in TERMS},
        "num_triplets": terms["num_triplets"],
        "learning_rate": learning_rate,
        "gradient_norm": gradient_norm,
        "anchors_used": _anchors_used(experiment, state),
        "skipped_steps": state.skipped_steps.astype(jnp.float32),
    }
    return state, metrics


def _value_and_grad(
    experiment: Experiment,
    state: TrainState,
    batch: dict[str, jax.Array],
    weights: dict[str, jax.Array],
) -> tuple[tuple[jax.Array, Any], Any]:
    """Loss and gradient of this shard, where terms that compare examples see the global batch.

    Returns:
      ((total, (raw terms, batch statistics, assignment of the global batch)), gradient). Averaged
      over devices, total, terms and gradient are those of the global batch.
    """
    axis_name = experiment.axis_name
    key = jax.random.fold_in(jax.random.wrap_key_data(state.rng), state.step)
    noise_key, augment_key = jax.random.split(key)
    examples: Any = (batch, parallel.example_index(_batch_size(batch), axis_name))
    ready: Callable[[Any], Any] = partial(_prepare, experiment, augment_key)
    share = _shares(experiment, batch)
    one_piece = experiment.microbatches == 1
    if one_piece:  # prepared at once, for both uses
        examples, ready = ready(examples), lambda examples: examples
    given = _given_assignment(experiment, state, examples, ready)

    def forward(params: Any, piece: Any) -> tuple[Any, Any]:
        inputs, index, _ = ready(piece)
        outputs, updated = experiment.apply(
            state,
            inputs,
            params=params,
            train=True,
            example_index=index,
            noise_scale=(weights["kl"] > 0).astype(jnp.float32),
            assignment=None if given is None else given[index].reshape(-1),
            rngs={"noise": noise_key},
            # Statistics of a piece are not those of the batch: Flax refuses what would update them.
            mutable=["batch_stats"] if one_piece else [],
        )
        latent = outputs.latent.replace(
            code=None, soft_assignment=None, assignment=None, anchors=None
        )
        arrays = (experiment.task.reconstruction(outputs, inputs), latent)
        return arrays, (outputs.latent.assignment, updated.get("batch_stats", {}))

    def loss(params: Any, arrays: Any, aux: Any) -> tuple[jax.Array, Any]:
        (reconstruction, latent), (assignment, batch_stats) = arrays, aux
        if share is not None:
            reconstruction = share * reconstruction
        latent = latent.replace(assignment=assignment)
        pair_latent = parallel.all_gather(latent, axis_name)
        total, terms = nvc_loss(
            reconstruction,
            latent,
            find_anchors(params),
            weights,
            pair_latent=pair_latent,
            **experiment.loss_options,
        )
        return total, (terms, batch_stats, pair_latent.assignment)

    return value_and_grad_in_pieces(forward, loss, state.params, examples, experiment.microbatches)


def _shares(experiment: Experiment, batch: dict[str, jax.Array]) -> jax.Array | None:
    """Weight of this shard's examples over the mean weight of the global batch, `[B]`.

    Means of products with it are `Σ weight·x / Σ weight`, on all devices together.
    """
    weight = experiment.task.weight(batch)
    if weight is None:
        return None
    mean = parallel.pmean(jnp.mean(weight), experiment.axis_name)
    return weight / jnp.maximum(mean, jnp.finfo(jnp.float32).tiny)


def _prepare(experiment: Experiment, augment_key: jax.Array, examples: Any) -> tuple[Any, ...]:
    """(stored fields, index) → (the model's input, index, the clean view or None)."""
    batch, index = examples
    keys = jax.vmap(jax.random.fold_in, (None, 0))(augment_key, index)
    prepared = experiment.task.prepare(batch, keys)
    clean = prepared.pop("clean", None)
    return prepared, index, clean


def _given_assignment(
    experiment: Experiment, state: TrainState, examples: Any, ready: Callable[[Any], Any]
) -> jax.Array | None:
    """Assignment of the global batch, `[global B, P]`, where the nearest anchor will not do.

    P is the number of latents of an example, 1 but for tasks that look at several positions.

    Anchors are decided on by another view of the examples, or with balanced shares, without a
    gradient and with evaluation statistics. None: each example's own nearest anchor.
    """
    _, _, clean = jax.eval_shape(ready, examples)
    if clean is None and not experiment.balanced:
        return None

    def view(piece: Any) -> Any:
        inputs, _, clean = ready(piece)
        return inputs if clean is None else clean

    mean = _encode(experiment, state, examples, view)
    assign = anchor_lib.balanced_assign if experiment.balanced else anchor_lib.assign
    rows = mean.reshape(-1, mean.shape[-1])
    return assign(rows, find_anchors(state.params)).reshape(mean.shape[:2])


def _encode(
    experiment: Experiment, state: TrainState, examples: Any, view: Callable[[Any], Any]
) -> jax.Array:
    """Means of the global batch, `[global B, P, D]`, with evaluation statistics.

    Args:
      experiment: what the config made.
      state: the state.
      examples: this shard's examples.
      view: makes the model's input of a piece of them.
    """

    def encode(piece: Any) -> jax.Array:
        inputs = view(piece)
        mean = experiment.apply(state, inputs, method="encode").mean
        return mean.reshape(_batch_size(inputs), -1, mean.shape[-1])

    means = map_pieces(encode, examples, experiment.microbatches)
    return parallel.all_gather(means, experiment.axis_name)


def _anchors_used(experiment: Experiment, state: TrainState) -> jax.Array:
    """Number of anchors that were nearest to some example within the last `patience` steps."""
    return jnp.sum(state.step - state.last_used < experiment.patience).astype(jnp.float32)


def _skip(state: TrainState, terms: dict[str, jax.Array], halted: jax.Array) -> TrainState:
    """The same state with its counters moved on; a halted run's state stands still."""
    one = jnp.where(halted, 0, 1).astype(jnp.int32)
    bad_terms = ~jnp.isfinite(jnp.stack([terms[name] for name in TERMS]))
    culprits = jnp.append(bad_terms, ~jnp.any(bad_terms))
    return state.replace(
        step=state.step + one,
        skipped_steps=state.skipped_steps + one,
        skipped_in_a_row=state.skipped_in_a_row + one,
        culprits=jnp.where(halted, state.culprits, culprits),
    )


def eval_step(
    state: TrainState, batch: dict[str, jax.Array], *, experiment: Experiment
) -> dict[str, jax.Array]:
    """Encodes and reconstructs a shard without noise, augmentation or update.

    Args:
      state: the state; not donated.
      batch: this shard's examples, with or without the loader's `mask` and `id`.
      experiment: what the config made.

    Returns:
      Per-example arrays `[b, ...]`: `mean`, `assignment`, `reconstruction`, `kl` (to the nearest
      anchor) and the task's own metrics; where the task has them, `weight` and `prediction`.
    """
    task, weight = experiment.task, experiment.task.weight(batch)
    batch = task.prepare(batch)
    outputs = experiment.apply(state, batch, train=False)
    latent = outputs.latent
    optional = {} if weight is None else {"weight": weight}
    if task.measures_predictions:
        optional["prediction"] = task.predict(partial(experiment.apply, state), batch)
    return {
        **optional,
        **task.metrics(outputs, batch),
        "reconstruction": task.reconstruction(outputs, batch),
        "kl": anchor_kl(
            latent.mean,
            latent.logvar,
            latent.anchors[latent.assignment],
            experiment.loss_options["anchor_scale"],
        ),
        "mean": latent.mean,
        "logvar": latent.logvar,
        "assignment": latent.assignment,
    }


def predict_step(
    state: TrainState, batch: dict[str, jax.Array], *, experiment: Experiment
) -> dict[str, jax.Array]:
    """What the model makes of a shard, decoded from the means: `output`, see `Task.predict`."""
    batch = experiment.task.prepare(batch)
    return {"output": experiment.task.predict(partial(experiment.apply, state), batch)}


def revive_step(
    state: TrainState, batch: dict[str, jax.Array], *, experiment: Experiment
) -> tuple[TrainState, jax.Array]:
    """Moves dead anchors onto encoded examples of the global batch and clears their moments.

    An anchor is dead when it was nobody's nearest for `patience` steps. Every device sees the same
    candidates and key, so the replicas stay equal.

    Args:
      state: the state; donated by the training loop.
      batch: this shard's examples.
      experiment: what the config made.

    Returns:
      The state and the number of revived anchors, int32 `[]`.
    """
    means = _encode(experiment, state, batch, experiment.task.prepare)
    candidates = means.reshape(-1, means.shape[-1])
    alive = (state.step - state.last_used < experiment.patience).astype(jnp.int32)
    key = jax.random.fold_in(jax.random.wrap_key_data(state.rng), state.step)
    anchors, opt_state, revived = anchor_lib.revive(
        find_anchors(state.params), alive, candidates, key, opt_state=state.opt_state
    )
    state = state.replace(
        params=replace_anchors(state.params, anchors),
        opt_state=opt_state,
        last_used=jnp.where(revived, state.step, state.last_used),
    )
    return state, jnp.sum(revived.astype(jnp.int32))
