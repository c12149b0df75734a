"""Tables of README and docs are what their rows give."""

import pytest

from benchmarks import print as printing
from benchmarks.print import Layout, cells_of, layouts, placed, render, shown
from benchmarks.table import Rows, key_of
from tests.refusals import refused

LAYOUTS = layouts()


def test_tables_equal_what_is_printed():
    assert len(LAYOUTS) > 30
    for page in dict.fromkeys(layout.page for layout in LAYOUTS):
        lines = page.read_text().splitlines()
        for layout, place in placed(page, [layout for layout in LAYOUTS if layout.page == page]):
            there = [cells_of(lines[i]) for i in place]
            assert there == [cells_of(line) for line in render(layout)], layout.name


def test_every_table_with_a_spread_has_rows():
    for page in [printing.ROOT / "README.md", *sorted((printing.ROOT / "docs").rglob("*.md"))]:
        lines = page.read_text().splitlines()
        known = [p for _, p in placed(page, [layout for layout in LAYOUTS if layout.page == page])]
        for place in printing.tables_of(lines):
            if any(" ± " in lines[i] for i in place):
                assert place in known, f"{page.name}, line {place[0] + 1} has no rows"


def row(seed, value):
    return {"method": "a", "seed": seed, "nmi": value}


def test_cells():
    runs = [row("1", "0.5"), row("2", "0.7"), row("mean of 1, 2", "0.9")]
    assert shown("g", "nmi", runs) == "0.6 ± 0.14"  # of the sample
    assert shown(".3f", "nmi", runs) == "0.600 ± 0.141" and shown(".3f!", "nmi", runs) == "0.600"
    equal = [row(seed, "0.4") for seed in "123"]  # whose mean is not 0.4 in floating point
    assert shown("g", "nmi", equal) == "0.4 ± 0"
    assert shown("g", "nmi", [row("1", "0.123456")]) == "0.1235"
    assert shown(".3f", "nmi", [row("1", "0.5"), row("2", "")]) == ""  # not defined for a seed
    published = [row("mean of 1, 2", "0.5"), row("sd of 1, 2", "0.01")]
    assert shown(".2f", "nmi", published) == "0.50 ± 0.01"
    assert shown(".2f", "nmi", [row("mean of 1, 2", "7 or 8")]) == "7 or 8"
    minutes = [row("1", "60"), row("2", "120")]
    ways = ("min!", "range", "list", "list.1f")
    cells = ["1.5 min", "1 to 2 min", "60, 120", "60.0, 120.0"]
    assert [shown(how, "nmi", minutes) for how in ways] == cells


@pytest.fixture
def book(tmp_path):
    rows = Rows(tmp_path / "t.csv", ("nmi",))
    for method, value in (("x: one", 0.25), ("x: two", 0.5), ("y: one", 0.75)):
        rows.add({"method": method, "seed": 0, "source": "measured", **key_of(), "nmi": value})
    lines = ["| data | NMI {nmi .2f} | of |", "|---|---:|---|", "| {x: *} | {} | {*} |"]
    lines += ["| at last, {y: one: nmi .1f} {y: one} | *{}* | {x: two: nmi .0%!} |"]
    return Layout("t", tmp_path / "page.md", tmp_path / "t.csv", lines)


def test_references(book):
    assert render(book) == [
        "| data | NMI | of |",
        "|---|---:|---|",
        "| x | 0.25 | one |",
        "| x | 0.50 | two |",
        "| at last, 0.8 | *0.75* | 50% |",
    ]
    refused("no rows of 'z'", render, book._replace(lines=[*book.lines, "| z | {} | |"]))


def test_tables_are_written_into_their_pages(book):
    book.page.write_text(
        "# A\n\n| b |\n|---|\n\n| data | NMI | of |\n|---|---|---|\n| old | 1 | |\n\nEnd.\n"
    )
    printing.write(book.page, [book])
    text = book.page.read_text()
    assert text.startswith("# A\n\n| b |") and text.endswith("| 50% |\n\nEnd.\n")
    assert "old" not in text
    book.page.write_text("# A\n")
    refused("no table", printing.write, book.page, [book])


def test_older_rows_are_told(book):
    assert "older" not in printing.provenance(book)[0]
    Rows(book.rows).add({"method": "z", "seed": 0, "source": "measured", "code": "48799c7"})
    first, second = printing.provenance(book)
    assert first.startswith("3 rows") and "48799c7" in second and "an older version" in second


def test_the_program_lists_and_prints(capsys):
    assert printing.main([]) == 0
    assert "README.md" in capsys.readouterr().out
    assert printing.main(["mnist"]) == 0
    assert "| VAE | k-means on means |" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        printing.main(["nothing"])
