"""Time and memory of what grows with the batch: the losses with their gradient, the assignments.

    python -m benchmarks.large_batch
    python -m benchmarks.large_batch --skip=large     only the triplet losses at usual batch sizes

Temporary memory is what the compiled program allocates beyond its inputs and outputs. The first table
runs every row in a process of its own, so that the peak resident memory is that of the row; with Python,
JAX and the inputs it starts from the first row's. The last column of the second table is what one array
with an entry per triple would take.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import median_seconds, seconds
from nvc_jax import Latent, nvc_loss
from nvc_jax.model import anchors, losses

MIB = 2**20
WEIGHTS = {"kl": 1.0, "triplet": 1.0, "gravity": 1.0, "pull": 1.0}
LOSSES: dict[str, Callable[..., Any]] = {
    "ratio": losses.triplet_ratio,
    "hinge, hard": partial(losses.triplet_hinge, margin=1.0, mining="hard"),
    "hinge, all": partial(losses.triplet_hinge, margin=1.0, mining="all"),
}


def all_terms(form: str, mean: jax.Array, table: jax.Array, assignment: jax.Array) -> Any:
    """Return a loss with all terms and its gradient in the latent's arrays and the anchors."""

    def loss(mean: jax.Array, logvar: jax.Array, sample: jax.Array, table: jax.Array) -> jax.Array:
        soft = jnp.zeros((0,), jnp.float32)  # no term reads it
        latent = Latent(mean, logvar, sample, sample, assignment, soft, table)
        return nvc_loss(jnp.sum(sample, axis=1), latent, table, WEIGHTS, triplet_form=form)[0]

    return jax.value_and_grad(loss, (0, 1, 2, 3))(mean, 0.1 * mean, mean + 0.1, table)


LARGE: dict[str, Callable[[jax.Array, jax.Array, jax.Array], Any]] = {
    "nothing, the inputs alone": lambda x, table, assignment: jnp.zeros(()),
    "`assign`": lambda x, table, assignment: anchors.assign(x, table),
    "`balanced_assign`": lambda x, table, assignment: anchors.balanced_assign(x, table),
    "`cluster_masses`": losses.cluster_masses,
    "`nvc_loss`, all terms, anchor triplet, with gradient": partial(all_terms, "anchor"),
    "`nvc_loss`, all terms, hard hinge, with gradient": partial(all_terms, "hinge"),
    "`nvc_loss`, all terms, ratio, with gradient": partial(all_terms, "ratio"),
}


def compile_for(
    function: Callable[..., Any], *inputs: jax.Array
) -> tuple[Callable[..., Any], float]:
    """Return the compiled function and its temporary memory in MiB."""
    compiled = jax.jit(function).lower(*inputs).compile()
    memory = compiled.memory_analysis()
    return compiled, memory.temp_size_in_bytes / MIB if memory else float("nan")


def measure_large(name: str, size: int, dim: int, num_anchors: int) -> tuple[float, float, float]:
    """Return temporary MiB, peak resident MiB of this process and seconds of one call."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((size, dim), dtype=np.float32))
    table = jnp.asarray(rng.standard_normal((num_anchors, dim), dtype=np.float32))
    assignment = jnp.asarray(rng.integers(num_anchors, size=size, dtype=np.int32))
    compiled, temporary = compile_for(LARGE[name], x, table, assignment)
    taken = seconds(partial(compiled, x, table, assignment))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return temporary, peak / (MIB if sys.platform == "darwin" else 1024), taken


def print_large(size: int, dim: int, num_anchors: int) -> None:
    """Print a row for each function at a large size."""
    whole = 4 * size * num_anchors / MIB
    print(
        f"B = {size}, D = {dim}, K = {num_anchors}, one call each; one float32 array [B, K] would "
        f"take {whole:,.0f} MiB.\n\n| function | temporary MiB | peak MiB | seconds |\n"
        "|---|---:|---:|---:|"
    )
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        for name in LARGE:
            measured = pool.submit(measure_large, name, size, dim, num_anchors).result()
            print(
                f"| {name} | {measured[0]:.0f} | {measured[1]:.0f} | {measured[2]:.2f} |",
                flush=True,
            )
    print()


def print_triplets(sizes: list[int], dim: int, num_labels: int, cubic: int, num_runs: int) -> None:
    """Print a row for each batch size with the triplet losses and their gradient."""
    rng = np.random.default_rng(0)
    print(
        f"D = {dim}, {num_labels} labels, medians of {num_runs} runs; time, then temporary memory.\n\n"
        f"| B | {' | '.join(LOSSES)} | B³ float32 |\n|---:|{'---:|' * (len(LOSSES) + 1)}"
    )
    for size in sizes:
        x = jnp.asarray(rng.standard_normal((size, dim), dtype=np.float32))
        labels = jnp.asarray(rng.integers(num_labels, size=size, dtype=np.int32))
        cells = []
        for name, loss in LOSSES.items():
            if name == "hinge, all" and size > cubic:
                cells.append("not run")
                continue
            step, temporary = compile_for(jax.value_and_grad(loss, has_aux=True), x, labels)
            (taken,) = median_seconds([partial(step, x, labels)], num_runs)
            cells.append(f"{1e3 * taken:.1f} ms, {temporary:.1f} MiB")
        print(f"| {size} | {' | '.join(cells)} | {4 * size**3 / MIB:,.0f} MiB |", flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--skip", choices=("large", "triplets"), help="the table to leave out")
    parser.add_argument(
        "--large", type=int, nargs=3, default=[65_536, 64, 1_024], metavar=tuple("BDK")
    )
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[256, 512, 1024, 2048, 4096])
    parser.add_argument("--latent_dim", type=int, default=32)
    parser.add_argument("--num_anchors", type=int, default=30)
    # Its time grows with B³: a minute a call at B = 4096.
    parser.add_argument("--largest_cubic", type=int, default=1024)
    parser.add_argument("--num_runs", type=int, default=5)
    options = parser.parse_args()
    print(f"Device: {jax.devices()[0].device_kind}.")
    if options.skip != "large":
        print_large(*options.large)
    if options.skip != "triplets":
        print_triplets(
            options.batch_sizes,
            options.latent_dim,
            options.num_anchors,
            options.largest_cubic,
            options.num_runs,
        )


if __name__ == "__main__":
    main()
