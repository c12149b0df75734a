"""The pairs of 3D-RecGAN++ (npz) and 3D-RecGAN (txt): what a depth camera saw, and the object."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.files import FileSource, existing_folder, read_fields, read_text
from nvc_jax.data.base.source import Source
from nvc_jax.data.base.tree import files_below, folders_in

OPTIONS = (
    shared.DIR,
    shared.TRAIN_SPLIT,
    shared.TEST_SPLIT,
    Option("data.resolution", 64, "voxels a side; the stored volumes have 256", at_least=1),
)

_SIDE = {".npz": 256, ".txt": 64}  # of the cube in which each version puts its volumes
_MOST = 512  # voxels a side of a text file's volume
_INPUT, _TARGET = "_25d", "_3d"


def read_recgan(options: Any, split: str) -> Source:
    """Reads pairs of folders `<class>/{train,test}[_125]_{25d,3d}[_vox256]`.

    Files of one name in the `25d` and the `3d` folder, or in one sub-folder of both, are a pair:
    `<id>_i_j_k.npz` of 3D-RecGAN++, or `<id>_i_j_k_x_y_z.txt` of 3D-RecGAN. The class is the last
    word of the folder's name (`P1_03001627_chair` is `chair`); `coach`, an early spelling, is
    `couch`. Volumes keep the camera's axes: y points up in 3D-RecGAN++, and down in 3D-RecGAN.

    Args:
      options: `config.data`; `dir` is the folder of the class folders, `resolution` the voxels a
        side, a divisor of 256 (txt: 64). `train_split` and `test_split` are the first words of the
        folders: `test_split = "test_216"` reads the views across the training ones.
      split: `train` or `test`.

    Returns:
      `partial` and `complete`, uint8 `[resolution, resolution, resolution]` of 0 and 1, read as
      they are asked for.

    Raises:
      UserError: for missing folders, a file without its partner, or a wrong resolution.

    Reference: B. Yang et al., Dense 3D Object Reconstruction from a Single Depth View (TPAMI 2018)
    and 3D Object Reconstruction from a Single Depth View with Adversarial Learning (ICCVW 2017).
    Folders, padding and pooling are checked against the authors' published loaders and samples.
    """
    folder = existing_folder(Path(options.dir))
    parts = {"train": options.train_split, "test": options.test_split}
    classes = {
        path: _class_name(path)
        for path in folders_in(folder)
        if any(_input_folder(path, part) for part in parts.values())
    }
    class_names = sorted(set(classes.values()))
    items, label = [], []
    for path, name in classes.items():
        pairs = _pairs(_input_folder(path, parts[split]))
        items += pairs
        label += [class_names.index(name)] * len(pairs)
    if not items:
        raise UserError(
            f"data.dir = {str(folder)!r}: expected .npz or .txt files in "
            f"<class>/{parts[split]}_125_25d_vox256 or <class>/{parts[split]}_25d, got none."
        )
    side, resolution = min(_SIDE[pair[0].suffix.lower()] for pair in items), options.resolution
    if side % resolution:
        raise UserError(f"data.resolution is {resolution}: use a divisor of {side}.")
    return FileSource(
        items,
        partial(_read_pair, resolution=resolution),
        label=label,
        class_names=class_names,
        num_threads=options.num_threads,
    )


def parse_recgan_txt(text: str, dims: tuple[int, int, int], where: object) -> np.ndarray:
    """Decodes a volume of 3D-RecGAN: one occupied voxel `i j k` a line.

    Args:
      text: content of the file.
      dims: size of the volume, the last three numbers in the name of the file.
      where: what the file is called in messages.

    Returns:
      uint8 `dims`, 1 where occupied.

    Raises:
      UserError: for lines of another form, no line, or voxels outside the volume.
    """
    try:
        rows = np.array([line.split() for line in text.splitlines() if line.strip()], np.float64)
    except ValueError:  # no number, or lines of different lengths
        rows = np.empty((0, 0))
    if rows.ndim != 2 or rows.shape[1] != 3 or (rows != np.floor(rows)).any():
        raise UserError(f"{where} is damaged: expected lines of 3 whole numbers, i j k.")
    if not ((rows >= 0) & (rows < dims)).all():
        raise UserError(f"{where} is damaged: expected voxels inside {dims}, the size in its name.")
    volume = np.zeros(dims, np.uint8)
    volume[tuple(rows.astype(np.int64).T)] = 1
    return volume


def center_and_pool(volume: np.ndarray, side: int, resolution: int) -> np.ndarray:
    """Puts a volume in the middle of a cube, then reduces the cube by the maximum.

    Along each axis of size d, voxel i comes to ⌊(i + o) · resolution / side⌋ with
    o = (side − d) / 2, rounded towards 0. What does not fit in the cube is cut off.

    Args:
      volume: `[X, Y, Z]`, occupied where it is not 0.
      side: side of the cube.
      resolution: side of the result, a divisor of `side`.

    Returns:
      uint8 `[resolution, resolution, resolution]` of 0 and 1.
    """
    offsets = [int((side - size) / 2) for size in volume.shape]
    kept = [min(size, side) for size in volume.shape]
    inside = tuple(slice(max(o, 0), max(o, 0) + n) for o, n in zip(offsets, kept, strict=True))
    taken = tuple(slice(max(-o, 0), max(-o, 0) + n) for o, n in zip(offsets, kept, strict=True))
    cube: np.ndarray = np.zeros((side,) * 3, bool)
    cube[inside] = volume[taken] != 0
    for axis in range(3):  # one after the other: far faster than all at once
        before, after = cube.shape[:axis], cube.shape[axis + 1 :]
        cube = np.any(cube.reshape(*before, resolution, -1, *after), axis=axis + 1)
    return cube.astype(np.uint8)


def _class_name(folder: Path) -> str:
    """`chair` for `P1_03001627_chair`."""
    name = folder.name.split("_")[-1]
    return "couch" if name == "coach" else name


def _input_folder(folder: Path, part: str) -> Path | None:
    """The folder of a class and a part with what the camera saw; the 125 views come first."""
    names = [f"{part}{v}{_INPUT}{end}" for v in ("_125", "") for end in ("_vox256", "")]
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def _pairs(inputs: Path | None) -> list[tuple[Path, Path]]:
    """The files of a folder with their partners, sorted."""
    if inputs is None:
        return []
    targets = inputs.with_name(inputs.name.replace(_INPUT, _TARGET))
    names = [
        {path.relative_to(root) for path in files_below(root, tuple(_SIDE))}
        for root in (inputs, targets)
    ]
    for own, others, root in ((names[0], names[1], targets), (names[1], names[0], inputs)):
        if own - others:
            raise UserError(f"A pair is incomplete: {root / min(own - others)} is missing.")
    return [(inputs / name, targets / name) for name in sorted(names[0])]


def _read_pair(input_path: Path, target_path: Path, resolution: int) -> dict[str, np.ndarray]:
    """One example."""
    return {
        name: center_and_pool(_read_volume(path), _SIDE[path.suffix.lower()], resolution)
        for name, path in (("partial", input_path), ("complete", target_path))
    }


def _read_volume(path: Path) -> np.ndarray:
    """A volume `[X, Y, Z]` as stored."""
    if path.suffix.lower() == ".npz":
        volume = read_fields(path, ("arr_0",), required=("arr_0",))["arr_0"]
        if volume.ndim != 4 or volume.shape[3] != 1 or volume.dtype.kind not in "biuf":
            raise UserError(
                f"{path}: expected the field 'arr_0' with a volume [X, Y, Z, 1], got "
                f"{volume.dtype} {volume.shape}."
            )
        return volume[..., 0]
    sizes = path.stem.split("_")[-3:]
    if len(sizes) != 3 or not all(s.isdecimal() and len(s) < 5 and int(s) <= _MOST for s in sizes):
        raise UserError(
            f"{path}: expected a name that ends in the sizes, _x_y_z.txt, of at most {_MOST} each."
        )
    x, y, z = map(int, sizes)
    return parse_recgan_txt(read_text(path).decode("ascii", "replace"), (x, y, z), path)
