"""How long an exported encoder takes for one example and for a thousand, and how large its file is.

    python -m benchmarks.serving NAME=FOLDER [NAME=FOLDER ...]

Each folder is what `nvc-export --format=onnx` or `NebulaClustering.export` wrote. onnxruntime computes on the processor with
its own choice of threads; examples are random numbers, and times are medians. Every folder is a line of
docs/tables/serving.csv, by its name.
"""

import os
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.print import TABLES, line_of
from benchmarks.table import Rows, key_of
from nvc_jax.core.extras import require
from nvc_jax.programs import cli

SIZES = (1, 1000)
TYPES = {"tensor(uint8)": "u1", "tensor(float)": "f4", "tensor(double)": "f8"}
COLUMNS = ("megabytes", *(f"ms_{size}" for size in SIZES))
LEAST_SECONDS, LEAST_ROUNDS = 3.0, 9
"""Of every median: it is over by the later of the two."""


def median_ms(session: Any, feed: Mapping[str, np.ndarray]) -> float:
    """Milliseconds of one call."""
    session.run(None, feed)
    times: list[float] = []
    while sum(times) < LEAST_SECONDS or len(times) < LEAST_ROUNDS:
        began = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times)


def measure(encoder: Path) -> dict[str, float]:
    """The measures of a file."""
    runtime = require("onnxruntime", extra="dev", what="The time of an exported model")
    session = runtime.InferenceSession(encoder, providers=["CPUExecutionProvider"])
    rng, found = np.random.default_rng(0), {"megabytes": encoder.stat().st_size / 1e6}
    for size in SIZES:
        feed = {
            item.name: rng.integers(0, 2, (size, *item.shape[1:])).astype(TYPES[item.type])
            for item in session.get_inputs()
        }
        found[f"ms_{size}"] = median_ms(session, feed)
    return found


def main(arguments: list[str]) -> int:
    """Measures, prints and keeps a line for every folder; returns the exit code."""
    parser = cli.bare_parser(__doc__)
    parser.add_argument("folders", nargs="+", metavar="NAME=FOLDER", help="an exported model")
    parser.add_argument("--rows", type=Path, default=TABLES, help="folder of the CSV file")
    flags = parser.parse_args(arguments)
    rows = Rows(flags.rows / "serving.csv", COLUMNS)
    for text in flags.folders:
        name, _, folder = text.partition("=")
        cells = measure(Path(folder) / "encoder.onnx")
        note = f"{os.cpu_count()} cores in the machine"
        rows.add({"method": name, **key_of(), "source": "measured", "note": note, **cells})
        print(line_of([name, *(f"{cells[column]:.2f}" for column in COLUMNS)]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
