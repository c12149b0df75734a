"""Exported meshes and clouds, read back by trimesh."""

from typing import Any

import numpy as np
import pytest
import trimesh

from nvc_jax.plots.export import export_points, export_voxels
from tests.refusals import refused

load: Any = trimesh.load  # what it gives depends on the file


def one_voxel(shape=(4, 4, 4), at=(1, 2, 3)):
    volume = np.zeros(shape, np.uint8)
    volume[at] = 1
    return volume


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".stl", ".PLY"])
def test_one_voxel_is_a_cube_in_its_place(tmp_path, suffix):
    path = export_voxels(tmp_path / "new" / f"cube{suffix}", one_voxel())
    assert path == tmp_path / "new" / f"cube{suffix}"
    mesh = load(path)  # equal corners of an STL file are merged in reading
    assert (len(mesh.vertices), len(mesh.faces)) == (8, 12)
    assert mesh.is_watertight and mesh.is_winding_consistent
    assert mesh.volume == pytest.approx(1 / 4**3)
    np.testing.assert_allclose(mesh.bounds, [[-0.25, 0, 0.25], [0, 0.25, 0.5]])
    outward = mesh.triangles_center - mesh.bounds.mean(0)
    assert ((mesh.face_normals * outward).sum(1) > 0.1).all()


@pytest.mark.parametrize("axis", range(3))
def test_two_voxels_share_corners_and_have_no_face_between(tmp_path, axis):
    volume = np.zeros((3, 3, 3), bool)
    volume[tuple(slice(2) if i == axis else 1 for i in range(3))] = True
    mesh = load(export_voxels(tmp_path / "two.ply", volume), process=False)
    assert (len(mesh.vertices), len(mesh.faces)) == (12, 20)
    assert mesh.is_watertight and mesh.volume == pytest.approx(2 / 27)


def test_any_volume_is_closed_and_has_its_volume(tmp_path):
    volume = np.random.default_rng(0).random((5, 4, 3))
    mesh = load(export_voxels(tmp_path / "any.ply", volume, threshold=0.7), process=False)
    occupied = volume >= 0.7
    assert mesh.volume == pytest.approx(occupied.sum() / 5**3, rel=1e-5)
    padded = np.pad(occupied, 1).astype(int)
    faces = sum(np.abs(np.diff(padded, axis=axis)).sum() for axis in range(3))
    assert len(mesh.faces) == 2 * faces
    edges = np.unique(mesh.edges_sorted, axis=0, return_counts=True)[1]
    assert (edges % 2 == 0).all()


def test_a_full_volume_fills_the_unit_box(tmp_path):
    mesh = load(export_voxels(tmp_path / "full.obj", np.ones((4, 2, 1))))
    np.testing.assert_allclose(mesh.bounds, [[-0.5, -0.25, -0.125], [0.5, 0.25, 0.125]])
    assert mesh.is_watertight and mesh.volume == pytest.approx(1 / 8)


def test_values_at_the_threshold_are_occupied_and_nan_is_not(tmp_path):
    volume = np.array([0.5, 0.49, np.nan]).reshape(3, 1, 1)
    assert load(export_voxels(tmp_path / "a.ply", volume)).volume == pytest.approx(1 / 27)


@pytest.mark.parametrize("suffix", [".obj", ".ply"])
@pytest.mark.parametrize("colored", [False, True])
@pytest.mark.parametrize("with_normals", [False, True])
def test_points_are_read_back(tmp_path, suffix, colored, with_normals):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(7, 3)).astype(np.float32)
    colors = rng.integers(0, 256, (7, 3)).astype(np.uint8) if colored else None
    normals = np.eye(3)[rng.integers(0, 3, 7)] if with_normals else None
    path = export_points(tmp_path / f"cloud{suffix}", points, colors, normals)
    cloud = load(path)
    assert isinstance(cloud, trimesh.PointCloud)
    np.testing.assert_allclose(cloud.vertices, points, rtol=1e-6, atol=1e-7)
    if colored:
        np.testing.assert_array_equal(cloud.colors[:, :3], colors)
    content = path.read_bytes()
    if suffix == ".ply":
        names = ["x", "y", "z", *["nx", "ny", "nz"] * with_normals]
        lines = [f"property float {name}" for name in names]
        lines += [f"property uchar {name}" for name in ["red", "green", "blue"] * colored]
        header, _, rows = content.partition(b"end_header\n")
        assert [line for line in header.decode().split("\n") if "property" in line] == lines
        assert len(rows) == 7 * (4 * len(names) + 3 * colored)
        if with_normals:
            table = np.frombuffer(rows, np.uint8).reshape(7, -1)[:, 12:24].copy().view("<f4")
            np.testing.assert_array_equal(table, normals)
    else:
        lines = [line for line in content.decode().split("\n") if line[:3] == "vn "]
        assert [[float(x) for x in line.split()[1:]] for line in lines] == (
            [] if normals is None else normals.tolist()
        )


def test_colors_from_0_to_1_are_scaled(tmp_path):
    colors = np.array([[0, 0.5, 1], [-0.1, 0.2, 1.1]])
    cloud = load(export_points(tmp_path / "a.ply", np.eye(3)[:2], colors))
    np.testing.assert_array_equal(cloud.colors[:, :3], [[0, 128, 255], [0, 51, 255]])


def test_mistakes_with_voxels(tmp_path):
    for name, volume, message in [
        ("a.xyz", np.ones((2, 2, 2)), r"ends in .obj or .ply or .stl"),
        ("a", np.ones((2, 2, 2)), "ends in"),
        ("a.ply", np.zeros((2, 2, 2)), "nothing to export"),
        ("a.ply", np.zeros((0, 2, 2)), "nothing to export"),
        ("a.ply", np.ones((2, 2)), r"\[X, Y, Z\], got shape \(2, 2\)"),
        ("file/a.ply", np.ones((2, 2, 2)), "could not be written"),
    ]:
        (tmp_path / "file").touch()
        refused(message, export_voxels, tmp_path / name, volume)
        assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_mistakes_with_points(tmp_path):
    for name, fields, message in [
        ("a.stl", {"points": np.ones((2, 3))}, "ends in .ply or .obj"),
        ("a.ply", {"points": np.ones((0, 3))}, r"\[P, 3\]"),
        ("a.ply", {"points": np.ones((2, 4))}, r"\[P, 3\]"),
        ("a.ply", {"points": np.ones(3)}, r"\[P, 3\]"),
        ("a.ply", {"points": np.ones((2, 3)), "colors": np.ones((3, 3))}, r"\[P, 3\]"),
        ("a.obj", {"points": np.ones((2, 3)), "normals": np.ones((2, 2))}, r"\[P, 3\]"),
    ]:
        refused(message, export_points, tmp_path / name, **fields)
        assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = export_voxels(tmp_path / "a.ply", one_voxel())
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    refused("No space left", export_voxels, path, np.ones((2, 2, 2)))
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a.ply"]
