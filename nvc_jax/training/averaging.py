"""Averages of the parameters of several checkpoints: steadier than those of any one step."""

from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.training.checkpoint import Checkpoints
from nvc_jax.training.state import TrainState


def average_params(params: Iterable[Any]) -> Any:
    """Mean of several sets of parameters, value by value.

    `mean = (1/n) Σ_i params_i`, summed in float64. Integers and booleans, which are counters, are
    those of the last set. Anchors are averaged as all parameters are: a mean of places that they
    moved through slowly. One that was revived in between lands between its two places.

    Args:
      params: pytrees of arrays, alike in structure and shapes, oldest first. They are taken one by
        one: of all but the last only the sum is kept.

    Returns:
      Pytree of NumPy arrays of the last set's dtypes.

    Raises:
      UserError: for no set, or sets that are not alike.

    Reference: Vaswani et al., 2017, section 6.1; Popel and Bojar, "Training Tips for the Transformer
      Model", 2018.
    """
    count, newest, shapes = 0, None, None
    total: list[np.ndarray] = []
    for one in params:
        newest = jax.tree.map(np.asarray, one)
        found = jax.tree.map(np.shape, newest)
        if count and found != shapes:
            raise UserError(
                f"Set {count + 1} of the parameters to average differs from those before it in "
                "structure or shapes: average checkpoints of one run."
            )
        values = [leaf.astype(np.float64) for leaf in jax.tree.leaves(newest)]
        total = [a + b for a, b in zip(total, values, strict=True)] if count else values
        count, shapes = count + 1, found
    if not count:
        raise UserError("There are no parameters to average: give at least one set.")
    leaves, structure = jax.tree.flatten(newest)
    means = [
        (summed / count).astype(leaf.dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
        for summed, leaf in zip(total, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, means)


def average_checkpoints(checkpoints: Checkpoints, target: TrainState, number: int) -> TrainState:
    """The newest checkpoint of a run with the parameters of its last `number` ones averaged.

    Parameters and running statistics are averaged; step, counters and the optimizer's moments are
    the newest one's. All processes have to call it.

    Args:
      checkpoints: of the run.
      target: state with the wanted structure and shapes; its values are not used.
      number: how many; 1 gives the newest as it is.

    Returns:
      The state on the host, unreplicated.

    Raises:
      UserError: if there are fewer checkpoints, one of them cannot be read, or the anchors were set
        from data between them, which moves all of them at once.
    """
    steps = checkpoints.agreed_steps()
    if not 0 < number <= len(steps):
        raise UserError(
            f"The average of {number} checkpoints is asked for, and {checkpoints.workdir} has "
            f"{len(steps)}: ask for 1 to that many, and keep more in training by train.keep."
        )
    state = target
    set_at: set[int] = set()

    def read() -> Iterator[Any]:
        nonlocal state
        for step in steps[-number:]:
            found = checkpoints.restore(target, step=step)
            assert found is not None  # a step that is named is read, or raises
            state = found[0]
            set_at.add(int(state.anchors_step))
            yield {"params": state.params, "batch_stats": state.batch_stats}

    averaged = average_params(read())
    if len(set_at) > 1:
        raise UserError(
            f"The anchors were set between the last {number} checkpoints of {checkpoints.workdir}: "
            "ask for the average of fewer."
        )
    return state.replace(**averaged)
