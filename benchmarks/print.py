"""Every table of README.md and docs/ from its rows, without training and without the data.

    python -m benchmarks.print                  lists the tables
    python -m benchmarks.print mnist hands      prints some, and what code their rows are of
    python -m benchmarks.print --write          puts all of them into their pages

Rows are CSV files in docs/tables/ and docs/studies/, see benchmarks/table.py; benchmarks/tables.md has the layouts.
Tables of studies show all that their rows have. ± is the sample standard deviation over seeds (n − 1).
"""

import re
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.table import Row, Rows, key_of
from nvc_jax.core.errors import UserError
from nvc_jax.programs import cli

ROOT = Path(__file__).resolve().parent.parent
TABLES, STUDIES = ROOT / "docs" / "tables", ROOT / "docs" / "studies"
REFERENCE = re.compile(r"\{([^{}]*)\}")


class Layout(NamedTuple):
    """A Markdown table with references to rows, see benchmarks/tables.md.

    Attributes:
      name: of the table.
      page: where it stands.
      rows: the file of its rows.
      lines: of Markdown.
    """

    name: str
    page: Path
    rows: Path
    lines: list[str]


def rows_file(name: str) -> Path:
    """The CSV file of that name beside the docs."""
    return next((p for p in (STUDIES / f"{name}.csv",) if p.is_file()), TABLES / f"{name}.csv")


def whole(rows: Path, page: Path, label: str = "method", how: str = "g") -> Layout:
    """The layout of all that a file has, a line for each method."""
    shown = (*Rows(rows).columns, "seconds")
    head = "".join(f" {name} {{{name} {how}}} |" for name in shown)
    lines = [
        f"| {label} |{head}",
        "|---" * (1 + len(shown)) + "|",
        "| {*} |" + " {} |" * len(shown),
    ]
    return Layout(rows.stem, page, rows, lines)


def layouts() -> list[Layout]:
    """Of every table, in the order in which they stand on their pages."""
    text = (Path(__file__).parent / "tables.md").read_text()
    found = []
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        head, *lines = part.splitlines()
        name, page, *others = re.split(r"[:,] ", head)
        rows = rows_file(others[0] if others else name)
        found.append(Layout(name, ROOT / page, rows, [line for line in lines if line[:1] == "|"]))
    pages = [path for path in sorted(STUDIES.glob("*.csv")) if path.with_suffix(".md").is_file()]
    return [*found, *(whole(path, path.with_suffix(".md"), "variant") for path in pages)]


def cells_of(line: str) -> list[str]:
    """The cells of a line of a Markdown table."""
    return [cell.strip() for cell in line.strip()[1:-1].split("|")]


def line_of(cells: Sequence[str]) -> str:
    """A line of a Markdown table."""
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in cells)


def head_of(layout: Layout) -> list[str]:
    """The cells of a table's head."""
    return [REFERENCE.sub("", cell).strip() for cell in cells_of(layout.lines[0])]


def render(layout: Layout) -> list[str]:
    """The lines of a table, its references replaced by what the rows have."""
    head, rule, *body = layout.lines
    measures = [(REFERENCE.findall(cell) or [""])[-1] for cell in cells_of(head)]
    lines = [line_of(head_of(layout)), rule]
    every = list(dict.fromkeys(row["method"] for row in Rows(layout.rows).all()))
    for first, *cells in map(cells_of, body):
        label, _, named = (
            first.removesuffix("}").rpartition("{") if first[-1:] == "}" else (first, "", first)
        )
        prefix = named.removesuffix("*")
        for method in [m for m in every if m.startswith(prefix)] if prefix != named else [named]:
            parts = iter(method.split(": ", sum(cell.endswith("*}") for cell in cells)))
            filled = [_fill(layout, method, label, "").strip() or next(parts)]
            for cell, measure in zip(cells, measures[1:], strict=True):
                starred = cell.endswith("*}")
                filled.append(next(parts) if starred else _fill(layout, method, cell, measure))
            lines.append(line_of(filled))
    return lines


def _fill(layout: Layout, method: str, cell: str, measure: str) -> str:
    """A cell with its references replaced; `measure` is what `{}` stands for."""
    words = re.split(REFERENCE, cell)  # text, reference, text …
    words[1::2] = [_look_up(layout, method, word or measure) for word in words[1::2]]
    return "".join(words)


def _look_up(layout: Layout, method: str, reference: str) -> str:
    """What `[[FILE/]METHOD: ]MEASURE FORMAT` stands for."""
    place, _, what = reference.rpartition(": ")
    file, slash, other = place.rpartition("/")
    rows = rows_file(file) if slash else layout.rows
    measure, _, how = what.partition(" ")
    chosen = [row for row in Rows(rows).all() if row["method"] == (other or method)]
    if not chosen:
        raise UserError(f"{rows} has no rows of {other or method!r}, which {layout.name} shows.")
    return shown(how, measure, chosen)


def shown(how: str, measure: str, rows: Sequence[Row]) -> str:
    """A measure of a method's rows as a cell.

    Args:
      how: a format of numbers such as `.3f`, `g` for four digits and two of the spread, each with `!` where
        no spread is shown; `min` for the mean in minutes, `range` for the least and greatest; `list` for all values, `list.1f` with a format.
      measure: the column.
      rows: seeds' rows; where there are none, those of published means and standard deviations.
    """
    runs = [row for row in rows if row["seed"].isdigit()]
    means = [row for row in rows if not row["seed"].startswith("sd")]
    texts = [row[measure] for row in runs or means]
    if not all(map(_is_number, texts)):  # words; or nothing, where it is not defined
        return texts[0] if len(texts) == 1 else ""
    values = [float(text) for text in texts]
    if how.startswith("list"):
        return ", ".join(f"{value:{how[4:] or '.0f'}}" for value in values)
    if how == "range":
        return f"{min(values) / 60:.0f} to {max(values) / 60:.0f} min"
    if how.startswith("min"):
        return f"{statistics.fmean(values) / 60:.1f} min"
    middle = statistics.fmean(values)
    spec, spread_spec = (".4g", ".2g") if how.startswith("g") else (how.rstrip("!"),) * 2
    published = [row[measure] for row in rows if row["seed"].startswith("sd") and row[measure]]
    spread = None
    if len(values) > 1:
        spread = statistics.stdev(values) if max(values) > min(values) else 0.0
    elif published and not runs:
        spread = float(published[0])
    tail = "" if spread is None or how.endswith("!") else f" ± {spread:{spread_spec}}"
    return f"{middle:{spec}}{tail}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def provenance(layout: Layout, now: bool = True) -> list[str]:
    """A sentence for each version that the rows of a table are of; `now`: with whether it is the present one."""
    here = key_of()
    counts = Counter((row["source"], row["code"], row["jax"]) for row in Rows(layout.rows).all())
    return [
        f"{number} rows {source}: code {code or 'unknown'}, JAX {jax or 'unknown'}"
        + (", an older version" if now and (code, jax) != (here["code"], here["jax"]) else "")
        for (source, code, jax), number in counts.items()
    ]


def tables_of(lines: Sequence[str]) -> list[range]:
    """Where the tables of a page are."""
    marks = [i for i, line in enumerate(lines) if line.startswith("|")]
    starts = [i for i in marks if i - 1 not in marks]
    return [range(i, next(j for j in range(i, len(lines) + 1) if j not in marks)) for i in starts]


def placed(page: Path, every: Sequence[Layout]) -> list[tuple[Layout, range]]:
    """The layouts of a page, and where their tables stand: by their head, and the order on the page.

    Raises:
      UserError: where one is not found.
    """
    lines = page.read_text().splitlines()
    free, found = tables_of(lines), []
    for layout in every:
        head = head_of(layout)
        place = next((p for p in free if cells_of(lines[p[0]]) == head), None)
        if place is None:
            raise UserError(f"{page} has no table with the head {' | '.join(head)}.")
        free.remove(place)
        found.append((layout, place))
    return found


def write(page: Path, every: Sequence[Layout]) -> None:
    """Puts tables into their page."""
    lines = page.read_text().splitlines()
    for layout, place in sorted(placed(page, every), key=lambda found: -found[1][0]):
        lines[place[0] : place[-1] + 1] = render(layout)
    page.write_text("\n".join(lines) + "\n")


def main(arguments: list[str]) -> int:
    """Prints or writes tables, or lists them."""
    parser = cli.bare_parser(__doc__)
    every = layouts()
    names = [layout.name for layout in every]
    parser.add_argument("names", nargs="*", metavar="NAME", help="tables")
    parser.add_argument("--write", action="store_true", help="into their pages")
    flags = parser.parse_args(arguments)
    for name in set(flags.names) - set(names):
        parser.error(f"there is no table {name!r}: there are {', '.join(names)}")
    chosen = [layout for layout in every if layout.name in (flags.names or names)]
    if flags.write:
        for page in dict.fromkeys(layout.page for layout in chosen):
            write(page, [layout for layout in every if layout.page == page])
        return 0
    if not flags.names:
        print("\n".join(f"{x.name:24} {x.page.relative_to(ROOT)}" for x in every))
        return 0
    for layout in chosen:
        print("\n".join([*render(layout), "", *provenance(layout), ""]))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
