"""Solid voxels against shapes whose volume is known, closed and open, thick and thin."""

import time

import numpy as np
import pytest
import trimesh
from scipy import ndimage

from nvc_jax.data.shapes.voxelization import solid_voxels


def triangles_of(mesh):
    """Triangles centered, longest side 1."""
    low, high = mesh.triangles.min((0, 1)), mesh.triangles.max((0, 1))
    return (mesh.triangles - (low + high) / 2) / (high - low).max()


def box(*extents):
    return triangles_of(trimesh.creation.box(extents))


def rotated(mesh, seed):
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return trimesh.Trimesh(mesh.vertices @ turn.T, mesh.faces, process=False)


@pytest.mark.parametrize("side", [1.0, 0.3, 1e-3, 7e5])
@pytest.mark.parametrize("resolution", [1, 5, 32])
def test_a_cube_fills_the_volume(side, resolution):
    solid = solid_voxels(box(side, side, side), resolution)
    assert solid.shape == (resolution,) * 3 and solid.dtype == bool and solid.all()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_a_box_fills_exactly_its_part(order):
    extents, spans = (1, 0.5, 0.25), ((0, 32), (8, 24), (12, 20))
    expected = np.zeros((32, 32, 32), bool)
    expected[tuple(slice(*spans[i]) for i in order)] = True
    np.testing.assert_array_equal(solid_voxels(box(*(extents[i] for i in order)), 32), expected)


def test_index_order_is_x_y_z():
    corner = trimesh.creation.box((0.25, 0.25, 0.25))
    corner.apply_translation([0.375, -0.375, 0.125])
    expected = np.zeros((8, 8, 8), bool)
    expected[6:8, 0:2, 4:6] = True
    np.testing.assert_array_equal(solid_voxels(corner.triangles, 8), expected)


@pytest.mark.parametrize("resolution", [16, 32])
def test_a_hollow_sphere_is_filled_without_bias(resolution):
    sphere = triangles_of(trimesh.creation.icosphere(subdivisions=4))
    volume = solid_voxels(sphere, resolution).sum() / resolution**3
    assert volume == pytest.approx(np.pi / 6, rel=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_solid_voxels_are_those_with_their_center_inside(seed):
    mesh = rotated(trimesh.creation.box((1, 0.6, 0.4)), seed)
    triangles = triangles_of(mesh)
    solid = solid_voxels(triangles, 24)
    centers = (np.stack(np.meshgrid(*[np.arange(24)] * 3, indexing="ij"), -1) + 0.5) / 24 - 0.5
    outward = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    outward *= np.sign((outward * triangles[:, 0]).sum(-1, keepdims=True))  # the center is 0
    inside = ((centers[..., None, :] - triangles[:, 0]) * outward).sum(-1).max(-1) < 0
    np.testing.assert_array_equal(solid & inside, inside)
    assert (solid & ~inside).sum() <= 0.03 * inside.sum()  # edges that no inner center is near


@pytest.mark.parametrize("axis", range(3))
def test_a_plate_without_thickness_is_one_layer(axis):
    extents = np.ones(3)
    extents[axis] = 0
    solid = solid_voxels(box(*extents), 32)
    assert solid.sum() == 32 * 32 and (solid.sum(axis) == 1).all()


@pytest.mark.parametrize("thickness", [0.1, 0.4, 0.7, 0.99])
def test_a_slab_thinner_than_a_voxel_is_one_layer(thickness):
    plate = box(1, thickness / 16, 1)
    for shift in np.arange(0, 1, 0.23):
        solid = solid_voxels(plate + np.array([0, shift / 16, 0]), 16)
        assert (solid.sum(1) == 1).all()


@pytest.mark.parametrize("seed", range(3))
def test_a_tilted_plate_is_one_layer_without_holes(seed):
    square = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]])
    triangles = triangles_of(rotated(square, seed))
    solid = solid_voxels(triangles, 32)
    normal = np.abs(np.cross(triangles[0, 1] - triangles[0, 0], triangles[0, 2] - triangles[0, 0]))
    layers = solid.sum(int(normal.argmax()))
    shadow = layers > 0
    np.testing.assert_array_equal(ndimage.binary_fill_holes(shadow), shadow)
    assert (layers > 1).sum() <= 4  # corners


@pytest.mark.parametrize("radius", [0.003, 0.008, 0.012])
@pytest.mark.parametrize("seed", range(3))
def test_wires_stay_in_one_piece(radius, seed):
    wire = rotated(trimesh.creation.cylinder(radius=radius, height=1, sections=8), seed)
    solid = solid_voxels(triangles_of(wire), 32)
    assert ndimage.label(solid, np.ones((3, 3, 3)))[1] == 1
    extents = np.ptp(triangles_of(wire), (0, 1)) * 32
    np.testing.assert_allclose(np.ptp(np.argwhere(solid), 0) + 1, extents, atol=2)


def test_parts_thinner_than_a_voxel_stay_attached():
    seat = trimesh.creation.box((1, 0.25, 1))
    seat.apply_translation([0, 0.375, 0])
    leg = trimesh.creation.box((0.02, 0.75, 0.02))
    leg.apply_translation([0.3, -0.125, 0.28])
    solid = solid_voxels(np.concatenate([seat.triangles, leg.triangles]), 16)
    assert ndimage.label(solid)[1] == 1
    assert solid[:, :12].any((0, 2)).all() and solid[:, 12:].all()
    assert solid[:, :11].sum((0, 2)).max() <= 2


@pytest.mark.parametrize("scale", [0.95, 0.9])
def test_cracks_between_all_triangles_do_no_harm(scale):
    sphere = triangles_of(trimesh.creation.icosphere(subdivisions=3))
    middle = sphere.mean(1, keepdims=True)
    volume = solid_voxels(middle + scale * (sphere - middle), 32).sum() / 32**3
    assert volume == pytest.approx(np.pi / 6, rel=0.03)


def test_a_box_without_lid_is_hollow_with_walls_of_one_voxel():
    closed = box(1, 1, 1)
    keep = ~(closed[..., 1] == 0.5).all(1)
    solid = solid_voxels(closed[keep], 16)
    expected = np.zeros((16, 16, 16), bool)
    expected[[0, -1]] = expected[:, 0] = expected[:, :, [0, -1]] = True
    np.testing.assert_array_equal(solid, expected)


def test_an_inner_wall_changes_nothing_and_neither_does_winding():
    outer = box(1, 0.5, 0.5)
    expected = solid_voxels(outer, 16)
    both = np.concatenate([outer, outer * 0.6])
    np.testing.assert_array_equal(solid_voxels(both, 16), expected)
    flipped = outer.copy()
    flipped[::2] = flipped[::2, ::-1]
    np.testing.assert_array_equal(solid_voxels(flipped, 16), expected)
    np.testing.assert_array_equal(solid_voxels(np.repeat(outer, 2, 0), 16), expected)


def test_a_gap_between_parts_stays_open():
    heights = (-7.5, -4.5, -1.5, 1.5, 4.5, 7.5)
    shelves = [box(1, 1 / 16, 1) + np.array([0, y / 16, 0]) for y in heights]
    solid = solid_voxels(np.concatenate(shelves), 16)
    assert [bool(layer.all()) for layer in solid.transpose(1, 0, 2)] == [
        y % 3 == 0 for y in range(16)
    ]
    assert solid.sum() == 6 * 16 * 16


def test_triangles_without_area_are_ignored():
    cube = box(1, 1, 1)
    flat = np.array([[[0.1, 0.1, 0.1]] * 3, [[-0.5] * 3, [0.0] * 3, [0.5] * 3]])
    assert solid_voxels(np.concatenate([cube, flat]), 8).all()


def test_lines_exactly_through_corners_and_edges():
    # An octahedron with its corners and edges on lines through centers.
    octahedron = trimesh.convex.convex_hull(np.concatenate([np.eye(3), -np.eye(3)]) / 2)
    solid = solid_voxels(octahedron.triangles, 9)
    i = np.abs(np.arange(9) - 4)
    distance = i[:, None, None] + i[:, None] + i
    assert solid[distance <= 4].all() and not solid[distance >= 6].any()


def test_many_triangles_take_little_time():
    sphere = triangles_of(trimesh.creation.icosphere(subdivisions=6))
    assert len(sphere) == 81_920
    start = time.process_time()
    solid_voxels(sphere, 32)
    assert time.process_time() - start < 5  # usually below 1
