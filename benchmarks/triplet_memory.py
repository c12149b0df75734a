"""Time and memory of the triplet losses, with gradient, against the batch size.

    python -m benchmarks.triplet_memory

Memory is what the compiled program allocates beyond its inputs and outputs. The last column is what one
array with an entry per triple would take.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import median_seconds
from nvc_jax import losses

Loss = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
LOSSES: dict[str, Loss] = {
    "ratio": losses.triplet_ratio,
    "hinge, hard": partial(losses.triplet_hinge, margin=1.0, mining="hard"),
    "hinge, all": partial(losses.triplet_hinge, margin=1.0, mining="all"),
}
MIB = 2**20


def measure(loss: Loss, x: jax.Array, labels: jax.Array, num_runs: int) -> tuple[float, float]:
    """Return the median seconds and the temporary MiB of a loss with its gradient in x."""
    step = jax.jit(jax.value_and_grad(loss, has_aux=True))
    compiled = step.lower(x, labels).compile()
    (seconds,) = median_seconds([partial(compiled, x, labels)], num_runs)
    memory = compiled.memory_analysis()
    return seconds, memory.temp_size_in_bytes / MIB if memory else float("nan")


def main() -> None:
    """Print a row for each batch size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[256, 512, 1024, 2048, 4096])
    parser.add_argument("--latent_dim", type=int, default=32)
    parser.add_argument("--num_anchors", type=int, default=30)
    # Its time grows with B³: a minute a call at B = 4096.
    parser.add_argument("--largest_cubic", type=int, default=1024)
    parser.add_argument("--num_runs", type=int, default=5)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    print(
        f"Device: {jax.devices()[0].device_kind}. D = {options.latent_dim}, {options.num_anchors} "
        f"labels, medians of {options.num_runs} runs; time, then temporary memory.\n"
    )
    print(f"| B | {' | '.join(LOSSES)} | B³ float32 |")
    print("|---:|" + "---:|" * (len(LOSSES) + 1))
    for size in options.batch_sizes:
        x = jnp.asarray(rng.standard_normal((size, options.latent_dim), dtype=np.float32))
        labels = jnp.asarray(rng.integers(options.num_anchors, size=size, dtype=np.int32))
        cells = []
        for name, loss in LOSSES.items():
            if name == "hinge, all" and size > options.largest_cubic:
                cells.append("not run")
                continue
            seconds, memory = measure(loss, x, labels, options.num_runs)
            cells.append(f"{1e3 * seconds:.1f} ms, {memory:.1f} MiB")
        cube = f"{4 * size**3 / MIB:,.0f} MiB"
        print(f"| {size} | {' | '.join(cells)} | {cube} |", flush=True)


if __name__ == "__main__":
    main()
