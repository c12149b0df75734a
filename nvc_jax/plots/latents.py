"""Scatter plots of the latent space, by group and with the anchors.

Pure functions like those of `nvc_jax.plots.figures`, which saves their figures.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from nvc_jax.core.errors import UserError
from nvc_jax.plots import drawing as draw

MAX_POINTS = {"pca": 10_000, "tsne": 2_000}


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
    anchors together with the means; where it is undefined (fewer than 5 points, or all alike) PCA takes
    its place. The embedding is computed once.

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
