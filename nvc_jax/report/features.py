"""What makes a cluster of a table's rows different: every feature of a cluster against the other rows."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from nvc_jax.report.content import Report, Table
from nvc_jax.report.markup import breakable

SHOWN = 8
"""Features of a cluster that are seen at first."""
DRAWN = 40
"""Features of a cluster at most whose distributions are drawn."""
BUDGET = 2_500_000
"""Characters of all the tables; further features are left out, and how many is said."""
BINS = 16
WIDTH, HEIGHT = 96, 26
MOST_WORDS, NAMED, TELLING = 20, 3, 0.3
"""Clusters that are told in words, features of each, and from how many standard deviations on."""
MOST_ROWS, MOST_SAMPLES = 3, 2


class Difference(NamedTuple):
    """How the features of a cluster differ from those of all other rows.

    Attributes:
      inside: float `[F]`, means in the cluster.
      outside: float `[F]`, means of the other rows.
      effect: float `[F]`, `(inside − outside) / s` with the standard deviation s of all rows; 0 where s = 0.
    """

    inside: np.ndarray
    outside: np.ndarray
    effect: np.ndarray

    @property
    def order(self) -> np.ndarray:
        """Features by the size of their effect, greatest first."""
        return np.argsort(-np.abs(self.effect), kind="stable")


def difference_of(values: np.ndarray, member: np.ndarray) -> Difference:
    """Compares the rows of a cluster with the others, which are all rows where there are no others.

    Args:
      values: float `[N, F]`.
      member: bool `[N]`, at least one.

    Example:
      >>> difference_of(np.array([[0.0], [0.0], [2.0], [2.0]]), np.array([False, False, True, True])).effect
      array([2.])
    """
    inside = values[member].mean(axis=0)
    outside = values[~member].mean(axis=0) if (~member).any() else inside
    spread = values.std(axis=0)
    effect = np.where(spread > 0, (inside - outside) / np.where(spread > 0, spread, 1.0), 0.0)
    return Difference(inside, outside, effect)


def in_words(report: Report) -> str:
    """What makes every cluster different, a line each, as HTML; nothing where examples are no rows."""
    if report.table is None:
        return ""
    values, assignment = report.table.values[report.measured], report.assignment[report.measured]
    lines = []
    for anchor in np.unique(assignment)[:MOST_WORDS].tolist():
        effect = difference_of(values, assignment == anchor).effect
        telling = np.argsort(-np.abs(effect), kind="stable")[:NAMED]
        parts = [
            f"{'high' if effect[k] > 0 else 'low'} {report.table.columns[k]} ({effect[k]:+.1f} sd)"
            for k in telling
            if abs(effect[k]) >= TELLING
        ]
        words = ", ".join(parts) or "near the mean of the others in every feature"
        count = int((assignment == anchor).sum())
        lines.append(
            f'<li><a href="#anchor={anchor}">Cluster {anchor}</a> ({count:,}): {escape(words)}</li>'
        )
    return f'<ul class="clusters">{"".join(lines)}</ul>' if len(lines) > 1 else ""


def feature_tables(report: Report, members: Sequence[np.ndarray]) -> list[str]:
    """A table for every anchor, as HTML: its features against the rest, decoded, nearest rows, samples.

    Args:
      report: with a table.
      members: of every anchor its nearest examples, indices into all.
    """
    assert report.table is not None
    rows = np.flatnonzero(report.measured)
    values, assignment = report.table.values[rows], report.assignment[rows]
    room = BUDGET // max(len(members), 1)
    return [
        _feature_table(report.table, values, assignment == anchor, anchor, ids, room)
        for anchor, ids in enumerate(members)
    ]


def _feature_table(
    table: Table, values: np.ndarray, member: np.ndarray, anchor: int, ids: np.ndarray, room: int
) -> str:
    """One anchor's table: the most different features, and the others folded away."""
    if not member.any():
        return ""
    found = difference_of(values, member)
    lines, left = [], room
    for line in _lines(table, values, member, found, anchor, ids):
        left -= len(line)
        if left < 0:
            break
        lines.append(line)
    titles = ["feature", "difference", "distribution", "cluster", "others"]
    titles += ["anchor"] if table.decoded is not None else []
    titles += [f"row {table.names_of_rows[k]}" for k in ids[:MOST_ROWS]]
    if table.samples is not None:
        titles += [f"sample {k + 1}" for k in range(min(MOST_SAMPLES, table.samples.shape[1]))]
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles)
    first = _wrap(head, lines[:SHOWN], f"What makes anchor {anchor} different")
    if len(lines) <= SHOWN:
        return first
    missing = len(values[0]) - len(lines)
    more = f"{len(lines) - SHOWN:,} more features"
    more += f"; {missing:,} of smaller difference have no room" if missing else ""
    rest = _wrap(head, lines[SHOWN:], f"Further features of anchor {anchor}")
    return f"{first}<details><summary>{more}</summary>{rest}</details>"


def _wrap(head: str, lines: Sequence[str], name: str) -> str:
    """A table that scrolls by itself."""
    return (
        f'<div class="table" tabindex="0" role="group" aria-label="{escape(name)}"><table class="features">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _lines(
    table: Table,
    values: np.ndarray,
    member: np.ndarray,
    found: Difference,
    anchor: int,
    ids: np.ndarray,
) -> Iterator[str]:
    """The rows of a table, the most different feature first."""
    for place, k in enumerate(found.order):
        numbers = [found.inside[k], found.outside[k]]
        more = [] if table.decoded is None else [table.decoded[anchor, k]]
        more += [table.values[row, k] for row in ids[:MOST_ROWS]]
        if table.samples is not None:
            more += list(table.samples[anchor, :MOST_SAMPLES, k])
        effect = f"{found.effect[k]:+.1f} sd"
        picture = _distribution(values[:, k], member, effect) if place < DRAWN else ""
        text = f'<th scope="row">{breakable(str(table.columns[k]))}</th>'
        text += f'<td class="number">{effect}</td><td>{picture}</td>'
        text += "".join(f'<td class="number">{_number(x)}</td>' for x in [*numbers, *more])
        yield f"<tr>{text}</tr>"


def _number(value: float) -> str:
    """A number of four digits, as people write it."""
    return (
        f"{value:,.4g}"
        if abs(value) < 1e6 and (abs(value) >= 1e-3 or value == 0)
        else f"{value:.3g}"
    )


def _distribution(values: np.ndarray, member: np.ndarray, effect: str) -> str:
    """Two histograms in one small picture: the cluster's filled, that of the others as a line."""
    low, high = np.quantile(values, [0.005, 0.995])
    if not high > low:
        low, high = values.min(), values.max()
        if not high > low:
            return "the same everywhere"
    edges = np.linspace(low, high, BINS + 1)
    clipped = np.clip(values, low, high)
    shares = [np.histogram(clipped[rows], edges)[0] for rows in (member, ~member)]
    inside, outside = (counts / max(counts.sum(), 1) for counts in shares)
    step, top = WIDTH / BINS, max(inside.max(), outside.max())
    heights = [np.round(HEIGHT * (1 - share / top), 1) for share in (inside, outside)]

    def outline(tops: np.ndarray) -> str:
        corners = [f"{i * step:g},{y:g} {(i + 1) * step:g},{y:g}" for i, y in enumerate(tops)]
        return " ".join(corners)

    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="the cluster is {effect} from the others">'
        f'<polygon class="in" points="0,{HEIGHT} {outline(heights[0])} {WIDTH},{HEIGHT}"/>'
        f'<polyline class="out" points="{outline(heights[1])}"/></svg>'
    )
