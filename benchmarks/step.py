"""Time of one training step: VAE and NVC on one network, the step's matrix products, and the loop.

    python -m benchmarks.step

Images are random numbers of MNIST's size: only time is measured. Every ratio is one of medians taken in
turns within this run.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import ml_collections
import numpy as np

from benchmarks.gemm import product_functions, step_products
from benchmarks.grid import ONE_ANCHOR
from benchmarks.timing import median_seconds
from nvc_jax.config import changed, load_config, make_config
from nvc_jax.data import ArraySource
from nvc_jax.training import parallel
from nvc_jax.training.experiment import init_state, make_experiment
from nvc_jax.training.loop import train
from nvc_jax.training.step import train_step

SHAPE = (28, 28, 1)


def random_images(number: int) -> ArraySource:
    """uint8 images of random pixels."""
    rng = np.random.default_rng(0)
    return ArraySource(rng.integers(0, 256, (number, *SHAPE), np.uint8))


def configs(batch_size: int, latent_dim: int, num_anchors: int) -> dict[str, Any]:
    """Configs to compare, all on the default MLP; the first is the VAE."""
    sizes = {
        "anchors.init": "normal",
        "train.batch_size": batch_size,
        "model.latent_dim": latent_dim,
        "model.num_anchors": num_anchors,
    }
    config = make_config({**sizes, "loss.likelihood": "binary_cross_entropy"})
    found = {"VAE": changed(config, ONE_ANCHOR)}
    for form in ("anchor", "ratio", "hinge"):
        found[f"NVC, {form} triplet"] = changed(config, {"loss.triplet_form": form})
    more = {"loss.gravity.value": 1.0, "loss.pull.value": 1.0}
    found["NVC, ratio triplet, gravity, pull"] = changed(found["NVC, ratio triplet"], more)
    found["NVC of configs/mnist.py, augmented"] = changed(load_config("mnist"), sizes)
    return found


def stepper(config: ml_collections.ConfigDict, source: ArraySource) -> Callable[[], Any]:
    """A function that takes one mapped step and returns its metrics."""
    experiment = make_experiment(config, source.spec, parallel.AXIS)
    step = parallel.map_step(partial(train_step, experiment=experiment), donate_state=True)
    batch = parallel.shard(source.gather(np.arange(config.train.batch_size)))
    holder = [parallel.replicate(init_state(experiment, config))]

    def take() -> Any:
        holder[0], metrics = step(holder[0], batch)
        return metrics

    return take


def loop_rate(config: ml_collections.ConfigDict, num_steps: int) -> float:
    """Steps per second of the whole loop, logs included, after the first step."""
    length = {"train.num_steps": num_steps, "train.eval_every": 0, "train.checkpoint_every": 0}
    config = changed(config, length)
    with tempfile.TemporaryDirectory() as directory:
        return train(config, directory, train_data=random_images(60_000)).steps_per_second


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--latent_dim", type=int, default=32)
    parser.add_argument("--num_anchors", type=int, default=30)
    parser.add_argument("--num_rounds", type=int, default=60)
    parser.add_argument("--loop_steps", type=int, default=1000)
    options = parser.parse_args()
    compared = configs(options.batch_size, options.latent_dim, options.num_anchors)
    source = random_images(options.batch_size)
    widths = (int(np.prod(SHAPE)), *compared["VAE"].model.hidden, options.latent_dim)
    products = product_functions(step_products(options.batch_size, widths))
    steps = [stepper(config, source) for config in compared.values()]
    seconds = median_seconds([*steps, *products], options.num_rounds)
    step_seconds, product_seconds = seconds[: len(steps)], sum(seconds[len(steps) :])
    print(
        f"Device: {jax.devices()[0].device_kind}. B = {options.batch_size}, "
        f"D = {options.latent_dim}, K = {options.num_anchors}; medians of {options.num_rounds}.\n"
    )
    print("| step | ms | / VAE | / matrix products |")
    print("|---|---:|---:|---:|")
    for name, value in zip(compared, step_seconds, strict=True):
        ratios = f"{value / step_seconds[0]:.3f} | {value / product_seconds:.3f}"
        print(f"| {name} | {1e3 * value:.2f} | {ratios} |")
    print(f"| {len(products)} products alone | {1e3 * product_seconds:.2f} | | 1 |\n")
    name = "NVC, anchor triplet"
    bare = stepper(compared[name], source)
    (before,) = median_seconds([bare], options.num_rounds)
    rate = loop_rate(compared[name], options.loop_steps)
    (after,) = median_seconds([bare], options.num_rounds)
    share = rate * (before + after) / 2
    print(
        f"Loop, {name}: {rate:.1f} steps/s over {options.loop_steps} steps, {share:.3f} of the bare step."
    )


if __name__ == "__main__":
    main()
