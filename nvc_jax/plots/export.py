"""Volumes and point clouds as files that 3D programs open."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nvc_jax.core.errors import UserError
from nvc_jax.core.extras import require
from nvc_jax.core.files import replace_file

# Corners of the face of a unit cube that looks along an axis, counterclockwise from outside, on the
# axis after it and the one after that.
_SQUARE = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])


def export_voxels(path: str | Path, occupancy: ArrayLike, *, threshold: float = 0.5) -> Path:
    """Writes the outer faces of the occupied voxels as a mesh of triangles.

    Only faces between an occupied voxel and an empty one or the outside are written. The longest
    side of the volume has length 1 and its center is 0: voxels and the points of a shape that they
    are made from come to lie in the same place.

    Args:
      path: ends in .obj, .ply or .stl, which is the format; missing folders are made.
      occupancy: numbers or booleans `[X, Y, Z]`, such as probabilities; of a volume of classes,
        `volume == c` or `(volume > 0) & (volume < 255)`.
      threshold: a voxel is occupied from this value on.

    Returns:
      The path.

    Raises:
      UserError: for a volume of another rank or without an occupied voxel, another ending, or a
        file that cannot be written.
    """
    trimesh = require("trimesh", extra="shapes", what="Writing a mesh")
    path, kind = _checked(path, ("obj", "ply", "stl"))
    values = np.asarray(occupancy)
    if values.ndim != 3:
        raise UserError(f"A volume to export is [X, Y, Z], got shape {values.shape}.")
    occupied = values >= threshold
    if not occupied.any():
        raise UserError(
            f"There is nothing to export to {path}: no voxel of the volume {values.shape} reaches "
            f"{threshold}; lower the threshold."
        )
    vertices, quads = _outer_faces(occupied)
    centered = (vertices - np.array(occupied.shape) / 2) / max(occupied.shape)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    content: Any = trimesh.Trimesh(centered, triangles, process=False).export(file_type=kind)
    content = content.encode() if isinstance(content, str) else content
    replace_file(path, content, make_folders=True)
    return path


def export_points(
    path: str | Path,
    points: ArrayLike,
    colors: ArrayLike | None = None,
    normals: ArrayLike | None = None,
) -> Path:
    """Writes a point cloud.

    Args:
      path: ends in .ply (binary) or .obj (text), which is the format; missing folders are made.
      points: floats `[P, 3]`.
      colors: red, green and blue `[P, 3]`, uint8, or floats in [0, 1].
      normals: floats `[P, 3]`.

    Returns:
      The path.

    Raises:
      UserError: for arrays of other shapes, no point, another ending, or a file that cannot be
        written.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     export_points(f"{folder}/one.ply", [[0.0, 0.0, 0.0]]).read_bytes()[:3]
      b'ply'
    """
    path, kind = _checked(path, ("ply", "obj"))
    given = {"points": points, "normals": normals, "colors": colors}
    fields = {name: np.asarray(values) for name, values in given.items() if values is not None}
    shapes = {name: values.shape for name, values in fields.items()}
    if set(shapes.values()) != {(len(fields["points"]), 3)} or not len(fields["points"]):
        raise UserError(f"Points, normals and colors to export are [P, 3] each, got {shapes}.")
    if "colors" in fields and fields["colors"].dtype != np.uint8:
        fields["colors"] = np.rint(fields["colors"].clip(0, 1) * 255).astype(np.uint8)
    replace_file(path, (_ply if kind == "ply" else _obj)(**fields), make_folders=True)
    return path


def _outer_faces(occupied: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the faces, int `[V, 3]`, and the faces, indices `[F, 4]` counterclockwise."""
    padded = np.pad(occupied, 1)
    corners = []
    for axis in range(3):
        others = [(axis + 1) % 3, (axis + 2) % 3]
        for outward in (1, -1):
            # The padding keeps what is rolled over the edge empty.
            outer = padded & ~np.roll(padded, -outward, axis)
            quads = np.repeat(np.argwhere(outer)[:, None] - 1, 4, axis=1)
            quads[..., others] += _SQUARE[::outward]
            quads[..., axis] += outward > 0
            corners.append(quads.reshape(-1, 3))
    vertices, index = np.unique(np.concatenate(corners), axis=0, return_inverse=True)
    return vertices, index.reshape(-1, 4)


def _ply(
    points: np.ndarray, normals: np.ndarray | None = None, colors: np.ndarray | None = None
) -> bytes:
    """A binary PLY file."""
    columns = dict(zip("xyz", points.astype("<f4").T, strict=True))
    if normals is not None:
        columns |= zip(("nx", "ny", "nz"), normals.astype("<f4").T, strict=True)
    if colors is not None:
        columns |= zip(("red", "green", "blue"), colors.T, strict=True)
    rows = np.empty(len(points), [(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        rows[name] = values
    kinds = {
        name: "uchar" if values.dtype == np.uint8 else "float" for name, values in columns.items()
    }
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"element vertex {len(points)}",
        *(f"property {kind} {name}" for name, kind in kinds.items()),
        "end_header\n",
    ]
    return "\n".join(header).encode() + rows.tobytes()


def _obj(
    points: np.ndarray, normals: np.ndarray | None = None, colors: np.ndarray | None = None
) -> bytes:
    """An OBJ file of vertices, colored as most programs write and read it."""
    columns = [points] if colors is None else [points, colors / 255]
    lines = [("v", row) for row in np.concatenate(columns, axis=1).tolist()]
    if normals is not None:
        lines += [("vn", row) for row in normals.tolist()]
    return "".join(f"{key} {' '.join(f'{x:.7g}' for x in row)}\n" for key, row in lines).encode()


def _checked(path: str | Path, kinds: tuple[str, ...]) -> tuple[Path, str]:
    """The path and the format that its ending tells."""
    path = Path(path)
    kind = path.suffix.removeprefix(".").lower()
    if kind not in kinds:
        raise UserError(f"Cannot export to {path}: use a name that ends in .{' or .'.join(kinds)}.")
    return path, kind
