"""Converts a folder of meshes into the npz file that `data.source=shapes` reads; see `nvc-meshes`."""

import io
import re
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.extras import require
from nvc_jax.data.base.files import read_content, unmarked
from nvc_jax.data.base.tree import files_below
from nvc_jax.data.shapes.gltf import check_gltf
from nvc_jax.data.shapes.ply import read_ply
from nvc_jax.data.shapes.polygons import cut_polygons
from nvc_jax.data.shapes.shapes import write_shapes
from nvc_jax.data.shapes.voxelization import solid_voxels

SUFFIXES = (".obj", ".off", ".ply", ".stl", ".glb", ".gltf")


def read_triangles(path: Path) -> np.ndarray:
    """Reads all faces of a mesh file, in the places where its scene puts them.

    Polygons are cut into triangles, see `cut_polygons`.

    Args:
      path: a file with one of `SUFFIXES`.

    Returns:
      Corners float64 `[F, 3, 3]`.

    Raises:
      UserError: for a file that cannot be read, is cut off, or has no faces.
    """
    readers = {".obj": _read_obj, ".off": _read_off, ".ply": _read_ply}
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
    files = {p.relative_to(folder).as_posix(): p for p in files_below(folder, SUFFIXES)}
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
    faces: list[list[int]] = []
    for line in _text(path).replace("\\\n", " ").splitlines():
        key, *words = line.partition("#")[0].split() or [""]
        if key == "v":
            vertices.append([float(word) for word in words[:3]])
        elif key == "f":
            numbers = [int(word.split("/")[0]) for word in words]
            if 0 in numbers:
                raise ValueError("a face has the corner 0, but corners count from 1")
            faces.append([n - 1 if n > 0 else len(vertices) + n for n in numbers])
    return _triangles(vertices, faces)


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
    counts = (header[1] or "".join(lines[1:2])).split()
    if len(counts) == 1:  # one number a line
        return _read_off_words(path, lines)
    if len(counts) < 2:
        raise UserError(f"{path}: is cut off, it does not tell how many vertices and faces it has.")
    num_vertices, num_faces = map(int, counts[:2])
    vertices = [[float(w) for w in line.split()[:3]] for line in lines[start:][:num_vertices]]
    polygons = [line.split() for line in lines[start + num_vertices :][:num_faces]]
    corners = [[int(word) for word in words[1 : int(words[0]) + 1]] for words in polygons]
    whole = all(len(c) == int(words[0]) for c, words in zip(corners, polygons, strict=True))
    whole = whole and all(len(vertex) == 3 for vertex in vertices)
    if (len(vertices), len(corners)) != (num_vertices, num_faces) or not whole:
        return _read_off_words(path, lines)
    return _triangles(vertices, corners)


def _read_off_words(path: Path, lines: list[str]) -> np.ndarray:
    """Faces of an OFF file with other line breaks than one after every vertex and face.

    Numbers then follow each other without any that the first word does not name.
    """
    found = re.match(r"(ST)?(C)?(N)?OFF", lines[0], re.IGNORECASE)
    words = " ".join(lines).split()
    words = [w for w in (words[0][found.end() :] if found else "", *words[1:]) if w]
    num_vertices, num_faces = map(int, [*words[:2], "0", "0"][:2])
    named = found.groups() if found else ()
    width = 3 + sum(size for size, name in zip((2, 4, 3), named, strict=True) if name)
    place = 3 + width * num_vertices
    numbers = [float(word) for word in words[3:place]]
    corners: list[list[int]] = []
    while len(corners) < num_faces and place < len(words):
        size = int(words[place])
        corner = [int(word) for word in words[place + 1 : place + 1 + size]]
        if not 0 <= size == len(corner):
            break
        corners.append(corner)
        place += 1 + size
    if len(numbers) != width * num_vertices or len(corners) != num_faces or place != len(words):
        raise UserError(
            f"{path}: is cut off, got {len(numbers) // width} of {num_vertices} vertices and "
            f"{len(corners)} of {num_faces} faces."
        )
    return _triangles(np.reshape(numbers, (num_vertices, width))[:, :3], corners)


def _read_ply(path: Path) -> np.ndarray:
    """Faces of a PLY file."""
    return read_ply(unmarked(read_content(path), path), path)


def _text(path: Path) -> str:
    """The text of a file; only its comments and names can be in an encoding of their own."""
    return unmarked(read_content(path), path).decode("latin-1")


def _triangles(vertices: Any, faces: list[list[int]]) -> np.ndarray:
    """Corners of the triangles of faces, `[F, 3, 3]`."""
    places = np.array(vertices, np.float64).reshape(-1, 3)
    return places[cut_polygons(places, faces)]


def _read_scene(path: Path) -> np.ndarray:
    """Faces of all meshes of a scene."""
    trimesh = _trimesh()

    content, kind = unmarked(read_content(path), path), path.suffix.lower().removeprefix(".")
    resolver = None
    if kind in ("glb", "gltf"):
        check_gltf(content, path)
        resolver = trimesh.resolvers.FilePathResolver(str(path.resolve()))
    scene = trimesh.load_scene(
        io.BytesIO(content),
        file_type=kind,
        resolver=resolver,
        process=False,
        skip_materials=True,
    )
    parts, others = [], set()
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        part = scene.geometry[name]
        if not isinstance(part, trimesh.Trimesh):
            others.add(type(part).__name__)
            continue
        corners = trimesh.transform_points(part.vertices, transform).take(part.faces, axis=0)
        # A mirrored face is seen from its other side.
        parts.append(corners[:, ::-1] if np.linalg.det(transform[:3, :3]) < 0 else corners)
    triangles = parts[0] if len(parts) == 1 else np.concatenate([np.zeros((0, 3, 3)), *parts])
    if not len(triangles) and "PointCloud" in others:
        raise UserError(f"{path}: is a cloud of points without faces.")
    return triangles
