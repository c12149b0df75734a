"""Polygons as triangles: areas and sides by hand, for every first corner; PLY files by an independent writer."""

import struct

import numpy as np
import pytest

from nvc_jax.data.shapes.meshes import read_triangles
from nvc_jax.data.shapes.ply import read_ply
from nvc_jax.data.shapes.polygons import cut_polygons
from tests.refusals import refused
from tests.sources import put

# A U of 3 × 3 with a gap of 1 × 2: its area is 7.
U = np.array([[0, 0], [3, 0], [3, 3], [2, 3], [2, 1], [1, 1], [1, 3], [0, 3]], float)
KEYHOLE = np.array(  # a square of 4 × 4 with a hole of 2 × 2, which a bridge passes twice
    [[0, 0], [4, 0], [4, 4], [0, 4], [0, 0], [1, 1], [1, 3], [3, 3], [3, 1], [1, 1]], float
)


def lifted(corners):
    """Corners of a plane in space, turned by a fixed rotation."""
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    return np.pad(corners, ((0, 0), (0, 1))) @ rotation


def vectors(triangles):
    return np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]) / 2


def cut(corners):
    """Area, and the sum of the normals' lengths along the mean one, of a cut polygon."""
    triangles = corners[cut_polygons(corners, [list(range(len(corners)))])]
    assert len(triangles) == len(corners) - 2
    found = vectors(triangles)
    return np.linalg.norm(found, axis=1).sum(), np.linalg.norm(found.sum(axis=0))


@pytest.mark.parametrize("start", range(8))
def test_a_polygon_that_is_not_convex_keeps_its_area_and_side(start):
    for corners in (U, U[::-1]):
        assert cut(lifted(np.roll(corners, start, axis=0))) == pytest.approx((7, 7))


def test_random_polygons_keep_their_area():
    rng = np.random.default_rng(1)
    for size in (4, 5, 9, 60):
        angle = np.sort((np.arange(size) + rng.uniform(0, 0.9, size)) * 2 * np.pi / size)
        corners = rng.uniform(0.1, 1, (size, 1)) * np.stack([np.cos(angle), np.sin(angle)], 1)
        x, y = np.roll(corners, rng.integers(size), axis=0).T
        area = abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2  # the shoelace formula
        assert cut(lifted(np.stack([x, y], 1))) == pytest.approx((area, area))


def test_holes_and_corners_on_a_line():
    assert cut(lifted(KEYHOLE)) == pytest.approx((12, 12))
    halves = np.stack([U, (U + np.roll(U, -1, axis=0)) / 2], axis=1).reshape(-1, 2)
    assert cut(lifted(halves)) == pytest.approx((7, 7))


def test_convex_polygons_are_fans_in_order():
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
    found = cut_polygons(corners, [[3, 0, 1], [0, 1, 2, 3], [0, 1], [1, 2, 3]])
    assert found.tolist() == [[3, 0, 1], [0, 1, 2], [0, 2, 3], [1, 2, 3]]
    assert cut_polygons(corners, []).shape == (0, 3)


def test_polygons_that_cross_themselves_are_refused():
    star = np.array([[np.cos(a), np.sin(a)] for a in 4 * np.pi * np.arange(5) / 5])
    for corners in (U[[0, 2, 1, 7]], star):
        with pytest.raises(ValueError, match="crosses itself"):
            cut(lifted(corners))


def prism(caps="8"):
    """A U of height 1, its sides quads; its volume is 7."""
    corners = np.concatenate([np.pad(U, ((0, 0), (0, 1)), constant_values=z) for z in (0, 1)])
    sides = [[i, (i + 1) % 8, 8 + (i + 1) % 8, 8 + i] for i in range(8)]
    return corners, [list(range(8))[::-1], list(range(8, 16)), *sides]


@pytest.mark.parametrize("kind", ["obj", "off", "ply", "binary.ply"])
@pytest.mark.parametrize("start", [0, 3, 5])
def test_a_prism_of_any_format_has_its_area_and_volume(kind, start, tmp_path):
    corners, faces = prism()
    faces = [[*face[start % len(face) :], *face[: start % len(face)]] for face in faces]
    path = tmp_path / f"a.{kind}"
    rows = "".join(" ".join(map(str, corner)) + "\n" for corner in corners)
    if kind == "obj":
        text = "".join(f"v {row}\n" for row in rows.splitlines())
        put(path, text + "".join(f"f {' '.join(str(i + 1) for i in face)}\n" for face in faces))
    elif kind == "off":
        listed = "".join(f"{len(face)} {' '.join(map(str, face))}\n" for face in faces)
        put(path, f"OFF\n16 10 0\n{rows}{listed}")
    else:
        put(path, ply(corners, {"face": faces}, binary=kind != "ply"))
    triangles = read_triangles(path)
    area = np.linalg.norm(vectors(triangles), axis=1).sum()
    volume = np.einsum("fi,fi->", triangles[:, 0], vectors(triangles)) / 3
    assert (area, volume) == pytest.approx((2 * 7 + 16, 7))  # around the U it is 16


def ply(corners, elements, *, binary=False, claimed=None):
    """A file with lists of corners, which may claim another number of them."""
    lines = ["ply", f"format {'binary_big_endian' if binary else 'ascii'} 1.0"]
    lines += [f"element vertex {len(corners)}", *(f"property double {axis}" for axis in "xyz")]
    for name, lists in elements.items():
        lines.append(f"element {name} {claimed or len(lists)}")
        lines.append("property list uchar int vertex_indices")
    rows = [row for lists in elements.values() for row in lists]
    header = "\n".join([*lines, "end_header\n"]).encode()
    if binary:
        content = np.asarray(corners, ">f8").tobytes()
        return header + content + b"".join(struct.pack(f">B{len(r)}i", len(r), *r) for r in rows)
    text = [" ".join(map(str, row)) for row in [*corners, *([len(r), *r] for r in rows)]]
    return header + "\n".join([*text, ""]).encode()


GRID = np.array([[x, y, 0] for x in range(4) for y in range(2)], float)  # columns of two
QUADS = [[0, 2, 3, 1], [2, 4, 5, 3], [4, 6, 7, 5]]


@pytest.mark.parametrize("binary", [False, True])
def test_strips_of_a_ply_file_are_faces(binary):
    # Two strips in one list, as -1 ends one; every other triangle is turned over to look up.
    strips = {"tristrips": [[0, 2, 1, 3, -1, 2, 4, 3, 5], [4, 6, 5, 7]]}
    triangles = read_ply(ply(GRID, strips, binary=binary), "a.ply")
    assert vectors(triangles)[:, 2].tolist() == [0.5] * 6


@pytest.mark.parametrize("binary", [False, True])
def test_a_ply_file_that_lacks_faces_is_cut_off_whatever_their_size(binary):
    whole = ply(GRID, {"face": QUADS}, binary=binary)
    assert len(read_ply(whole, "a.ply")) == 6
    refused(
        "got 3 of 4 elements 'face'",
        read_ply,
        ply(GRID, {"face": QUADS}, binary=binary, claimed=4),
        "a.ply",
    )
    for end in range(len(whole) - 1):
        with pytest.raises(ValueError, match=r"cut off|end of its header"):
            read_ply(whole[:end], "a.ply")


@pytest.mark.parametrize("binary", [False, True])
def test_faces_of_several_sizes_and_clouds_of_points(binary):
    faces = [[0, 2, 1], *QUADS[1:], [0, 2, 4, 5, 3, 1]]
    assert len(read_ply(ply(GRID, {"face": faces}, binary=binary), "a.ply")) == 1 + 4 + 4
    refused("cloud of points", read_ply, ply(GRID, {}, binary=binary), "a.ply")
