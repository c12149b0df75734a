"""Completion of point clouds: PCN's PCD files, GRNet's edition of them, Completion3D's HDF5 files."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.files import FileSource, existing, read_hdf5, read_text, told
from nvc_jax.data.base.tree import files_matching, folders_in
from nvc_jax.data.shapes.clouds import generator_of, parse_table, resample

OPTIONS = (shared.DIR, shared.NUM_POINTS)

# GRNet's edition says val; PCN's own files say valid.
_FOLDERS = {"train": ("train",), "validation": ("val", "valid"), "test": ("test",)}


def read_pcn(options: Any, split: str) -> FileSource:
    """Reads pairs of clouds, `{train,val,test}/{partial,complete}/<class>/<model>.pcd`.

    A model with several views has its partial clouds in `partial/<class>/<model>/<view>.pcd`, each
    of which is an example. Points that are not finite or at the origin, which is padding, are left
    out. Clouds keep their place and scale.

    Args:
      options: `config.data`; `num_points` is what both clouds are resampled to (16,384 for the
        published protocol), in a way that depends on the example alone.
      split: `train`, `validation` or `test`.

    Returns:
      `partial` and `complete`, float32 `[num_points, 3]`, and `label`, the number of the class
      among all folders of classes, sorted. Files are read as they are asked for.

    Raises:
      UserError: for a missing folder, file or partner, and for a damaged file. PCN's `.lmdb` files
        of the training split are not read, since they hold pickled objects.

    Reference: Yuan et al., "PCN: Point Completion Network", 3DV 2018; Xie et al., "GRNet", ECCV
    2020.
    """
    return completion_source(
        options,
        _FOLDERS[split],
        splits=[name for names in _FOLDERS.values() for name in names],
        target="complete",
        suffix=".pcd",
        parse=_read_pcd,
    )


def _read_pcd(path: Path) -> np.ndarray:
    """One file."""
    return parse_pcd(read_text(path), str(path))


def parse_pcd(content: bytes, where: str) -> np.ndarray:
    """Reads the points of a PCD file, version 0.7, with DATA ascii or binary.

    Args:
      content: the file.
      where: what it is called in messages.

    Returns:
      float32 `[POINTS, 3]`, x, y and z as stored; NaN where there was no measurement.

    Raises:
      UserError: for another format, a header that lacks something, or fewer or more points than
        it says.

    Reference: Point Cloud Library, "The PCD (Point Cloud Data) file format".
    """
    header, body = _split_header(content, where)
    names = header.get("FIELDS", [])
    with told(
        f"{where} is not a PCD file of points: expected FIELDS with x, y, z, and as many of SIZE, "
        "TYPE and COUNT, and POINTS; fetch it again."
    ):
        points = int(header["POINTS"][0])
        counts = [int(count) for count in header.get("COUNT", ["1"] * len(names))]
        kinds = [
            np.dtype(f"<{kind.lower()}{size}")
            for kind, size in zip(header["TYPE"], header["SIZE"], strict=True)
        ]
        columns = list(zip(names, kinds, counts, strict=True))
        first = {name: sum(counts[:i]) for i, (name, _, count) in enumerate(columns) if count == 1}
        xyz = [first[name] for name in "xyz"]
        if points < 0 or min(counts) < 1 or not all(kind.kind in "fiu" for kind in kinds):
            raise ValueError
    storage = " ".join(header["DATA"])
    if storage == "ascii":
        table = parse_table(body, sum(counts), where)
        _check_points(len(table), points, where)
        return _to_float32(table[:, xyz])
    if storage != "binary":
        raise UserError(
            f"{where} has DATA {storage}: only ascii and binary are read; convert it, for example "
            "with pcl_convert_pcd_ascii_binary."
        )
    # A row's size in Python's integers: a damaged COUNT must not ask for memory.
    size = sum(kind.itemsize * count for _, kind, count in columns)
    _check_points(len(body) / size, points, where)
    starts = np.cumsum([0] + [kind.itemsize * count for _, kind, count in columns]).tolist()
    chosen = [names.index(name) for name in "xyz"]
    row = np.dtype(
        {
            "names": ["x", "y", "z"],
            "formats": [kinds[i] for i in chosen],
            "offsets": [starts[i] for i in chosen],
            "itemsize": size,
        }
    )
    table = np.frombuffer(body, row)
    return np.stack([_to_float32(table[name]) for name in "xyz"], axis=-1)


def _split_header(content: bytes, where: str) -> tuple[dict[str, list[str]], bytes]:
    """The header's lines by their first word, and what follows the line DATA."""
    header: dict[str, list[str]] = {}
    start = 0
    while "DATA" not in header:
        end = content.find(b"\n", start)
        line = content[start : end if end >= 0 else None]
        if len(line) > 10_000 or end < 0:
            raise UserError(
                f"{where} is not a PCD file or is cut short: its header has no line DATA; fetch it "
                "again."
            )
        words = line.decode("ascii", "replace").split()
        if words and not words[0].startswith("#"):
            header[words[0]] = words[1:]
        start = end + 1
    return header, content[start:]


def _check_points(got: float, expected: int, where: str) -> None:
    """As many points as the header says."""
    if got != expected:
        raise UserError(
            f"{where} is cut short or too long: its header says {expected} points, got {got:g}; fetch "
            "it again."
        )


def _to_float32(values: np.ndarray) -> np.ndarray:
    """The values; those too large become infinite, and are left out like what is not finite."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def read_completion3d(options: Any, split: str) -> FileSource:
    """Reads pairs of clouds, `{train,val}/{partial,gt}/<class>/<model>.h5` with the array `data`.

    The test split is the folder `val`, as the complete clouds of `test` were never published. Points
    that are not finite or at the origin, which is padding, are left out. Clouds keep their place and
    scale.

    Args:
      options: `config.data`; `num_points` is what both clouds are resampled to (2,048 are stored),
        in a way that depends on the example alone.
      split: `train` or `test`.

    Returns:
      `partial` and `complete`, float32 `[num_points, 3]`, and `label`, the number of the class
      among all folders of classes, sorted. Files are read as they are asked for.

    Raises:
      UserError: for a missing folder, file, partner or array, and for a damaged file.

    Reference: Tchapmi et al., "TopNet: Structural Point Cloud Decoder", CVPR 2019.
    """
    return completion_source(
        options,
        ["train" if split == "train" else "val"],
        splits=["train", "val"],
        target="gt",
        suffix=".h5",
        parse=_read_points,
    )


def _read_points(path: Path) -> np.ndarray:
    """One file."""
    return read_hdf5(path, {"data": ("n", 3)})["data"]


def completion_source(
    options: Any,
    folders: Sequence[str],
    *,
    splits: Sequence[str],
    target: str,
    suffix: str,
    parse: Callable[[Path], np.ndarray],
) -> FileSource:
    """Pairs `partial/<class>/<model>` and `partial/<class>/<model>/<view>` with the complete model.

    Args:
      options: `config.data`.
      folders: names of the split's folder, of which the first that exists is read.
      splits: folders whose classes are numbered, so that one that a split lacks shifts no label.
      target: folder of the complete clouds, beside `partial`.
      suffix: of the files.
      parse: path → floats `[n, 3]`; a function of a module.

    Returns:
      `partial` and `complete`, float32 `[num_points, 3]`, and `label`.

    Raises:
      UserError: for a folder, a file or a partner that is missing, or a damaged file.
    """
    root, count = Path(options.dir), options.num_points
    found = [root / name for name in folders if (root / name / "partial").is_dir()]
    if not found:
        remedy = "put them there or set data.dir"
        if any(root.glob("*.lmdb")):
            remedy = "the .lmdb files hold pickled objects, which are never opened: convert them"
        raise UserError(
            f"data.dir = {str(root)!r}: there is no folder {' or '.join(folders)} with a folder "
            f"partial in it, expected partial/<class>/ and {target}/<class>/ with {suffix} files; "
            f"{remedy}."
        )
    parts = [root / name / "partial" for name in splits]
    classes = sorted({folder.name for part in parts for folder in folders_in(part)})
    items = _pairs(found[0] / "partial", found[0] / target, suffix)
    return FileSource(
        items,
        partial(_read_pair, parse=parse, count=count),
        label=[classes.index(name.partition("/")[0]) for _, _, name in items],
        class_names=classes,
        num_threads=options.num_threads,
    )


def _pairs(inputs: Path, targets: Path, suffix: str) -> list[tuple[Path, Path, str]]:
    """File of every partial cloud, in order, that of the complete one, and the example's name."""
    pairs, used = [], set()
    complete = {
        path.relative_to(targets).with_suffix("").as_posix(): path
        for path in files_matching(targets, "*/*", suffix)
    }
    for path in [
        f for pattern in ("*/*", "*/*/*") for f in files_matching(inputs, pattern, suffix)
    ]:
        name = path.relative_to(inputs).with_suffix("").as_posix()
        model = "/".join(name.split("/")[:2])
        if model not in complete:
            existing(targets / (model + suffix))  # tells that it is missing
        used.add(model)
        pairs.append((path, complete[model], name))
    alone = sorted(complete[model] for model in complete.keys() - used)
    if alone:
        raise UserError(f"{alone[0]} has no partner in {inputs}; add it or remove the file.")
    if not pairs:
        raise UserError(f"There is no {suffix} file in {inputs}/<class>/; put them there.")
    return pairs


def _read_pair(
    inputs: Path, target: Path, name: str, *, parse: Callable[[Path], np.ndarray], count: int
) -> dict[str, np.ndarray]:
    """Both clouds of an example, resampled."""
    rng, fields = generator_of(name), {}
    for field, path in (("partial", inputs), ("complete", target)):
        points = parse(path)
        points = points[(points != 0).any(axis=1)]  # points at the origin are padding
        ids = resample(points, count, rng, str(path))
        fields[field] = points[ids].astype(np.float32)
    return fields
