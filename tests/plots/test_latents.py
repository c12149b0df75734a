"""Scatter plots of the latent space: what they show, that they can be read, and that they stay fast."""

from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from nvc_jax import plots
from nvc_jax.plots import drawing as draw
from nvc_jax.plots import latent_scatter, latent_scatters
from tests.figures import legend, texts
from tests.refusals import refused

RNG = np.random.default_rng(0)


def _points(figure) -> tuple[Any, Any]:
    """Return positions and colors of the points in a scatter plot, stars excluded."""
    parts = [part for part in figure.axes[0].collections if part.get_zorder() < 3]
    positions = np.concatenate([part.get_offsets() for part in parts])
    return positions, np.concatenate([part.get_facecolor()[:, :3] for part in parts])


def _stars(figure) -> Any:
    """Return the positions of the anchors that were drawn last."""
    return figure.axes[0].collections[-1].get_offsets()


def test_a_million_latents_are_subsampled_and_counted():
    mean = RNG.normal(size=(1_000_000, 8)).astype(np.float32)
    assignment = np.arange(1_000_000) % 10
    figure = latent_scatter(mean, assignment, anchors=mean[:10])
    plots.render(figure)
    assert "10,000 of 1,000,000 examples shown" in texts(figure)
    assert "3 (100,000)" in legend(figure)
    assert len(_points(figure)[0]) == 10_000


def test_scatter_counts_groups_and_names_them():
    labels = np.array([0, 0, 1, -1, 1, 1])
    names = {0: "a$b", 1: "_cat"}
    mean, anchors = RNG.normal(size=(6, 3)), np.zeros((2, 3))
    figure = latent_scatter(mean, labels, group="label", names=names, anchors=anchors)
    assert legend(figure) == ["unlabeled (1)", r"a\$b (2)", "_cat (3)", "anchors"]
    assert figure.legends[0].get_title().get_text() == "label (examples)"
    assert plots.render(figure).startswith(b"\x89PNG")


def test_scatter_projects_points_and_anchors_alike():
    mean = RNG.normal(size=(50, 4)) * [5.0, 3.0, 0.1, 0.1] + 1000
    figure = latent_scatter(mean, np.zeros(50, int), anchors=mean[:3])
    stars = _stars(figure)
    # The two directions that are left out are small, so distances survive.
    expected = np.linalg.norm(mean[0] - mean[1])
    assert np.linalg.norm(stars[0] - stars[1]) == pytest.approx(expected, rel=0.05)
    assert {"0", "1", "2"} <= set(texts(figure).split("\n"))


def test_the_legend_of_thirty_anchors_overlaps_nothing():
    figure = latent_scatter(RNG.normal(size=(300, 3)), np.arange(300) % 30)
    figure.draw_without_rendering()
    axes = figure.axes[0].get_window_extent()
    frame = figure.legends[0].get_window_extent()
    assert frame.x0 >= axes.x1
    assert frame.x1 <= figure.bbox.x1
    assert frame.y0 >= 0
    assert len(legend(figure)) == 30
    written = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text()]
    assert min(float(text.get_fontsize()) for text in written) >= 10


def test_a_legend_of_hundreds_is_cut_and_says_so():
    figure = latent_scatter(RNG.normal(size=(200, 2)), np.arange(200))
    assert len(legend(figure)) == 54
    assert legend(figure)[-1] == "and 147 more"


def test_rows_that_are_not_finite_are_left_out_and_counted():
    mean = RNG.normal(size=(6, 2))
    mean[1, 0], mean[2, 1] = np.nan, np.inf
    figure = latent_scatter(mean, np.zeros(6, int))
    assert "4 of 4 examples shown, 2 not finite" in texts(figure)
    assert len(_points(figure)[0]) == 4
    empty = latent_scatter(np.full((3, 2), np.nan), [0, 1, 2])
    assert "no finite latents" in texts(empty)


def test_far_anchors_do_not_squash_the_points():
    mean = RNG.normal(size=(40, 2))
    figure = latent_scatter(mean, np.zeros(40, int), anchors=[[0.0, 0.0], [1e6, 0.0]])
    assert "1 anchors outside the view" in texts(figure)
    assert np.ptp(figure.axes[0].get_xlim()) < 20


@pytest.mark.parametrize("method", ["pca", "tsne"])
@pytest.mark.parametrize("shape", [(1, 3), (3, 1), (2, 2)])
@pytest.mark.filterwarnings("error")
def test_scatter_of_almost_nothing(method, shape):
    mean = np.ones(shape)
    figure = latent_scatter(mean, np.zeros(len(mean), int), anchors=mean, method=method)
    assert plots.render(figure)


def test_tsne_keeps_clusters_apart_and_anchors_in_theirs():
    centers = np.array([[0.0, 0, 0], [50, 0, 0]])
    group = np.arange(24) % 2
    mean = centers[group] + RNG.normal(size=(24, 3))
    figure = latent_scatter(mean, group, anchors=centers, method="tsne")
    assert figure.axes[0].get_xlabel() == "t-SNE 1"
    stars = _stars(figure)
    points, colors = _points(figure)
    distance = np.linalg.norm(points[:, None] - stars[None], axis=-1)
    nearest = [to_rgb(draw.group_style(index)[0]) for index in distance.argmin(axis=1)]
    np.testing.assert_allclose(colors, nearest, atol=1e-6)


def test_scatters_share_one_embedding(monkeypatch):
    mean, count = RNG.normal(size=(30, 4)), [0]
    project = draw.project

    def counted(*arguments):
        count[0] += 1
        return project(*arguments)

    monkeypatch.setattr(draw, "project", counted)
    groups = {"anchor": np.arange(30) % 3, "label": np.zeros(30, int)}
    figures = latent_scatters(mean, groups, anchors=mean[:3], method="tsne")
    assert count == [1]
    places = [_points(figure)[0] for figure in figures.values()]
    np.testing.assert_array_equal(*places)
    alone = latent_scatter(mean, groups["label"], anchors=mean[:3], method="tsne")
    np.testing.assert_array_equal(_points(alone)[0], places[1])
    assert len(legend(figures["anchor"])) == 4 and len(legend(figures["label"])) == 2


def test_scatter_refuses_mismatched_input():
    refused(r"\(3, 2\) and \(2,\)", latent_scatter, np.zeros((3, 2)), [0, 1])
    refused("'umap'", latent_scatter, np.zeros((3, 2)), [0, 1, 2], method="umap")
