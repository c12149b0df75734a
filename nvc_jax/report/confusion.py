"""Anchors against labels: how pure each is, and what is confused with what."""

from html import escape

import numpy as np

from nvc_jax.report.content import Report
from nvc_jax.report.summary import Sizes, sizes_of

MOST_LABELS = 30
"""More labels have no columns; every anchor's commonest ones are named in words."""
NAMED = 3


def confusion_table(report: Report) -> str:
    """A table of labeled examples by anchor and label, as HTML; nothing where no label is known."""
    sizes = sizes_of(report)
    if not sizes.table.size:
        return ""
    names = [report.name_of(int(label)) for label in sizes.labels]
    shown = names if len(names) <= MOST_LABELS else []
    head = ["anchor", "examples", "purity", "mostly", *shown]
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    # By commonest label, so that what is right lies near the diagonal.
    commonest = sizes.table.argmax(axis=1)
    order = np.lexsort((-sizes.counts, commonest, sizes.table.sum(axis=1) == 0))
    rows = "\n".join(_row(sizes, int(anchor), names, bool(shown)) for anchor in order)
    note = (
        "Labeled examples by anchor and label; the stronger the color, the more of the anchor's examples. Purity is the share of the "
        "commonest label."
    )
    return (
        f'<p class="note">{note}</p><div class="table" tabindex="0" role="group" '
        f'aria-label="Anchors and labels"><table class="confusion"><thead><tr>{titles}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _row(sizes: Sizes, anchor: int, names: list[str], cells: bool) -> str:
    """One anchor."""
    row, purity = sizes.table[anchor], sizes.purity[anchor]
    share = row / max(row.sum(), 1)
    best = np.argsort(-row, kind="stable")[:NAMED]
    words = ", ".join(f"{names[k]}: {share[k]:.0%}" for k in best if row[k])
    text = (
        f'<th scope="row"><a href="#anchor={anchor}">{anchor}</a></th>'
        f'<td class="number">{sizes.counts[anchor]:,}</td>'
        f'<td class="number">{"" if np.isnan(purity) else f"{purity:.0%}"}</td><td>{escape(words)}</td>'
    )
    for count, part in zip(row, share, strict=True) if cells else ():
        shade = f' style="--share:{part:.2f}"' if count else ""
        text += f'<td class="number cell"{shade}>{count if count else ""}</td>'
    return f"<tr>{text}</tr>"
