"""What one accelerator does with this library, in a few minutes and one table; scripts/gpu_check.sh runs it.

    scripts/gpu_check.sh --mnist=FOLDER_WITH_THE_FOUR_FILES
    scripts/gpu_check.sh --tiny                                  everything as small as it gets, on a CPU

Rows: the matrix products of the device; a step of VAE and NVC of configs/mnist.py, and of three recipes for published data
sets in bfloat16 on made-up examples, with the share of the device's peak in bfloat16 by XLA's count of operations and the memory a
step takes beside its inputs; a first step with an empty and with a filled cache of compiled functions; MNIST to its final
accuracy. A part that fails is told in its row, and one that would begin too late is left out: the others count.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from benchmarks import real_size
from benchmarks.grid import HUNGARIAN, METHODS
from benchmarks.print import line_of
from benchmarks.speed import median_seconds, random_images, start
from nvc_jax.config import changed, load_config
from nvc_jax.core.errors import UserError
from nvc_jax.data import Source
from nvc_jax.evaluation import evaluate
from nvc_jax.programs import cli
from nvc_jax.tasks import Learned
from nvc_jax.training.loop import train

TIMED = ("published:shapenet", "published:scannet", "translation:iwslt14")
COLUMNS = ("what", "ms", "TFLOP/s", "share of bfloat16 peak", "memory, MiB", "first step, s")
PEAKS = {
    "H200": 989.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "A10G": 70.0,
    "T4": 65.0,
}
"""Dense products of bfloat16 (T4: float16), TFLOP/s, by a part of the device's name; as NVIDIA publishes them."""

Cells = dict[str, str]


def peak_of(device_kind: str) -> float:
    """The published peak of a device in TFLOP/s; NaN where it is not known."""
    return next((peak for name, peak in PEAKS.items() if name in device_kind), float("nan"))


def time_product(side: int, dtype: str, rounds: int) -> tuple[float, float]:
    """Seconds of a product of two square matrices, and its rate in TFLOP/s."""
    x = jnp.ones((side, side), dtype)
    product = jax.jit(lambda a, b: a @ b)
    (taken,) = median_seconds([partial(product, x, x)], rounds)
    return taken, 2 * side**3 / taken / 1e12


class Check:
    """The parts of the check, each of which gives rows.

    Args:
      tiny: whether everything is as small as it gets.
      mnist: folder of MNIST's four files; "": that part is left out.
    """

    def __init__(self, tiny: bool, mnist: str):
        self._tiny, self._mnist = tiny, mnist
        self._rounds = 2 if tiny else 20
        self._peak = peak_of(jax.devices()[0].device_kind)

    def parts(self) -> Iterator[tuple[str, Callable[[], Iterator[Cells]]]]:
        """(name, what gives its rows) of every part."""
        yield "matrix products", self._products
        for batch_size in (8,) if self._tiny else (512, 4096):
            yield f"steps of mnist, {batch_size} examples", partial(self._steps, batch_size)
        for name in ("published:nyu",) if self._tiny else TIMED:
            yield f"{name}, bfloat16", partial(self._real_size, name)
        yield "first step of a process", self._startup
        yield "MNIST", self._accuracy

    def _products(self) -> Iterator[Cells]:
        for dtype in ("float32", "bfloat16"):
            side = 64 if self._tiny else 8192
            taken, rate = time_product(side, dtype, self._rounds)
            yield self._row(f"product of {side} x {side}, {dtype}", taken, rate * taken * 1e12)

    def _steps(self, batch_size: int) -> Iterator[Cells]:
        source = random_images(batch_size)
        config = changed(
            load_config("mnist"), {"train.batch_size": batch_size, "anchors.init": "normal"}
        )
        if self._tiny:
            config = changed(config, {"model.hidden": (8,)})
        for name in ("vae", "nvc"):
            what = f"{name.upper()} of configs/mnist.py, {batch_size} examples, float32"
            yield self._step_row(what, changed(config, METHODS[name]), source, {})

    def _real_size(self, name: str) -> Iterator[Cells]:
        config = real_size.recipe(name, 2 if self._tiny else 0)
        if self._tiny:
            config = changed(config, TINY)
        config = changed(config, {"anchors.init": "normal"})
        what = f"{name}, {config.train.batch_size} examples, {config.model.dtype}"
        yield self._step_row(what, config, *real_size.made_up(config))

    def _step_row(
        self, what: str, config: ml_collections.ConfigDict, source: Source, learned: Learned
    ) -> Cells:
        step = real_size.first_step(config, source, learned)
        (taken,) = median_seconds([step.take], self._rounds)
        row = self._row(what, taken, step.flops)
        return {**row, "memory, MiB": f"{step.mib:,.0f}", "first step, s": f"{step.seconds:.1f}"}

    def _row(self, what: str, taken: float, flops: float) -> Cells:
        rate = flops / taken / 1e12
        share = "unknown" if np.isnan(self._peak) else f"{rate / self._peak:.3f}"
        return {
            "what": what,
            "ms": f"{1e3 * taken:.3g}",
            "TFLOP/s": f"{rate:.3g}",
            "share of bfloat16 peak": share,
        }

    def _startup(self) -> Iterator[Cells]:
        flags = ["--config.train.eval_every=0", "--config.eval.tsne_examples=0"]
        with tempfile.TemporaryDirectory() as cache:
            for cold in ("empty",) if self._tiny else ("empty", "filled"):
                taken = start([f"--compilation_cache={cache}", *flags])
                what = f"train.py --config=digits to its first step, {cold} cache"
                yield {"what": what, "first step, s": f"{taken:.1f}"}

    def _accuracy(self) -> Iterator[Cells]:
        if not self._mnist:
            yield {"what": "MNIST: left out, as --mnist names no folder of its four files"}
            return
        config = changed(load_config("mnist"), {"data.dir": self._mnist})
        if self._tiny:
            config = changed(
                config, {"train.num_steps": 4, "anchors.max_examples": 100, **SMALL_EVALUATION}
            )
        with tempfile.TemporaryDirectory() as directory:
            began = time.perf_counter()
            train(config, directory)
            trained = time.perf_counter() - began
            found = evaluate(directory, figures=False)["metrics"][HUNGARIAN]
        what = f"MNIST, {config.train.num_steps} steps in {trained:.0f} s: Hungarian accuracy {found:.3f}"
        yield {"what": what}


SMALL_EVALUATION = {
    "eval.tsne_examples": 0,
    "eval.max_train_examples": 100,
    "eval.kmeans_inputs": False,
}
TINY = {
    "data.image_size": (16, 16),
    "model.channels": (4, 4),
    "model.blocks": 1,
    "model.hidden": (8,),
    "model.decoder_hidden": (8,),
}
"""What `--tiny` changes in the recipe of hands, the only one that it times."""


def main(arguments: list[str]) -> int:
    """Prints the table, row by row; the exit code is 1 if a part failed."""
    parser = cli.bare_parser(__doc__)
    parser.add_argument("--mnist", default="", help="folder of MNIST's four files")
    parser.add_argument("--tiny", action="store_true", help="everything as small as it gets")
    parser.add_argument("--minutes", type=float, default=7.5, help="no part begins later")
    flags = parser.parse_args(arguments)
    if flags.mnist and not Path(flags.mnist).is_dir():
        raise UserError(f"--mnist={flags.mnist} is no folder: name that of MNIST's four files.")
    began, failed = time.perf_counter(), 0
    device = jax.devices()[0]
    print(
        f"Device: {device.device_kind} ({device.platform}), JAX {jax.__version__}, {os.cpu_count()} cores.\n"
    )
    print(f"{line_of(COLUMNS)}\n{'|---' * len(COLUMNS)}|")
    for name, rows in Check(flags.tiny, flags.mnist).parts():
        if time.perf_counter() - began > 60 * flags.minutes:
            print(line_of([f"{name}: left out, {flags.minutes:g} minutes are over"] + [""] * 5))
            continue
        try:
            for cells in rows():
                print(line_of([cells.get(column, "") for column in COLUMNS]), flush=True)
        except Exception as error:  # the other parts count all the same
            failed += 1
            told = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            print(line_of([f"{name}: failed, {told}".replace("|", "/")] + [""] * 5), flush=True)
    print(f"\n{time.perf_counter() - began:.0f} s in all.")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(cli.run(main))
