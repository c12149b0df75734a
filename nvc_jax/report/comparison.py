"""Several runs side by side: numbers, curves over each other, and how their configs differ."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import flatten
from nvc_jax.report.html import Section, page_html
from nvc_jax.report.palette import PALETTES
from nvc_jax.report.points import curves_of
from nvc_jax.report.solids import scenes_data

MISSING = "-"


class Run(NamedTuple):
    """What is compared of a run.

    Attributes:
      name: of the run, in every table and legend.
      metrics: name → value, None where it is undefined.
      records: of the training log: `step` and numbers.
      config: nested names → values.
      facts: short facts, such as the number of steps.
    """

    name: str
    metrics: Mapping[str, float | None]
    records: Sequence[Mapping[str, Any]]
    config: Mapping[str, Any]
    facts: Mapping[str, Any] = {}


def comparison_html(runs: Sequence[Run], title: str = "Runs side by side") -> str:
    """The page as text.

    Args:
      runs: two or more, of different names.
      title: of the page.

    Raises:
      UserError: for fewer, or names that are alike.
    """
    names = [run.name for run in runs]
    if len(set(names)) < max(len(names), 2):
        raise UserError(f"A comparison is of two or more runs of different names, got {names}.")
    curves = _curves(runs)
    data = {
        "points": None, "views": [], "curves": curves, "constant": {}, "events": {}, "turned": scenes_data({}), "palettes": PALETTES,
    }  # fmt: skip
    configs = [
        {key: json.dumps(value, default=str) for key, value in flatten(run.config)} for run in runs
    ]
    keys = dict.fromkeys(key for config in configs for key in config)
    changed = [key for key in keys if len({config.get(key) for config in configs}) > 1]
    measured = sorted({name for run in runs for name in run.metrics})
    facts = dict.fromkeys(name for run in runs for name in run.facts)
    places = "".join(
        f'<div class="curve" id="curve-{k}" role="img" aria-label="{escape(_spoken(panel))}"></div>'
        for k, panel in enumerate(curves)
    )
    sections = [
        Section("metrics", "Metrics", _table(names, {
            **{name: [run.facts.get(name) for run in runs] for name in facts},
            **{name: [run.metrics.get(name) for run in runs] for name in measured},
        })),
        Section("config", "How the configs differ", _table(names, {
            key: [config.get(key) for config in configs] for key in changed
        }) or '<p class="note">They do not.</p>'),
        Section("curves", "Training", f'<div class="curves">{places}</div>' if places else ""),
    ]  # fmt: skip
    return page_html(title, _summary(runs, changed), "", sections, data)


def _summary(runs: Sequence[Run], changed: Sequence[str]) -> str:
    """How many runs, in how many keys they differ, and which of them are not evaluated."""
    text = (
        f"{len(runs)} runs, whose configs differ in {len(changed)} key{'s' * (len(changed) != 1)}"
    )
    shown = f": {', '.join(changed[:6])}{', …' if len(changed) > 6 else ''}." if changed else "."
    open_runs = [run.name for run in runs if not run.metrics]
    warning = (
        f'<ul class="warnings"><li>Not evaluated yet, so without metrics: {escape(", ".join(open_runs))}.</li></ul>'
        if open_runs
        else ""
    )
    return f'<div class="summary"><p>{escape(text + shown)}</p>{warning}</div>'


def _curves(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A panel for every number that changes in some run, with a line for each run."""
    panels: dict[str, dict[str, Any]] = {}
    for run in runs:
        for panel in curves_of(run.records)[0]:
            for line in panel["lines"]:
                key = line["key"]
                found = panels.setdefault(
                    key, {"name": key, "logarithmic": panel["logarithmic"], "lines": []}
                )
                found["lines"].append({**line, "name": run.name})
    return list(panels.values())


def _spoken(panel: Mapping[str, Any]) -> str:
    """A panel in words."""
    ends = [f"{line['name']} ends at {line['y'][-1]:.4g}" for line in panel["lines"]]
    return f"Curves of {panel['name']}: {'; '.join(ends)}"


def _table(names: Sequence[str], rows: Mapping[str, Sequence[Any]]) -> str:
    """A table with a column for every run; nothing for no row."""
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in ("", *names))
    lines = []
    for name, values in rows.items():
        cells = "".join(f'<td class="number">{escape(_text(value))}</td>' for value in values)
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    return (
        '<div class="table" tabindex="0" role="group" aria-label="Runs side by side"><table class="runs">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _text(value: Any) -> str:
    """A cell."""
    if value is None:
        return MISSING
    return f"{value:.5g}" if isinstance(value, float) else str(value)
