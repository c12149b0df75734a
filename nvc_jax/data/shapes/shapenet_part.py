"""Segmentation of shapes into parts: the releases of ShapeNet-Part."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.json_files import read_json
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.files import (
    FileSource,
    Shapes,
    existing,
    read_hdf5_files,
    read_lines,
    read_text,
)
from nvc_jax.data.base.source import FieldSource
from nvc_jax.data.base.tree import files_matching, inside
from nvc_jax.data.shapes.clouds import generator_of, normalize, parse_table, resample, whole_numbers

OPTIONS = (shared.DIR, shared.NUM_POINTS)

CATEGORIES = (
    "Airplane", "Bag", "Cap", "Car", "Chair", "Earphone", "Guitar", "Knife",
    "Lamp", "Laptop", "Motorbike", "Mug", "Pistol", "Rocket", "Skateboard", "Table",
)  # fmt: skip
"""Name of every `label`."""
PART_COUNT = (4, 2, 2, 4, 4, 3, 3, 2, 4, 2, 6, 2, 3, 3, 3, 3)
"""Number of parts of every category."""
PART_START = (0, 4, 6, 8, 12, 16, 19, 22, 24, 28, 30, 36, 38, 41, 44, 47)
"""First `point_label` of every category; its parts follow each other."""
POINT_CLASSES = tuple(
    f"{category} {part + 1}"
    for category, count in zip(CATEGORIES, PART_COUNT, strict=True)
    for part in range(count)
)
"""Name of every `point_label`; the releases have no other names for parts."""

_SPLITS = {"train": "train", "validation": "val", "test": "test"}


def part_table() -> np.ndarray:
    """Which parts a category has, bool `[16, 50]`."""
    part, start = np.arange(len(POINT_CLASSES)), np.array(PART_START)[:, None]
    return (part >= start) & (part < start + np.array(PART_COUNT)[:, None])


def read_shapenet_part(options: Any, split: str) -> FileSource | FieldSource:
    """Reads any of the three releases, told apart by their files.

    - `hdf5_data`: `ply_data_{train,val,test}*.h5` with 2,048 points a shape; held in memory.
    - `v0`: `<synset>/points/<id>.pts` and `<synset>/points_label/<id>.seg` (in PointNet's
      `PartAnnotation`: `<synset>/expert_verified/points_label/<id>.seg`), in which parts count from
      1 in every category; read as they are asked for, like the next.
    - `v0_normal`: `<synset>/<id>.txt` of x, y, z, normal and part; the normal is left out.

    The last two list their shapes in `train_test_split/shuffled_{train,val,test}_file_list.json`.
    Every cloud is moved into the unit ball.

    Args:
      options: `config.data`; `num_points` is what every cloud is resampled to, in a way that
        depends on the shape alone. Scores are of the resampled points.
      split: `train`, `validation` or `test`.

    Returns:
      `points`, float32 `[num_points, 3]`; `point_label`, uint8 `[num_points]`, the part from 0 to
      49; `label`, the category from 0 to 15.

    Raises:
      UserError: for a missing or damaged file, or a part that the category does not have.

    Reference: Yi et al., "A Scalable Active Framework for Region Annotation in 3D Shape
    Collections", SIGGRAPH Asia 2016.
    """
    root, name, count = Path(options.dir), _SPLITS[split], options.num_points
    if files_matching(root, "ply_data_*", ".h5"):
        return _read_hdf5_release(root, name, count)
    categories = _categories(root / "synsetoffset2category.txt")
    listed = _listed(root / "train_test_split" / f"shuffled_{name}_file_list.json", categories)
    with_labels = any((root / synset / "points").is_dir() for synset in categories)
    items: list[tuple[Any, ...]] = []
    for synset, shape in listed:
        folder = root / synset
        paths: tuple[Path, ...] = (folder / f"{shape}.txt",)
        if with_labels:
            # PartAnnotation's own points_label has a folder a part, of what was not verified.
            parts = folder / "expert_verified" / "points_label"
            parts = parts if parts.is_dir() else folder / "points_label"
            paths = (folder / "points" / f"{shape}.pts", parts / f"{shape}.seg")
        files = (existing(path) for path in paths)
        items.append((*files, f"{synset}/{shape}", categories[synset]))
    read: Callable[..., dict[str, np.ndarray]] = _read_v0 if with_labels else _read_normal
    return FileSource(
        items,
        partial(read, count=count),
        label=[categories[synset] for synset, _ in listed],
        class_names=CATEGORIES,
        point_class_names=POINT_CLASSES,
        num_threads=options.num_threads,
    )


def _categories(path: Path) -> dict[str, int]:
    """Label of every synset."""
    found = [line.split() for line in read_lines(path)]
    if not found or any(len(words) != 2 or words[0] not in CATEGORIES for words in found):
        raise UserError(
            f"{path} is damaged: expected a category of ShapeNet-Part and its synset on every line, "
            "like Airplane 02691156; fetch it again."
        )
    return {inside(Path(), s, path).name: CATEGORIES.index(name) for name, s in found}


def _listed(path: Path, categories: dict[str, int]) -> list[tuple[str, str]]:
    """Synset and id of every shape of a split: entries are shape_data/<synset>/<id>."""
    expected = "expected a list of shape_data/<synset>/<id> with synsets of synsetoffset2category.txt; fetch it again"
    try:
        listed: list[object] = read_json(existing(path), list, "a list of shapes", "fetch it again")
    except UserError as error:
        if not path.is_file():
            raise
        raise UserError(f"{path} is damaged: {expected} ({error})") from None
    shapes: list[tuple[str, str]] = []
    for name in listed:
        parts = name.split("/") if isinstance(name, str) else []
        if len(parts) != 3 or parts[1] not in categories:
            raise UserError(f"{path} is damaged: {expected}, got {name!r}.")
        shapes.append((parts[1], inside(Path(), parts[2], path).name))
    if not shapes:
        raise UserError(f"{path} is damaged: {expected}, got none.")
    return shapes


def _read_v0(
    path: Path, path_of_parts: Path, name: str, label: int, *, count: int
) -> dict[str, np.ndarray]:
    """Points and parts from two files."""
    points = parse_table(read_text(path), 3, str(path))
    parts = parse_table(read_text(path_of_parts), 1, str(path_of_parts))
    if len(points) != len(parts):
        raise UserError(
            f"{path_of_parts} has {len(parts)} lines, but {path} has {len(points)}: expected one a "
            "point; fetch them again."
        )
    local = whole_numbers(parts[:, 0], 1, PART_COUNT[label] + 1, str(path_of_parts))
    return _fields(points, local - 1 + PART_START[label], count, generator_of(name), str(path))


def _read_normal(path: Path, name: str, label: int, *, count: int) -> dict[str, np.ndarray]:
    """Points and parts from one file."""
    table = parse_table(read_text(path), 7, str(path))
    part = _global_part(table[:, 6], label, str(path))
    return _fields(table[:, :3], part, count, generator_of(name), str(path))


def _read_hdf5_release(root: Path, name: str, count: int) -> FieldSource:
    """All shapes of a split, in memory."""
    shapes: list[dict[str, np.ndarray]] = []
    labels = []
    expected: Shapes = {"data": ("n", "p", 3), "label": ("n", 1), "pid": ("n", "p")}
    for path, arrays in read_hdf5_files(root, f"ply_data_{name}*", expected):
        label = whole_numbers(arrays["label"][:, 0], 0, len(CATEGORIES), str(path))
        for i, points in enumerate(arrays["data"]):
            where, rng = f"{path}, shape {i}", np.random.default_rng(len(shapes))
            part = _global_part(arrays["pid"][i], label[i], where)
            shapes.append(_fields(points, part, count, rng, where))
        labels.append(label)
    fields = {key: np.stack([shape[key] for shape in shapes]) for key in shapes[0]}
    fields["label"] = np.concatenate(labels)
    return FieldSource(fields, str(root), CATEGORIES, POINT_CLASSES)


def _global_part(values: np.ndarray, label: int, where: str) -> np.ndarray:
    """Parts from 0 to 49, checked to be the category's."""
    return whole_numbers(values, PART_START[label], PART_START[label] + PART_COUNT[label], where)


def _fields(
    points: np.ndarray, part: np.ndarray, count: int, rng: np.random.Generator, where: str
) -> dict[str, np.ndarray]:
    """One shape, resampled and in the unit ball."""
    ids = resample(points, count, rng, where)
    return {"points": normalize(points[ids], where), "point_label": part[ids].astype(np.uint8)}
