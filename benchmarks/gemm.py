"""How fast this machine multiplies matrices of the shapes in one training step of the MLP.

    python -m benchmarks.gemm --batch_size=256 --widths 784 512 256 128 32

The sum is the least that a step with these layers can take here, if its products run one after another.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import median_seconds

Product = tuple[int, int, int]
WIDTHS = (784, 512, 256, 128, 32)


def step_products(batch_size: int, widths: Sequence[int]) -> list[Product]:
    """List the matrix products of one training step of an MLP with two heads and a mirrored decoder.

    Each dense layer in -> out takes three: forward [B, in] @ [in, out], weight gradient [in, B] @ [B, out]
    and input gradient [B, out] @ [out, in]. The first layer needs no input gradient.

    Args:
      batch_size: B.
      widths: pixels, hidden widths of the encoder, latent_dim D. The heads count as one layer of width
        2D, and the decoder goes from D back to the pixels.

    Returns:
      (m, k, n) of each [m, k] @ [k, n]: forward products first, then backward in reverse order.
    """
    *hidden, latent_dim = widths
    encoder = [*hidden, 2 * latent_dim]
    decoder = [latent_dim, *reversed(hidden)]
    layers = [*pairwise(encoder), *pairwise(decoder)]
    products = [(batch_size, fan_in, fan_out) for fan_in, fan_out in layers]
    for index, (fan_in, fan_out) in reversed(list(enumerate(layers))):
        products.append((fan_in, batch_size, fan_out))
        if index > 0:
            products.append((batch_size, fan_out, fan_in))
    return products


def product_functions(products: Sequence[Product]) -> list[Callable[[], jax.Array]]:
    """Return a jitted float32 product of fixed random matrices for each shape."""
    rng = np.random.default_rng(0)
    dot = jax.jit(jnp.dot)

    def matrix(*shape: int) -> jax.Array:
        return jnp.asarray(rng.standard_normal(shape, dtype=np.float32))

    return [partial(dot, matrix(m, k), matrix(k, n)) for m, k, n in products]


def time_products(products: Sequence[Product], num_rounds: int = 30) -> list[float]:
    """Time each product by itself.

    Args:
      products: (m, k, n) of each, as `step_products` lists them.
      num_rounds: times that the whole list is run.

    Returns:
      Median seconds of each product.
    """
    return median_seconds(product_functions(products), num_rounds)


def main() -> None:
    """Print the time and rate of every product, and their total."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--num_rounds", type=int, default=30)
    options = parser.parse_args()
    products = step_products(options.batch_size, options.widths)
    times = time_products(products, options.num_rounds)
    operations = [2 * m * k * n for m, k, n in products]
    print(f"Device: {jax.devices()[0].device_kind}. Medians of {options.num_rounds} runs.\n")
    print("| product | ms | GFLOP/s |")
    print("|---|---:|---:|")
    for (m, k, n), time, count in zip(products, times, operations, strict=True):
        print(f"| {m},{k} @ {k},{n} | {1e3 * time:.3f} | {count / time / 1e9:.0f} |")
    total = sum(times)
    rate = sum(operations) / total / 1e9
    print(f"| **all {len(products)}** | **{1e3 * total:.2f}** | **{rate:.0f}** |")


if __name__ == "__main__":
    main()
