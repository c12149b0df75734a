"""The page itself: sections of HTML, put into the template with style, script and data."""

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import numpy as np

from nvc_jax.core.extras import require
from nvc_jax.core.options import flatten
from nvc_jax.report import pictures
from nvc_jax.report.confusion import confusion_table
from nvc_jax.report.content import Report
from nvc_jax.report.gallery import anchor_cards
from nvc_jax.report.markup import breakable
from nvc_jax.report.points import page_data
from nvc_jax.report.summary import summary

PAGE = Path(__file__).with_name("page")
SCRIPTS = ("common.js", "sketch.js", "curves.js", "latent.js", "solids.js", "page.js")
EXAMPLE_SIDE, FIGURE_SIDE = 128, 1400
EXAMPLE_BUDGET, FIGURE_BUDGET = 200_000, 300_000
"""Characters of pictures: with Plotly, points and anchors, the page stays below 10 MB."""


class Section(NamedTuple):
    """A part of the page: its name in addresses, its heading, its HTML."""

    name: str
    title: str
    content: str


def to_html(report: Report) -> str:
    """The page as text. It loads nothing, and its policy forbids it to.

    Texts of the data are shown as they are: no tag or script among them is obeyed.
    """
    data = page_data(report)
    return page_html(
        report.title, summary(report), _facts(report.facts), _sections(report, data), data
    )


def page_html(
    title: str, answer: str, facts: str, sections: Iterable[Section], data: Mapping[str, Any]
) -> str:
    """A page with its style, scripts and data.

    Args:
      title: as plain text.
      answer: what stands first, as HTML.
      facts: pairs of a `dl`, as HTML.
      sections: those without content are left out.
      data: what the page's script reads, see `page_data`.
    """
    shown = [section for section in sections if section.content]
    library, script = plotly_script(), _script()
    return Template(_page("page.html")).substitute(
        title=escape(title),
        policy=_policy(library, script),
        style=_page("page.css"),
        summary=answer,
        facts=facts,
        links="".join(f'<li><a href="#{s.name}">{s.title}</a></li>' for s in shown),
        sections="\n".join(
            f'<section id="{s.name}" aria-labelledby="{s.name}-title">\n'
            f'<h2 id="{s.name}-title">{s.title}</h2>\n{s.content}\n</section>'
            for s in shown
        ),
        data=_script_data(data),
        library=library,
        script=script,
    )


def plotly_script() -> str:
    """The library that draws the points and curves.

    Raises:
      UserError: if it is not installed.
    """
    return require("plotly.offline", extra="report", what="The page of a report").get_plotlyjs()


def _script() -> str:
    """The page's own script, whose parts see each other and nobody else sees them."""
    parts = "\n".join(_page(name) for name in SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


def _page(name: str) -> str:
    """A file of the page."""
    return (PAGE / name).read_text("utf-8")


def _policy(*scripts: str) -> str:
    """A content security policy: these scripts alone, no connection, pictures in the page."""
    hashes = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    # Plotly compiles its shaders' callers by eval, sets styles, and saves pictures through blobs.
    return (
        f"default-src 'none'; script-src {allowed} 'unsafe-eval'; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _script_data(data: Mapping[str, Any]) -> str:
    """JSON that cannot end the element that it stands in."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _sections(report: Report, data: Mapping[str, Any]) -> Iterator[Section]:
    """All sections in their order; those without content are left out by the caller."""
    yield Section("latent", "Latent space", _latent(report, data))
    yield Section("confusion", "Anchors and labels", confusion_table(report))
    yield Section("anchors", "Anchors", anchor_cards(report))
    yield Section("examples", "Inputs and outputs", _examples(report))
    yield Section("turned", "In three dimensions", _turned(data))
    yield Section("figures", "Figures", _figures(report.figures))
    yield Section("curves", "Training", _curves(data))
    yield Section("metrics", "Metrics", _metrics(report))
    yield Section("config", "Config", _config(report.config))


def _latent(report: Report, data: Mapping[str, Any]) -> str:
    """The scatter plot with its form controls."""
    points = data["points"]
    if points is None:
        return ""
    views = [view["name"] for view in data["views"]]
    controls = []
    if len(views) > 1:
        controls.append(_select("view", "View", enumerate(views)))
    controls.append(_select("color", "Color by", ((name, name) for name in points["groups"])))
    for name, group in points["groups"].items():
        options = zip(group["ids"], group["names"], strict=True)
        controls.append(_select(name, f"Show {name}", [("", "all"), *options]))
    limits = {view["name"]: len(view["x"]) for view in data["views"]}
    limits |= {"pictures": (points["pictures"] or {"count": points["count"]})["count"]}
    notes = [
        f"{what} of {n:,} of {points['count']:,} examples"
        for what, n in limits.items()
        if n < points["count"]
    ]
    if points["count"] < len(report.mean):
        notes.insert(0, f"{points['count']:,} of {len(report.mean):,} examples, drawn at random")
    note = f'<p class="note">{"; ".join(notes)}.</p>' if notes else ""
    return note + Template(_page("latent.html")).substitute(controls="\n".join(controls))


def _select(name: str, title: str, options: Iterable[tuple[object, object]]) -> str:
    """A drop-down list."""
    texts = [
        f'<option value="{escape(str(value))}">{escape(str(text))}</option>'
        for value, text in options
    ]
    return f'<label>{escape(title)} <select name="{name}">{"".join(texts)}</select></label>'


def _examples(report: Report) -> str:
    """Inputs beside outputs, as pictures or as lines of text."""
    rows = {name: values for name, values in report.examples.items() if len(values)}
    if not rows:
        return ""
    if all(isinstance(values[0], str) for values in rows.values()):
        kind, items = "examples words", _pairs_of_lines(rows)
    else:
        kind, items = "examples", _pairs_of_pictures(rows)
    joined = "".join(f'<li class="example">{item}</li>' for item in items)
    return f'<ul class="{kind}">{joined}</ul>'


def _pairs_of_lines(rows: Mapping[str, Any]) -> list[str]:
    """Every example's lines, one below the other."""
    return [
        "".join(
            f"<p><b>{escape(n)}</b> {escape(str(t))}</p>"
            for n, t in zip(rows, example, strict=True)
        )
        for example in zip(*rows.values(), strict=True)
    ]


def _pairs_of_pictures(rows: Mapping[str, Any]) -> list[str]:
    """Every example's pictures beside each other; of as many examples as there is room for."""
    small = [pictures.shrink(pictures.to_pixels(images), EXAMPLE_SIDE) for images in rows.values()]
    flat = [picture for example in zip(*small, strict=True) for picture in example]
    addresses = iter(pictures.encode_all(flat, EXAMPLE_BUDGET))
    return [
        "".join(
            pictures.figure(a, f"{n} of example {k}", n) for n, a in zip(rows, example, strict=True)
        )
        for k, example in enumerate(zip(*[addresses] * len(rows), strict=False))
    ]


def _turned(data: Mapping[str, Any]) -> str:
    """Places for solids that are turned together, with a list of scenes to choose from."""
    names = [scene["name"] for scene in data["turned"]["scenes"]]
    if not names:
        return ""
    left_out = data["turned"]["left_out"]
    note = f'<p class="note">For {left_out:,} more there was no room.</p>' if left_out else ""
    scene = _select("scene", "Show", enumerate(names))
    return Template(_page("turned.html")).substitute(scene=scene, note=note)


def _figures(figures: Mapping[str, np.ndarray]) -> str:
    """Figures that were drawn elsewhere, in their size; wider than a phone, they scroll by themselves."""
    pixels = [pictures.to_pixels(image)[None] for image in figures.values()]
    small = [pictures.shrink(image, FIGURE_SIDE)[0] for image in pixels]
    addresses = pictures.encode_all(small, FIGURE_BUDGET)
    shown = []
    for name, address, image in zip(figures, addresses, pixels, strict=False):
        size = f'style="--width: {image.shape[2]}px"'
        shown.append(
            f'<div class="wide" tabindex="0" role="group" aria-label="{escape(name)}">'
            f"{pictures.figure(address, name, name, size)}</div>"
        )
    return "".join(shown)


def _curves(data: Mapping[str, Any]) -> str:
    """Places for the curves, each with its first and last values in words; constants in words alone."""
    places = []
    for index, panel in enumerate(data["curves"]):
        parts = [
            f"{line['name']} from {line['y'][0]:.4g} at step {line['x'][0]:,} to "
            f"{line['y'][-1]:.4g} at step {line['x'][-1]:,}"
            for line in panel["lines"]
        ]
        text = escape(f"Curves of {panel['name']}: {'; '.join(parts)}")
        places.append(
            f'<div class="curve" id="curve-{index}" role="img" aria-label="{text}"></div>'
        )
    notes = [f"{name} at step {step:,} (dotted line)" for name, step in data["events"].items()]
    if not places:
        return ""
    note = f'<p class="note">{escape("; ".join(notes)).capitalize()}.</p>' if notes else ""
    if data["constant"]:
        listed = ", ".join(f"{name} {value:.5g}" for name, value in data["constant"].items())
        note += (
            f"<details><summary>Measured once, or the same at every step ({len(data['constant'])})</summary>"
            f'<p class="note">{escape(listed)}.</p></details>'
        )
    return f'{note}<div class="curves">{"".join(places)}</div>'


def _metrics(report: Report) -> str:
    """A table of numbers with the convention behind each, or the reason that there is none."""
    rows = []
    for name, value in report.metrics.items():
        note = report.reasons.get(name) or report.notes.get(name, "")
        shown = "none" if value is None else f"{value:.5g}"
        rows.append((name, shown, note))
    return _table(("metric", "value", "convention, or why there is none"), rows)


def _config(config: Mapping[str, Any]) -> str:
    """A table of all keys, closed at first."""
    rows = [(name, json.dumps(value, default=str)) for name, value in flatten(config)]
    table = _table(("key", "value"), rows)
    return f"<details><summary>Every key and its value</summary>{table}</details>" if table else ""


def _facts(facts: Mapping[str, object]) -> str:
    """Short facts at the top of the page."""
    shown = {n: f"{f:,}" if isinstance(f, int) else str(f) for n, f in facts.items()}
    return "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(fact)}</dd></div>" for name, fact in shown.items()
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column names the rows; nothing for no row."""
    if not rows:
        return ""
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    lines = []
    for name, value, *rest in rows:
        cells = f'<th scope="row">{breakable(name)}</th><td class="number">{escape(value)}</td>'
        cells += "".join(f"<td>{escape(text)}</td>" for text in rest)
        lines.append(f"<tr>{cells}</tr>")
    body = "\n".join(lines)
    return (
        f'<div class="table"><table><thead><tr>{titles}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )
