"""Everything device-shaped: mapping a step over devices, collectives, process counts.

The step is written once for the shard of one device. This module maps it with `jax.pmap`; another
mapping needs a change here and nowhere else.
"""

import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from nvc_jax.core.errors import UserError

AXIS = "devices"
"""Name of the mapped axis; `None` in its place means: one device, no collectives."""

_SHUTDOWN_SECONDS = 3600
"""The others wait this long for the first process, which may still draw figures, to end."""

T = TypeVar("T")


class SharedError(UserError):
    """A mistake that every process of the run has been told of."""


def initialize(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    failure_timeout: int = 60,
    heed_preemption: bool = False,
) -> None:
    """Joins this process to the others of a run. Call it before anything touches a device.

    What is not given is read from `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and
    `JAX_PROCESS_ID`, or else found by JAX on the clusters it knows: TPU pods, Slurm, Open MPI,
    Kubernetes.

    Args:
      coordinator: `host:port` of the first process.
      num_processes: number of processes.
      process_id: rank of this process, from 0.
      failure_timeout: a process that has not been heard of for so many seconds ends the others.
      heed_preemption: SIGTERM is a notice to be asked for with `preempted`, not the end.

    Raises:
      UserError: if the processes do not find each other, or a device was used already.

    Reference: `jax.distributed.initialize`.
    """
    if num_processes is None:
        num_processes = _number_in_environment("JAX_NUM_PROCESSES")
    if process_id is None:
        process_id = _number_in_environment("JAX_PROCESS_ID")
    jax.config.update("jax_enable_preemption_service", heed_preemption)
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            heartbeat_timeout_seconds=failure_timeout,
            shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
        )
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"The processes of the run did not find each other ({str(error).splitlines()[0]}): give "
            "--coordinator=HOST:PORT, --num_processes and --process_id to every process, or start "
            "them on a cluster that JAX knows."
        ) from None


def _number_in_environment(name: str) -> int | None:
    """An integer environment variable, None where it is not set."""
    text = os.environ.get(name)
    if text is None:
        return None
    if not text.isdigit():
        raise UserError(f"The environment variable {name} is {text!r}: set it to a number.")
    return int(text)


def is_distributed() -> bool:
    """Whether this process was joined to others; touches no device."""
    return jax.distributed.is_initialized()


def is_lost_connection(error: Exception) -> bool:
    """Whether a collective operation failed, as it does when another process is gone."""
    signs = ("Gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED")
    text = str(error)
    return isinstance(error, jax.errors.JaxRuntimeError) and any(sign in text for sign in signs)


def leave(code: int, *, together: bool) -> None:
    """Parts from the other processes at the end of a program.

    Args:
      code: exit code. After a failure of this process alone the program ends here and now: the
        others would be waited for, and they may wait for this one.
      together: whether every process ends by itself.
    """
    if not is_distributed():
        return
    if together:
        jax.distributed.shutdown()
        return
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody listens any more
            stream.flush()
    os._exit(code)


def preempted(step: int) -> bool:
    """Whether all processes are to stop at this step, because one of them got SIGTERM.

    To be asked once a step by every process.
    """
    return bool(multihost_utils.reached_preemption_sync_point(step))


def process_index() -> int:
    """Rank of this process among all processes of the run."""
    return jax.process_index()


def process_count() -> int:
    """Number of processes of the run."""
    return jax.process_count()


def device_count() -> int:
    """Number of devices of the run, over all processes."""
    return jax.device_count()


def check_batch_size(batch_size: int, name: str, microbatches: int = 1) -> None:
    """Checks that a global batch divides evenly over all devices.

    Args:
      batch_size: number of examples in a global batch.
      name: the configuration key it came from, for the message.
      microbatches: number of equal parts of each device's share.

    Raises:
      UserError: if it does not divide; the message tells the nearest sizes that do.
    """
    unit = jax.device_count() * microbatches
    if batch_size > 0 and batch_size % unit == 0:
        return
    below = max(batch_size // unit, 1) * unit
    above = (max(batch_size, 0) // unit + 1) * unit
    nearest = str(below) if below == above else f"{below} or {above}"
    parts = f" in {microbatches} microbatches each" if microbatches > 1 else ""
    raise UserError(
        f"{name} = {batch_size} cannot be split over {jax.device_count()} devices{parts}: use a "
        f"multiple of {unit}, such as {nearest}."
    )


def round_up(batch_size: int) -> int:
    """The smallest size from `batch_size` on that divides evenly over all devices."""
    devices = jax.device_count()
    return -(-batch_size // devices) * devices


def replicate(tree: Any) -> Any:
    """Copies a pytree to every local device: leaves gain a leading device axis."""
    return _replicator()(np.arange(jax.local_device_count()), tree)


@functools.cache
def _replicator() -> Callable[..., Any]:
    """The mapped function of `replicate`; one, so that it compiles once for a state's shapes."""
    # The axis name is part of the sharding: with another one, steps would compile a second time
    # for the state that they return.
    return jax.pmap(lambda _, leaf: leaf, axis_name=AXIS, in_axes=(0, None), devices=_devices())


def unreplicate(tree: Any) -> Any:
    """Takes the first local device's copy of a replicated pytree to the host, as NumPy arrays.

    The arrays are copies: a later step may donate the device's buffers without changing them.
    """

    def first(leaf: jax.Array) -> np.ndarray:
        return np.array(np.asarray(leaf.addressable_shards[0].data)[0])

    return jax.tree.map(first, tree)


def _devices() -> Sequence[jax.Device]:
    """All devices of the run, those of one process beside each other.

    JAX's own order need not be that on a TPU pod, where each process's share of the batch has to
    lie in one piece.
    """
    return [
        device
        for process in range(jax.process_count())
        for device in jax.local_devices(process_index=process)
    ]


@functools.cache
def _batch_sharding() -> NamedSharding:
    """One piece of the leading axis on each device of the run."""
    return NamedSharding(Mesh(np.asarray(_devices()), (AXIS,)), PartitionSpec(AXIS))


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
    donated = (0,) if donate_state else ()
    return jax.pmap(step, axis_name=AXIS, donate_argnums=donated, devices=_devices())


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


def from_first_process(tree: T) -> T:
    """Gives every process the first process's copy of a pytree of NumPy arrays, bit for bit.

    Args:
      tree: arrays of the same shapes and dtypes on every process.
    """
    if jax.process_count() == 1:
        return tree
    arrays = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    # As bytes: the collective sums, which would lose the sign of zeros and halve 64 bits.
    content = np.frombuffer(b"".join(array.tobytes() for array in arrays), np.uint8)
    shared = np.asarray(multihost_utils.broadcast_one_to_all(content))
    pieces = np.split(shared, np.cumsum([array.nbytes for array in arrays])[:-1])
    leaves = [
        np.frombuffer(piece.tobytes(), array.dtype).reshape(array.shape).copy()
        for piece, array in zip(pieces, arrays, strict=True)
    ]
    return jax.tree.unflatten(jax.tree.structure(tree), leaves)


def gather_json(value: Any) -> list[Any]:
    """Collects one JSON value of every process, in their order, on all of them."""
    if jax.process_count() == 1:
        return [value]
    content = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.asarray(len(content), np.int32))
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: len(content)] = content
    rows = multihost_utils.process_allgather(padded)
    return [json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def all_or_none(action: Callable[[], T]) -> T:
    """Runs an action on every process; a mistake found by one of them ends all, with its message.

    Args:
      action: may raise `UserError`; holds no collective.

    Returns:
      What the action returned on this process.

    Raises:
      SharedError: the message of the first process that failed.
    """
    if jax.process_count() == 1:
        return action()
    result, message = None, None
    try:
        result = action()
    except UserError as error:
        message = str(error)
    for process, told in enumerate(gather_json(message)):
        if told is not None:
            raise SharedError(f"Process {process}: {told}") from None
    return result  # type: ignore[return-value]


def first_alone(action: Callable[[], T]) -> T | None:
    """`all_or_none` for an action of the first process; the others get None."""
    return all_or_none(action if jax.process_index() == 0 else lambda: None)


def check_alike(values: Mapping[str, Any]) -> None:
    """Checks that all processes were started for the same run.

    Args:
      values: JSON values by name that have to be equal on every process.

    Raises:
      SharedError: if one differs; names it and both values.
    """
    first, *others = gather_json(dict(values))
    for process, other in enumerate(others, start=1):
        for name in sorted(first.keys() | other.keys()):
            if first.get(name) != other.get(name):
                raise SharedError(
                    f"The processes were not started alike: {name} is {first.get(name)!r} for "
                    f"process 0 and {other.get(name)!r} for process {process}."
                )


def on_first_process(action: Callable[[], T], like: T) -> T:
    """Runs an action on the first process alone and gives its result to all.

    Args:
      action: makes a pytree of NumPy arrays; may raise `UserError`.
      like: a pytree of the same structure, shapes and dtypes; its values are not used.

    Raises:
      SharedError: where the action raised `UserError`.
    """
    first = jax.process_index() == 0
    return from_first_process(all_or_none(action if first else lambda: like))


class Devices:
    """Where a training runs and what goes in and out: mapped over all devices of the run.

    Attributes:
      axis_name: name of the mapped axis.
    """

    axis_name: str | None = AXIS

    def process_index(self) -> int:
        """Rank of this process among those that train together."""
        return process_index()

    def process_count(self) -> int:
        """Number of processes that train together."""
        return process_count()

    def round_up(self, batch_size: int) -> int:
        """See `round_up`."""
        return round_up(batch_size)

    def map_step(
        self, step: Callable[..., Any], *, donate_state: bool = False, **compiler_options: Any
    ) -> Callable[..., Any]:
        """See `map_step`; a map over devices has no options of the compiler."""
        del compiler_options
        return map_step(step, donate_state=donate_state)

    def replicate(self, state: Any) -> Any:
        """A state on the host → on the devices."""
        return replicate(state)

    def unreplicate(self, tree: Any) -> Any:
        """A state, or metrics, on the devices → on the host."""
        return unreplicate(tree)

    def shard(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """This process's batch → on the devices."""
        return shard(batch)

    def gather_to_host(self, tree: Any) -> Any:
        """Per-example outputs of a step → on the host, `[global batch, ...]`."""
        return gather_to_host(tree)

    def on_first_process(self, action: Callable[[], T], like: T) -> T:
        """See `on_first_process`."""
        return on_first_process(action, like)


class OneDevice(Devices):
    """The default device of this process alone, without a mapped axis."""

    axis_name = None

    def process_index(self) -> int:
        """The first one."""
        return 0

    def process_count(self) -> int:
        """Alone."""
        return 1

    def round_up(self, batch_size: int) -> int:
        """Any size fits."""
        return batch_size

    def map_step(
        self, step: Callable[..., Any], *, donate_state: bool = False, **compiler_options: Any
    ) -> Callable[..., Any]:
        """Compiles the step as it is."""
        donated = (0,) if donate_state else ()
        return jax.jit(step, donate_argnums=donated, compiler_options=compiler_options or None)

    def replicate(self, state: Any) -> Any:
        """A copy on the device, which a step may donate."""
        return jax.tree.map(jnp.array, state)

    def unreplicate(self, tree: Any) -> Any:
        """A copy on the host."""
        return jax.tree.map(np.array, tree)

    def shard(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """As it is: the step puts it on the device."""
        return batch

    def gather_to_host(self, tree: Any) -> Any:
        """Arrays on the host."""
        return jax.device_get(tree)

    def on_first_process(self, action: Callable[[], T], like: T) -> T:
        """Runs the action."""
        del like
        return action()


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
