"""Everything device-shaped: mapping a step over devices, collectives, process counts.

The step is written once for the shard of one device. This module maps it with `jax.pmap`; another
mapping needs a change here and nowhere else.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from nvc_jax.errors import UserError

AXIS = "devices"
"""Name of the mapped axis; `None` in its place means: one device, no collectives."""


def process_index() -> int:
    """Rank of this process among all processes of the run."""
    return jax.process_index()


def process_count() -> int:
    """Number of processes of the run."""
    return jax.process_count()


def device_count() -> int:
    """Number of devices of the run, over all processes."""
    return jax.device_count()


def check_batch_size(batch_size: int, name: str) -> None:
    """Checks that a global batch divides evenly over all devices.

    Args:
      batch_size: number of examples in a global batch.
      name: the configuration key it came from, for the message.

    Raises:
      UserError: if it does not divide; the message tells the nearest sizes that do.
    """
    devices = jax.device_count()
    if batch_size > 0 and batch_size % devices == 0:
        return
    below = max(batch_size // devices, 1) * devices
    above = (max(batch_size, 0) // devices + 1) * devices
    nearest = str(below) if below == above else f"{below} or {above}"
    raise UserError(
        f"{name} = {batch_size} cannot be split over {devices} devices: use a multiple of {devices}, "
        f"such as {nearest}."
    )


def round_up(batch_size: int) -> int:
    """The smallest size from `batch_size` on that divides evenly over all devices."""
    devices = jax.device_count()
    return -(-batch_size // devices) * devices


def replicate(tree: Any) -> Any:
    """Copies a pytree to every local device: leaves gain a leading device axis."""
    # The axis name is part of the sharding: with another one, steps would compile a second time
    # for the state that they return.
    return jax.pmap(lambda _, leaf: leaf, axis_name=AXIS, in_axes=(0, None))(
        np.arange(jax.local_device_count()), tree
    )


def unreplicate(tree: Any) -> Any:
    """Takes the first local device's copy of a replicated pytree to the host, as NumPy arrays.

    The arrays are copies: a later step may donate the device's buffers without changing them.
    """

    def first(leaf: jax.Array) -> np.ndarray:
        return np.array(np.asarray(leaf.addressable_shards[0].data)[0])

    return jax.tree.map(first, tree)


@functools.cache
def _batch_sharding() -> NamedSharding:
    """One piece of the leading axis on each device of the run."""
    return NamedSharding(Mesh(np.asarray(jax.devices()), (AXIS,)), PartitionSpec(AXIS))


def shard(batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """Puts this process's batch on its devices: `[b, ...]` becomes `[devices, b / devices, ...]`.

    Raises:
      UserError: if it does not divide evenly.
    """
    devices = jax.local_devices()
    size = len(next(iter(batch.values())))
    if size % len(devices):
        raise UserError(
            f"A batch of {size} examples cannot be split over {len(devices)} devices: let the data "
            "give batches of a multiple of them."
        )
    sharding = _batch_sharding()
    batch = {k: v.reshape(len(devices), -1, *v.shape[1:]) for k, v in batch.items()}
    if jax.process_count() == 1:
        return jax.device_put(batch, sharding)
    return jax.tree.map(lambda v: jax.make_array_from_process_local_data(sharding, v), batch)


def map_step(step: Callable[..., Any], *, donate_state: bool = False) -> Callable[..., Any]:
    """Maps a per-shard step over all devices.

    Args:
      step: function of (replicated state, shard of a batch).
      donate_state: reuse the state's memory for the result; the argument is gone afterwards.

    Returns:
      The compiled function of (replicated state, sharded batch).
    """
    return jax.pmap(step, axis_name=AXIS, donate_argnums=(0,) if donate_state else ())


def gather_to_host(tree: Any) -> Any:
    """Collects per-example outputs of a mapped step from all devices of all processes.

    Args:
      tree: arrays `[local devices, b, ...]`.

    Returns:
      NumPy arrays `[global batch, ...]`, the same on every process, in the batch's order.
    """

    def local(leaf: jax.Array) -> np.ndarray:
        pieces = sorted(leaf.addressable_shards, key=lambda piece: piece.index[0].start or 0)
        return np.concatenate([np.asarray(piece.data)[0] for piece in pieces])

    tree = jax.tree.map(local, tree)
    if jax.process_count() == 1:
        return tree
    return multihost_utils.process_allgather(tree, tiled=True)


def from_first_process(tree: Any) -> Any:
    """Gives every process the first process's copy of a pytree of NumPy arrays."""
    return tree if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(tree)


def example_index(size: int, axis_name: str | None) -> jax.Array:
    """Positions in the global batch of this shard's `size` examples, int32 `[size]`."""
    index = jnp.arange(size, dtype=jnp.int32)
    return index if axis_name is None else index + jax.lax.axis_index(axis_name) * size


def all_gather(tree: Any, axis_name: str | None) -> Any:
    """Joins the shards `[b, ...]` of all devices to the global batch, with gradient."""
    if axis_name is None:
        return tree
    return jax.tree.map(lambda x: jax.lax.all_gather(x, axis_name, tiled=True), tree)


def pmean(tree: Any, axis_name: str | None) -> Any:
    """Averages a pytree over devices."""
    return tree if axis_name is None else jax.lax.pmean(tree, axis_name)
