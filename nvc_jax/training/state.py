"""The state of a training run: everything that a resumed run needs, as one pytree."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np


class TrainState(flax.struct.PyTreeNode):
    """Parameters, optimizer moments, counters and the random seed of a run.

    Attributes:
      step: int32 `[]`, number of steps taken.
      params: the model's parameters, with the anchors among them.
      batch_stats: running statistics of batch normalization, empty without it.
      opt_state: state of the optax chain.
      rng: uint32 `[2]`, data of the run's key; steps fold in `step`, examples their position.
      anchors_step: int32 `[]`, step at which the anchors were set; -1 during the warm-up before it.
      last_used: int32 `[K]`, the last step at which each anchor was some example's nearest.
      skipped_steps: int32 `[]`, steps left out for a non-finite gradient.
      skipped_in_a_row: int32 `[]`, the present run of them.
      culprits: int32 `[]`, a bit for every term of the run that was not finite at the last skipped
        step; 0 there: the gradient of finite terms.
      shares: float32 `[K]`, moving average of the shares of examples that are nearest to each anchor.
      scales: float32 `[K, D]`, standard deviations of the codes around each anchor, measured at the end of
        the run; 0 where they are not known.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    rng: jax.Array
    anchors_step: jax.Array
    last_used: jax.Array
    skipped_steps: jax.Array
    skipped_in_a_row: jax.Array
    culprits: jax.Array
    shares: jax.Array
    scales: jax.Array


def find_anchors(params: Any) -> jax.Array:
    """Finds the one parameter named `anchors`, `[K, D]`.

    Raises:
      ValueError: if there is none, or more than one.
    """
    found = [
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if getattr(path[-1], "key", None) == "anchors"
    ]
    if len(found) != 1:
        raise ValueError(f"expected one parameter named 'anchors', found {len(found)}")
    return found[0]


def anchor_scales(state: TrainState, otherwise: float) -> np.ndarray:
    """Standard deviations of the codes around the anchors, float32 `[K, D]`.

    Args:
      state: on the host.
      otherwise: where they are not known.
    """
    scales = np.asarray(state.scales)
    return np.where(scales > 0, scales, np.float32(otherwise))


def replace_anchors(params: Any, anchors: jax.Array | np.ndarray) -> Any:
    """Returns the parameters with other anchors; the rest is the same."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: anchors if getattr(path[-1], "key", None) == "anchors" else leaf, params
    )


def make_state(variables: Any, opt_state: Any, seed: int, *, anchors_set: bool) -> TrainState:
    """Makes the state of step 0.

    Args:
      variables: Flax variables with `params` and perhaps `batch_stats`.
      opt_state: initial state of the optimizer.
      seed: seed of the run.
      anchors_set: whether the anchors count as set already.

    Returns:
      The state.
    """
    params = variables["params"]
    num_anchors, dim = find_anchors(params).shape
    zero = jnp.zeros((), jnp.int32)
    return TrainState(
        step=zero,
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=opt_state,
        rng=jax.random.key_data(jax.random.key(seed)),
        anchors_step=jnp.asarray(0 if anchors_set else -1, jnp.int32),
        last_used=jnp.zeros((num_anchors,), jnp.int32),
        skipped_steps=zero,
        skipped_in_a_row=zero,
        culprits=zero,
        shares=jnp.full((num_anchors,), 1 / num_anchors, jnp.float32),
        scales=jnp.zeros((num_anchors, dim), jnp.float32),
    )
