"""What every anchor stands for, as a part of a page and in words: size, purity, neighbors, samples."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from nvc_jax.report import pictures
from nvc_jax.report.content import Report
from nvc_jax.report.features import feature_tables

TABLES = (
    " Features are ordered by what makes a cluster different: the difference of its mean from that of all other rows, in "
    "standard deviations (sd). Distributions are filled for the cluster and a line for the others; "
    "'anchor' is the anchor decoded, then come the nearest rows, and samples drawn around it."
)
SIDE = 96
BUDGET = 700_000


def nearest_members(
    mean: np.ndarray, assignment: np.ndarray, anchors: np.ndarray, count: int
) -> list[np.ndarray]:
    """Of every anchor those of its own examples that are nearest to it.

    Args:
      mean: float `[N, D]`.
      assignment: int `[N]`, from 0 to K − 1.
      anchors: float `[K, D]`.
      count: how many examples of an anchor, at most.

    Returns:
      K arrays of indices into the examples, nearest first; empty for an anchor without examples.
    """
    distance = np.linalg.norm(mean - anchors[assignment], axis=1)
    order = np.lexsort((distance, assignment))
    ends = np.cumsum(np.bincount(assignment, minlength=len(anchors)))
    return [ids[:count] for ids in np.split(order, ends[:-1])]


def anchor_texts(
    members: Sequence[np.ndarray],
    assignment: np.ndarray,
    label: np.ndarray,
    class_names: Sequence[str],
    describe: Callable[[np.ndarray], Sequence[str] | None],
) -> str | None:
    """Writes a paragraph for every anchor.

    Args:
      members: indices of its nearest examples, see `nearest_members`.
      assignment: int `[N]`.
      label: int `[N]`, −1 where it is not known.
      class_names: of the labels; a class without a name goes by its number.
      describe: indices → a line of text for each; None where examples are no text.

    Returns:
      The text; None where examples are no text, or there are none.
    """
    lines: list[str] = []
    counts = np.bincount(assignment, minlength=len(members))
    for anchor, ids in enumerate(members):
        share = counts[anchor] / max(len(assignment), 1)
        origins = _origins(label[assignment == anchor], class_names)
        lines += [f"Anchor {anchor}: {counts[anchor]:,} examples, {share:.1%}{origins}"]
        if len(ids):
            words = describe(ids)
            if words is None:
                return None
            lines += [f"  {text}" for text in words]
    return "\n".join([*lines, ""]) if len(assignment) else None


def _origins(label: np.ndarray, class_names: Sequence[str], shown: int = 3) -> str:
    """The commonest labels with their shares; nothing where none is known."""
    known, count = np.unique(label[label >= 0], return_counts=True)
    order = np.argsort(-count, kind="stable")[:shown]
    names = [class_names[k] if k < len(class_names) else str(k) for k in known[order]]
    shares = [f"{name} {c / count.sum():.0%}" for name, c in zip(names, count[order], strict=True)]
    return f"; {', '.join(shares)}" if shares else ""


class Strip(NamedTuple):
    """Pictures in a row: of which anchor, what they are, in words, and they themselves."""

    anchor: int
    caption: str
    text: str
    images: np.ndarray


def anchor_cards(report: Report) -> str:
    """A card for every anchor, as HTML; nothing where there are no anchors."""
    if not len(report.anchors):
        return ""
    measured = np.flatnonzero(report.measured)
    assignment, label = report.assignment[measured], None
    if report.label is not None and (report.label[measured] >= 0).any():
        label = report.label[measured]
    means = report.mean[measured]
    nearest = nearest_members(means, assignment, report.anchors, report.num_nearest)
    members = [measured[ids] for ids in nearest]
    shown = _pictures(list(_strips(report, members)), len(members))
    tables = [""] * len(members) if report.table is None else feature_tables(report, members)
    cards = []
    for anchor, ids in enumerate(members):
        own = assignment == anchor
        facts = _facts(report, int(own.sum()), len(own), None if label is None else label[own])
        cards.append(
            f'<article class="anchor"><h3>Anchor {anchor}</h3>\n<p>{facts} '
            f'<a href="#anchor={anchor}">show in the plot</a></p>'
            f"{shown[anchor]}{tables[anchor] or _lines(report, ids)}</article>"
        )
    split = f" {report.split[0]}" if report.split is not None and len(report.split) else ""
    note = f"Sizes and nearest examples are those of {len(measured):,}{split} examples."
    if label is not None:
        note += " Purity is the share of the commonest label among the labeled ones."
    if report.table is not None:
        note += TABLES
    joined, kind = "\n".join(cards), "anchors" if report.table is None else "anchors wide-cards"
    return f'<p class="note">{escape(note)}</p><div class="{kind}">{joined}</div>'


def _facts(report: Report, size: int, total: int, label: np.ndarray | None) -> str:
    """How many examples an anchor has, and how pure they are."""
    if not size:
        return '<span class="warning">no example: unused</span>'
    text = f"{size:,} example{'s' * (size > 1)}, {size / total:.1%}"
    known = np.zeros(0, np.int64) if label is None else label[label >= 0]
    if len(known):
        names, counts = np.unique(known, return_counts=True)
        commonest = report.name_of(int(names[counts.argmax()]))
        text += f"; purity {counts.max() / len(known):.0%} (label {commonest})"
    return escape(text)


def _lines(report: Report, ids: np.ndarray) -> str:
    """The nearest examples of an anchor as lines of text, where they are that."""
    lines = report.texts(ids) if report.texts is not None and len(ids) else None
    items = "".join(f"<li>{escape(str(line))}</li>" for line in lines or ())
    return f'<p class="note">nearest examples</p><ul class="lines">{items}</ul>' if items else ""


def _strips(report: Report, members: Sequence[np.ndarray]) -> Iterator[Strip]:
    """All pictures, anchor by anchor."""
    near = None
    if report.pictures is not None and any(len(ids) for ids in members):
        near = report.pictures(np.concatenate(members))
    bounds = itertools.pairwise(np.cumsum([0, *map(len, members)]))
    for anchor, (start, end) in enumerate(bounds):
        if report.decoded is not None:
            text = f"Anchor {anchor} decoded"
            yield Strip(anchor, "decoded", text, report.decoded[anchor : anchor + 1])
        if near is not None and end > start:
            text = f"Nearest examples of anchor {anchor}"
            if report.label is not None:
                names = (report.name_of(int(k)) for k in report.label[members[anchor]])
                text += f", labels {', '.join(names)}"
            yield Strip(anchor, "nearest examples", text, near[start:end])
        if report.samples is not None and report.samples.shape[1]:
            text = f"Samples drawn around anchor {anchor}"
            yield Strip(anchor, "samples drawn around it", text, report.samples[anchor])


def _pictures(strips: Sequence[Strip], number: int) -> list[str]:
    """The strips of every anchor as HTML, without those that have no room."""
    rows = [
        pictures.side_by_side(pictures.shrink(pictures.to_pixels(strip.images), SIDE))
        for strip in strips
    ]
    longest = max((len(strip.images) for strip in strips), default=1)
    shown = [""] * number
    for strip, address in zip(strips, pictures.encode_all(rows, BUDGET), strict=False):
        width = f"width: {len(strip.images) / longest:.1%}"
        style = 'class="one"' if strip.caption == "decoded" else f'style="{width}"'
        shown[strip.anchor] += pictures.figure(address, strip.text, strip.caption, style)
    return shown
