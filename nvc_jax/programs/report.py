"""Puts several runs side by side in a page that opens offline: nvc-report runs/*

It has their metrics, their curves over each other, and how their configs differ. One run has a page of its own by
nvc-eval --report.
"""

import functools
import sys
from pathlib import Path

from nvc_jax.core.errors import UserError
from nvc_jax.programs import cli


def main(arguments: list[str]) -> int:
    """Parses the flags and writes the page; returns the exit code."""
    parser = cli.bare_parser(__doc__)
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="directories of runs")
    parser.add_argument(
        "--out", type=Path, default=Path("runs.html"), help="page to write (default runs.html)"
    )
    flags = parser.parse_args(arguments)
    if flags.out.suffix != ".html":
        raise UserError(f"--out={flags.out}: give a file named *.html.")

    from nvc_jax.evaluation.comparison import compare_runs

    folders = [run for run in flags.runs if not run.is_file()]  # runs/* may have files
    print(f"Page to look at: {compare_runs(folders, flags.out)}")
    return 0


run = functools.partial(cli.run, main)

if __name__ == "__main__":
    sys.exit(run())
