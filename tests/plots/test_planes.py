"""Pictures of planes: colors that match, depth, decoded layouts, curves of recall."""

import numpy as np

from nvc_jax.geometry.planes import pixel_rays
from nvc_jax.metrics.planes import plane_overlaps
from nvc_jax.plots import planes as plots_planes

TRUE = np.array([[0, 0, 0, 1], [2, 2, 20, 255]], np.uint8)


def test_planes_have_colors_and_the_rest_is_gray():
    colors = plots_planes.plane_colors(TRUE)
    assert colors.shape == (2, 4, 3)
    assert len(np.unique(colors.reshape(-1, 3), axis=0)) == 4
    np.testing.assert_array_equal(colors[1, 2], colors[1, 3])
    assert np.ptp(colors[1, 2]) == 0 and np.ptp(colors[0, 0]) > 0.1
    black, white = (plots_planes.overlay(np.full((2, 4, 3), x, np.uint8), TRUE) for x in (0, 255))
    np.testing.assert_allclose(white, colors)
    assert (black < white).all() and black.min() >= 0


def test_predicted_planes_take_the_color_of_their_best_match():
    predicted = np.array([[7, 7, 5, 5], [3, 3, 20, 0]], np.uint8)
    matched = plots_planes.match_colors(TRUE, predicted)
    assert matched[0].tolist() == [0, 0, 1, 1] and matched[1, :3].tolist() == [2, 2, 20]
    assert len(np.unique(matched)) == len(np.unique(predicted))
    np.testing.assert_array_equal(plots_planes.match_colors(TRUE[:, :3], TRUE[:, :3]), TRUE[:, :3])


def test_nearer_is_brighter_and_unknown_is_gray():
    picture = plots_planes.depth_picture(np.array([[[1.0, 3.0, 9.0, 0.0]]]), np.array([4.0]))
    brightness = picture[0, 0].mean(axis=1)
    assert brightness[0] > brightness[1] > brightness[2]
    assert np.ptp(picture[0, 0, 3]) == 0


def test_layouts_show_directions_and_fade_with_depth():
    kind = [("planes", np.float32, (20, 3)), ("segmentation", np.uint8, (1, 3)),
            ("depth", np.float32, (1, 3)), ("camera", np.float32, (4,))]  # fmt: skip
    records = np.zeros(2, kind)
    records["planes"][:, :2] = [[0, 0, 2], [0, 1, 0]]
    records["segmentation"] = [[[0, 1, 20]]]
    records["depth"][0], records["depth"][1] = 0.0, 50.0
    near, far = plots_planes.render_layout(records)[:, 0]
    np.testing.assert_allclose(near, [[0.5, 0.5, 1], [0.5, 1, 0.5], [0.35] * 3], rtol=1e-6)
    np.testing.assert_allclose(far, 1, atol=1e-2)


def test_curves_of_recall():
    rays = pixel_rays(np.array([4.0, 4.0, 1.5, 0.5]), 2, 4)
    planes = np.array([[0, 0, 2.0], [0, 0, 3], [0, 0, 4]])
    exact = plane_overlaps((planes, TRUE), (planes, TRUE), rays)
    figure = plots_planes.recall_curves({"exact": [exact], "twice": [exact, exact]})
    assert len(figure.axes) == 2
    for axes in figure.axes:
        assert len(axes.get_lines()) == 4
        np.testing.assert_allclose(axes.get_lines()[0].get_ydata(), 1)
    assert "1 or 2 images" in figure.get_suptitle()
