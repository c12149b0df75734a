"""Time and memory of the Chamfer distance with its gradient.

    python -m benchmarks.chamfer
    python -m benchmarks.chamfer --sizes 32x16384 --num_runs=0     memory only: nothing is run

Temporary memory is what the compiled program allocates beyond its inputs and outputs. The last column is
what one array with all pairs of points would take.
"""

from __future__ import annotations

import argparse
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import median_seconds
from nvc_jax.metrics.chamfer import CHAMFER, chamfer_distance

MIB = 2**20


def measure(batch: int, points: int, variant: str, num_runs: int) -> tuple[float, float]:
    """Return temporary MiB, and median seconds of a call: NaN without runs."""

    def total(x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.mean(chamfer_distance(x, y, variant=variant))

    shape = (batch, points, 3)
    shapes = (jax.ShapeDtypeStruct(shape, jnp.float32),) * 2
    compiled = jax.jit(jax.value_and_grad(total, (0, 1))).lower(*shapes).compile()
    memory = compiled.memory_analysis()
    temporary = memory.temp_size_in_bytes / MIB if memory else float("nan")
    if not num_runs:
        return temporary, float("nan")
    rng = np.random.default_rng(0)
    x, y = (jnp.asarray(rng.standard_normal(shape, dtype=np.float32)) for _ in range(2))
    (taken,) = median_seconds([partial(compiled, x, y)], num_runs)
    return temporary, taken


def batch_and_points(text: str) -> tuple[int, int]:
    """`32x2048` → (32, 2048)."""
    batch, points = text.split("x")
    return int(batch), int(points)


def main() -> None:
    """Print a row for each size and variant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    sizes = [(8, 512), (8, 1024), (8, 2048)]
    parser.add_argument(
        "--sizes", type=batch_and_points, nargs="+", default=sizes, metavar="BATCHxPOINTS"
    )
    parser.add_argument("--num_runs", type=int, default=5)
    options = parser.parse_args()
    print(
        f"Device: {jax.devices()[0].device_kind}. Medians of {options.num_runs} runs.\n\n"
        "| B | N = M | variant | temporary MiB | ms | all pairs MiB |\n|---:|---:|---|---:|---:|---:|"
    )
    for batch, points in options.sizes:
        for variant in CHAMFER:
            temporary, taken = measure(batch, points, variant, options.num_runs)
            print(
                f"| {batch} | {points:,} | {variant} | {temporary:.1f} | {1e3 * taken:.1f} "
                f"| {4 * batch * points**2 / MIB:,.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
