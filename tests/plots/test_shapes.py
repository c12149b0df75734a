"""Pictures of volumes and points: what is seen where, in which light and color."""

import numpy as np
import pytest

from nvc_jax import plots
from nvc_jax.plots.shapes import SIZE, render_points, render_volumes
from tests.refusals import refused

RED, GREEN = 4, 3  # the fourth and third color are red and green
RNG = np.random.default_rng(0)


def volume_of(*voxels, size=8, label=1):
    """A volume with the given voxels."""
    volume = np.zeros((size, size, size), np.uint8)
    for voxel in voxels:
        volume[voxel] = label
    return volume


def drawn(picture):
    """Where a picture is not white."""
    return (picture < 0.999).any(axis=-1)


def center(picture):
    """Mean row and column of what is drawn."""
    return np.argwhere(drawn(picture)).mean(axis=0)


def is_red(picture):
    return picture[..., 0] > picture[..., 1] + 0.2


def is_green(picture):
    return picture[..., 1] > picture[..., 0] + 0.1


def assert_pictures(pictures):
    assert pictures.shape == (2, 3, SIZE, SIZE, 3) and pictures.dtype == np.float32
    assert pictures.min() >= 0 and pictures.max() <= 1


def test_volumes_of_any_outer_shape_give_pictures_in_range():
    volumes = RNG.random((2, 3, 5, 4, 6)) < 0.3
    pictures = render_volumes(volumes)
    assert_pictures(pictures)
    np.testing.assert_array_equal(pictures, render_volumes(volumes))
    np.testing.assert_array_equal(pictures[1, 2], render_volumes(volumes[1, 2]))
    assert render_volumes(volumes[:0]).shape == (0, 3, SIZE, SIZE, 3)


def test_what_is_empty_or_unknown_is_background():
    empty = np.zeros((2, 4, 4, 4), np.uint8)
    empty[1] = 255
    np.testing.assert_array_equal(render_volumes(empty), 1.0)


def test_axes_point_right_up_and_toward_the_viewer():
    middle = center(render_volumes(volume_of((4, 4, 4))))
    right, up, near = (
        center(render_volumes(volume_of(voxel))) for voxel in ((7, 4, 4), (4, 7, 4), (4, 4, 7))
    )
    assert right[1] > middle[1] + 10
    assert up[0] < middle[0] - 10
    assert up[1] == pytest.approx(middle[1], abs=1)  # y is upright
    assert near[0] > middle[0]  # seen from above


def test_the_cube_fills_the_picture():
    rows, columns = np.nonzero(drawn(render_volumes(np.ones((8, 8, 8), bool))))
    assert (rows.min(), rows.max()) == (0, SIZE - 1)
    assert columns.min() + columns.max() == pytest.approx(SIZE - 1, abs=1)
    wide = np.ones((8, 2, 8), bool)
    rows, columns = np.nonzero(drawn(render_volumes(wide)))
    assert rows.min() + rows.max() == pytest.approx(SIZE - 1, abs=1)


def silhouette(volume):
    """Pixels whose center some voxel covers, voxel by voxel: convex hulls of projected corners."""
    azimuth, elevation = np.radians([32.0, 24.0])
    right = np.array([np.cos(azimuth), 0.0, -np.sin(azimuth)])
    low, high = -np.sin(elevation), np.cos(elevation)
    up = np.array([np.sin(azimuth) * low, high, np.cos(azimuth) * low])
    scale = SIZE / np.abs(up).sum()
    row, column = np.indices((SIZE, SIZE)) + 0.5
    covered = np.zeros((SIZE, SIZE), bool)
    for voxel in np.argwhere(volume):
        corners = (voxel + np.indices((2, 2, 2)).reshape(3, -1).T) / len(volume) - 0.5
        x, y = SIZE / 2 + scale * corners @ right, SIZE / 2 - scale * corners @ up
        inside = np.ones((SIZE, SIZE), bool)
        for i in range(8):
            for j in range(8):
                side = (x[j] - x[i]) * (y - y[i]) - (y[j] - y[i]) * (x - x[i])
                if i != j and side.min() >= -1e-9:  # an edge of the hull
                    inside &= (x[j] - x[i]) * (row - y[i]) >= (y[j] - y[i]) * (column - x[i])
        covered |= inside
    return covered


def test_the_silhouette_of_an_l():
    bent = volume_of((1, 1, 2), (1, 2, 2), (1, 3, 2), (2, 1, 2), (3, 1, 2), size=5)
    picture, expected = render_volumes(bent), silhouette(bent)
    # The picture is an average over four points a pixel, so its rim may be one pixel off.
    rim = np.zeros_like(expected)
    for axis in (0, 1):
        for shift in (1, -1):
            rim |= expected != np.roll(expected, shift, axis)
    assert expected.sum() > 500
    np.testing.assert_array_equal(drawn(picture)[~rim], expected[~rim])


def test_the_faces_that_are_seen_have_three_brightnesses():
    picture = render_volumes(volume_of((3, 3, 3)))
    colors = np.unique(picture.reshape(-1, 3).round(4), axis=0, return_counts=True)
    common = colors[0][np.argsort(-colors[1])[:4]].sum(axis=1)
    x, z, y, background = np.sort(common)
    assert x + 0.2 < z < y - 0.2
    assert background == 3.0
    rows, _ = np.nonzero(np.isclose(picture.sum(axis=-1), y, atol=1e-3))
    assert rows.mean() < center(picture)[0] - 3  # the brightest is on top


@pytest.mark.parametrize("axis", range(3))
def test_nearer_voxels_hide_farther_ones(axis):
    behind, before = np.full(3, 3), np.full(3, 3)
    before[axis] += 1
    volume = volume_of(tuple(behind), label=RED)
    alone = is_red(render_volumes(volume)).sum()
    volume[tuple(before)] = GREEN
    picture = render_volumes(volume)
    assert is_green(picture).sum() == pytest.approx(alone, rel=0.05)  # wholly visible
    assert is_red(picture).sum() < 0.8 * alone


def test_a_wall_hides_what_is_behind_it_and_has_no_cracks():
    volume = volume_of((3, 3, 0), (4, 4, 0), size=9, label=RED)
    volume[:, :, 4] = GREEN
    picture = render_volumes(volume)
    assert not is_red(picture).any()
    assert is_green(picture).sum() > 500
    for row in filter(np.any, is_green(picture)):
        columns = np.flatnonzero(row)
        assert len(columns) == np.ptp(columns) + 1


def test_what_is_farther_away_is_paler():
    far, near = (render_volumes(volume_of(voxel)) for voxel in ((0, 0, 0), (7, 7, 7)))
    assert far[drawn(far)].mean() > near[drawn(near)].mean() + 0.1


def test_probabilities_are_refused():
    refused("threshold", render_volumes, np.zeros((4, 4, 4), np.float32))
    refused(r"\(4, 4\)", render_volumes, np.zeros((4, 4), bool))


# --- Points ---------------------------------------------------------------------------------------

CUBE = np.array([[-1.0, -1, -1], [1, 1, 1]])


def test_points_of_any_outer_shape_give_pictures_in_range():
    points = RNG.normal(size=(2, 3, 40, 6)).astype(np.float32)
    labels = RNG.integers(0, 256, (2, 3, 40), np.uint8)
    pictures = render_points(points, labels)
    assert_pictures(pictures)
    np.testing.assert_array_equal(pictures, render_points(points[..., :3], labels))
    np.testing.assert_array_equal(pictures[1, 2], render_points(points[1, 2], labels[1, 2]))
    # The order of the points is no information.
    np.testing.assert_array_equal(pictures, render_points(points[..., ::-1, :], labels[..., ::-1]))


def test_points_and_volumes_are_seen_alike():
    volume = volume_of((0, 7, 3), (7, 0, 3), (7, 7, 7))
    points = (np.argwhere(volume) + 0.5) / 8 - 0.5
    cubes = render_volumes(volume)
    for point in points:
        row, column = center(render_points(point[None], frame=CUBE / 2))
        assert drawn(cubes)[round(row), round(column)]


def test_the_view_does_not_depend_on_place_and_scale():
    points = RNG.normal(size=(30, 3))
    moved = 4 * points + 16
    np.testing.assert_array_equal(render_points(points), render_points(moved))
    np.testing.assert_array_equal(
        render_points(points[:9], frame=points), render_points(moved[:9], frame=moved)
    )


def test_a_frame_keeps_the_scale_and_cuts_off_what_lies_outside():
    near = np.array([[0.0, 0.0, 0.0]])
    outlier = np.array([[0.0, 0.0, 0.0], [50.0, 0.0, 0.0]])
    expected = render_points(near, frame=CUBE)
    assert drawn(expected).any()
    np.testing.assert_array_equal(render_points(outlier, frame=CUBE), expected)


@pytest.mark.parametrize("labels", [[RED - 1, GREEN - 1], [GREEN - 1, RED - 1]])
def test_nearer_points_hide_farther_ones(labels):
    viewer = np.array([0.484, 0.407, 0.775])
    picture = render_points(np.outer([0.0, 0.5], viewer), labels, frame=CUBE)
    row, column = np.round(center(picture)).astype(int)
    colors = {RED - 1: is_red(picture), GREEN - 1: is_green(picture)}
    farther, nearer = (colors[label] for label in labels)
    assert nearer[row, column]
    assert nearer.sum() > 2 * farther.sum()


@pytest.mark.filterwarnings("error")
def test_points_that_are_not_finite_are_left_out():
    points = RNG.normal(size=(6, 3))
    broken = np.insert(points, 2, [[np.nan, 0, 0], [0, np.inf, 0]], axis=0)
    labels = np.array([0, 1, 2, 3, 4, 5])
    np.testing.assert_array_equal(
        render_points(broken, np.insert(labels, 2, [6, 7])), render_points(points, labels)
    )
    np.testing.assert_array_equal(render_points(np.full((4, 3), np.nan)), 1.0)
    np.testing.assert_array_equal(render_points(np.zeros((0, 3))), 1.0)
    np.testing.assert_array_equal(render_points(points, frame=np.full((2, 3), np.nan)), 1.0)


def test_coincident_points_give_one_dot_in_the_middle():
    picture = render_points(np.full((5, 3), 7.0))
    np.testing.assert_allclose(center(picture), SIZE / 2, atol=1)
    assert 4 <= drawn(picture).sum() <= 16


def test_labels_have_colors_and_unknown_ones_are_gray():
    points = np.zeros((1, 3))
    colors = [render_points(points, [label])[drawn(render_points(points))] for label in range(20)]
    assert len(np.unique(np.round(colors, 3), axis=0)) == 20
    unknown = render_points(points, [255])
    np.testing.assert_allclose(unknown[..., 0], unknown[..., 2], atol=1e-6)
    assert unknown.min() < 0.9


def test_points_that_do_not_fit_are_refused():
    refused(r"\(4, 3\), \(5,\) and \(4, 3\)", render_points, np.zeros((4, 3)), np.zeros(5, int))
    refused(r"\(4, 2\)", render_points, np.zeros((4, 2)))
    message = r"\(2, 4, 3\), \(2, 4\) and \(3, 4, 3\)"
    refused(message, render_points, np.zeros((2, 4, 3)), frame=np.zeros((3, 4, 3)))


def test_the_figures_take_the_pictures():
    volumes = RNG.random((3, 4, 4, 4)) < 0.3
    samples = np.stack([volumes, volumes], axis=1)
    grid = plots.example_grid({"input": render_volumes(volumes), "output": render_volumes(volumes)})
    gallery = plots.anchor_gallery(render_volumes(volumes), render_volumes(samples), [4, 0, 1])
    for figure in (grid, gallery):
        assert plots.render(figure, dpi=20).startswith(b"\x89PNG")
