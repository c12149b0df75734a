"""Figures: what they show, that they can be read, and that none is left behind."""

import gc
import io
import weakref
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from nvc_jax import plots
from nvc_jax.plots import drawing as draw
from nvc_jax.plots import latent_scatter
from tests.figures import legend, texts
from tests.processes import run_python
from tests.refusals import refused

RNG = np.random.default_rng(0)


def _image(axes) -> Any:
    """Return the array that a panel shows."""
    return axes.get_images()[0].get_array()


def _small_figures():
    """Make one small figure of every kind."""
    mean = RNG.normal(size=(30, 4))
    images = RNG.random((4, 5, 5, 1))
    return [
        latent_scatter(mean, np.arange(30) % 3, anchors=mean[:3]),
        plots.example_grid({"input": images, "output": images}),
        plots.anchor_gallery(images, images[:, None], [1, 2, 0, 3]),
        plots.latent_covariance(mean),
        plots.anchor_usage([3, 0, 5]),
        plots.training_curves([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]),
    ]


# --- Resources ------------------------------------------------------------------------------------

ROUNDS = """
import os, sys
for name in ("DISPLAY", "MPLBACKEND"):
    os.environ.pop(name, None)
import numpy as np
from nvc_jax import plots
from nvc_jax.plots import latent_scatter
mean = np.random.default_rng(0).normal(size=(20, 3))
for _ in range(3):
    plots.save(latent_scatter(mean, np.arange(20) % 3), sys.argv[1], dpi=20)
    plots.render(plots.anchor_usage([3, 0, 5]), dpi=20)
assert "matplotlib.pyplot" not in sys.modules
import matplotlib.pyplot
assert matplotlib.pyplot.get_fignums() == []
"""


def test_saving_without_a_display_leaves_no_figure_open(tmp_path):
    run_python("-c", ROUNDS, tmp_path / "a.png")


def test_figures_are_freed_with_their_last_reference():
    references = [weakref.ref(figure) for figure in _small_figures()]
    gc.collect()
    assert [reference() for reference in references] == [None] * 6


# --- Colors ---------------------------------------------------------------------------------------

# Machado, Oliveira, Fernandes (2009), severity 1, on linear RGB.
VISION: dict[str, Any] = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
SRGB_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def _lab(linear_rgb):
    """Return CIELAB coordinates (white D65) of linear RGB colors."""
    x, y, z = (np.clip(linear_rgb, 0, 1) @ SRGB_TO_XYZ.T / [0.95047, 1.0, 1.08883]).T
    x, y, z = (np.where(v > 0.008856, np.cbrt(v), 7.787 * v + 16 / 116) for v in (x, y, z))
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


@pytest.mark.parametrize("vision", VISION)
def test_forty_groups_can_be_told_apart(vision):
    styles = [draw.group_style(index) for index in range(40)]
    assert len(set(styles)) == 40
    rgb = np.array([to_rgb(color) for color, _ in styles])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    lab = _lab(linear @ np.transpose(VISION[vision]))
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    same_marker = np.array([[a[1] == b[1] for b in styles] for a in styles])
    others = same_marker & ~np.eye(40, dtype=bool)
    # 2.3 is the just noticeable difference.
    assert distance[others].min() > 15


# --- Images ---------------------------------------------------------------------------------------


def test_example_grid_shows_rows_in_order():
    inputs = np.linspace(0.1, 0.5, 5).reshape(5, 1, 1, 1) * np.ones((1, 4, 6, 1))
    figure = plots.example_grid(
        {"partial": inputs, "co$t": inputs + 0.4},
        captions=list("vwxyz"),
        columns=3,
        max_examples=4,
    )
    assert "4 of 5 examples shown" in texts(figure)
    assert len(figure.axes) == 2
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["partial", r"co\$t"]
    first, second = (_image(axes) for axes in figure.axes)
    # Two rows of three tiles, one pixel apart.
    assert first.shape == second.shape == (9, 20, 3)
    np.testing.assert_allclose(first[:4, :6], 0.1)
    np.testing.assert_allclose(first[5:, 14:], 0.7)
    np.testing.assert_allclose(second[:4, :6], 0.4)
    np.testing.assert_allclose(second[:, 7:], 1.0)
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == ["y"]


def test_images_of_any_channels_and_range_are_displayable():
    for image, shown in [
        (np.full((2, 2, 3), [0.1, 0.2, 0.3]), [0.1, 0.2, 0.3]),
        (np.full((2, 2, 2), [0.2, 0.4]), [0.3, 0.3, 0.3]),
        (np.full((2, 2, 1), 7.0), [1.0, 1.0, 1.0]),
        (np.full((2, 2, 1), np.nan), [1.0, 0.0, 1.0]),
        (np.full((2, 2, 1), 51, np.uint8), [0.2, 0.2, 0.2]),
    ]:
        figure = plots.example_grid({"image": image[None]})
        np.testing.assert_allclose(_image(figure.axes[0])[0, 0], shown)


def test_gallery_rows_are_anchor_then_samples():
    decoded = np.array([0.1, 0.2, 0.3]).reshape(3, 1, 1, 1) * np.ones((1, 2, 2, 1))
    samples = np.stack([decoded + 0.3, decoded + 0.6], axis=1)
    figure = plots.anchor_gallery(decoded, samples, [1200, 0, 7], max_rows=2)
    assert "1,207 examples" in texts(figure)
    labels = [label for axes in figure.axes for label in axes.get_yticklabels()]
    assert [label.get_text() for label in labels] == ["0  (n=1,200)", "1  (n=0)", "2  (n=7)"]
    assert [label.get_color() != "black" for label in labels] == [False, True, False]
    block = _image(figure.axes[0])
    np.testing.assert_allclose(block[3:, :2], 0.2)
    np.testing.assert_allclose(block[3:, -2:], 0.8)
    np.testing.assert_allclose(_image(figure.axes[1])[:, :2], 0.3)


def test_gallery_without_decoded_anchors_has_the_other_images_alone():
    images = np.arange(1, 7).reshape(2, 3, 1, 1, 1) / 8 * np.ones((1, 1, 2, 2, 1))
    (axes,) = plots.anchor_gallery(None, images, [3, 0]).axes
    np.testing.assert_allclose(_image(axes)[::3, ::3, 0], np.arange(1, 7).reshape(2, 3) / 8)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0  (n=3)", "1  (n=0)"]
    assert not len(axes.get_xticklabels())
    refused(r"\(2, 3, 2, 2, 1\) and \(3,\)", plots.anchor_gallery, None, images, [3, 0, 1])


def test_mismatched_images_are_refused():
    images = np.zeros((3, 2, 2, 1))
    message = r"\(3, 2, 2, 1\) and \(2, 2, 2, 1\)"
    refused(message, plots.example_grid, {"input": images, "output": images[:2]})
    refused(r"\(2,\)", plots.anchor_gallery, images, images[:, None], [1, 2])
    refused("no images", plots.example_grid, {})
    assert "no examples" in texts(plots.example_grid({"input": images[:0]}))


def test_three_rows_take_the_height_of_three():
    images = np.arange(1, 4).reshape(3, 1, 1, 1, 1) / 4 * np.ones((1, 2, 4, 4, 1))
    figure = plots.example_grid(dict(zip("abc", images)))
    np.testing.assert_allclose(_image(figure.axes[0])[[0, 5, 10], 0, 0], [0.25, 0.5, 0.75])
    figure.draw_without_rendering()
    box = figure.axes[0].get_window_extent()
    assert box.height > 1.4 * box.width  # 3 tiles above each other, 2 side by side


# --- Statistics -----------------------------------------------------------------------------------


def test_covariance_is_symmetric_about_white():
    mean = RNG.normal(size=(100, 3))
    mean[:, 2] = -mean[:, 0]
    figure = plots.latent_covariance(mean)
    image = figure.axes[0].get_images()[0]
    np.testing.assert_allclose(_image(figure.axes[0]), np.cov(mean.T, bias=True))
    low, high = image.get_clim()
    assert low == -high
    assert "n = 100" in texts(figure)


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (2, 1)])
@pytest.mark.filterwarnings("error")
def test_covariance_of_collapsed_latents(shape):
    assert plots.render(plots.latent_covariance(np.ones(shape)))


def test_usage_stacks_labels_and_marks_unused_anchors():
    counts = np.array([[3, 1], [0, 0], [2, 6]])
    figure = plots.anchor_usage(counts)
    bars = [bar for bar in figure.axes[0].patches if isinstance(bar, Rectangle)]
    assert [bar.get_height() for bar in bars] == [3, 0, 2, 1, 0, 6]
    assert [bar.get_y() for bar in bars[3:]] == [3, 0, 2]
    assert legend(figure) == ["0", "1", "equal usage", "unused"]
    perplexity = 3 / 2 ** (2 / 3)  # Shares 1/3 and 2/3.
    assert f"2 of 3 used, n = 12, perplexity {perplexity:.1f}" in texts(figure)


def test_usage_without_labels():
    figure = plots.anchor_usage([4, 4])
    assert "2 of 2 used, n = 8, perplexity 2.0" in texts(figure)
    assert legend(figure) == ["equal usage"]
    assert "0 of 2 used, n = 0" in texts(plots.anchor_usage([0, 0]))


def test_curves_group_prefixes_and_take_the_later_record_of_a_step():
    records: list[dict[str, Any]] = [
        {"step": 1, "note": "text", "kl": 8.0, "weighted/kl": 0.8, "loss": 3.0},
        {
            "step": 2,
            "kl": 7.0,
            "weighted/kl": 0.7,
            "loss": None,
            "weight/kl": 0.1,
            "weight/pull": 0,
        },
        {"step": 3, "kl": float("nan"), "loss": 2.0},
        {"step": 2, "loss": 2.5},
    ]
    figure = plots.training_curves(records)
    curves: dict[str, dict[str, Any]] = {
        axes.get_title(): {str(line.get_label()): line.get_xydata() for line in axes.lines}
        for axes in figure.axes
    }
    assert list(curves) == ["loss", "kl", "weight"]
    assert list(curves["kl"]) == ["kl", "weighted/kl"]
    assert list(curves["weight"]) == ["kl", "pull"]
    np.testing.assert_allclose(curves["loss"]["loss"], [[1, 3.0], [2, 2.5], [3, 2.0]])
    np.testing.assert_allclose(curves["kl"]["kl"], [[1, 8.0], [2, 7.0], [3, np.nan]])
    assert "note" not in texts(figure)


@pytest.mark.parametrize("number", [3, 24])
def test_names_of_rows_are_not_cut_off(number):
    images = RNG.random((number, 8, 8, 1))
    figure = plots.example_grid({"input": images, "reconstruction": images})
    figure.canvas.draw()
    for axes in figure.axes:
        assert all(text.get_window_extent().x0 >= 0 for text in axes.get_yticklabels())


def test_measures_of_one_folder_share_a_panel():
    keys = ["validation/pck/10", "validation/pck/20", "validation/accuracy", "validation/within/10"]
    figure = plots.training_curves({"step": s, **dict.fromkeys(keys, 1.0)} for s in (1, 2))
    curves = {
        axes.get_title(): [str(line.get_label()) for line in axes.lines] for axes in figure.axes
    }
    assert curves == {
        "pck": ["10", "20"],
        "accuracy": ["validation/accuracy"],
        "within": ["validation/within/10"],
    }


def test_curves_over_decades_are_logarithmic():
    steps = range(20)
    figure = plots.training_curves({"step": s, "a": 10.0**s, "b": 1.0 + s, "c": -s} for s in steps)
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear", "linear"]


def test_no_records_give_a_figure_that_says_so():
    assert "no records" in texts(plots.training_curves([]))


# --- Files ----------------------------------------------------------------------------------------


class FullDisk(io.FileIO):
    """A new file that takes half of what is written."""

    def __init__(self, path):
        super().__init__(path, "xb")

    def write(self, content):
        super().write(content[: len(content) // 2])
        raise OSError(28, "disk full")


def test_save_makes_folders_and_replaces_in_one_piece(tmp_path, monkeypatch):
    path = tmp_path / "new" / "folder" / "usage.png"
    assert plots.save(plots.anchor_usage([1, 2]), path, dpi=20) == path
    before = path.read_bytes()
    assert before.startswith(b"\x89PNG")
    figure = plots.anchor_usage([2, 1])

    monkeypatch.setattr("nvc_jax.core.files.open_new", FullDisk)
    refused("disk full", plots.save, figure, path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["usage.png"]


def test_save_by_suffix(tmp_path):
    figure = plots.anchor_usage([1, 2])
    assert plots.save(figure, tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    refused(r"a\.txt", plots.save, figure, tmp_path / "a.txt")
