"""Pure steps: (state, batch) → (state, metrics). No input or output, no device names.

Each step is written for the shard of one device; `axis_name` names the axis it is mapped over, or
is None. Terms that compare examples see the global batch. A training step goes one way, with a
function for each stage: views → encode → assign → decode → terms → update.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from nvc_jax.data import HINT, NEIGHBOR
from nvc_jax.model import anchors as anchor_lib
from nvc_jax.model.conditional import relative_code
from nvc_jax.model.losses import TermInputs, anchor_kl, term_inputs, weighted_sum
from nvc_jax.model.mixture import mixture_kl, nearest_anchor, prior_kl
from nvc_jax.training import parallel
from nvc_jax.training.accumulation import map_pieces, value_and_grad_in_pieces
from nvc_jax.training.choice import choose_anchors
from nvc_jax.training.experiment import Experiment
from nvc_jax.training.state import TrainState, find_anchors, replace_anchors


def train_step(
    state: TrainState, batch: dict[str, jax.Array], *, experiment: Experiment
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Takes one optimizer step on the global batch.

    The gradient is that of `Σ weight·term` over the global batch, whatever the number of devices.
    Noise and augmentation are functions of (seed, step, position in the global batch). With a KL
    weight of 0 the posterior is a point: the sample is the mean, so an autoencoder is the same
    model with weights of 0. A step with a non-finite loss or gradient changes nothing but the
    counters; after `max_skipped` in a row the state stands still for good.

    With `microbatches` = M the shard is encoded and decoded in M equal parts, one after the other.
    Terms that compare examples still see the global batch, and metrics and update are those of
    M = 1 but for rounding; memory for the network's activations falls by M, at the cost of one more
    forward pass. See `value_and_grad_in_pieces`.

    Args:
      state: the state; donated by the training loop.
      batch: this shard's examples.
      experiment: what the config made.

    Returns:
      The next state and the step's metrics, float32 scalars, equal on every device.

    Raises:
      UserError: if the shard does not divide into microbatches.
    """
    key = jax.random.fold_in(jax.random.wrap_key_data(state.rng), state.step)
    noise_key, augment_key = jax.random.split(key)
    weights = term_weights(experiment, state)
    views = make_views(experiment, batch, augment_key)
    assignment = decide_assignment(experiment, state, views)
    passed, gradient = value_and_grad_in_pieces(
        partial(reconstruct, experiment, state, weights, assignment, noise_key),
        partial(
            add_terms, experiment, weights, example_shares(experiment, batch), assignment is None
        ),
        state.params,
        views,
        experiment.microbatches,
    )
    return update(experiment, state, weights, passed, gradient)


class Views(NamedTuple):
    """A shard as the model sees it.

    Attributes:
      inputs: what is encoded and decoded, and the target; augmented.
      clean: what anchors are decided on in place of the inputs, or None.
      hint: int32 `[b]`, anchors that are given, -1 where none is; or None.
      example_index: int32 `[b]`, positions of the examples in the global batch.
    """

    inputs: Any
    clean: Any
    hint: jax.Array | None
    example_index: jax.Array


def make_views(experiment: Experiment, batch: dict[str, jax.Array], key: jax.Array) -> Views:
    """Stage 1: stored fields → views; the key and an example's index decide its augmentation."""
    index = parallel.example_index(_batch_size(batch), experiment.axis_name)
    neighbor = {k.removeprefix(NEIGHBOR): v for k, v in batch.items() if k.startswith(NEIGHBOR)}
    own = {k: v for k, v in batch.items() if k != HINT and not k.startswith(NEIGHBOR)}
    prepared = experiment.task.prepare(own, jax.vmap(jax.random.fold_in, (None, 0))(key, index))
    clean = experiment.task.prepare(neighbor) if neighbor else prepared.get("clean")
    inputs = {k: v for k, v in prepared.items() if k != "clean"}
    return Views(inputs, clean, batch.get(HINT), index)


def encode(experiment: Experiment, state: TrainState, inputs: Any) -> jax.Array:
    """Stage 2: means of the global batch, `[global B, P, D]`, with evaluation statistics.

    P is the number of latents of an example, 1 but for tasks that look at several positions.
    """

    def encode_piece(piece: Any) -> jax.Array:
        mean = experiment.apply(state, piece, method="encode").mean
        return mean.reshape(_batch_size(piece), -1, mean.shape[-1])

    means = map_pieces(encode_piece, inputs, experiment.microbatches)
    return parallel.all_gather(means, experiment.axis_name)


def decide_assignment(experiment: Experiment, state: TrainState, views: Views) -> jax.Array | None:
    """Stage 3: anchors of the global batch, int32 `[global B, P]`, where the nearest will not do.

    They are decided on by another view of the examples, or in shares, without a gradient, where they
    are not given. None: each example's own nearest anchor, which the bottleneck finds without another
    pass.
    """
    found = _find_assignment(experiment, state, views)
    if views.hint is None or found is None:
        return found
    hint = parallel.all_gather(views.hint, experiment.axis_name)[:, None]
    return jnp.where(hint >= 0, hint, found)


def _find_assignment(experiment: Experiment, state: TrainState, views: Views) -> jax.Array | None:
    """The anchors of the global batch where none is given."""
    if experiment.choice is not None:
        return choose_anchors(experiment, experiment.choice, state, views.inputs)[:, None]
    free = experiment.shares.kind == "free"
    if views.clean is None and views.hint is None and free:
        return None
    mean = encode(experiment, state, views.inputs if views.clean is None else views.clean)
    rows, anchors = mean.reshape(-1, mean.shape[-1]), find_anchors(state.params)
    if free:
        return anchor_lib.assign(rows, anchors).reshape(mean.shape[:2])
    shares = experiment.shares.of(state)
    return anchor_lib.balanced_assign(rows, anchors, shares).reshape(mean.shape[:2])


def reconstruct(
    experiment: Experiment,
    state: TrainState,
    weights: dict[str, jax.Array],
    assignment: jax.Array | None,
    noise_key: jax.Array,
    params: Any,
    views: Views,
) -> tuple[Any, Any]:
    """Stage 4: encodes with noise and decodes a piece of the shard.

    Returns:
      (what the terms see of the piece, but for what gets no gradient; assignment and batch
      statistics).
    """
    whole = experiment.microbatches == 1
    outputs, updated = experiment.apply(
        state,
        views.inputs,
        params=params,
        train=True,
        example_index=views.example_index,
        noise_scale=jnp.asarray(weights.get("kl", 0.0) > 0, jnp.float32),
        assignment=None if assignment is None else assignment[views.example_index].reshape(-1),
        rngs={"noise": noise_key},
        # Statistics of a piece are not those of the batch: Flax refuses what would update them.
        mutable=["batch_stats"] if whole else [],
    )
    error = experiment.task.reconstruction(outputs, views.inputs)
    own = None
    if outputs.own is not None:
        own = experiment.task.reconstruction(outputs.replace(output=outputs.own), views.inputs)
    seen = term_inputs(error, outputs.latent, outputs.latent.anchors, own)
    floats = seen._replace(assignment=None, anchors=None)  # type: ignore[arg-type]
    return floats, (seen.assignment, updated.get("batch_stats", {}))


def example_shares(experiment: Experiment, batch: dict[str, jax.Array]) -> jax.Array | None:
    """Weight of this shard's examples over the mean weight of the global batch, `[b]`.

    Means of products with it are `Σ weight·x / Σ weight`, on all devices together.
    """
    weight = experiment.task.weight(batch)
    if weight is None:
        return None
    mean = parallel.pmean(jnp.mean(weight), experiment.axis_name)
    return weight / jnp.maximum(mean, jnp.finfo(jnp.float32).tiny)


def add_terms(
    experiment: Experiment,
    weights: dict[str, jax.Array],
    share: jax.Array | None,
    by_nearest: bool,
    params: Any,
    floats: TermInputs,
    rest: tuple[jax.Array, Any],
) -> tuple[jax.Array, Any]:
    """Stage 5: `Σ weight·term` of the shard.

    Averaged over devices, total, terms and gradient are those of the global batch. With `by_nearest`
    the assignment is that of the nearest anchors, which are not looked for again.

    Returns:
      (total, (raw terms, batch statistics, nearest anchors of the global batch)).
    """
    assignment, batch_stats = rest
    own = floats._replace(assignment=assignment, anchors=find_anchors(params))
    if share is not None:
        own = own._replace(reconstruction=share * own.reconstruction)
        own = own if own.own is None else own._replace(own=share * own.own)
    compared = {name: getattr(own, name) for name in ("mean", "logvar", "sample", "assignment")}
    pairs = own._replace(**parallel.all_gather(compared, experiment.axis_name))
    terms = ((term, keywords) for term, keywords, _ in experiment.terms)
    total, raw = weighted_sum(terms, weights, own, pairs)
    if own.prior is not None:
        nearest = nearest_anchor(own.mean, own.logvar, own.prior)
        nearest = parallel.all_gather(nearest, experiment.axis_name)
    else:
        nearest = pairs.assignment if by_nearest else anchor_lib.assign(pairs.mean, pairs.anchors)
    return total, (raw, batch_stats, nearest)


def update(
    experiment: Experiment,
    state: TrainState,
    weights: dict[str, jax.Array],
    passed: tuple[jax.Array, Any],
    gradient: Any,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Stage 6: means over devices, the optimizer's step, or none, and the metrics."""
    total, (raw, batch_stats, nearest) = passed
    raw = jax.tree.map(lambda x: x.astype(jnp.float32), raw)
    total, raw, gradient = parallel.pmean((total, raw, gradient), experiment.axis_name)
    learning_rate = jnp.asarray(experiment.learning_rate(state.step), jnp.float32)
    gradient_norm = optax.tree.norm(gradient)

    def accept() -> TrainState:
        updates, opt_state = experiment.optimizer.update(gradient, state.opt_state, state.params)
        updates = jax.tree.map(lambda update: -learning_rate * update, updates)
        return state.replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
            last_used=state.last_used.at[nearest].set(state.step + 1),
            shares=experiment.shares.after(state, nearest),
            skipped_in_a_row=jnp.zeros_like(state.skipped_in_a_row),
        )

    # All of it is averaged over devices, so every replica decides the same. A branch, and not a
    # choice between two states, because it does not touch the old state's memory.
    halted = state.skipped_in_a_row >= experiment.max_skipped
    accepted = jnp.isfinite(total) & jnp.isfinite(gradient_norm) & ~halted
    terms = {term.name: raw[term.name] for term, *_ in experiment.terms}
    after = jax.lax.cond(accepted, accept, lambda: _skip(state, list(terms.values()), halted))
    metrics = {
        "loss": total,
        **raw,
        **{f"weighted/{name}": weights[name] * value for name, value in terms.items()},
        **{f"weight/{name}": weights[name] for name in terms},
        "learning_rate": learning_rate,
        "gradient_norm": gradient_norm,
        "anchors_used": _anchors_used(experiment, after),
        "skipped_steps": after.skipped_steps.astype(jnp.float32),
    }
    return after, metrics


def _skip(state: TrainState, terms: list[jax.Array], halted: jax.Array) -> TrainState:
    """The same state with its counters moved on; a halted run's state stands still."""
    one = jnp.where(halted, 0, 1).astype(jnp.int32)
    bits = [jnp.where(jnp.isfinite(term), 0, 1 << i) for i, term in enumerate(terms)]
    culprits = jnp.sum(jnp.stack(bits), dtype=jnp.int32)
    return state.replace(
        step=state.step + one,
        skipped_steps=state.skipped_steps + one,
        skipped_in_a_row=state.skipped_in_a_row + one,
        culprits=jnp.where(halted, state.culprits, culprits),
    )


def culprits_of(experiment: Experiment, state: TrainState) -> list[str]:
    """What was not finite at the last skipped step: terms, or the gradient of finite ones."""
    names = [term.name for term, *_ in experiment.terms]
    return [name for i, name in enumerate(names) if int(state.culprits) >> i & 1] or ["gradient"]


def term_weights(experiment: Experiment, state: TrainState) -> dict[str, jax.Array]:
    """Weight of every term at the state's step, float32 `[]` each.

    Schedules count from where the anchors were set. Until then a term that takes no part in the
    warm-up weighs 0: the warm-up is a plain autoencoder.
    """
    since = state.step - state.anchors_step
    weights = {}
    for term, _, schedule in experiment.terms:
        if term.in_warmup:
            weight = jnp.asarray(schedule(state.step), jnp.float32)
        else:
            weight = jnp.asarray(schedule(since), jnp.float32)
            weight = jnp.where(state.anchors_step >= 0, weight, 0.0)
        weights[term.name] = weight
    return weights


def _batch_size(batch: dict[str, jax.Array]) -> int:
    """Number of examples in this shard."""
    return next(iter(batch.values())).shape[0]


def _anchors_used(experiment: Experiment, state: TrainState) -> jax.Array:
    """Number of anchors that were nearest to some example within the last `patience` steps."""
    return jnp.sum(state.step - state.last_used < experiment.patience).astype(jnp.float32)


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
      anchor) and the task's own metrics; where the task has them, `weight` and `prediction`. A
      conditional nebula is measured at its most probable answer; its `kl` is that of the posterior from the mixture,
      and `relative` is the posterior's mean less the shift of its anchor.
    """
    task, weight = experiment.task, experiment.task.weight(batch)
    batch = task.prepare(batch)
    outputs = task.evaluate(partial(experiment.apply, state), batch)
    latent = outputs.latent
    optional = {} if weight is None else {"weight": weight}
    if task.measures_predictions:
        optional["prediction"] = task.predict(partial(experiment.apply, state), batch)
    if latent.prior is None:
        centers = latent.anchors[latent.assignment]
        kl = anchor_kl(latent.mean, latent.logvar, centers, experiment.anchor_scale)
    else:
        posterior = experiment.apply(state, batch, method="posterior")
        from_each = prior_kl(posterior.mean, posterior.logvar, posterior.prior)
        kl = mixture_kl(from_each, posterior.prior.log_weight)
        optional["relative"] = relative_code(posterior)
    return {
        **optional,
        **task.metrics(outputs, batch),
        "reconstruction": task.reconstruction(outputs, batch),
        "kl": kl,
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
    means = encode(experiment, state, experiment.task.prepare(batch))
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
