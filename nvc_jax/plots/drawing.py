"""The pieces that the figures of `plots` share: styles, legends, projections and mosaics."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from numbers import Real
from typing import Any, Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.manifold import TSNE

from nvc_jax.core.threads import one_thread

Method = Literal["pca", "tsne"]
NEAREST = 5
"""Points that an anchor is placed amid where there is no direction to project it on."""

# Petroff's ten colors (arXiv 2107.02270), told apart with the common color-vision deficiencies.
COLORS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#832db6",
    "#94a4a2",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
# Strong colors first: a pale one beside its strong neighbor looks like the same in another light.
PALETTE = colormaps["tab20"]([*range(0, 20, 2), *range(1, 20, 2)])[:, :3]
MARKERS = ("o", "^", "s", "D", "P", "v", "X")
HATCHES = ("", "///", "...", "xxx", "---", "++", "oo")
UNLABELED = -1
KINDS = ("validation/", "weighted/")
"""How names in a log begin that say of what data a number is, or that it is weighted."""
WARNING_COLOR = "#bd1f01"
FONT_SIZE = 10
LEGEND_ROWS, LEGEND_COLUMNS = 18, 3


def new_figure(width: float, height: float) -> Figure:
    """Make a figure of a size in inches that belongs to no display and no registry."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def message(title: str, text: str) -> Figure:
    """Make a figure that says why there is nothing to show."""
    figure = new_figure(5.0, 2.0)
    set_title(figure, title, "")
    figure.text(0.5, 0.4, text, ha="center", fontsize=FONT_SIZE)
    return figure


def set_title(figure: Figure, title: str, note: str) -> None:
    """Set the figure's title, with a note such as the number of examples below it."""
    text = f"{plain(title)}\n{note}" if note else plain(title)
    figure.suptitle(text, fontsize=FONT_SIZE + 1)


def plain(text: object) -> str:
    """Escape dollar signs: names come from folders and files, and are not formulas."""
    return str(text).replace("$", r"\$")


def name_of(index: int, names: Mapping[int, str] | Sequence[str] | None) -> str:
    """Return the name of a group, or its number where it has none."""
    if index == UNLABELED:
        return "unlabeled"
    try:
        return plain(index if names is None else names[index])
    except (KeyError, IndexError):
        return str(index)


def group_style(index: int) -> tuple[str, str]:
    """Return the color and marker of a group: alike for no two of the first 70."""
    if index == UNLABELED:
        return "#d9d9d9", "o"
    return COLORS[index % len(COLORS)], MARKERS[index // len(COLORS) % len(MARKERS)]


def bar_style(index: int) -> dict[str, Any]:
    """Return the fill of a stack of bars: alike for no two of the first 70."""
    return {
        "facecolor": COLORS[index % len(COLORS)],
        "hatch": HATCHES[index // len(COLORS) % len(HATCHES)],
        "edgecolor": "white",
        "linewidth": 0.3,
    }


def marker_handle(index: int, label: str) -> Line2D:
    """Return the legend entry of a scattered group."""
    color, marker = group_style(index)
    return Line2D([], [], color=color, marker=marker, linestyle="", markersize=7, label=label)


def star_handle(label: str) -> Line2D:
    """Return the legend entry of the anchors."""
    return Line2D([], [], color="black", marker="*", linestyle="", markersize=11, label=label)


def add_legend(figure: Figure, handles: Sequence[Artist], title: str | None) -> None:
    """Put a legend to the right of everything, and widen the figure by what it takes."""
    room = LEGEND_ROWS * LEGEND_COLUMNS - 1
    if len(handles) > room:
        more = Patch(facecolor="none", label=f"and {len(handles) - room} more")
        handles = [*handles[:room], more]
    columns = -(-len(handles) // LEGEND_ROWS)
    longest = max(len(str(handle.get_label())) for handle in handles)
    figure.set_figwidth(figure.get_figwidth() + columns * (0.6 + 0.08 * longest))
    figure.legend(
        handles=handles,
        title=title,
        loc="outside right upper",
        ncols=columns,
        fontsize=FONT_SIZE,
        title_fontsize=FONT_SIZE,
        frameon=False,
        columnspacing=1.0,
        handletextpad=0.4,
    )


def project(
    x: NDArray, centers: NDArray, method: Method, seed: int
) -> tuple[NDArray, NDArray, tuple[str, str]]:
    """Embed points [N, D] in two dimensions, place centers [K, D] among them, and name the axes."""
    points, planar_centers, names = _principal_components(x, centers)
    spread = points[:, 0].std()
    if method == "pca" or len(x) < 5 or not spread > 0:
        return points, planar_centers, names
    tsne = TSNE(
        perplexity=min(30.0, (len(x) - 1) / 3),
        init=(points / spread * 1e-4).astype(np.float32),
        random_state=seed,
    )
    # Threads that spin while they wait make it many times slower on a busy machine.
    with one_thread():
        embedded = tsne.fit_transform(x)
    return embedded, _among_neighbors(x, embedded, centers), ("t-SNE 1", "t-SNE 2")


def _among_neighbors(x: NDArray, embedded: NDArray, centers: NDArray) -> NDArray:
    """Place centers [K, D] in an embedding of points [N, D]: amid the points that are nearest to each.

    As points of the embedding, which knows distances to few neighbors alone, they would stand apart.
    """
    if not len(centers):
        return np.zeros((0, 2))
    distances = cdist(centers, x)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :NEAREST]
    return np.median(embedded[nearest], axis=1)


def _principal_components(x: NDArray, centers: NDArray) -> tuple[NDArray, NDArray, tuple[str, str]]:
    """Project on the two directions of largest variance of x; the second is 0 where D = 1."""
    offset = x.mean(axis=0, dtype=np.float64)
    centered = x - offset
    variances, directions = np.linalg.eigh(centered.T @ centered / len(x))
    basis = directions[:, ::-1][:, :2]
    # A direction's sign is arbitrary: its largest entry is made positive.
    basis = basis * np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(basis.shape[1])])
    basis = np.pad(basis, [(0, 0), (0, 2 - basis.shape[1])])
    share = np.pad(variances[::-1][:2], (0, 2))[:2] / (variances.sum() or 1.0)
    first, second = (f"PC {i + 1} ({share[i]:.0%} of the variance)" for i in range(2))
    return centered @ basis, (centers - offset) @ basis, (first, second)


def scatter_groups(axes: Axes, points: NDArray, groups: NDArray) -> None:
    """Scatter points [N, 2], drawn in slices so that no group hides another."""
    size = float(np.clip(30_000 / len(points), 5, 30))
    colors = np.array([group_style(int(index))[0] for index in groups])
    markers = np.array([group_style(int(index))[1] for index in groups])
    for chunk in np.array_split(np.arange(len(points)), 16):
        for marker in np.unique(markers[chunk]):
            rows = chunk[markers[chunk] == marker]
            x, y = points[rows].T
            axes.scatter(x, y, size, colors[rows], marker=marker, alpha=0.7, linewidths=0)


def view_of(points: NDArray, anchors: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Return the lower and upper limits of a view [2], and which anchors [K] are near enough for it."""
    low, high = points.min(axis=0), points.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    seen = ((anchors > low - span) & (anchors < high + span)).all(axis=1)
    corners = np.concatenate([[low, high], anchors[seen]])
    return corners.min(axis=0) - 0.05 * span, corners.max(axis=0) + 0.05 * span, seen


def draw_anchors(axes: Axes, points: NDArray, anchors: NDArray) -> int:
    """Draw numbered stars and set the view; return how many anchors are too far away to be seen."""
    low, high, seen = view_of(points, anchors)
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    x, y = anchors[seen].T
    size = 150 if len(anchors) <= 20 else 90
    axes.scatter(x, y, size, "black", marker="*", edgecolors="white", linewidths=0.8, zorder=4)
    for index in np.flatnonzero(seen):
        axes.annotate(
            str(index),
            anchors[index],
            xytext=(5, 3),
            textcoords="offset points",
            fontsize=FONT_SIZE,
            fontweight="bold",
            path_effects=[withStroke(linewidth=2, foreground="white")],
            zorder=3,
        )
    return int(np.sum(~seen))


def tile_inches(shape: tuple[int, int], longest: float) -> tuple[float, float]:
    """Return the height and width of an image whose longer side is `longest` inches."""
    scale = longest / max(shape)
    return shape[0] * scale, shape[1] * scale


def mosaic(
    axes: Axes, images: NDArray, columns: int, first_gap: float = 0.0
) -> tuple[NDArray, NDArray]:
    """Draw images [R, n <= columns, H, W, C]; return the centers of rows [R] and columns.

    `first_gap` widens the gap after the first column by that share of an image's width.
    """
    rows, _, height, width, _ = images.shape
    gap = max(1, round(0.06 * max(height, width)))
    top = np.arange(rows) * (height + gap)
    left = np.arange(columns) * (width + gap)
    left[1:] += round(first_gap * width)
    canvas = np.ones((top[-1] + height, left[-1] + width, 3))
    for row, line in enumerate(colors(images)):
        for column, image in enumerate(line):
            y, x = top[row], left[column]
            canvas[y : y + height, x : x + width] = image
    axes.imshow(canvas, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=FONT_SIZE)
    axes.spines[:].set_visible(False)
    # Else the layout moves it after the names of its rows got their room, and cuts them off.
    axes.set_anchor("W")
    return top + (height - 1) / 2, left + (width - 1) / 2


def colors(images: NDArray) -> NDArray:
    """Return colors in [0, 1] for images [..., C]: [..., 3], or [..., 1] where all is gray.

    Pixels that are not finite become magenta.
    """
    if np.issubdtype(images.dtype, np.integer):
        images = images / np.float32(np.iinfo(images.dtype).max)
    finite = np.isfinite(images).all(axis=-1, keepdims=True)
    if images.shape[-1] != 3:
        images = images.mean(axis=-1, keepdims=True, dtype=np.float32)
    images = np.clip(images, 0.0, 1.0)
    return images if finite.all() else np.where(finite, images, (1.0, 0.0, 1.0))


def perplexity(counts: NDArray) -> float:
    """Return exp(entropy): from 1 (one anchor) to K (equal usage); 0 for no example."""
    if not counts.sum():
        return 0.0
    share = counts[counts > 0] / counts.sum()
    return float(np.exp(-np.sum(share * np.log(share))))


def panels_of(records: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, dict[int, float]]]:
    """Return value by step by name by panel of the numbers in a log; `loss` is the first panel.

    A term or measure has one panel for its value, also weighted or on validation data; those of one folder, such
    as weights or `recall/0.1` and `recall/0.2`, share one. Of two records of a step the later one counts.
    """
    panels: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for record in records:
        for key, value in record.items():
            if key != "step" and isinstance(value, Real) and "step" in record:
                panels[_panel_of(key)][key][int(record["step"])] = float(value)
    return {name: panels[name] for name in sorted(panels, key=lambda name: name != "loss")}


def _panel_of(key: str) -> str:
    """The panel of a number in a log."""
    for prefix in KINDS:
        key = key.removeprefix(prefix)
    folder, _, name = key.rpartition("/")
    return folder or name


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Names of the lines of a panel: without the folders that all of several are in.

    Example:
      >>> short_names(["validation/pck/10", "validation/pck/20"])
      {'validation/pck/10': '10', 'validation/pck/20': '20'}
    """
    parts = {key: key.split("/") for key in keys}
    levels = zip(*(part[:-1] for part in parts.values()), strict=False) if len(parts) > 1 else ()
    shared = len(list(takewhile(lambda level: len(set(level)) == 1, levels)))
    return {key: "/".join(part[shared:]) for key, part in parts.items()}


def spans_decades(values: NDArray) -> bool:
    """Tell whether values are positive and mostly span more than two decades."""
    if not values.size or values.min() <= 0:
        return False
    # Quantiles, so that the last steps of a decay to zero do not count.
    low, high = np.quantile(values, [0.1, 0.9])
    return bool(high > 100 * low)


def draw_curves(axes: Axes, name: str, curves: Mapping[str, Mapping[int, float]]) -> None:
    """Draw one panel of the training curves."""
    drawn, names = [], short_names(curves)
    for index, (key, curve) in enumerate(sorted(curves.items())):
        steps = sorted(curve)
        values = np.array([curve[step] for step in steps])
        values[~np.isfinite(values)] = np.nan
        axes.plot(
            steps,
            values,
            color=COLORS[index % len(COLORS)],
            linestyle=("-", "--", ":", "-.")[index % 4],
            marker="." if len(steps) <= 20 else None,
            label=plain(names[key]),
        )
        drawn.append(values[np.isfinite(values)])
    axes.set_yscale("log" if spans_decades(np.concatenate(drawn)) else "linear")
    axes.set_title(plain(name), fontsize=FONT_SIZE)
    axes.locator_params(axis="x", nbins=4, integer=True)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value % 1 == 0 else "")
    axes.grid(alpha=0.3)
    if len(curves) > 1:
        axes.legend(fontsize=FONT_SIZE, framealpha=0.8)
