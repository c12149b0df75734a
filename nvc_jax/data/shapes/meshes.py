"""Converts a folder of meshes into the npz file that `data.source=shapes` reads; see `nvc-meshes`."""

import re
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.extras import require
from nvc_jax.data.shapes.shapes import write_shapes
from nvc_jax.data.shapes.voxelization import solid_voxels

SUFFIXES = (".obj", ".off", ".ply", ".stl", ".glb", ".gltf")


def read_triangles(path: Path) -> np.ndarray:
    """Reads all faces of a mesh file, in the places where its scene puts them.

    Polygons are cut into triangles around their first corner.

    Args:
      path: a file with one of `SUFFIXES`.

    Returns:
      Corners float64 `[F, 3, 3]`.

    Raises:
      UserError: for a file that cannot be read, is cut off, or has no faces.
    """
    readers = {".obj": _read_obj, ".off": _read_off}
    try:
        triangles = readers.get(path.suffix.lower(), _read_scene)(path)
    except UserError:
        raise
    except Exception as error:  # files of other programs raise whatever there is
        lines = str(error).splitlines() or [""]
        raise UserError(f"{path}: cannot be read ({type(error).__name__}: {lines[0]}).") from None
    if not len(triangles):
        raise UserError(f"{path}: has no faces, or is cut off.")
    return triangles


def normalize(triangles: np.ndarray, up: Literal["y", "z"] = "y") -> np.ndarray:
    """Turns a mesh to y up, centers its bounding box and scales its longest side to 1.

    Args:
      triangles: corners float `[F, 3, 3]`.
      up: the axis that points up in them.

    Returns:
      float64 `[F, 3, 3]` in [−½, ½].

    Raises:
      UserError: for coordinates that are not finite, or a mesh without extent or area.
    """
    if not np.isfinite(triangles).all():
        raise UserError("has coordinates that are not finite.")
    if up == "z":
        triangles = triangles[..., [0, 2, 1]] * [1, 1, -1]
    low, high = triangles.min((0, 1)), triangles.max((0, 1))
    # By halves: the difference of two finite numbers may not be finite.
    half = (high / 2 - low / 2).max()
    if half == 0:
        raise UserError("has no extent.")
    triangles = ((triangles - (low / 2 + high / 2)) / half / 2).clip(-0.5, 0.5)
    if not _face_vectors(triangles).any():
        raise UserError("has faces without area only.")
    return triangles


def sample_points(
    triangles: np.ndarray, num_points: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draws points on a surface, uniformly by area.

    Args:
      triangles: corners float `[F, 3, 3]`, some of them with an area.
      num_points: `P`.
      rng: where the draws come from.

    Returns:
      points: float32 `[P, 3]`.
      normals: float32 `[P, 3]` of length 1, those of the faces: out of the side from which the
        corners are seen counterclockwise.
    """
    trimesh = _trimesh()

    faces = np.arange(3 * len(triangles)).reshape(-1, 3)
    mesh = trimesh.Trimesh(triangles.reshape(-1, 3), faces, process=False)
    points, chosen = trimesh.sample.sample_surface(mesh, num_points, seed=rng)
    normals = _face_vectors(triangles[chosen])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return points.astype(np.float32), normals.astype(np.float32)


def convert_meshes(
    folder: Path,
    path: Path,
    *,
    resolution: int = 32,
    num_points: int = 2048,
    seed: int = 0,
    up: Literal["y", "z"] = "y",
) -> dict[str, str]:
    """Converts all meshes in a folder and its sub-folders; see nvc_jax/programs/meshes.py.

    Args:
      folder: where the meshes are.
      path: the npz file to write.
      resolution: voxels along a side, R.
      num_points: points on every surface.
      seed: of these points; those of a mesh depend on it and on the name of the file only.
      up: the axis that points up in the files.

    Returns:
      Files that could not be read, and why.

    Raises:
      UserError: for a missing folder, no mesh in it that can be read, or a file that cannot be
        written.
    """
    from tqdm import tqdm

    _trimesh()  # one message, and not one for every file
    if not folder.is_dir():
        raise UserError(f"The folder {str(folder)!r} is missing.")
    found = (p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    files = {p.relative_to(folder).as_posix(): p for p in found if not p.name.startswith(".")}
    if not files:
        raise UserError(f"{str(folder)!r}: there is no {', '.join(SUFFIXES)} file in it.")
    class_names = sorted({name.split("/")[0] for name in files if "/" in name})
    shapes, names, failures = [], [], {}
    for name in tqdm(sorted(files), unit="mesh", disable=None):
        try:
            triangles = normalize(read_triangles(files[name]), up)
        except UserError as error:
            failures[name] = str(error).removeprefix(f"{files[name]}: ")
            continue
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        shapes.append((
            solid_voxels(triangles, resolution),
            *sample_points(triangles, num_points, rng),
        ))  # fmt: skip
        names.append(name)
    if not shapes:
        name, reason = next(iter(failures.items()))
        raise UserError(f"None of the {len(files)} meshes can be read; {name} {reason}")
    voxels, points, normals = (np.stack(values) for values in zip(*shapes, strict=True))
    label = [class_names.index(n.split("/")[0]) if "/" in n else -1 for n in names]
    write_shapes(
        path,
        voxels=voxels,
        points=points,
        normals=normals,
        label=np.array(label, np.int32),
        class_names=class_names,
        name=names,
    )
    return failures


def _trimesh() -> Any:
    """The package, which is slow to import."""
    return require("trimesh", extra="shapes", what="Reading meshes")


def _face_vectors(triangles: np.ndarray) -> np.ndarray:
    """Normals of faces, `[F, 3]`; their length is twice the area."""
    return np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])


def _read_obj(path: Path) -> np.ndarray:
    """Faces of an OBJ file.

    Not read by trimesh, which counts relative indices from the end of the file.
    """
    vertices: list[list[float]] = []
    faces: list[tuple[int, int, int]] = []
    for line in _text(path).replace("\\\n", " ").splitlines():
        key, *words = line.partition("#")[0].split() or [""]
        if key == "v":
            vertices.append([float(word) for word in words[:3]])
        elif key == "f":
            numbers = [int(word.split("/")[0]) for word in words]
            faces += _fan([n - 1 if n > 0 else len(vertices) + n for n in numbers])
    return _corners(vertices, faces)


def _read_off(path: Path) -> np.ndarray:
    """Faces of an OFF file, the counts of which may follow the first word without a space.

    Not read by trimesh, which takes a file that is cut off, and no mixture of polygons.
    """
    lines = [line.partition("#")[0].strip() for line in _text(path).splitlines()]
    lines = [line for line in lines if line]
    header = re.fullmatch(r"(?:ST)?C?N?OFF\s*([\d\s]*)", lines[0] if lines else "", re.IGNORECASE)
    if not header:
        raise UserError(f"{path}: is not an OFF file of text in three dimensions.")
    start = 1 if header[1] else 2
    num_vertices, num_faces = map(int, (header[1] or lines[1]).split()[:2])
    vertices = [[float(w) for w in line.split()[:3]] for line in lines[start:][:num_vertices]]
    polygons = [line.split() for line in lines[start + num_vertices :][:num_faces]]
    corners = [[int(word) for word in words[1 : int(words[0]) + 1]] for words in polygons]
    whole = all(len(c) == int(words[0]) for c, words in zip(corners, polygons, strict=True))
    if (len(vertices), len(corners)) != (num_vertices, num_faces) or not whole:
        raise UserError(
            f"{path}: is cut off, got {len(vertices)} of {num_vertices} vertices and "
            f"{len(corners) - (not whole)} of {num_faces} faces."
        )
    return _corners(vertices, [face for polygon in corners for face in _fan(polygon)])


def _text(path: Path) -> str:
    """The text of a file; only its comments and names can be in an encoding of their own."""
    return path.read_text(encoding="latin-1")


def _fan(polygon: list[int]) -> list[tuple[int, int, int]]:
    """Triangles of a polygon; none of fewer than 3 corners."""
    return [(polygon[0], second, third) for second, third in pairwise(polygon[1:])]


def _corners(vertices: list[list[float]], faces: list[tuple[int, int, int]]) -> np.ndarray:
    """Corners of faces, `[F, 3, 3]`."""
    indices = np.array(faces, np.int64).reshape(-1, 3)
    if indices.size and not 0 <= indices.min() <= indices.max() < len(vertices):
        raise ValueError("a face has a corner that is none of the vertices")
    return np.array(vertices, np.float64).reshape(-1, 3)[indices]


def _read_scene(path: Path) -> np.ndarray:
    """Faces of all meshes of a scene."""
    trimesh = _trimesh()

    scene = trimesh.load_scene(str(path.resolve()), process=False, skip_materials=True)
    parts, others = [], set()
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        part = scene.geometry[name]
        if not isinstance(part, trimesh.Trimesh):
            others.add(type(part).__name__)
            continue
        corners = trimesh.transform_points(part.vertices, transform)[part.faces]
        # A mirrored face is seen from its other side.
        parts.append(corners[:, ::-1] if np.linalg.det(transform[:3, :3]) < 0 else corners)
    triangles = np.concatenate(parts) if parts else np.zeros((0, 3, 3))
    if not len(triangles) and "PointCloud" in others:
        raise UserError(f"{path}: is a cloud of points without faces.")
    if path.suffix.lower() == ".ply":
        _check_count(path, len(triangles))
    return triangles


def _check_count(path: Path, num_triangles: int) -> None:
    """Refuses a PLY file of text that ends before its last face, which trimesh takes."""
    header = path.read_bytes().partition(b"end_header")[0]
    count = re.search(rb"element\s+face\s+(\d+)", header)
    if count and num_triangles < int(count[1]):
        raise UserError(f"{path}: is cut off, got {num_triangles} of {int(count[1])} faces.")
