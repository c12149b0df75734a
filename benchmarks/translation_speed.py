"""Speed of translation: training against the machine's matrix products, decoding with and without a cache.

    python -m benchmarks.translation_speed

Tokens are random and so are the weights, so that no sentence ends early: only time is measured. Network
and latent are those of configs/translation.py. Times are medians taken in turns within this run.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from benchmarks.gemm import Product, product_functions
from benchmarks.timing import median_seconds
from nvc_jax.config import load_config
from nvc_jax.data.text.vocabulary import BEGIN_ID, END_ID
from nvc_jax.model.autoencoder import make_bottleneck
from nvc_jax.networks.decoding import beam_search, greedy
from nvc_jax.networks.transformer import make_transformer
from nvc_jax.tasks.translation import TranslationModel

Decoder = Callable[[], jax.Array]


def transformer_products(
    options: ml_collections.ConfigDict, vocab_size: int, source: int, target: int
) -> list[Product]:
    """The matrix products of one training step with weights, those within attention left out.

    Args:
      options: `config.model`.
      vocab_size: V.
      source: source tokens of the batch, padding included.
      target: target tokens.

    Returns:
      (m, k, n) of each [m, k] @ [k, n]: forward, gradient of the weights, gradient of the input.
    """
    width, inner = options.width, options.feedforward
    feedforward = [(width, inner), (inner, width)]
    square = [(width, width)]
    layers = [(source, *s) for s in (4 * square + feedforward) * options.encoder_layers]
    layers += [(target, *s) for s in (6 * square + feedforward) * options.decoder_layers]
    layers += [(source, *s) for s in 2 * square * options.decoder_layers]  # keys and values
    layers.append((target, width, vocab_size))
    return [p for m, k, n in layers for p in ((m, k, n), (k, m, n), (m, n, k))]


def random_batch(vocab_size: int, size: int, source: int, target: int) -> dict[str, np.ndarray]:
    """Sentences of random tokens without padding."""
    rng = np.random.default_rng(0)
    shapes = {"source": (size, source), "target": (size, target)}
    return {name: rng.integers(END_ID + 1, vocab_size, s, np.int32) for name, s in shapes.items()}


def make_model(config: ml_collections.ConfigDict) -> TranslationModel:
    """The model of a config, for `data.vocab_size` tokens."""
    transformer = make_transformer(config.model, config.data.vocab_size)
    return TranslationModel(transformer, make_bottleneck(config), config.model.latent)


def training_step(
    model: TranslationModel, params: Any, batch: dict[str, np.ndarray]
) -> Callable[[], Any]:
    """A function that makes loss and gradient of a batch, without the optimizer's update."""
    from nvc_jax.metrics.token_loss import cross_entropy

    def loss(params: Any, batch: Any) -> jax.Array:
        noise = {"noise": jax.random.key(0)}
        outputs: Any = model.apply(params, batch, train=True, rngs=noise)
        sums = cross_entropy(outputs.output, batch["target"], smoothing=0.1)
        return jnp.sum(sums.loss) / jnp.sum(sums.tokens)

    return partial(jax.jit(jax.value_and_grad(loss)), params, batch)


def decoders(
    model: TranslationModel, params: Any, batch: dict[str, np.ndarray], length: int
) -> dict[str, Decoder]:
    """Ways to decode a batch to sentences of `length` tokens, by name."""
    size = batch["source"].shape[0]

    def cached(batch: Any, beams: int) -> jax.Array:
        context, cache = model.apply(params, batch, length, method="start")

        def step(cache: Any, tokens: jax.Array, index: jax.Array) -> Any:
            return model.apply(params, context, cache, tokens, index, method="step")

        if beams == 1:
            return greedy(step, cache, size, max_length=length)
        return beam_search(step, cache, size, beam_size=beams, alpha=0.6, max_length=length)[0]

    def again(batch: Any) -> jax.Array:
        def step(ids: jax.Array, tokens: jax.Array, index: jax.Array) -> Any:
            del tokens  # they are in `ids` already
            outputs: Any = model.apply(params, {**batch, "target": ids}, train=False)
            logits = outputs.output[:, index]
            best = jnp.argmax(logits.at[:, 0].set(-jnp.inf), axis=-1).astype(jnp.int32)
            return logits, ids.at[:, index].set(best)

        return greedy(step, jnp.full((size, length), BEGIN_ID, jnp.int32), size, max_length=length)

    found: dict[str, Decoder] = {"greedy, all positions anew": partial(jax.jit(again), batch)}
    for beams in (1, 4):
        name = "greedy, cached" if beams == 1 else f"beam {beams}, cached"
        found[name] = partial(jax.jit(partial(cached, beams=beams)), batch)
    return found


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--length", type=int, default=24, help="tokens of every sentence")
    parser.add_argument("--num_rounds", type=int, default=5)
    options = parser.parse_args()
    config = load_config("translation")
    vocab_size, size, length = config.data.vocab_size, options.batch_size, options.length
    batch = random_batch(vocab_size, size, length, length)
    model = make_model(config)
    params = jax.jit(partial(model.init, train=False))(jax.random.key(0), batch)
    tokens = size * length
    products = transformer_products(config.model, vocab_size, tokens, tokens)
    timed = [training_step(model, params, batch), *product_functions(products)]
    step, *alone = median_seconds(timed, options.num_rounds)
    rate = sum(2 * m * k * n for m, k, n in products) / 1e9
    print(
        f"Device: {jax.devices()[0].device_kind}. B = {size}, {length} tokens; medians of {options.num_rounds}.\n"
    )
    print("| training | s | target tokens/s | GFLOP/s |\n|---|---:|---:|---:|")
    print(f"| loss and gradient | {step:.3f} | {tokens / step:.0f} | {rate / step:.0f} |")
    print(f"| its matrix products alone | {sum(alone):.3f} | | {rate / sum(alone):.0f} |")
    print(f"\nShare of the products' rate: {sum(alone) / step:.2f}.\n")
    print("| decoding | sentences/s |\n|---|---:|")
    ways = decoders(model, params, batch, length)
    for name, seconds in zip(ways, median_seconds(list(ways.values()), 3), strict=True):
        print(f"| {name} | {size / seconds:.0f} |")


if __name__ == "__main__":
    main()
