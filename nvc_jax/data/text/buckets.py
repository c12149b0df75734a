"""Encoded pairs of sentences, and training batches of a few static shapes."""

import itertools
import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.data.base.source import Batches, FieldSpec, Source, class_names_of
from nvc_jax.data.text.vocabulary import END_ID, PADDING_ID, Vocabulary

_ENCODED_AT_ONCE = 4096
_CANDIDATES = 64
_logger = logging.getLogger("nvc_jax")


class _Rows:
    """Encoded sentences of different lengths, one after the other in one array."""

    def __init__(self, sentences: Sequence[str], vocabulary: Vocabulary, width: int):
        parts: list[np.ndarray] = []
        lengths: list[int] = []
        is_cut: list[bool] = []
        # By parts, since lists of numbers take far more memory than arrays.
        for start in range(0, len(sentences), _ENCODED_AT_ONCE):
            encoded = vocabulary.encode(sentences[start : start + _ENCODED_AT_ONCE])
            rows = [[*row[: width - 1], END_ID] for row in encoded]
            parts.append(np.array(list(itertools.chain.from_iterable(rows)), np.int32))
            lengths += map(len, rows)
            is_cut += [len(row) > width - 1 for row in encoded]
        self.width, self.is_cut, self.lengths = width, np.array(is_cut), np.array(lengths)
        self._starts = np.cumsum(self.lengths) - self.lengths
        self._tokens = np.concatenate(parts)

    def padded(self, ids: np.ndarray, width: int) -> np.ndarray:
        """Rows `ids`, padded to int32 `[n, width]`."""
        column = np.arange(width)
        inside = column < self.lengths[ids, None]
        position = np.where(inside, self._starts[ids, None] + column, 0)
        return np.where(inside, self._tokens[position], np.int32(PADDING_ID))


class TokenPairs:
    """A source of encoded pairs: `source` int32 `[S]`, `target` int32 `[T]`, and `label`.

    Rows are pieces and the end, then padding. All pairs are encoded at the start, and a line of the
    log tells how many were cut.

    Args:
      source: pairs of text.
      vocabulary: of both languages.
      max_source: S, the longest row with its end, 2 or more; what is longer is cut, and gets its end.
      max_target: T, 2 or more.

    Attributes:
      sentences: source text of every pair, as stored.
      references: target text of every pair, as stored.
      source_lengths: tokens of every source row with its end, int64 `[N]`.
      target_lengths: those of the target rows.
      is_cut: whether a side of the pair was cut, bool `[N]`.
    """

    in_memory = True

    def __init__(self, source: Source, vocabulary: Vocabulary, max_source: int, max_target: int):
        stored = source.gather(np.arange(len(source)))
        self._label = stored["label"]
        self.sentences: list[str] = stored["source_text"].tolist()
        self.references: list[str] = stored["target_text"].tolist()
        self._source = _Rows(self.sentences, vocabulary, max_source)
        self._target = _Rows(self.references, vocabulary, max_target)
        self.is_cut = self._source.is_cut | self._target.is_cut
        if self.is_cut.any():
            _logger.info(
                "%d of %d pairs have more than %d source or %d target tokens: training leaves them "
                "out, elsewhere they are cut.",
                self.is_cut.sum(),
                len(self),
                max_source,
                max_target,
            )
        self.source_lengths, self.target_lengths = self._source.lengths, self._target.lengths
        self.class_names = class_names_of(source)
        self.spec = {
            "source": FieldSpec((max_source,), np.dtype(np.int32)),
            "target": FieldSpec((max_target,), np.dtype(np.int32)),
            "label": FieldSpec((), np.dtype(np.int32)),
        }

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self._label)

    def gather(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """See `Source`."""
        return self.padded(ids, self._source.width, self._target.width)

    def padded(self, ids: np.ndarray, max_source: int, max_target: int) -> dict[str, np.ndarray]:
        """Pairs `ids`, of at most these lengths, in rows of other widths."""
        return {
            "source": self._source.padded(ids, max_source),
            "target": self._target.padded(ids, max_target),
            "label": self._label[ids],
        }


class Bucket(NamedTuple):
    """A shape of batches: `source` `[batch_size, max_source]`, `target` with `max_target`."""

    max_source: int
    max_target: int
    batch_size: int


class BucketedBatches:
    """Training batches of pairs of like lengths, each in one of a few shapes.

    The batches of an epoch are a function of (seed, epoch), and their number is always the same.
    Every pair comes at most once an epoch. From the longest bucket down the last batch of a bucket
    is filled up by pairs of shorter ones; what is left of the shortest bucket, less than a batch,
    is left for that epoch, other pairs in each.

    Args:
      pairs: encoded pairs; those that were cut are left out.
      tokens_per_batch: about so many target tokens make a batch, padding included.
      seed: of the order.
      unit: batch sizes are multiples of it, such as the number of devices.
      num_buckets: number of shapes; fewer where a bucket would hold less than one batch.

    Attributes:
      buckets: the shapes, from the shortest.
      steps_per_epoch: number of batches of an epoch.
      padding_share: share of padding among source and target tokens of an epoch, in [0, 1).

    Raises:
      UserError: if there are fewer pairs than `unit`.
    """

    in_memory = True

    def __init__(
        self,
        pairs: TokenPairs,
        tokens_per_batch: int,
        *,
        seed: int,
        unit: int = 1,
        num_buckets: int = 4,
    ):
        self._pairs, self._seed, self._unit = pairs, seed, unit
        self._ids = np.flatnonzero(~pairs.is_cut)
        longest = tuple(pairs.spec[name].shape[0] for name in ("source", "target"))
        if len(self._ids) < unit:
            raise UserError(
                f"{len(self._ids)} training pairs of at most {longest} tokens are fewer than a "
                f"batch of {unit}: allow longer rows, or use more text or fewer devices."
            )
        self.class_names, self.spec = pairs.class_names, pairs.spec
        self._source_lengths = pairs.source_lengths[self._ids]
        self._target_lengths = pairs.target_lengths[self._ids]
        bounds = choose_bounds(self._source_lengths, self._target_lengths, num_buckets)
        self.buckets, self._bucket_of = self._full_buckets(bounds, tokens_per_batch)
        self._kept: tuple[int, list[tuple[Bucket, np.ndarray]]] = (0, self._plan(0))
        self.steps_per_epoch = len(self._kept[1])
        ids = np.concatenate([ids for _, ids in self._kept[1]])
        real = self._source_lengths[ids].sum() + self._target_lengths[ids].sum()
        size = sum(b.batch_size * (b.max_source + b.max_target) for b, _ in self._kept[1])
        self.padding_share = 1.0 - float(real) / size

    def _full_buckets(
        self, bounds: list[tuple[int, int]], tokens_per_batch: int
    ) -> tuple[list[Bucket], np.ndarray]:
        """The buckets, and for every pair the first one that holds it."""
        most = len(self) // self._unit * self._unit
        while True:
            sizes = [
                max(1, round(tokens_per_batch / (width * self._unit))) * self._unit
                for _, width in bounds
            ]
            fits = [(self._source_lengths <= s) & (self._target_lengths <= t) for s, t in bounds]
            bucket_of = np.argmax(fits, axis=0)
            count = np.bincount(bucket_of, minlength=len(bounds))
            # Of a bucket below one batch, whose pairs might never come, the next one takes care.
            small = [k for k in range(len(bounds) - 1) if count[k] < sizes[k]]
            if not small:
                shapes = zip(bounds, sizes, strict=True)
                return [Bucket(s, t, min(size, most)) for (s, t), size in shapes], bucket_of
            del bounds[small[0]]

    def _plan(self, epoch: int) -> list[tuple[Bucket, np.ndarray]]:
        """The batches of an epoch: shape and pairs."""
        rng = np.random.default_rng([self._seed, epoch])
        order = rng.permutation(len(self))
        queues = [order[self._bucket_of[order] == k] for k in range(len(self.buckets))]
        plan = []
        for k in reversed(range(len(self.buckets))):
            size, available = self.buckets[k].batch_size, sum(map(len, queues[: k + 1]))
            wanted = min(-(-len(queues[k]) // size), available // size) * size
            taken: list[np.ndarray] = []
            for j in range(k, -1, -1):  # the nearest lengths first
                rest = wanted - sum(map(len, taken))
                taken.append(queues[j][:rest])
                queues[j] = queues[j][rest:]
            plan += [(self.buckets[k], ids) for ids in np.concatenate(taken).reshape(-1, size)]
        return [plan[i] for i in rng.permutation(len(plan))]

    def __len__(self) -> int:
        """Number of pairs that are not left out for their length."""
        return len(self._ids)

    def gather(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """See `Source`; rows are of the full widths."""
        return self._pairs.gather(self._ids[ids])

    def batches(
        self, start_step: int = 0, process_index: int = 0, process_count: int = 1
    ) -> Batches:
        """Endless batches of this process from `start_step` on.

        Args:
          start_step: step of the first batch, of the run.
          process_index: rank of this process.
          process_count: number of processes; their shares of a batch are disjoint and complete.

        Returns:
          An iterator of dicts: `source` int32 `[b, S]`, `target` int32 `[b, T]` and `label` int32
          `[b]`, with b = batch size / `process_count`.

        Raises:
          UserError: if the batches cannot be shared evenly by the processes.
        """
        if self._unit % process_count:
            raise UserError(
                f"Batches in multiples of {self._unit} pairs cannot be shared by {process_count} "
                f"processes: use a multiple of {process_count}."
            )
        steps = itertools.count(start_step)
        return (self._batch(step, process_index, process_count) for step in steps)

    def _batch(self, step: int, process_index: int, process_count: int) -> dict[str, np.ndarray]:
        """One process's share of the batch of a step."""
        epoch, index = divmod(step, self.steps_per_epoch)
        if self._kept[0] != epoch:
            self._kept = (epoch, self._plan(epoch))
        bucket, ids = self._kept[1][index]
        share = np.split(self._ids[ids], process_count)[process_index]
        return self._pairs.padded(share, bucket.max_source, bucket.max_target)


def choose_bounds(
    source_lengths: np.ndarray, target_lengths: np.ndarray, count: int
) -> list[tuple[int, int]]:
    """Bounds of lengths for buckets, for the least padding.

    `min Σ_k (C(S_k, T_k) − C(S_{k−1}, T_{k−1}))·(S_k + T_k)`, by dynamic programming, where
    `C(S, T)` is the number of pairs of at most S and T tokens and both bounds grow with k. Bounds
    are taken from at most 64 lengths in geometric steps a side.

    Args:
      source_lengths: integers `[N]` from 1.
      target_lengths: integers `[N]` from 1.
      count: number of buckets.

    Returns:
      `(S, T)` of at most `count` buckets, rising; the last one holds every pair.
    """
    axes = [
        np.unique(np.geomspace(x.min(), x.max(), _CANDIDATES).round().astype(np.int64))
        for x in (source_lengths, target_lengths)
    ]
    cells = tuple(
        np.searchsorted(axis, x)
        for axis, x in zip(axes, (source_lengths, target_lengths), strict=True)
    )
    number = np.zeros(tuple(map(len, axes)))
    np.add.at(number, cells, 1)
    held = number.cumsum(0).cumsum(1).ravel()
    s, t = (side.ravel() for side in np.meshgrid(*axes, indexing="ij"))
    grows = (s[:, None] <= s) & (t[:, None] <= t)
    added = np.where(grows, (held - held[:, None]) * (s + t), np.inf)  # from one bound to the next
    cost, previous = held * (s + t), []
    for _ in range(count - 1):
        total = cost[:, None] + added
        previous.append(total.argmin(0))
        cost = total.min(0)
    path = [len(s) - 1]
    for best in reversed(previous):
        path.append(int(best[path[-1]]))
    return sorted({(int(s[i]), int(t[i])) for i in path})
