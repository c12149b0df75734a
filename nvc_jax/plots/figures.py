"""Figures from arrays.

Every function is pure: NumPy arrays in, a `matplotlib.figure.Figure` out. Figures are built through
matplotlib's object interface, so none is ever registered anywhere: no display is needed, and a
figure is freed with its last reference.
"""

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import ArrayLike

from nvc_jax.core.errors import UserError
from nvc_jax.core.files import replace_file
from nvc_jax.plots import drawing as draw

MAX_POINTS = {"pca": 10_000, "tsne": 2_000}


def example_grid(
    rows: Mapping[str, ArrayLike],
    *,
    captions: Sequence[str] | None = None,
    title: str = "Inputs and reconstructions",
    max_examples: int = 24,
    columns: int = 8,
) -> Figure:
    """Show several pictures of every example below each other, such as input and reconstruction.

    Args:
      rows: images [N, H, W, C] in [0, 1], of one shape, by what they are called; clipped for
        display. C = 1 is gray, 3 is RGB, any other is averaged to gray.
      captions: one short text per example, such as its label or error.
      title: first line of the title; the number shown follows.
      max_examples: the first so many are shown.
      columns: examples in a row.

    Returns:
      A figure with one band of rows for each `columns` examples. Pixels that are not finite are
      magenta.

    Raises:
      UserError: the images have different shapes.
    """
    images = [np.asarray(row) for row in rows.values()]
    shapes = [image.shape for image in images]
    if len(set(shapes)) != 1 or len(shapes[0]) != 4:
        raise UserError(
            f"The rows {', '.join(rows)} must have one shape [N, H, W, C], got "
            f"{' and '.join(map(str, shapes)) or 'no images'}."
        )
    total, num = len(images[0]), min(len(images[0]), max_examples)
    if not num:
        return draw.message(title, "no examples to show")
    columns = min(columns, num)
    bands = -(-num // columns)
    tile = draw.tile_inches(shapes[0][1:3], 0.85)
    band_height = len(images) * tile[0] + (0.3 if captions is not None else 0.1)
    figure = draw.new_figure(1.8 + columns * tile[1], 0.8 + bands * band_height)
    for band in range(bands):
        shown = slice(band * columns, min((band + 1) * columns, num))
        axes = figure.add_subplot(bands, 1, band + 1)
        y, x = draw.mosaic(axes, np.stack([image[shown] for image in images]), columns)
        axes.set_yticks(y, [draw.plain(name) for name in rows])
        if captions is not None:
            texts = [draw.plain(caption) for caption in captions[shown]]
            axes.set_xticks(x[: len(texts)], texts)
    draw.set_title(figure, title, f"{num:,} of {total:,} examples shown")
    return figure


def hypothesis_grid(
    known: Mapping[str, ArrayLike],
    answers: ArrayLike,
    probabilities: ArrayLike,
    spread: ArrayLike,
    *,
    title: str = "Several answers, and their probabilities",
    max_examples: int = 12,
) -> Figure:
    """Show what is known of every example, several answers, and where they differ: a row an example.

    Args:
      known: images [N, H, W, C] in [0, 1] by what they are called, such as input and truth.
      answers: images [N, M, H, W, C] in [0, 1], M at least 1.
      probabilities: of the answers [N, M].
      spread: images [N, H, W, C], how far the answers differ, such as their standard deviation.
      title: first line of the title; the number shown follows.
      max_examples: the first so many are shown.

    Returns:
      A figure with a row for each example, in two columns of rows side by side, probabilities above answers.
    """
    answers, probabilities = np.asarray(answers), np.asarray(probabilities)
    total, num = len(answers), min(len(answers), max_examples)
    if not num:
        return draw.message(title, "no examples to show")
    scale = max(float(np.max(spread)), 1e-6)
    columns = [*(np.asarray(values) for values in known.values()), *np.moveaxis(answers, 1, 0)]
    columns.append(np.asarray(spread) / scale)
    names = [*known, *(f"answer {i + 1}" for i in range(answers.shape[1])), "spread"]
    tile = draw.tile_inches(answers.shape[2:4], 0.85)
    side = 1 + (num > 1)
    rows = -(-num // side)
    width, height = side * (len(columns) + 0.5) * tile[1], rows * (tile[0] + 0.25)
    figure = draw.new_figure(width, 1.1 + height)
    for i in range(num):
        axes = figure.add_subplot(rows, side, i + 1)
        images = np.stack([column[i] for column in columns])[None]
        x = draw.mosaic(axes, images, len(columns))[1]
        told = [f"{p:.2f}" for p in probabilities[i]]
        texts = [""] * len(known) + told + [""]
        if i < side:
            texts = [f"{name}\n{text}" for name, text in zip(names, texts, strict=True)]
        axes.set_xticks(x, texts)
    draw.set_title(figure, title, f"{num:,} of {total:,} examples shown")
    return figure


def anchor_gallery(
    decoded_anchors: ArrayLike | None,
    drawn_samples: ArrayLike,
    counts: ArrayLike,
    *,
    title: str = "Decoded anchors, and samples drawn around them",
    max_rows: int = 15,
) -> Figure:
    """Show each anchor decoded, beside decoded samples drawn around it, or other images.

    Args:
      decoded_anchors: images [K, H, W, C] in [0, 1]; None: there is no such column.
      drawn_samples: images [K, S, H, W, C] in [0, 1].
      counts: examples whose nearest anchor it is [K].
      title: first line of the title; the number of examples follows.
      max_rows: anchors in one block; further ones go in blocks to the right.

    Returns:
      A figure with one row per anchor, labeled with its number and count; unused anchors are red.

    Raises:
      UserError: the arrays disagree about K or the image shape.
    """
    samples, counts = np.asarray(drawn_samples), np.asarray(counts)
    first = samples[:, :0] if decoded_anchors is None else np.asarray(decoded_anchors)[:, None]
    if (
        samples.ndim != 5
        or first.shape[:1] + first.shape[2:] != samples.shape[:1] + samples.shape[2:]
        or counts.shape != samples.shape[:1]
    ):
        raise UserError(
            "Expected decoded_anchors [K, H, W, C], drawn_samples [K, S, H, W, C] and counts [K], got "
            f"the shapes {first.shape[:1] + first.shape[2:]}, {samples.shape} and {counts.shape}."
        )
    images = np.concatenate([first, samples], axis=1)
    num_anchors, columns = images.shape[:2]
    blocks = -(-num_anchors // max_rows)
    rows = -(-num_anchors // blocks)
    tile = draw.tile_inches(images.shape[2:4], 0.55)
    width = blocks * (1.3 + (columns + 0.3) * tile[1])
    figure = draw.new_figure(max(width, 5.5), 1.1 + rows * tile[0])
    limits = None
    for block in range(blocks):
        ids = np.arange(block * rows, min((block + 1) * rows, num_anchors))
        axes = figure.add_subplot(1, blocks, block + 1, anchor="N")
        y, x = draw.mosaic(axes, images[ids], columns, first_gap=0.3 if first.size else 0.0)
        # A last block with fewer rows keeps the tiles of the others.
        limits = limits or axes.get_ylim()
        axes.set_ylim(limits)
        axes.set_yticks(y, [f"{index}  (n={counts[index]:,})" for index in ids])
        for index, label in zip(ids, axes.get_yticklabels(), strict=True):
            label.set_color("black" if counts[index] else draw.WARNING_COLOR)
        if first.size:
            ticks = [x[0], x[1:].mean()] if columns > 1 else x
            axes.set_xticks(ticks, ["anchor", "samples"][: len(ticks)])
    draw.set_title(figure, title, f"nearest anchors of {counts.sum():,} examples")
    return figure


def latent_scatter(
    mean: ArrayLike, color_by: ArrayLike, *, group: str = "anchor", **options: Any
) -> Figure:
    """Draw the posterior means in one way to color them; see `latent_scatters`.

    Args:
      mean: posterior means [N, D].
      color_by: group of each example [N], integers; -1 is "unlabeled".
      group: what `color_by` holds, as the legend's title ("anchor", "label").
      **options: those of `latent_scatters`.

    Returns:
      A figure with one scatter plot and a legend that counts all finite examples of each group.

    Raises:
      UserError: unknown method, or mean and color_by of different lengths.
    """
    return latent_scatters(mean, {group: color_by}, **options)[group]


def latent_scatters(
    mean: ArrayLike,
    groups: Mapping[str, ArrayLike],
    *,
    anchors: ArrayLike | None = None,
    title: str = "Latent space",
    names: Mapping[int, str] | Sequence[str] | None = None,
    method: draw.Method = "pca",
    max_points: int | None = None,
    seed: int = 0,
) -> dict[str, Figure]:
    """Scatter the posterior means in two dimensions, once for every way to color them.

    The anchors are drawn over them. Large sets are cut to a random subset, and the title says how many
    of how many are shown. Rows with values that are not finite are left out and counted. t-SNE embeds
    the means, and anchors are drawn amid those nearest to them; where it is undefined (fewer than 5 points, or
    all alike) PCA takes its place. The embedding is computed once.

    Args:
      mean: posterior means [N, D].
      groups: group of each example [N], integers (-1: "unlabeled"), by what they are ("anchor", "label").
      anchors: anchors [K, D], drawn as numbered stars.
      title: first line of the titles.
      names: name of each group in the legends; the number itself by default.
      method: "pca" or "tsne".
      max_points: most points drawn; 10,000 (PCA) or 2,000 (t-SNE) by default.
      seed: of the subset and of t-SNE.

    Returns:
      A figure for every key of `groups`, the same points in the same places.

    Raises:
      UserError: unknown method, or mean and groups of different lengths.
    """
    if method not in MAX_POINTS:
        raise UserError(f'Unknown method {method!r}: expected "pca" or "tsne".')
    latents = np.asarray(mean)
    colored = {name: np.asarray(values) for name, values in groups.items()}
    for values in colored.values():
        if latents.ndim != 2 or values.shape != latents.shape[:1]:
            got = f"got the shapes {latents.shape} and {values.shape}"
            raise UserError(f"mean must be [N, D] and color_by [N], {got}.")
    finite = np.isfinite(latents).all(axis=1)
    latents = latents[finite]
    if not latents.size:
        return {name: draw.message(title, "no finite latents to show") for name in colored}
    rng = np.random.default_rng(seed)
    shown = rng.permutation(len(latents))[: max_points or MAX_POINTS[method]]
    centers = np.zeros((0, latents.shape[1])) if anchors is None else np.asarray(anchors)
    projected = draw.project(latents[shown], centers, method, seed)
    note = f"{len(shown):,} of {len(latents):,} examples shown"
    if not finite.all():
        note += f", {np.sum(~finite):,} not finite"

    return {
        name: _scatter(projected, values[finite], shown, title, note, name, names)
        for name, values in colored.items()
    }


def _scatter(
    projected: tuple[np.ndarray, np.ndarray, tuple[str, str]],
    values: np.ndarray,
    shown: np.ndarray,
    title: str,
    note: str,
    group: str,
    names: Mapping[int, str] | Sequence[str] | None,
) -> Figure:
    """One figure of what `draw.project` gave, colored by `values[shown]`; the legend counts all values."""
    points, centers, axis_names = projected
    figure = draw.new_figure(6.6, 6.0)
    axes = figure.add_subplot()
    draw.scatter_groups(axes, points, values[shown])
    num_outside = draw.draw_anchors(axes, points, centers)
    axes.set(xlabel=axis_names[0], ylabel=axis_names[1])
    outside = f", {num_outside} anchors outside the view" if num_outside else ""
    draw.set_title(figure, title, note + outside)
    ids, counts = np.unique(values, return_counts=True)
    handles = [
        draw.marker_handle(index, f"{draw.name_of(index, names)} ({count:,})")
        for index, count in zip(ids.tolist(), counts.tolist(), strict=True)
    ]
    if len(centers):
        handles.append(draw.star_handle("anchors"))
    draw.add_legend(figure, handles, f"{draw.plain(group)} (examples)")
    return figure


def latent_covariance(mean: ArrayLike) -> Figure:
    """Draw the covariance of the posterior means as a heat map.

    Args:
      mean: posterior means [N, D]; rows that are not finite are left out.

    Returns:
      A figure whose color scale is symmetric about 0; its title has n and the mean absolute correlation.

    Raises:
      UserError: mean is not a matrix.
    """
    title, latents = "Covariance of the latent means", np.asarray(mean, dtype=np.float64)
    if latents.ndim != 2:
        raise UserError(f"mean must be [N, D], got the shape {latents.shape}.")
    latents = latents[np.isfinite(latents).all(axis=1)]
    if not latents.size:
        return draw.message(title, "no finite latents to show")
    covariance = np.atleast_2d(np.cov(latents, rowvar=False, bias=True))
    scale = np.sqrt(np.diag(covariance))
    scale = np.where(scale > 0, scale, 1.0)
    off_diagonal = ~np.eye(len(covariance), dtype=bool)
    correlation = np.abs(covariance / np.outer(scale, scale))[off_diagonal]
    limit = np.abs(covariance).max() or 1.0
    figure = draw.new_figure(6.2, 5.6)
    axes = figure.add_subplot()
    image = axes.imshow(covariance, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    axes.locator_params(integer=True)
    axes.set_xlabel("latent dimension")
    axes.set_ylabel("latent dimension")
    figure.colorbar(image, ax=axes, label="covariance")
    note = f"n = {len(latents):,}"
    if correlation.size:
        note += f", mean |correlation| off the diagonal {correlation.mean():.3f}"
    draw.set_title(figure, title, note)
    return figure


def anchor_usage(counts: ArrayLike, labels: Sequence[int] | None = None) -> Figure:
    """Draw how many examples each anchor has, stacked by label where the counts are.

    Args:
      counts: examples of each anchor [K], or of each anchor and label [K, L].
      labels: the label of each column [L], any numbers; None: 0 to L - 1.

    Returns:
      A figure with one bar per anchor; a dashed line marks equal usage and a red cross an unused anchor.
      Its title has the anchors used, n and the perplexity.

    Raises:
      UserError: counts is neither [K] nor [K, L].
    """
    counts = np.asarray(counts)
    if counts.ndim not in (1, 2) or not counts.size:
        raise UserError(f"counts must be [K] or [K, L], got the shape {counts.shape}.")
    stacks = counts.reshape(len(counts), -1)
    totals = stacks.sum(axis=1)
    figure = draw.new_figure(float(np.clip(3.5 + 0.28 * len(totals), 6.5, 18)), 4.2)
    axes = figure.add_subplot()
    ids, bottom = np.arange(len(totals)), np.zeros(len(totals))
    handles: list[Artist] = []
    numbers = range(stacks.shape[1]) if labels is None else labels
    for index, column in zip(numbers, stacks.T, strict=True):
        style = draw.bar_style(index)
        axes.bar(ids, column, bottom=bottom, width=0.85, **style)
        handles.append(Patch(label=str(index), **style))
        bottom += column
    dead = ids[totals == 0]
    axes.plot(dead, np.zeros(len(dead)), "x", color=draw.WARNING_COLOR, markersize=8, clip_on=False)
    axes.axhline(totals.mean(), color="black", linestyle="--", linewidth=1)
    axes.set_xlim(-0.7, len(totals) - 0.3)
    axes.set_xticks(ids[:: -(-len(totals) // 45)])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("anchor")
    axes.set_ylabel("examples")
    note = f"{np.sum(totals > 0)} of {len(totals)} used, n = {totals.sum():,}"
    draw.set_title(figure, "Anchor usage", f"{note}, perplexity {draw.perplexity(totals):.1f}")
    handles = handles if counts.ndim == 2 else []
    handles.append(Line2D([], [], color="black", linestyle="--", label="equal usage"))
    if len(dead):
        handles.append(
            Line2D([], [], color=draw.WARNING_COLOR, marker="x", linestyle="", label="unused")
        )
    draw.add_legend(figure, handles, "label" if counts.ndim == 2 else None)
    return figure


def training_curves(records: Iterable[Mapping[str, Any]]) -> Figure:
    """Draw every number in the training log against the step, one panel per quantity.

    Names that differ only in a prefix before a slash (`kl`, `weighted/kl`, `validation/kl`) share a
    panel, and so do all the `weight/` of the loss terms. A panel whose
    values are positive and mostly span more than two decades has a logarithmic axis.

    Args:
      records: objects of `metrics.jsonl`: `step` and numbers. Of two records of a step (a resumed run)
        the later value counts. Anything that is not a number leaves a gap.

    Returns:
      A figure; `loss` is its first panel.
    """
    title, panels = "Training", draw.panels_of(records)
    if not panels:
        return draw.message(title, "no records to show")
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = draw.new_figure(0.4 + 3.6 * columns, 0.5 + 2.4 * rows)
    for position, (name, curves) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, position + 1)
        draw.draw_curves(axes, name, curves)
    draw.set_title(figure, title, "")
    figure.supxlabel("step", fontsize=draw.FONT_SIZE)
    return figure


def render(figure: Figure, kind: str = "png", dpi: int = 120) -> bytes:
    """Draw a figure: the bytes of a file of that kind."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=dpi)
    return buffer.getvalue()


def save(figure: Figure, path: str | os.PathLike[str], dpi: int = 120) -> Path:
    """Write a figure to a file in one piece: a reader sees the old file or the new one.

    Args:
      figure: the figure.
      path: the suffix is the format (.png, .pdf, .svg); missing folders are made.
      dpi: dots per inch.

    Returns:
      The path.

    Raises:
      UserError: a format matplotlib cannot write, or a system that refuses.
    """
    path = Path(path)
    kind = path.suffix.lstrip(".").lower()
    if kind not in figure.canvas.get_supported_filetypes():
        raise UserError(f"Cannot write a figure to {path}: use a name that ends in .png or .pdf.")
    replace_file(path, render(figure, kind, dpi), make_folders=True)
    return path
