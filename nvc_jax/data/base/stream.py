"""Any re-iterable of dict batches as training data."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.data.base.source import Batches, FieldSource, FieldSpec, Source, check_batch_fields


class IterableSource:
    """Batches in the order of an iterable, over and over.

    Args:
      batches: gives dicts of arrays `[b, ...]` whenever it is iterated; a one-shot generator works
        for a single pass. A Grain data set works too. `label` may be missing.
    """

    def __init__(self, batches: Iterable[dict[str, Any]]):
        self._batches = batches
        self._one_shot = iter(batches) if iter(batches) is batches else None
        self._first: dict[str, np.ndarray] | None = None
        first = self._peek()
        self.spec = {k: FieldSpec(tuple(v.shape[1:]), v.dtype) for k, v in first.items()}

    def _peek(self) -> dict[str, np.ndarray]:
        """The first batch, kept for a one-shot iterator."""
        try:
            first = _arrays(next(self._one_shot or iter(self._batches)))
        except StopIteration:
            raise UserError("The iterable of batches is empty: it needs at least one.") from None
        if self._one_shot is not None:
            self._first = first
        return first

    def batches(
        self, start_step: int = 0, process_index: int = 0, process_count: int = 1
    ) -> Batches:
        """Batches from `start_step` on; begins anew at the end. Every process has its own iterable.

        Raises:
          UserError: for a batch with other fields than the first, or at the end of a one-shot
            iterator.
        """
        skip = start_step
        while True:
            count = 0
            for batch in self._pass():
                count += 1
                if skip > 0:
                    skip -= 1
                    continue
                arrays = _arrays(batch)
                check_batch_fields(arrays, self.spec)
                yield arrays
            if self._one_shot is not None or count == 0:
                raise UserError(
                    f"The iterable of batches ended after {count} batches and cannot be iterated "
                    "again: pass a list, a data set, or an object with __iter__."
                )

    def _pass(self) -> Iterator[dict[str, Any]]:
        """One pass over the data."""
        if self._one_shot is None:
            yield from self._batches
            return
        if self._first is not None:
            first, self._first = self._first, None
            yield first
        yield from self._one_shot

    def collect(self, limit: int | None = None) -> Source:
        """One pass as a source: all examples, or the batches that hold the first `limit`.

        Raises:
          UserError: for a one-shot iterator, whose batches would be lost.
        """
        if self._one_shot is not None:
            raise UserError(
                "Anchors from data need data that can be iterated again: pass a list or a data "
                "set, or set anchors.init to 'spread' or 'normal'."
            )
        parts: list[dict[str, np.ndarray]] = []
        total = 0
        for batch in self._batches:
            parts.append(_arrays(batch))
            check_batch_fields(parts[-1], self.spec)
            total += len(next(iter(parts[-1].values())))
            if limit is not None and total >= limit:
                break
        return FieldSource({k: np.concatenate([p[k] for p in parts]) for k in self.spec})


def _arrays(batch: dict[str, Any]) -> dict[str, np.ndarray]:
    """A batch of NumPy arrays with a `label`."""
    if not isinstance(batch, Mapping):
        raise UserError(f"A batch is a dict of arrays, got {type(batch).__name__}.")
    arrays = {name: np.asarray(value) for name, value in batch.items()}
    lengths = {value.shape[:1] for value in arrays.values()}
    if len(lengths) != 1 or lengths == {()}:
        shapes = {name: value.shape for name, value in arrays.items()}
        raise UserError(f"The arrays of a batch have one length, their first axis; got {shapes}.")
    label = arrays.get("label", np.full(lengths.pop(), -1))
    return {**arrays, "label": label.astype(np.int32)}
