"""What a data source is, and those made of arrays, of other sources, and of iterables of batches.

The batch schema. Every batch has `label`, int32 `[b]`, −1 where there is none; evaluation batches
have `id` and `mask` too. Beside it come the fields of one kind of data:

- images: `image` `[b, H, W, C]` as stored (uint8, uint16 or float);
- shapes, of which examples are made: `voxels` uint8 `[b, X, Y, Z]` (0 empty, 1 solid), `points`,
  `normals` float32 `[b, P, 3]`, `point_label` uint8 `[b, P]`;
- completion of volumes: `partial` uint8 `[b, X, Y, Z]` (1 where a surface was seen) and `complete`
  uint8 `[b, X, Y, Z]`: occupancy or class, 0 empty, 255 unknown;
- completion of point clouds: `partial` float32 `[b, N, 3]`, `complete` float32 `[b, M, 3]`;
- text, of which examples are made: `source_text` and `target_text`, objects of type str `[b]`;
- translation: `source` int32 `[b, S]` and `target` int32 `[b, T]`, tokens and an end, padded with 0;
- segmentation of point clouds: `points` float32 `[b, P, C]` (x, y, z, then whatever there is) and
  `point_label` uint8 `[b, P]`, 255 unknown;
- hands: `image` uint8 `[b, S, S, C]`, `joints` float32 `[b, 21, 3]` (mm, a right hand, in the order of
  `nvc_jax/geometry/joints.py`), `visible` `[b, 21]`, `camera` float32 `[b, 4]` (fx, fy, cx, cy in
  pixels) and `center` float32 `[b, 3]` (mm), that of the crop;
- planes: `image` uint8 `[b, H, W, 3]`, `planes` float32 `[b, 20, 3]`, `segmentation` uint8
  `[b, H, W]` (20 on no plane, 255 unknown), `depth` float32 `[b, H, W]` (m, 0 unknown), `camera`;
  conventions in `nvc_jax/geometry/planes.py`.

Cameras look along z, with x to the right and y down. The axes of a volume are x, y, z in this order, y up.
"""

import abc
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from nvc_jax.core.errors import UserError

MOST_LABEL = 2**20
"""Integers up to it are numbers of classes, and may be missing among the labels; larger ones are values."""

Batches = Generator[dict[str, np.ndarray], None, None]
"""What is iterated in training, and closed at its end."""


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


@runtime_checkable
class BatchSource(Protocol):
    """Examples that come in training batches of their own, whatever `train.batch_size` says."""

    spec: dict[str, FieldSpec]

    def batches(
        self, start_step: int = 0, process_index: int = 0, process_count: int = 1
    ) -> Batches:
        """Endless batches of one of the processes, from a step of the run on."""


def number_labels(
    label: np.ndarray, class_names: Sequence[str] = (), where: str = "the data"
) -> tuple[np.ndarray, Sequence[str]]:
    """Labels as numbers of classes.

    Integers from −1 (none) to `MOST_LABEL` are such numbers already. Other integers, and text, are
    values: each stands for a class, which has it for a name.

    Args:
      label: integers, booleans or text `[N]`.
      class_names: the name of every class, where they are known: of text all, and in any order; (): the
        values that there are, sorted.
      where: what they are called in messages.

    Returns:
      (int32 `[N]`, the names of the classes).

    Raises:
      UserError: for labels of another type, or text that names no class.
    """
    if label.dtype.kind == "O" and all(isinstance(value, str | bytes) for value in label):
        label = np.array(
            [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in label], str
        )
    if label.dtype.kind == "S":
        label = np.char.decode(label, "utf-8", "replace")
    if label.dtype.kind not in "uibU":
        raise UserError(f"{where}: labels are integers or text, got an array of {label.dtype}.")
    if label.dtype.kind != "U" and (
        not label.size or -1 <= label.min() <= label.max() <= MOST_LABEL
    ):
        return label.astype(np.int32), class_names
    values = np.unique(label if label.dtype.kind == "U" else label[label != -1])
    names = tuple(class_names) or tuple(map(str, values.tolist()))
    numbers = {name: number for number, name in enumerate(names)}
    known = [numbers.get(str(value), -2) for value in values.tolist()]
    if -2 in known:
        wrong = values.tolist()[known.index(-2)]
        raise UserError(f"{where}: the label {wrong!r} is none of the {len(names)} classes.")
    places = np.minimum(np.searchsorted(values, label), len(values) - 1)
    found = np.where(values[places] == label, np.array(known, np.int32)[places], -1)
    return found.astype(np.int32), names


def number_alike(
    label: np.ndarray, others: Sequence[np.ndarray | None], where: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels of one split as numbers of classes that are the same in the others; see `number_labels`.

    Args:
      label: those of the split `[N]`.
      others: those of other splits.
      where: what the labels are called in messages.

    Returns:
      (`label` as it is, or numbered; names of classes where they had to be numbered).
    """
    every = [label, *(other for other in others if other is not None)]
    if any(values.ndim != 1 for values in every):
        return label, ()  # what is wrong is told with the other fields
    numbers, names = number_labels(np.concatenate(every), (), where)
    return (numbers[: len(label)], tuple(names)) if names else (label, ())


class FieldSource:
    """Examples in arrays of any fields.

    Args:
      fields: arrays `[N, ...]` by name. `label`, integers `[N]`, see `number_labels`, may be missing: then there is none.
      where: what the arrays are called in messages.
      class_names: name of every label, where there are names.
      point_class_names: name of every class of points or voxels.

    Raises:
      UserError: for arrays of different lengths, labels that are no integers, or no example.
    """

    in_memory = True

    def __init__(
        self,
        fields: Mapping[str, np.ndarray],
        where: str = "the data",
        class_names: Sequence[str] = (),
        point_class_names: Sequence[str] = (),
    ):
        lengths = {name: len(values) for name, values in fields.items() if name != "label"}
        if len(set(lengths.values())) != 1:
            raise UserError(f"{where}: the fields have one length, got {lengths}.")
        size = next(iter(lengths.values()))
        if not size:
            raise UserError(f"{where}: there is no example in it.")
        label = fields.get("label", np.full(size, -1, np.int32))
        if label.shape != (size,) or label.dtype.kind not in "uib":
            raise UserError(
                f"{where}: labels are integers [{size}], one an example, got shape {label.shape} of {label.dtype}."
            )
        label, class_names = number_labels(label, class_names, where)
        self._fields = {**fields, "label": label}
        self.class_names, self.point_class_names = tuple(class_names), tuple(point_class_names)
        self.spec = {k: FieldSpec(tuple(v.shape[1:]), v.dtype) for k, v in self._fields.items()}

    def __len__(self) -> int:
        return len(self._fields["label"])

    def gather(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """See `Source`."""
        return {name: np.asarray(values[ids]) for name, values in self._fields.items()}


class SparseSource:
    """Rows of a sparse matrix, of which only those that are asked for are made dense. They have no labels.

    Args:
      name: of the field.
      rows: SciPy's, in a format whose rows can be indexed, such as CSR, `[N, F]`.

    Example:
      >>> from scipy.sparse import eye_array
      >>> source = SparseSource("counts", eye_array(3, format="csr"))
      >>> source.gather(np.array([2]))["counts"].tolist()
      [[0.0, 0.0, 1.0]]
    """

    in_memory = True

    def __init__(self, name: str, rows: Any):
        self._name, self._rows = name, rows
        self.spec = {
            name: FieldSpec((rows.shape[1],), np.dtype(np.float32)),
            "label": FieldSpec((), np.dtype(np.int32)),
        }

    def __len__(self) -> int:
        return self._rows.shape[0]

    def gather(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """See `Source`."""
        dense = self._rows[ids].toarray().astype(np.float32)
        return {self._name: dense, "label": np.full(len(ids), -1, np.int32)}


class ArraySource(FieldSource):
    """Images in arrays, which may be memory-mapped.

    Args:
      image: `[N, H, W, C]`, or `[N, H, W]` for one channel; uint8, uint16 or floats.
      label: `[N]`, see `number_labels`, or None.
      where: what the arrays are called in messages.
      class_names: name of every label, where there are names.

    Raises:
      UserError: for a wrong rank, dtype or number of labels, or no example.

    Example:
      >>> source = ArraySource(np.zeros((3, 28, 28), np.uint8))
      >>> len(source), source.spec["image"].shape, source.gather(np.arange(2))["label"].tolist()
      (3, (28, 28, 1), [-1, -1])
    """

    def __init__(
        self,
        image: np.ndarray,
        label: np.ndarray | None = None,
        where: str = "the data",
        class_names: Sequence[str] = (),
    ):
        # Other integers would be scaled by a maximum that their values never come near.
        if image.dtype.kind != "f" and image.dtype not in (np.uint8, np.uint16):
            raise UserError(
                f"{where}: images are uint8, uint16 or floats, got dtype {image.dtype}; convert "
                "them first."
            )
        if image.ndim not in (3, 4):
            raise UserError(
                f"{where}: images are [N, H, W] or [N, H, W, C], got shape {image.shape}; "
                "reshape flat vectors to images first."
            )
        image = image[..., None] if image.ndim == 3 else image
        if label is not None and label.shape == image.shape[:1]:
            label, class_names = number_labels(label, class_names, where)
        fields = {"image": image, **({} if label is None else {"label": label})}
        super().__init__(fields, where, class_names)


class DrawnSource(abc.ABC):
    """Examples that are made when they are asked for, once, and stay in memory.

    Args:
      number: how many.
      spec: see `Source`.
    """

    in_memory = True

    def __init__(self, number: int, spec: Mapping[str, FieldSpec]):
        self._number, self.spec = number, dict(spec)
        self._drawn: dict[int, Mapping[str, Any]] = {}

    def __len__(self) -> int:
        return self._number

    def gather(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """See `Source`."""
        for number in map(int, ids):
            if number not in self._drawn:
                self._drawn[number] = self._draw(number)
        return stack_examples([self._drawn[int(number)] for number in ids], self.spec)

    @abc.abstractmethod
    def _draw(self, number: int) -> Mapping[str, Any]:
        """The fields of one example."""


def check_numbers(values: np.ndarray, what: str) -> None:
    """Refuses floats that are not finite, or that float32 cannot hold.

    Args:
      values: any array; integers are passed.
      what: what they are called, as the begin of the message.

    Raises:
      UserError: telling the first one and its place.
    """
    if values.dtype.kind != "f" or not values.size:
        return
    flat = values.ravel()
    if values.itemsize > 2 and np.isfinite(
        flat @ flat
    ):  # far the fastest; of large ones it tells nothing
        return
    most = np.finfo(np.float32).max
    if -most <= values.min() <= values.max() <= most:  # False for NaN
        return
    place = np.unravel_index(int(np.argmin(np.abs(values) <= most)), values.shape)
    raise UserError(
        f"{what} hold {values[place]:.3g} at {[int(i) for i in place]}, which is not finite or more than "
        "float32 can hold: correct or remove it."
    )


def stack_examples(
    examples: Sequence[Mapping[str, Any]], spec: Mapping[str, FieldSpec]
) -> dict[str, np.ndarray]:
    """A batch of examples, of which there may be none."""
    return {
        name: np.stack([np.asarray(example[name], field.dtype) for example in examples])
        if examples
        else np.empty((0, *field.shape), field.dtype)
        for name, field in spec.items()
    }


class DerivedSource:
    """What a source takes from the one it is made of: `in_memory` and names of classes.

    Args:
      source: the other one.
      times: examples that are made of each of its examples.
    """

    def __init__(self, source: Source, times: int = 1):
        self._source, self._times, self.in_memory = source, times, is_in_memory(source)
        self.class_names = class_names_of(source)
        self.point_class_names = point_class_names_of(source)

    def __len__(self) -> int:
        return self._times * len(self._source)


class _Part(DerivedSource):
    """Some fields of some examples of another source."""

    def __init__(self, source: Source, ids: np.ndarray, spec: dict[str, FieldSpec]):
        super().__init__(source)
        self._ids, self.spec = ids, spec

    def __len__(self) -> int:
        return len(self._ids)

    def gather(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        batch = self._source.gather(self._ids[ids])
        return {name: batch[name] for name in self.spec}


def is_in_memory(source: Source) -> bool:
    """Whether gathering is cheaper than handing batches from thread to thread."""
    return getattr(source, "in_memory", False)


def class_names_of(source: Source) -> tuple[str, ...]:
    """Name of every label of a source; nothing where there are no names."""
    return tuple(getattr(source, "class_names", ()))


def point_class_names_of(source: Source) -> tuple[str, ...]:
    """Name of every class of points or voxels of a source; nothing where there are no names."""
    return tuple(getattr(source, "point_class_names", ()))


def subset(source: Source, ids: np.ndarray) -> Source:
    """The examples `ids` (int64 `[n]`) of a source, as a source."""
    return _Part(source, np.asarray(ids, np.int64), source.spec)


def select(source: Source, names: Sequence[str]) -> Source:
    """A source of only those fields of another one, as far as it has them."""
    spec = {name: source.spec[name] for name in names if name in source.spec}
    return _Part(source, np.arange(len(source)), spec)


def random_ids(count: int, limit: int, seed: int) -> np.ndarray:
    """At most `limit` of the numbers below `count`, drawn without replacement and in order, int64."""
    if count <= limit:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).permutation(count)[:limit])


def random_subset(source: Source, limit: int, seed: int) -> Source:
    """At most `limit` examples of a source, drawn without replacement and kept in order."""
    if len(source) <= limit:
        return source
    return subset(source, random_ids(len(source), limit, seed))


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
    if not count:
        return source
    order = np.random.default_rng(0).permutation(len(source))
    return subset(source, np.sort(order[:count] if held_out else order[count:]))


def every_nth(source: Source, split: str, every: int) -> Source:
    """A split of data that come as one file: example i tests where i % every is 0.

    Args:
      source: all examples.
      split: `test` (i % every = 0), `validation` (i % every = 1) or `train` (the rest).
      every: `data.holdout_every`, 3 or more.

    Returns:
      The examples of the split, in order.

    Raises:
      UserError: if the split would be empty.
    """
    remainder = np.arange(len(source)) % every
    chosen = {"test": remainder == 0, "validation": remainder == 1, "train": remainder > 1}[split]
    if not chosen.any():
        raise UserError(
            f"The {split} split is empty: {len(source)} examples are too few for "
            f"data.holdout_every = {every}."
        )
    return subset(source, np.flatnonzero(chosen))


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
    if label.dtype.kind not in "uib" or (
        label.size and not -1 <= label.min() <= label.max() < 2**31
    ):
        raise UserError(
            f"The labels of a batch are integers from -1 (none) to 2147483647, got {label.dtype}: number the "
            "classes first."
        )
    return {**arrays, "label": label.astype(np.int32)}
