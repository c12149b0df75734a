"""Batches from a source: the order is a function of (seed, epoch), and nothing is kept between.

Global position p of a run holds example `permutation(seed, p // N)[p % N]`: every example comes
exactly once an epoch, a batch may reach over into the next epoch, and a run resumes at any step.
"""

import itertools
import signal
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from absl import flags

from nvc_jax.core.errors import UserError
from nvc_jax.core.extras import require
from nvc_jax.data.base.source import Batches, BatchSource, Source, is_in_memory

NEIGHBOR = "neighbor/"
"""What names of a neighbor's fields begin with."""
HINT = "hint"
"""Field of the anchors that are given to examples."""


class Hints(NamedTuple):
    """Anchors that are given to examples, in place of those that training finds.

    Attributes:
      known: int32 `[N]`, for the whole run; -1 where nothing is known.
      held: int32 `[N]`, for the steps before `until`, where nothing is known.
      until: that step.
    """

    known: np.ndarray
    held: np.ndarray
    until: int

    def at(self, step: int, ids: np.ndarray) -> np.ndarray:
        """Anchors of examples in a step's batch, int32; -1: none is given."""
        known = self.known[ids]
        return known if step >= self.until else np.where(known >= 0, known, self.held[ids])


class _Steps:
    """This process's share of the batch of every step, by step, as Grain reads it too."""

    def __init__(
        self,
        source: Source,
        batch_size: int,
        seed: int,
        share: slice,
        neighbors: np.ndarray | None,
        hints: Hints | None,
    ):
        self._source, self._batch_size, self._seed, self._share = source, batch_size, seed, share
        self._neighbors, self._hints = neighbors, hints
        self._orders: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return 2**31 - 1

    def _order(self, epoch: int) -> np.ndarray:
        """The epoch's permutation; the last two are kept."""
        orders = self._orders  # another thread may put others in its place
        if epoch not in orders:
            rng = np.random.default_rng([self._seed, epoch])
            kept = dict(list(orders.items())[-1:])
            orders = self._orders = {**kept, epoch: rng.permutation(len(self._source))}
        return orders[epoch]

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        position = np.arange(self._batch_size)[self._share] + int(step) * self._batch_size
        epochs, offsets = np.divmod(position, len(self._source))
        parts = [self._order(int(epoch))[offsets[epochs == epoch]] for epoch in np.unique(epochs)]
        ids = np.concatenate(parts)
        batch = self._source.gather(ids)
        others = None
        if self._neighbors is not None:
            rng = np.random.default_rng([self._seed, int(step), 1])
            drawn = rng.integers(self._neighbors.shape[1], size=self._batch_size)[self._share]
            others = self._neighbors[ids, drawn]
            beside = self._source.gather(others)
            batch = {**batch, **{NEIGHBOR + k: v for k, v in beside.items() if k != "label"}}
        if self._hints is not None:
            own = self._hints.at(int(step), ids)
            theirs = own if others is None else self._hints.at(int(step), others)
            batch = {**batch, HINT: np.where(own >= 0, own, theirs)}
        return batch


def train_batches(
    source: Source | BatchSource,
    batch_size: int,
    *,
    seed: int,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int = 1,
    num_workers: int = 0,
    neighbors: np.ndarray | None = None,
    hints: Hints | None = None,
) -> Batches:
    """Endless training batches of this process.

    Args:
      source: the examples; a `BatchSource` has batches of its own.
      batch_size: global batch size, a multiple of `process_count`.
      seed: of the order.
      start_step: step of the first batch.
      process_index: rank of this process.
      process_count: number of processes; their shares are disjoint and complete.
      num_threads: threads that read ahead; 0 reads in the caller's thread, as arrays in memory
        always do, for which a change of threads takes longer than the reading.
      num_workers: processes that read ahead, through Grain; they never use JAX.
      neighbors: int `[len(source), k]`; each example comes with the fields of one of its neighbors
        beside its own, under names that begin with `NEIGHBOR`, drawn anew at every step.
      hints: anchors that are given; each example comes with its own, or else its neighbor's, as `HINT`.

    Returns:
      A generator of dicts of arrays `[batch_size / process_count, ...]`, to be closed.

    Raises:
      UserError: if the batch cannot be shared evenly by the processes.
    """
    if isinstance(source, BatchSource):
        return source.batches(start_step, process_index, process_count)
    size = _share(batch_size, process_count)
    share = slice(process_index * size, (process_index + 1) * size)
    reader = _Steps(source, batch_size, seed, share, neighbors, hints)
    num_threads = 0 if is_in_memory(source) else num_threads
    if num_workers > 0:
        return _read_in_processes(reader, start_step, num_threads, num_workers)
    if num_threads > 0:
        return _read_in_threads(reader, start_step, num_threads)
    return (reader[step] for step in range(start_step, len(reader)))


def _read_in_threads(reader: _Steps, start_step: int, num_threads: int) -> Batches:
    """Has two batches a thread read or on their way."""
    steps = itertools.count(start_step)
    pool = ThreadPoolExecutor(num_threads)
    try:
        ahead = deque(
            pool.submit(reader.__getitem__, step)
            for step in itertools.islice(steps, 2 * num_threads)
        )
        while True:
            batch = ahead.popleft().result()
            ahead.append(pool.submit(reader.__getitem__, next(steps)))
            yield batch
    finally:
        pool.shutdown(cancel_futures=True)


def _read_in_processes(
    reader: _Steps, start_step: int, num_threads: int, num_workers: int
) -> Batches:
    """Reads ahead through Grain."""
    grain = require("grain", extra="data", what="data.num_workers above 0")
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # Grain reads absl's flags, which our programs do not use
    threads = max(num_threads, 1)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    workers = grain.MultiprocessingOptions(num_workers=num_workers)
    dataset = grain.MapDataset.source(reader)[start_step:].to_iter_dataset(options)
    iterator = iter(dataset.mp_prefetch(workers, worker_init_fn=_ignore_interrupt))
    try:
        yield from iterator
    finally:
        iterator.close()


def _ignore_interrupt(worker: int, num_workers: int) -> None:
    """Leaves Ctrl-C to the main process, which still needs its readers when it stops in order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _share(batch_size: int, process_count: int) -> int:
    """One process's part of a batch."""
    if batch_size < 1 or batch_size % process_count:
        raise UserError(
            f"A batch of {batch_size} examples cannot be shared by {process_count} processes: use a "
            f"multiple of {process_count}."
        )
    return batch_size // process_count


def eval_batches(
    source: Source, batch_size: int, *, process_index: int = 0, process_count: int = 1
) -> Iterator[dict[str, np.ndarray]]:
    """Batches of one shape that hold every example exactly once.

    Args:
      source: the examples.
      batch_size: global batch size, a multiple of `process_count`.
      process_index: rank of this process.
      process_count: number of processes.

    Yields:
      Dicts of arrays with `id` (int32) and `mask` (bool, False for padding) beside the fields; the
      padding repeats the last example.

    Raises:
      UserError: if the batch cannot be shared evenly by the processes.
    """
    size = _share(batch_size, process_count)
    for start in range(0, len(source), batch_size):
        first = start + process_index * size
        position = np.arange(first, first + size)
        ids = np.minimum(position, len(source) - 1)
        yield {**source.gather(ids), "id": ids.astype(np.int32), "mask": position < len(source)}
