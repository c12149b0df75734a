"""What a data source is, and the one made of arrays.

The batch schema: `image` `[b, H, W, C]` as stored (uint8, uint16 or float) and `label` int32
`[b]`, −1 where there is none. Evaluation batches have `id` and `mask` too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from nvc_jax.errors import UserError


class FieldSpec(NamedTuple):
    """Shape (without the batch axis) and dtype of one field."""

    shape: tuple[int, ...]
    dtype: np.dtype


@runtime_checkable
class Source(Protocol):
    """Examples by number. `spec` describes the fields that `gather` returns."""

    spec: dict[str, FieldSpec]

    def __len__(self) -> int:
        """Number of examples."""

    def gather(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """Examples `ids` (int64 `[n]`) as arrays `[n, ...]`."""


class ArraySource:
    """Examples in arrays, which may be memory-mapped.

    Args:
      image: `[N, H, W, C]`, or `[N, H, W]` for one channel; uint8, uint16 or floats.
      label: int `[N]`, or None.
      where: what the arrays are called in messages.

    Raises:
      UserError: for a wrong rank, dtype or number of labels, or no example.
    """

    in_memory = True

    def __init__(self, image: np.ndarray, label: np.ndarray | None = None, where: str = "the data"):
        # Other integers would be scaled by a maximum that their values never come near.
        if image.dtype.kind != "f" and image.dtype not in (np.uint8, np.uint16):
            raise UserError(
                f"{where}: images are uint8, uint16 or floats, got dtype {image.dtype}; convert "
                "them first."
            )
        if image.ndim == 3:
            image = image[..., None]
        if image.ndim != 4:
            raise UserError(
                f"{where}: images are [N, H, W] or [N, H, W, C], got shape {image.shape}; "
                "reshape flat vectors to images first."
            )
        if not len(image):
            raise UserError(f"{where}: there is no example in it, got shape {image.shape}.")
        if label is not None and (label.shape != image.shape[:1] or label.dtype.kind not in "uib"):
            raise UserError(
                f"{where}: labels are integers [{len(image)}], one an image, got shape "
                f"{label.shape} of {label.dtype}."
            )
        self._image, self._label = image, label
        self.spec = {
            "image": FieldSpec(image.shape[1:], image.dtype),
            "label": FieldSpec((), np.dtype(np.int32)),
        }

    def __len__(self) -> int:
        """Number of examples."""
        return len(self._image)

    def gather(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """See `Source`."""
        image = np.asarray(self._image[ids])
        if self._label is None:
            return {"image": image, "label": np.full(len(ids), -1, np.int32)}
        return {"image": image, "label": np.asarray(self._label[ids], np.int32)}


class _Subset:
    """Some examples of another source."""

    def __init__(self, source: Source, ids: np.ndarray):
        self._source, self._ids, self.spec = source, ids, source.spec
        self.in_memory = is_in_memory(source)

    def __len__(self) -> int:
        return len(self._ids)

    def gather(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        return self._source.gather(self._ids[ids])


def is_in_memory(source: Source) -> bool:
    """Whether gathering is cheaper than handing batches from thread to thread."""
    return getattr(source, "in_memory", False)


def subset(source: Source, ids: np.ndarray) -> Source:
    """The examples `ids` (int64 `[n]`) of a source, as a source."""
    return _Subset(source, np.asarray(ids, np.int64))


def random_subset(source: Source, limit: int, seed: int) -> Source:
    """At most `limit` examples of a source, drawn without replacement and kept in order."""
    if len(source) <= limit:
        return source
    drawn = np.random.default_rng(seed).permutation(len(source))[:limit]
    return subset(source, np.sort(drawn))


def split_off(source: Source, fraction: float, *, held_out: bool, name: str) -> Source:
    """Cuts a source in two by a fixed permutation that looks at no label.

    Args:
      source: the examples.
      fraction: share of the held-out part, from 0 to below 1.
      held_out: True for the held-out part, False for the rest.
      name: the configuration key the fraction came from, for messages.

    Returns:
      The part.

    Raises:
      UserError: if a part would be empty.
    """
    count = round(fraction * len(source)) if 0 <= fraction < 1 else len(source)
    if count == len(source) or (held_out and count == 0):
        raise UserError(
            f"{name} = {fraction} leaves a part of {len(source)} examples empty: use a share "
            "between 0 and 1."
        )
    order = np.random.default_rng(0).permutation(len(source))
    return subset(source, np.sort(order[:count] if held_out else order[count:]))


def check_batch_fields(batch: Mapping[str, np.ndarray], spec: Mapping[str, FieldSpec]) -> None:
    """Compares a batch with the expected fields.

    Raises:
      UserError: listing names, shapes and dtypes that were got and expected.
    """
    got = {k: FieldSpec(tuple(v.shape[1:]), v.dtype) for k, v in batch.items()}
    if all(got.get(name) == field for name, field in spec.items()):
        return
    raise UserError(f"The batch does not fit: expected {_listing(spec)}; got {_listing(got)}.")


def _listing(spec: Mapping[str, FieldSpec]) -> str:
    """Fields as text, `image [b, 28, 28, 1] uint8`."""
    return (
        ", ".join(
            f"{name} [{', '.join(['b', *map(str, field.shape)])}] {field.dtype}"
            for name, field in sorted(spec.items())
        )
        or "nothing"
    )
