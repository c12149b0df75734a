"""What every term of the loss costs, value and gradient, as batch, anchors or dimensions grow.

`python -m benchmarks.study cost` runs it. Each of B, K and D is varied while the other two stay. An exponent
is the slope of log(time) over log(size), by least squares; memory is what the compiled function allocates
beyond its inputs and outputs; everything is measured on random numbers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import median_seconds
from nvc_jax import Latent, nvc_loss
from nvc_jax.model.anchors import assign, balanced_assign

MIB = 2**20
BASE = {"B": 1024, "K": 32, "D": 32}
SIZES = {"B": (256, 1024, 4096, 16_384), "K": (8, 32, 128, 512), "D": (8, 32, 128, 512)}
ROUNDS = 9

TERMS: dict[str, dict[str, Any]] = {
    "KL from anchors": {"terms": ("kl",)},
    "triplet, anchor": {"terms": ("triplet",), "triplet_form": "anchor"},
    "triplet, ratio": {"terms": ("triplet",), "triplet_form": "ratio"},
    "triplet, hinge (hard)": {"terms": ("triplet",), "triplet_form": "hinge"},
    "gravity": {"terms": ("gravity",)},
    "pull": {"terms": ("pull",)},
}
"""Options of `nvc_loss` for one term alone."""


class Cost(NamedTuple):
    """Seconds of one call (median), seconds of compiling, temporary bytes."""

    run: float
    compile: float
    memory: int


def inputs(batch: int, anchors: int, dim: int) -> tuple[jax.Array, jax.Array]:
    """Random means `[B, D]` and anchors `[K, D]`."""
    rng = np.random.default_rng(0)
    shapes = ((batch, dim), (anchors, dim))
    mean, table = (jnp.asarray(rng.standard_normal(s, np.float32)) for s in shapes)
    return mean, table


def functions() -> dict[str, Callable[[jax.Array, jax.Array], Any]]:
    """By name: value and gradient of every term, and both assignments."""

    def of_term(options: dict[str, Any]) -> Callable[[jax.Array, jax.Array], Any]:
        weights = dict.fromkeys(options["terms"], 1.0)

        def loss(mean: jax.Array, table: jax.Array) -> jax.Array:
            soft = jnp.zeros((0,), jnp.float32)  # no term reads it
            latent = Latent(mean, 0.1 * mean, mean, mean, assign(mean, table), soft, table)
            nothing = jnp.zeros(mean.shape[0], jnp.float32)
            return nvc_loss(nothing, latent, table, weights, **options)[0]

        return jax.value_and_grad(loss, (0, 1))

    found = {name: of_term(options) for name, options in TERMS.items()}
    return {**found, "nearest anchor": assign, "equal shares": balanced_assign}


def measure(function: Callable[..., Any], arrays: tuple[jax.Array, ...]) -> Cost:
    """Compiles and times one function."""
    began = time.perf_counter()
    compiled = jax.jit(function).lower(*arrays).compile()
    seconds = time.perf_counter() - began
    analysis: Any = compiled.memory_analysis()
    (run,) = median_seconds([lambda: compiled(*arrays)], ROUNDS)
    return Cost(run, seconds, analysis.temp_size_in_bytes)


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Slope of log(value) over log(size), by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def rows_of(letter: str) -> list[str]:
    """Lines of a Markdown table in which one size grows."""
    others = ", ".join(f"{name} = {size}" for name, size in BASE.items() if name != letter)
    head = [f"{letter} = {size:,}" for size in SIZES[letter]]
    lines = [
        f"## {letter} grows ({others})",
        "",
        f"| ms (MiB) | {' | '.join(head)} | exponent | s to compile |",
        "|---" * (3 + len(head)) + "|",
    ]
    for name, function in functions().items():
        costs = [
            measure(function, inputs(*{**BASE, letter: size}.values())) for size in SIZES[letter]
        ]
        cells = [f"{1e3 * cost.run:.2f} ({cost.memory / MIB:.1f})" for cost in costs]
        slope = exponent(SIZES[letter], [cost.run for cost in costs])
        slowest = max(cost.compile for cost in costs)
        lines.append(f"| {name} | {' | '.join(cells)} | {slope:.2f} | {slowest:.1f} |")
        print(lines[-1], flush=True)
    return [*lines, ""]


def main(docs: Path) -> int:
    """Measures everything and writes the page."""
    lines = [
        "# What does every term cost?",
        "",
        f"Value and gradient, medians of {ROUNDS}, on {jax.devices()[0].device_kind} ({os.cpu_count()} cores in the "
        "machine); random numbers. "
        "Memory is temporary: beyond inputs and outputs. Exponents are pulled down by what a call costs at any size.",
        "",
        "    python -m benchmarks.study cost",
        "",
    ]
    for letter in SIZES:
        lines += rows_of(letter)
    docs.mkdir(parents=True, exist_ok=True)
    (docs / "cost.md").write_text("\n".join(lines))
    return 0
