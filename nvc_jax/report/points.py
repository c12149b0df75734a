"""The part of a page that a script draws: points of the latent space and curves, as plain data."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from nvc_jax.report import pictures
from nvc_jax.report.content import Report
from nvc_jax.report.features import difference_of
from nvc_jax.report.palette import PALETTES, look_of
from nvc_jax.report.solids import scenes_data

MOST_POINTS = 10_000
MOST_STEPS = 300
THUMBNAIL = 48
PICTURE_BUDGET = 2_800_000
TEXT_BUDGET, SHARED_TEXT_BUDGET = 1_500_000, 300_000  # shared: beside pictures
ROW_BUDGET, NUMBER_LENGTH = 2_000_000, 7
PICTURE_SECONDS = 60.0
"""Then the points have no more pictures: drawing one of a volume takes a tenth of a second."""


def page_data(report: Report) -> dict[str, Any]:
    """Everything that the page's script reads, as JSON can hold it.

    Returns:
      `points` (None where there are none) and `views` of the latent space, `curves` with the `events`
      marked in them, names of what stays `constant`, what can be `turned`, and `palettes` by ground.
    """
    points, views = _latent(report)
    curves, constant = curves_of(report.records)
    return {
        "points": points,
        "views": views,
        "curves": curves,
        "constant": constant,
        "events": dict(report.events),
        "turned": scenes_data(report.scenes),
        "palettes": PALETTES,
    }


def _latent(report: Report) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """The points shown, in random order so that no group hides another, and their views."""
    finite = np.flatnonzero(np.isfinite(report.mean).all(axis=1))
    shown = np.random.default_rng(report.seed).permutation(finite)[:MOST_POINTS]
    if not len(shown) or not np.size(report.mean):
        return None, []
    away = report.mean[shown] - report.anchors[report.assignment[shown]]
    budget = TEXT_BUDGET if report.pictures is None else SHARED_TEXT_BUDGET
    points = {
        "count": len(shown),
        "number": _numbers_within_splits(report)[shown].tolist(),
        "groups": _groups(report, shown),
        "distance": [f"{value:.3g}" for value in np.linalg.norm(away, axis=1)],
        "texts": None if report.texts is None else _texts(report.texts, shown, budget),
        "rows": None if report.table is None else _rows(report, shown),
        "pictures": None if report.pictures is None else _sheets(report.pictures, shown),
    }
    return points, _views(report, shown)


def _rows(report: Report, shown: np.ndarray) -> dict[str, Any]:
    """Features of the points, the most telling first, as many as there is room for."""
    table = report.table
    assert table is not None
    used = np.unique(report.assignment)
    effects = [
        np.abs(difference_of(table.values, report.assignment == k).effect) for k in used.tolist()
    ]
    order = np.argsort(-np.max(effects, axis=0), kind="stable")
    order = order[: max(ROW_BUDGET // (NUMBER_LENGTH * len(shown)), 1)]
    return {
        "columns": [str(table.columns[k]) for k in order],
        "left_out": len(table.columns) - len(order),
        "values": [[float(f"{x:.4g}") for x in table.values[row, order]] for row in shown],
    }


def _numbers_within_splits(report: Report) -> np.ndarray:
    """Every example's place within its split, from 0."""
    numbers = np.arange(len(report.mean))
    if report.split is not None:
        names = np.asarray(report.split)
        for name in np.unique(names):
            of_split = names == name
            numbers[of_split] = np.arange(of_split.sum())
    return numbers


def _groups(report: Report, shown: np.ndarray) -> dict[str, dict[str, Any]]:
    """What points are colored and filtered by: each one's group, and how groups look."""
    anchors = [str(k) for k in range(len(report.anchors))]
    groups = {"anchor": _group("anchor", report.assignment[shown], range(len(anchors)), anchors)}
    if report.label is not None and (report.label >= 0).any():
        labels, of = np.unique(report.label[shown], return_inverse=True)
        names = [report.name_of(int(label)) for label in labels]
        groups["label"] = _group("label", of, labels.tolist(), names)
    if report.split is not None and len(set(report.split)) > 1:
        splits, of = np.unique(np.asarray(report.split)[shown], return_inverse=True)
        groups["split"] = _group("label", of, range(len(splits)), splits.tolist(), splits.tolist())
    return groups


def _group(
    palette: str,
    of: np.ndarray,
    styles: Sequence[int],
    names: Sequence[str],
    ids: Sequence[object] | None = None,
) -> dict[str, Any]:
    """One way to color and filter.

    Args:
      palette: see `look_of`.
      of: int `[n]`, place of every point's group in the lists.
      styles: which color and marker each has.
      names: shown.
      ids: in the page's address; the numbers of the styles where they are not given.
    """
    looks = [look_of(index, palette) for index in styles]
    return {
        "of": of.tolist(),
        "ids": list(styles if ids is None else ids),
        "names": list(names),
        "colors": [[look.palette, look.color] for look in looks],
        "symbols": [look.symbol for look in looks],
        "signs": [look.sign for look in looks],
    }


def _views(report: Report, shown: np.ndarray) -> list[dict[str, Any]]:
    """Projections into the plane: t-SNE of the first points, if asked for, and PCA of all."""
    from nvc_jax.plots import drawing as draw  # matplotlib is slow to import

    views: list[dict[str, Any]] = []
    limits = {"t-SNE": report.tsne_examples, "PCA": len(shown)}
    for name, limit in limits.items():
        method: draw.Method = "pca" if name == "PCA" else "tsne"
        mean = report.mean[shown[:limit]]
        if not len(mean):
            continue
        points, anchors, axes = draw.project(mean, report.anchors, method, report.seed)
        if method == "tsne" and axes[0].startswith("PC"):  # where t-SNE is undefined
            continue
        low, high, _ = draw.view_of(points, anchors)
        extent = np.ptp(points, axis=0)
        widest = np.where(extent > 0, extent, 1.0).max()
        decimals = max(0, int(4 - np.floor(np.log10(widest))))
        (x, y), centers = np.round(points.T, decimals), np.round(anchors, decimals)
        views.append({
            "name": name, "axes": axes, "x": x.tolist(), "y": y.tolist(), "units": method == "pca",
            "anchors": centers.tolist(), "range": np.stack([low, high], axis=1).tolist(),
        })  # fmt: skip
    return views


def _texts(
    texts: Callable[[np.ndarray], Sequence[str] | None], shown: np.ndarray, budget: int
) -> list[str] | None:
    """Lines of the points, cut so that all fit."""
    lines = texts(shown)
    if lines is None:
        return None
    lines, limit = [str(line) for line in lines], 500
    while sum(len(line.encode()) for line in lines) > budget and limit > 10:
        lines = [line if len(line) <= limit else f"{line[: limit - 1]}…" for line in lines]
        limit = limit * 3 // 4
    return lines


def _sheets(
    source: Callable[[np.ndarray], np.ndarray | None], shown: np.ndarray
) -> dict[str, Any] | None:
    """Small pictures of the points, many in one."""
    parts: list[np.ndarray] = []
    deadline = time.monotonic() + PICTURE_SECONDS
    for ids in np.array_split(shown, -(-len(shown) // 256)):
        if parts and time.monotonic() > deadline:
            break
        found = source(ids)
        if found is None:
            return None
        parts.append(pictures.shrink(pictures.to_pixels(found), THUMBNAIL))
    tiles = pictures.join(parts)
    size, addresses = pictures.sheets(tiles, PICTURE_BUDGET)
    per_sheet = pictures.SHEET_COLUMNS * pictures.SHEET_ROWS
    return {
        "tile": size,
        "columns": pictures.SHEET_COLUMNS,
        "rows": pictures.SHEET_ROWS,
        "count": min(len(tiles), per_sheet * len(addresses)),
        "sheets": addresses,
    }


def curves_of(
    records: Iterable[Mapping[str, Any]],
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """The training log as panels of lines, grouped and scaled as `plots.training_curves` does.

    Returns:
      (panels with the lines that change, the value of every name that does not, or was measured once alone).
    """
    from nvc_jax.plots import drawing as draw  # matplotlib is slow to import

    curves, constant = [], {}
    for name, panel in draw.panels_of(records).items():
        lines, names = [], draw.short_names(panel)
        finite = {
            key: sorted(step for step, value in curve.items() if np.isfinite(value))
            for key, curve in sorted(panel.items())
        }
        # One value is a dot: beside a line that changes it tells something, else it does not.
        charted = any(
            len({panel[key][step] for step in steps}) > 1 for key, steps in finite.items()
        )
        for key, steps in finite.items():
            curve = panel[key]
            if not steps:
                continue
            if len({curve[step] for step in steps}) == 1 and (len(steps) > 1 or not charted):
                constant[key] = float(curve[steps[0]])
                continue
            # Thinned from the end, so that the last value is there.
            kept = steps[:: -max(1, -(-len(steps) // MOST_STEPS))][::-1]
            values = [float(f"{curve[step]:.5g}") for step in kept]
            lines.append({"name": names[key], "key": key, "x": kept, "y": values})
        if lines:
            logarithmic = draw.spans_decades(np.concatenate([line["y"] for line in lines]))
            curves.append({"name": name, "logarithmic": logarithmic, "lines": lines})
    return curves, constant
