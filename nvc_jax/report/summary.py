"""The answer first: what a page says of its clusters in two sentences, and what to be warned of."""

from html import escape
from typing import NamedTuple

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.report.content import Report
from nvc_jax.report.features import in_words

ANCHOR = (
    "An anchor is a trained point of the latent space: an example belongs to the nearest one, and the examples "
    "of an anchor are a cluster."
)
CLEAR, SOME = 0.5, 0.25
"""Silhouettes from which on clusters are apart, and overlap only in part."""
HALF = 0.5
WORSE = 1.5
"""Times the error of examples that were trained on."""
LESS_ACCURATE = 0.1
BASELINE = "kmeans_accuracy_hungarian_inputs"
FOUND, FOUND_MAJORITY = "cluster_accuracy_hungarian", "cluster_accuracy_majority"


class Sizes(NamedTuple):
    """Clusters of the measured examples.

    Attributes:
      counts: int `[K]`, examples of each anchor.
      labels: int `[L]`, the labels there are, ascending.
      table: int `[K, L]`, labeled examples by anchor and label.
    """

    counts: np.ndarray
    labels: np.ndarray
    table: np.ndarray

    @property
    def purity(self) -> np.ndarray:
        """float `[K]`, share of the commonest label among the labeled; NaN where there are none."""
        if not self.table.size:
            return np.full(len(self.counts), np.nan)
        known = self.table.sum(axis=1)
        return np.where(known > 0, self.table.max(axis=1) / np.maximum(known, 1), np.nan)


def sizes_of(report: Report) -> Sizes:
    """Counts the measured examples of a report by anchor and label."""
    assignment = report.assignment[report.measured]
    counts = np.bincount(assignment, minlength=len(report.anchors))
    if report.label is None:
        return Sizes(counts, np.zeros(0, np.int64), np.zeros((len(counts), 0), np.int64))
    label = report.label[report.measured]
    labels, of = np.unique(label[label >= 0], return_inverse=True)
    table = np.zeros((len(counts), len(labels)), np.int64)
    np.add.at(table, (assignment[label >= 0], of), 1)
    return Sizes(counts, labels, table)


def summary(report: Report) -> str:
    """Sentences and warnings as HTML; nothing where there are no examples or anchors."""
    sizes = sizes_of(report)
    if not sizes.counts.sum():
        return ""
    parts = [f"<p>{escape(found(report, sizes))} {escape(look_at(report, sizes))}</p>"]
    parts.append(in_words(report))
    items = "".join(f"<li>{escape(text)}</li>" for text in warnings_of(report, sizes))
    if items:
        parts.append(f'<ul class="warnings" aria-label="Warnings">{items}</ul>')
    parts.append(f'<p class="note">{ANCHOR}</p>')
    return f'<div class="summary">{"".join(parts)}</div>'


def found(report: Report, sizes: Sizes) -> str:
    """How many clusters, how well apart, and how well they match the labels."""
    used, total = int((sizes.counts > 0).sum()), int(sizes.counts.sum())
    text = f"{_count(total, f'{_split(report)}example')} fall into {_count(used, 'cluster')}"
    apart = _silhouette(report)
    if apart is not None:
        words = "hardly apart"
        if apart >= SOME:
            words = "well apart" if apart >= CLEAR else "apart with some overlap"
        text += f", which are {words} (silhouette {apart:.2f})"
    several = used > len(sizes.labels)  # then k-means with a cluster for each label is no match
    accuracy = report.metrics.get(FOUND_MAJORITY if several else FOUND)
    if accuracy is None:
        return f"{text}."
    text += f"; they match the labels for {accuracy:.1%} of the examples"
    baseline = report.metrics.get(BASELINE)
    if baseline is not None and not several:
        text += f", k-means on the inputs for {baseline:.1%}"
    return f"{text}."


def look_at(report: Report, sizes: Sizes) -> str:
    """What to look at first: the least pure anchor, or the two nearest to each other."""
    purity = sizes.purity
    if np.isfinite(purity).any():
        worst = int(np.nanargmin(purity))
        if purity[worst] == 1.0:
            return "Every cluster holds one label alone: look at what its examples have in common."
        first, second = np.argsort(-sizes.table[worst], kind="stable")[:2]
        names = [report.name_of(int(sizes.labels[k])) for k in (first, second)]
        return (
            f"Look first at anchor {worst}, the most mixed: {purity[worst]:.0%} of its examples are "
            f"labeled {names[0]}, most others {names[1]}."
        )
    used = np.flatnonzero(sizes.counts)
    if len(used) < 2:
        return "There is nothing to compare it with."
    away = np.linalg.norm(report.anchors[used, None] - report.anchors[None, used], axis=-1)
    away[np.diag_indices(len(used))] = np.inf
    one, other = (used[k] for k in np.unravel_index(int(away.argmin()), away.shape))
    return f"Look first at anchors {one} and {other}, the nearest to each other: do you want them apart?"


def warnings_of(report: Report, sizes: Sizes) -> list[str]:
    """What to be warned of, one sentence each."""
    found = []
    counts, total = sizes.counts, max(int(sizes.counts.sum()), 1)
    dead = np.flatnonzero(counts == 0)
    if len(dead):
        shown = ", ".join(map(str, dead[:10])) + (", …" if len(dead) > 10 else "")
        found.append(
            f"{_count(len(dead), 'anchor')} of {len(counts)} without an example ({shown}): fewer "
            "anchors may do, or more training."
        )
    if len(counts) > 2 and counts.max() > HALF * total:
        found.append(
            f"Anchor {int(counts.argmax())} has {counts.max() / total:.0%} of the examples: one cluster "
            "for most of the data may hide others."
        )
    return found + [text for text in (_worse_error(report), _worse_accuracy(report)) if text]


def _worse_error(report: Report) -> str:
    """Held-out examples are reconstructed much worse than those trained on."""
    if report.error is None or report.measured.all():
        return ""
    error = np.asarray(report.error)
    held_out, trained = (error[rows].mean() for rows in (report.measured, ~report.measured))
    if not (np.isfinite([held_out, trained]).all() and held_out > WORSE * trained > 0):
        return ""
    return (
        f"The error of held-out examples is {held_out / trained:.1f} times that of the training's: the model "
        "has learned its examples by heart; train shorter, or on more."
    )


def _worse_accuracy(report: Report) -> str:
    """Held-out examples match their labels much worse than those trained on."""
    if report.label is None or report.measured.all():
        return ""
    from nvc_jax.metrics import cluster_accuracy  # scikit-learn is slow to import

    rows = [report.measured & (report.label >= 0), ~report.measured & (report.label >= 0)]
    if not all(part.any() for part in rows):
        return ""
    held_out, trained = (
        cluster_accuracy(report.label[part], report.assignment[part], "majority") for part in rows
    )
    if held_out > trained - LESS_ACCURATE:
        return ""
    return (
        f"Clusters match the labels of {held_out:.1%} of the held-out examples and of {trained:.1%} of the "
        "training's: they may not hold for new data."
    )


def _silhouette(report: Report) -> float | None:
    """That of the metrics, or else that of the measured examples."""
    if "silhouette" in report.metrics:
        return report.metrics["silhouette"]
    from nvc_jax.metrics import silhouette  # scikit-learn is slow to import

    rows = report.measured & np.isfinite(report.mean).all(axis=1)
    try:
        return silhouette(report.mean[rows], report.assignment[rows], seed=report.seed).value
    except UserError:  # too few
        return None


def _split(report: Report) -> str:
    """The name of the split, where there are several."""
    if report.split is None or not len(report.split) or report.measured.all():
        return ""
    return f"{report.split[0]} "


def _count(number: int, what: str) -> str:
    """A number with its noun."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
