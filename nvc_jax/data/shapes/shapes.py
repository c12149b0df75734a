"""Shapes and completion pairs in npz files: volumes and point clouds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.files import replace_arrays
from nvc_jax.core.options import Option
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.files import labels_of_splits, read_fields
from nvc_jax.data.base.source import FieldSource, Source, check_numbers, number_labels, subset
from nvc_jax.data.base.splits import SPLIT_NAMES, split_numbers, split_of_groups
from nvc_jax.data.shapes.twins import groups_of_twins
from nvc_jax.geometry.labels import UNKNOWN

PAIR_OPTIONS = (
    shared.DIR,
    shared.LABEL_KEY,
    Option("data.unlabeled_class", "", "examples of the class of this name get no label"),
)
OPTIONS = (
    *PAIR_OPTIONS,
    Option("data.split_file", "", "npz file of split, group or labels where data.dir has others"),
    shared.HOLDOUT_EVERY,
)

_NAMES = "label_names"
_DIVISION = ("split", "group")


def read_shapes(options: Any, split: str) -> Source:
    """Reads complete shapes from one npz file.

    Its fields, of which `voxels` or `points` has to be there:

    - `voxels`: bits packed by `np.packbits`, uint8 `[N, R³/8]`, or 0 and 1 `[N, X, Y, Z]`;
    - `points` and `normals`: floats `[N, P, 3]`;
    - `point_label`: integers from 0 to 255 `[N, P]`, 255 unknown;
    - the field named by `label_key`: integers `[N]`; `label_names`: their names;
    - `split`: integers `[N]`, 0 for training, 1 for validation, 2 for the test;
    - `group`: integers `[N]`, alike for examples that belong into one split, such as twins.

    Args:
      options: `config.data`; `dir` is the file. What `split_file` has of `split`, `group` and labels
        goes before. Examples of `unlabeled_class` get no label.
      split: `train`, `validation` or `test`: what `split` says; where there is none, whole groups by
        `holdout_every`; without groups example i tests where i % `holdout_every` is 0.

    Returns:
      `voxels` uint8, `points` and `normals` float32, `point_label` uint8; those that the file has.

    Raises:
      UserError: for a missing or damaged file, or fields of a wrong shape, dtype or range.
    """
    path = Path(options.dir)
    names = ("voxels", "points", "normals", "point_label")
    aside = (options.label_key, _NAMES, *_DIVISION)
    stored = read_fields(path, (*names, *aside))
    beside = Path(options.split_file) if options.split_file else None
    if beside is not None:
        stored = _replaced(stored, read_fields(beside, aside), options.label_key, beside)
    given, group = (stored.pop(name, None) for name in _DIVISION)
    label = stored.pop(options.label_key, None)
    source = _shapes(stored, label, str(path), options.unlabeled_class)
    where = str(path if beside is None else beside)
    number = split_numbers(len(source), given, group, options.holdout_every, where)
    chosen = np.flatnonzero(number == SPLIT_NAMES.index(split))
    if not chosen.size:
        raise UserError(
            f"The {split} split is empty: no example of {where} belongs to it, or {len(source)} are too "
            f"few for data.holdout_every = {options.holdout_every}."
        )
    return subset(source, chosen)


def _replaced(
    stored: dict[str, np.ndarray], beside: dict[str, np.ndarray], label_key: str, where: Path
) -> dict[str, np.ndarray]:
    """The stored fields with those of the file beside, which go before; labels take their names along."""
    wanted = {name for name in (label_key, *_DIVISION) if name in beside}
    if not wanted:
        raise UserError(
            f"{where} has none of the fields split, group and {label_key}: set data.split_file to the file "
            "that has them, or to nothing."
        )
    if "split" not in beside and "group" in beside:
        stored.pop("split", None)  # it would go before the groups
    if label_key in beside:
        stored.pop(_NAMES, None)
    return {**stored, **beside}


def write_shapes(
    path: str | Path,
    *,
    voxels: np.ndarray | None = None,
    points: np.ndarray | None = None,
    normals: np.ndarray | None = None,
    point_label: np.ndarray | None = None,
    label: np.ndarray | None = None,
    class_names: Sequence[str] = (),
    name: Sequence[str] | None = None,
) -> None:
    """Writes the file that `read_shapes` reads, in one piece: a reader sees all of it or nothing.

    Args:
      path: the file; missing folders are made.
      voxels: 0 and 1 `[N, X, Y, Z]`; cubes of an even side are packed to bits.
      points: floats `[N, P, 3]`.
      normals: floats `[N, P, 3]`.
      point_label: integers `[N, P]` from 0 to 255, 255 unknown.
      label: integers `[N]`, −1 for none.
      class_names: name of every label.
      name: what each example is called, for people.

    Raises:
      UserError: for what `read_shapes` would refuse, or where the system refuses.
    """
    path = Path(path)
    given = {"voxels": voxels, "points": points, "normals": normals, "point_label": point_label}
    stored = {key: np.asarray(values) for key, values in given.items() if values is not None}
    if class_names:
        stored[_NAMES] = np.array(class_names, str)
    source = _shapes(stored, None if label is None else np.asarray(label), str(path))
    fields = source.gather(np.arange(len(source)))
    if label is None:
        del fields["label"]
    if "voxels" in fields and len(set(fields["voxels"].shape[1:])) == 1:
        side = fields["voxels"].shape[1]
        if side % 2 == 0:  # then the bits of every example fill whole bytes
            fields["voxels"] = np.packbits(fields["voxels"].reshape(len(source), -1), axis=1)
    if class_names:
        fields[_NAMES] = stored[_NAMES]
    if name is not None:
        fields["name"] = np.array(name, str)
    replace_arrays(path, fields, make_folders=True)


def write_groups(src: Path, out: Path, threshold: float, every: int) -> str:
    """Writes the groups of twins in a file of shapes, and a split by them, for `data.split_file`.

    Args:
      src: a file that `read_shapes` reads, with `voxels`.
      out: the file to write: `group` int32 `[N]`, see `groups_of_twins`, and `split` uint8 `[N]`.
      threshold: IoU above which two shapes are twins.
      every: one of so many tests, and one validates; see `split_of_groups`.

    Returns:
      A sentence about what was found.

    Raises:
      UserError: for a file without volumes, or whose x and z are not as long, or where the system refuses.
    """
    stored = read_fields(src, ("voxels",), required=("voxels",), remedy="twins are found by voxels")
    voxels = _volumes(_unpacked(stored["voxels"], str(src)), "voxels", 1, str(src))
    if voxels.shape[1] != voxels.shape[3]:
        raise UserError(
            f"{src}: twins are looked for in quarter turns, which needs X = Z, got {voxels.shape[1:]}."
        )
    group = groups_of_twins(voxels, threshold)
    split = split_of_groups(group, every)
    replace_arrays(out, {"group": group, "split": split})
    sizes = np.bincount(group)
    return (
        f"{(sizes[group] > 1).sum()} of {len(group)} shapes have a twin (IoU above {threshold:g}); the largest of "
        f"{len(sizes)} groups has {sizes.max()}. Wrote {out}: {(split == 0).sum()} for training, "
        f"{(split == 1).sum()} for validation, {(split == 2).sum()} for the test."
    )


def read_pairs(options: Any, split: str) -> Source:
    """Reads completion pairs from `{split}.npz`.

    Its fields are `partial` and `complete`, both volumes or both point clouds, and, if there are
    labels, the field named by `label_key` and `label_names`.

    Args:
      options: `config.data`; `dir` is the folder.
      split: `train` or `test`.

    Returns:
      Volumes uint8 `[X, Y, Z]` of one shape (`partial` 0 or 1; `complete` occupancy or class, 255
      unknown) or point clouds float32 `[N, 3]` and `[M, 3]`.

    Raises:
      UserError: for a missing or damaged file, or fields of a wrong shape, dtype or range.
    """
    path = Path(options.dir) / f"{split}.npz"
    required = ("partial", "complete")
    fields = (*required, options.label_key, _NAMES)
    remedy = "a pair is partial and complete"
    stored = read_fields(path, fields, required=required, remedy=remedy)
    where, shapes = str(path), {name: stored[name].shape for name in required}
    if stored["partial"].ndim == stored["complete"].ndim == 3:
        pair = {name: _vectors(stored[name], name, where) for name in shapes}
    else:
        pair = {
            "partial": _volumes(stored["partial"], "partial", 1, where),
            "complete": _volumes(stored["complete"], "complete", UNKNOWN, where),
        }
        if shapes["partial"] != shapes["complete"]:
            raise UserError(f"{where}: the volumes of a pair have one shape, got {shapes}.")
    label, names = stored.get(options.label_key), stored.get(_NAMES)
    if names is None:
        label, classes = labels_of_splits(path.parent, split, options.label_key, label)
        names = np.array(classes, str) if classes else None
    return _labeled(pair, label, names, where, options.unlabeled_class)


def _shapes(
    stored: Mapping[str, np.ndarray], label: np.ndarray | None, where: str, unlabeled: str = ""
) -> FieldSource:
    """Shapes from the fields of a file."""
    fields = {}
    if "voxels" in stored:
        fields["voxels"] = _volumes(_unpacked(stored["voxels"], where), "voxels", 1, where)
    for name in ("points", "normals"):
        if name in stored:
            fields[name] = _vectors(stored[name], name, where)
    if not {"voxels", "points"} & fields.keys():
        raise UserError(f"{where}: shapes need the field 'voxels' or 'points', got neither.")
    if "point_label" in stored:
        fields["point_label"] = _integers(stored["point_label"], "point_label", UNKNOWN, where)
    points = fields["points"].shape[:2] if "points" in fields else None
    for name in ("normals", "point_label"):
        if name in fields and fields[name].shape[:2] != points:
            raise UserError(
                f"{where}: {name} has one entry a point, got {list(fields[name].shape[:2])} for "
                f"points {list(points or ())}."
            )
    return _labeled(fields, label, stored.get(_NAMES), where, unlabeled)


def _labeled(
    fields: dict[str, np.ndarray],
    label: np.ndarray | None,
    names: np.ndarray | None,
    where: str,
    unlabeled: str,
) -> FieldSource:
    """The fields with their labels; the class `unlabeled` counts as none."""
    if names is not None and (names.ndim != 1 or names.dtype.kind != "U"):
        raise UserError(f"{where}: {_NAMES} is a list of texts, got {names.dtype} {names.shape}.")
    class_names: Sequence[str] = [] if names is None else names.tolist()
    if label is not None and label.ndim == 1 and label.dtype.kind not in "uib":
        label, class_names = number_labels(label, class_names, where)
    if unlabeled and unlabeled not in class_names:
        raise UserError(
            f"data.unlabeled_class is {unlabeled!r}: use one of the classes of {where}, "
            f"{', '.join(class_names) or 'which has no label_names'}."
        )
    if label is not None:
        if class_names and label.dtype.kind in "iu" and label.size:
            lowest, highest = int(label.min()), int(label.max())
            if lowest < -1 or highest >= len(class_names):
                raise UserError(
                    f"{where}: labels of {len(class_names)} classes are from -1 (none) to "
                    f"{len(class_names) - 1}, got {lowest} to {highest}."
                )
            if unlabeled:
                label = np.where(label == class_names.index(unlabeled), -1, label.astype(np.int32))
        fields = {**fields, "label": label}
    return FieldSource(fields, where, class_names)


def _unpacked(voxels: np.ndarray, where: str) -> np.ndarray:
    """Packed bits `[N, R³/8]` as cubes `[N, R, R, R]`; other arrays as they are."""
    if voxels.ndim != 2:
        return voxels
    side = round((8 * voxels.shape[1]) ** (1 / 3))
    if voxels.dtype != np.uint8 or side == 0 or side**3 != 8 * voxels.shape[1]:
        raise UserError(
            f"{where}: packed voxels are uint8 [N, R³/8], got {voxels.dtype} {voxels.shape}; pack "
            "cubes with np.packbits, or store [N, X, Y, Z]."
        )
    return np.unpackbits(voxels, axis=1).reshape(len(voxels), side, side, side)


def _volumes(values: np.ndarray, name: str, highest: int, where: str) -> np.ndarray:
    """Volumes as uint8 `[N, X, Y, Z]` of integers from 0 to `highest`."""
    if values.ndim != 4:
        raise UserError(f"{where}: {name} are volumes [N, X, Y, Z], got shape {values.shape}.")
    return _integers(values, name, highest, where)


def _integers(values: np.ndarray, name: str, highest: int, where: str) -> np.ndarray:
    """Whole numbers from 0 to `highest`, of any dtype, as uint8."""
    whole = values.dtype.kind in "biu" or (
        values.dtype.kind == "f" and bool((values == np.floor(values)).all())
    )
    if not whole or (values.size and not (values.min() >= 0 and values.max() <= highest)):
        raise UserError(
            f"{where}: {name} holds integers from 0 to {highest}, got others ({values.dtype})."
        )
    return values.astype(np.uint8)


def _vectors(values: np.ndarray, name: str, where: str) -> np.ndarray:
    """Points or normals as float32 `[N, P, 3]`."""
    if values.ndim != 3 or values.shape[2] != 3 or values.dtype.kind != "f":
        raise UserError(f"{where}: {name} are floats [N, P, 3], got {values.dtype} {values.shape}.")
    with np.errstate(over="ignore"):
        vectors = values.astype(np.float32)
    flat = vectors.ravel()
    if not np.isfinite(flat @ flat):
        check_numbers(values, f"{where}: {name}")
    return vectors
