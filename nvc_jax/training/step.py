"""Pure steps: (state, batch) → (state, metrics). No input or output, no device names.

Each step is written for the shard of one device; `axis_name` names the axis it is mapped over, or
is None. Terms that compare examples see the global batch.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from nvc_jax import anchors as anchor_lib
from nvc_jax.losses import TERMS, anchor_kl, nvc_loss
from nvc_jax.training import parallel
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
        name: jnp.asarray(schedule(state.step), jnp.float32)
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

    Args:
      state: the state; donated by the training loop.
      batch: this shard's examples.
      experiment: what the config made.

    Returns:
      The next state and the step's metrics, float32 scalars, equal on every device.
    """
    axis_name = experiment.axis_name
    key = jax.random.fold_in(jax.random.wrap_key_data(state.rng), state.step)
    noise_key, augment_key = jax.random.split(key)
    index = parallel.example_index(_batch_size(batch), axis_name)
    augment_keys = jax.vmap(jax.random.fold_in, (None, 0))(augment_key, index)
    batch = experiment.task.prepare(batch, augment_keys)
    clean = batch.pop("clean", None)
    given = _given_assignment(experiment, state, batch if clean is None else clean, clean is None)
    weights = term_weights(experiment, state)

    def loss(params: Any) -> tuple[jax.Array, Any]:
        outputs, updated = experiment.apply(
            state,
            batch,
            params=params,
            train=True,
            example_index=index,
            noise_scale=(weights["kl"] > 0).astype(jnp.float32),
            assignment=None if given is None else given[index],
            rngs={"noise": noise_key},
            mutable=["batch_stats"],
        )
        pair_latent = _gather_latent(outputs.latent, axis_name)
        total, terms = nvc_loss(
            experiment.task.reconstruction(outputs, batch),
            outputs.latent,
            outputs.latent.anchors,
            weights,
            pair_latent=pair_latent,
            **experiment.loss_options,
        )
        return total, (terms, updated.get("batch_stats", {}), pair_latent.assignment)

    (total, (terms, batch_stats, assignment)), gradient = jax.value_and_grad(loss, has_aux=True)(
        state.params
    )
    terms = jax.tree.map(lambda x: x.astype(jnp.float32), terms)
    total, terms, gradient = parallel.pmean((total, terms, gradient), axis_name)
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


def _given_assignment(
    experiment: Experiment, state: TrainState, view: Any, same_view: bool
) -> jax.Array | None:
    """Assignment of the global batch, `[global B]`, where the nearest anchor will not do.

    Anchors are decided on by another view of the examples, or with balanced shares, without a
    gradient and with evaluation statistics. None: each example's own nearest anchor.
    """
    if same_view and not experiment.balanced:
        return None
    latent = experiment.apply(state, view, method="encode")
    mean = parallel.all_gather(latent.mean, experiment.axis_name)
    if experiment.balanced:
        return anchor_lib.balanced_assign(mean, latent.anchors)
    return anchor_lib.assign(mean, latent.anchors)


def _gather_latent(latent: Any, axis_name: str | None) -> Any:
    """The latent of the global batch; the anchors are the same on every device already."""
    gathered = parallel.all_gather(latent.replace(anchors=None), axis_name)
    return gathered.replace(anchors=latent.anchors)


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
      anchor) and the task's own metrics.
    """
    batch = experiment.task.prepare(batch)
    outputs = experiment.apply(state, batch, train=False)
    latent = outputs.latent
    return {
        **experiment.task.metrics(outputs, batch),
        "reconstruction": experiment.task.reconstruction(outputs, batch),
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
    latent = experiment.apply(state, experiment.task.prepare(batch), method="encode")
    candidates = parallel.all_gather(latent.mean, experiment.axis_name)
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
