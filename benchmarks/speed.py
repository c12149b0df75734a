"""How long things take on this machine, and how much memory.

    python -m benchmarks.speed step
    python -m benchmarks.speed chamfer --sizes 32x16384 --num_rounds=0     memory only: nothing is run
    python -m benchmarks.speed step --save                                 as rows of docs/tables/step.csv

Only time is measured: images, codes and tokens are random numbers. Times are medians, taken in turns within one run, so
that their ratios hold where the machine does other work. Temporary memory is what a compiled function allocates beyond
its inputs and outputs.
"""

import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from benchmarks.grid import ONE_ANCHOR
from benchmarks.print import ROOT, line_of, rows_file
from benchmarks.real_size import MIB, Lines, seconds, time_recipes
from benchmarks.table import Rows, key_of
from nvc_jax import Latent, nvc_loss
from nvc_jax.config import changed, load_config, make_config
from nvc_jax.data import ArraySource
from nvc_jax.data.text.vocabulary import BEGIN_ID, END_ID
from nvc_jax.metrics.chamfer import CHAMFER, chamfer_distance
from nvc_jax.metrics.token_loss import cross_entropy
from nvc_jax.model import anchors, losses
from nvc_jax.model.autoencoder import make_bottleneck
from nvc_jax.networks.decoding import beam_search, greedy
from nvc_jax.networks.transformer import make_transformer
from nvc_jax.programs import cli
from nvc_jax.tasks.translation import TranslationModel
from nvc_jax.training import parallel
from nvc_jax.training.experiment import init_state, make_experiment
from nvc_jax.training.loop import train
from nvc_jax.training.step import train_step

SHAPE = (28, 28, 1)
LOOP_STEPS = 1000

Sizes = tuple[int, ...]


def median_seconds(functions: Sequence[Callable[[], object]], num_rounds: int) -> list[float]:
    """Each function's median seconds over rounds that call all of them in turn; NaN without rounds.

    Taking turns exposes all of them to the same noise of a shared machine, so their ratios hold. One
    round before the clock starts compiles and warms up.
    """
    if not num_rounds:
        return [float("nan")] * len(functions)
    for function in functions:
        jax.block_until_ready(function())
    rounds = [[seconds(function) for function in functions] for _ in range(num_rounds)]
    return [statistics.median(times) for times in zip(*rounds, strict=True)]


class Cost(NamedTuple):
    """Seconds of one call (median), seconds of compiling, temporary MiB."""

    run: float
    compile: float
    memory: float


def cost_of(function: Callable[..., Any], arrays: Sequence[jax.Array], num_rounds: int) -> Cost:
    """Compiles and times one function; without rounds nothing is run."""
    began = time.perf_counter()
    compiled = jax.jit(function).lower(*arrays).compile()
    compiling = time.perf_counter() - began
    analysis = compiled.memory_analysis()
    memory = analysis.temp_size_in_bytes / MIB if analysis else float("nan")
    (run,) = median_seconds([partial(compiled, *arrays)], num_rounds)
    return Cost(run, compiling, memory)


def normal(*shape: int, seed: int = 0) -> jax.Array:
    """Random float32."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))


Product = tuple[int, int, int]
"""(m, k, n) of `[m, k] @ [k, n]`."""


def mlp_products(batch_size: int, widths: Sequence[int]) -> list[Product]:
    """The matrix products of one training step of an MLP with two heads and a mirrored decoder.

    Each dense layer in -> out takes three: forward [B, in] @ [in, out], weight gradient [in, B] @ [B, out]
    and input gradient [B, out] @ [out, in]. The first layer needs no input gradient. Their sum is the least that a
    step with these layers can take, if its products run one after another.

    Args:
      batch_size: B.
      widths: pixels, hidden widths of the encoder, latent_dim D. The heads count as one layer of width
        2D, and the decoder goes from D back to the pixels.

    Returns:
      Forward products first, then backward in reverse order.
    """
    *hidden, latent_dim = widths
    layers = [*pairwise([*hidden, 2 * latent_dim]), *pairwise([latent_dim, *reversed(hidden)])]
    products = [(batch_size, fan_in, fan_out) for fan_in, fan_out in layers]
    for index, (fan_in, fan_out) in reversed(list(enumerate(layers))):
        products.append((fan_in, batch_size, fan_out))
        if index > 0:
            products.append((batch_size, fan_out, fan_in))
    return products


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
      Of each layer: forward, gradient of the weights, gradient of the input.
    """
    width, inner = options.width, options.feedforward
    feedforward = [(width, inner), (inner, width)]
    square = [(width, width)]
    layers = [(source, *s) for s in (4 * square + feedforward) * options.encoder_layers]
    layers += [(target, *s) for s in (6 * square + feedforward) * options.decoder_layers]
    layers += [(source, *s) for s in 2 * square * options.decoder_layers]  # keys and values
    layers.append((target, width, vocab_size))
    return [p for m, k, n in layers for p in ((m, k, n), (k, m, n), (m, n, k))]


def product_functions(products: Sequence[Product]) -> list[Callable[[], jax.Array]]:
    """A jitted float32 product of fixed random matrices for each shape."""
    dot = jax.jit(jnp.dot)
    return [partial(dot, normal(m, k), normal(k, n, seed=1)) for m, k, n in products]


def time_products(sizes: Sequence[Sizes], num_rounds: int) -> Lines:
    """Each matrix product of a step of an MLP of batch size and widths."""
    for batch_size, *widths in sizes:
        products = mlp_products(batch_size, widths)
        times = median_seconds(product_functions(products), num_rounds)
        counts = [2 * m * k * n for m, k, n in products]
        names = [f"{m},{k} @ {k},{n}" for m, k, n in products]
        whole = (f"all {len(products)}", sum(times), sum(counts))
        for name, taken, count in [*zip(names, times, counts, strict=True), whole]:
            yield name, {"ms": 1e3 * taken, "gflops": count / taken / 1e9}


def random_images(number: int) -> ArraySource:
    """uint8 images of random pixels."""
    rng = np.random.default_rng(0)
    return ArraySource(rng.integers(0, 256, (number, *SHAPE), np.uint8))


def step_configs(batch_size: int, latent_dim: int, num_anchors: int) -> dict[str, Any]:
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


def loop_rate(config: ml_collections.ConfigDict) -> float:
    """Steps per second of the whole loop, logs included, after the first step."""
    length = {"train.num_steps": LOOP_STEPS, "train.eval_every": 0, "train.checkpoint_every": 0}
    with tempfile.TemporaryDirectory() as directory:
        data = random_images(60_000)
        return train(changed(config, length), directory, train_data=data).steps_per_second


def time_step(sizes: Sequence[Sizes], num_rounds: int) -> Lines:
    """One training step of VAE and NVC on one network, the step's matrix products, and the loop."""
    for batch_size, latent_dim, num_anchors in sizes:
        compared = step_configs(batch_size, latent_dim, num_anchors)
        source = random_images(batch_size)
        widths = (int(np.prod(SHAPE)), *compared["VAE"].model.hidden, latent_dim)
        products = product_functions(mlp_products(batch_size, widths))
        steps = [stepper(config, source) for config in compared.values()]
        times = median_seconds([*steps, *products], num_rounds)
        alone = sum(times[len(steps) :])
        for name, taken in zip(compared, times[: len(steps)], strict=True):
            ratios = {"of_vae": taken / times[0], "of_products": taken / alone}
            yield name, {"ms": 1e3 * taken, **ratios}
        yield f"{len(products)} products alone", {"ms": 1e3 * alone, "of_products": 1.0}
        name = "NVC, anchor triplet"
        bare = stepper(compared[name], source)
        (before,) = median_seconds([bare], num_rounds)
        rate = loop_rate(compared[name])
        (after,) = median_seconds([bare], num_rounds)
        share = rate * (before + after) / 2
        yield f"loop, {name}", {"ms": 1e3 / rate, "rate_of_bare_step": share}


COST_BASE = {"b": 1024, "k": 32, "d": 32}
COST_TERMS: dict[str, tuple[str, dict[str, Any]]] = {
    "KL from anchors": ("kl", {}),
    "triplet, anchor": ("triplet", {"triplet_form": "anchor"}),
    "triplet, ratio": ("triplet", {"triplet_form": "ratio"}),
    "triplet, hinge (hard)": ("triplet", {"triplet_form": "hinge"}),
    "gravity": ("gravity", {}),
    "pull": ("pull", {}),
}
"""A term, and options of `nvc_loss`."""


def loss_of(
    weights: dict[str, float], assignment: jax.Array | None = None, **options: Any
) -> Callable[[jax.Array, jax.Array], Any]:
    """Value and gradient of latent terms, as a function of means and anchors; nearest anchors unless told."""

    def loss(mean: jax.Array, logvar: jax.Array, sample: jax.Array, table: jax.Array) -> jax.Array:
        soft = jnp.zeros((0,), jnp.float32)  # no term reads it
        chosen = anchors.assign(mean, table) if assignment is None else assignment
        latent = Latent(mean, logvar, sample, sample, chosen, soft, table)
        return nvc_loss(jnp.sum(sample, axis=1), latent, table, weights, **options)[0]

    gradient = jax.value_and_grad(loss, (0, 1, 2, 3))
    return lambda mean, table: gradient(mean, 0.1 * mean, mean + 0.1, table)


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Slope of log(value) over log(size), by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def time_terms(letter: str, sizes: Sequence[Sizes], num_rounds: int) -> Lines:
    """What every term costs, value and gradient, as batch (b), anchors (k) or dimensions (d) grow: ms (MiB).

    The others stay at B = 1024, K = 32, D = 32. The exponent is the slope of log(time) over log(size), by least squares.
    """
    numbers = [size for (size,) in sizes]
    functions: dict[str, Callable[..., Any]] = {
        **{name: loss_of({term: 1.0}, **o) for name, (term, o) in COST_TERMS.items()},
        "nearest anchor": anchors.assign,
        "equal shares": anchors.balanced_assign,
    }
    for name, function in functions.items():
        costs = []
        for number in numbers:
            batch, count, dim = {**COST_BASE, letter: number}.values()
            arrays = normal(batch, dim), normal(count, dim, seed=1)
            costs.append(cost_of(function, arrays, num_rounds))
        cells: dict[str, Any] = {
            str(n): f"{1e3 * c.run:.2f} ({c.memory:.1f})"
            for n, c in zip(numbers, costs, strict=True)
        }
        slope = exponent(numbers, [cost.run for cost in costs])
        yield name, {**cells, "exponent": slope, "compile": max(cost.compile for cost in costs)}


def time_chamfer(sizes: Sequence[Sizes], num_rounds: int) -> Lines:
    """The Chamfer distance with its gradient; and what one array with all pairs of points would take."""
    for batch, points in sizes:
        shape = jax.ShapeDtypeStruct((batch, points, 3), jnp.float32)
        for variant in CHAMFER:

            def total(x: jax.Array, y: jax.Array, variant: str = variant) -> jax.Array:
                return jnp.mean(chamfer_distance(x, y, variant=variant))

            arrays: Any = (shape, shape)
            if num_rounds:
                arrays = normal(*shape.shape), normal(*shape.shape, seed=1)
            cost = cost_of(jax.value_and_grad(total, (0, 1)), arrays, num_rounds)
            pairs = 4 * batch * points**2 / MIB
            cells = {"mib": cost.memory, "ms": 1e3 * cost.run, "all_pairs_mib": pairs}
            yield f"{batch} x {points}, {variant}", cells


ALL_TERMS = {"kl": 1.0, "triplet": 1.0, "gravity": 1.0, "pull": 1.0}
LARGE: dict[str, Callable[[jax.Array, jax.Array, jax.Array], Any]] = {
    "nothing, the inputs alone": lambda x, table, assignment: jnp.zeros(()),
    "`assign`": lambda x, table, assignment: anchors.assign(x, table),
    "`balanced_assign`": lambda x, table, assignment: anchors.balanced_assign(x, table),
    "`cluster_masses`": losses.cluster_masses,
    **{
        f"`nvc_loss`, all terms, {form}, with gradient": (
            lambda x, table, assignment, form=form: loss_of(  # type: ignore[misc]
                ALL_TERMS, assignment, triplet_form=form
            )(x, table)
        )
        for form in ("anchor", "hinge", "ratio")
    },
}


def _measure_large(name: str, size: Sizes) -> dict[str, float]:
    """Temporary MiB, peak resident MiB of this process, and seconds of one call."""
    batch, dim, count = size
    rng = np.random.default_rng(0)
    assignment = jnp.asarray(rng.integers(count, size=batch, dtype=np.int32))
    arrays = normal(batch, dim), normal(count, dim, seed=1), assignment
    compiled = jax.jit(LARGE[name]).lower(*arrays).compile()
    memory = compiled.memory_analysis()
    taken = seconds(partial(compiled, *arrays))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "mib": memory.temp_size_in_bytes / MIB if memory else float("nan"),
        "peak_mib": peak / (MIB if sys.platform == "darwin" else 1024),
        "seconds_of_call": taken,
    }


def time_large(sizes: Sequence[Sizes], num_rounds: int) -> Lines:
    """Losses with their gradient and assignments of a large batch: one call in a process of its own each.

    So the peak resident memory is that of the row; with Python, JAX and the inputs it starts from the first row's.
    """
    del num_rounds
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        for size in sizes:
            for name in LARGE:
                yield name, pool.submit(_measure_large, name, size).result()


def time_triplets(sizes: Sequence[Sizes], num_rounds: int) -> Lines:
    """Triplet losses with their gradient; and what one array with an entry per triple would take.

    Comparing all triples is left out above 1,024 examples: its time grows with B³, to a minute a call at 4,096.
    """
    forms: dict[str, Callable[..., Any]] = {
        "ratio": losses.triplet_ratio,
        "hinge, hard": partial(losses.triplet_hinge, margin=1.0, mining="hard"),
        "hinge, all": partial(losses.triplet_hinge, margin=1.0, mining="all"),
    }
    for batch, dim, count in sizes:
        rng = np.random.default_rng(0)
        labels = jnp.asarray(rng.integers(count, size=batch, dtype=np.int32))
        for name, loss in forms.items():
            if name != "hinge, all" or batch <= 1024:
                gradient = jax.value_and_grad(loss, has_aux=True)
                cost = cost_of(gradient, (normal(batch, dim), labels), num_rounds)
                cells = {"ms": 1e3 * cost.run, "mib": cost.memory}
                yield f"{name}, B = {batch}", {**cells, "all_triples_mib": 4 * batch**3 / MIB}


def start(flags: Sequence[str]) -> float:
    """Trains for one step in a process of its own; returns the seconds from its start to that step's end."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "train.py", "--config=digits", "--stop_after=1"]
        began = time.perf_counter()
        process = subprocess.Popen(
            [*command, f"--workdir={directory}/run", *flags],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        first_step, told = float("nan"), []
        for line in process.stderr:
            told.append(line)
            if line.startswith("First step"):
                first_step = time.perf_counter() - began
        if process.wait():
            raise SystemExit(f"{' '.join(command)} failed:\n{''.join(told)}")
        return first_step


def time_startup(sizes: Sequence[Sizes], num_rounds: int) -> Lines:
    """Seconds from the command of a run on digits to its first step.

    Off: without compiled functions. Cold: with an empty cache of them, which the run fills. Warm: with a filled one.
    """
    del sizes
    version = ".".join(jax.__version__.split(".")[:2])
    for network in ("mlp", "conv"):
        found: dict[str, list[float]] = {"off": [], "cold": [], "warm": []}
        for _ in range(num_rounds):
            with tempfile.TemporaryDirectory() as cache:
                for name, taken in found.items():
                    where = f"--compilation_cache={'off' if name == 'off' else cache}"
                    taken.append(start([where, f"--config.model.network={network}"]))
        cells = {name: statistics.median(taken) for name, taken in found.items()}
        yield f"{network}, jax {version}", {**cells, "warm_share": cells["warm"] / cells["off"]}


def translation_step(
    model: TranslationModel, params: Any, batch: dict[str, np.ndarray]
) -> Callable[[], Any]:
    """A function that makes loss and gradient of a batch, without the optimizer's update."""

    def loss(params: Any, batch: Any) -> jax.Array:
        noise = {"noise": jax.random.key(0)}
        outputs: Any = model.apply(params, batch, train=True, rngs=noise)
        sums = cross_entropy(outputs.output, batch["target"], smoothing=0.1)
        return jnp.sum(sums.loss) / jnp.sum(sums.tokens)

    return partial(jax.jit(jax.value_and_grad(loss)), params, batch)


def decoders(
    model: TranslationModel, params: Any, batch: dict[str, np.ndarray], length: int
) -> dict[str, Callable[[], jax.Array]]:
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

    return {
        "greedy, all positions anew": partial(jax.jit(again), batch),
        "greedy, cached": partial(jax.jit(partial(cached, beams=1)), batch),
        "beam 4, cached": partial(jax.jit(partial(cached, beams=4)), batch),
    }


def time_translation(sizes: Sequence[Sizes], num_rounds: int) -> Lines:
    """Translation of sentences without padding: training against its matrix products; decoding with a cache and without.

    Network and latent are those of configs/translation.py; weights are random, so that no sentence ends early.
    """
    config = load_config("translation")
    vocab_size = config.data.vocab_size
    for size, length in sizes:
        rng = np.random.default_rng(0)
        batch = {
            name: rng.integers(END_ID + 1, vocab_size, (size, length), np.int32)
            for name in ("source", "target")
        }
        transformer = make_transformer(config.model, vocab_size)
        model = TranslationModel(transformer, make_bottleneck(config), config.model.latent)
        params = jax.jit(partial(model.init, train=False))(jax.random.key(0), batch)
        tokens = size * length
        products = transformer_products(config.model, vocab_size, tokens, tokens)
        timed = [translation_step(model, params, batch), *product_functions(products)]
        step, *alone = median_seconds(timed, num_rounds)
        rate = sum(2 * m * k * n for m, k, n in products) / 1e9
        for name, taken in (("loss and gradient", step), ("its matrix products", sum(alone))):
            shares = {"gflops": rate / taken, "of_products_rate": sum(alone) / taken}
            yield name, {"ms": 1e3 * taken, "per_second": tokens / taken, **shares}
        ways = decoders(model, params, batch, length)
        for name, taken in zip(ways, median_seconds(list(ways.values()), 3), strict=True):
            yield name, {"ms": 1e3 * taken, "per_second": size / taken}


class Program(NamedTuple):
    """What is measured.

    Attributes:
      rows: (sizes, number of rounds) → rows.
      columns: their cells.
      what: a size is.
      sizes: by default.
      num_rounds: by default.
    """

    rows: Callable[[Sequence[Sizes], int], Lines]
    columns: tuple[str, ...]
    what: str = ""
    sizes: tuple[str, ...] = ()
    num_rounds: int = 9


def _terms(letter: str, *sizes: str) -> Program:
    """What terms cost as one size grows."""
    return Program(
        partial(time_terms, letter), (*sizes, "exponent", "compile"), letter.upper(), sizes
    )


PROGRAMS = {
    "step": Program(
        time_step,
        ("ms", "of_vae", "of_products", "rate_of_bare_step"),
        "BxDxK",
        ("256x32x30",),
        60,
    ),
    "products": Program(
        time_products, ("ms", "gflops"), "BxPIXELSxWIDTHx…xD", ("256x784x512x256x128x32",), 30
    ),
    "cost-b": _terms("b", "256", "1024", "4096", "16384"),
    "cost-k": _terms("k", "8", "32", "128", "512"),
    "cost-d": _terms("d", "8", "32", "128", "512"),
    "chamfer": Program(
        time_chamfer,
        ("mib", "ms", "all_pairs_mib"),
        "BxPOINTS",
        ("8x512", "8x1024", "8x2048"),
        5,
    ),
    "large": Program(
        time_large, ("mib", "peak_mib", "seconds_of_call"), "BxDxK", ("65536x64x1024",), 1
    ),
    "triplets": Program(
        time_triplets,
        ("ms", "mib", "all_triples_mib"),
        "BxDxLABELS",
        tuple(f"{b}x32x30" for b in (256, 512, 1024, 2048, 4096)),
        5,
    ),
    "startup": Program(time_startup, ("off", "cold", "warm", "warm_share"), num_rounds=3),
    "real-size": Program(
        time_recipes,
        ("parameters", "state_mib", "mib", "gflop", "first_step", "ms"),
        "EXAMPLES",
        ("2",),
        0,
    ),
    "decoding": Program(
        time_translation,
        ("ms", "per_second", "gflops", "of_products_rate"),
        "BxTOKENS",
        ("64x24",),
        5,
    ),
}


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main(arguments: list[str]) -> int:
    """Prints rows as they are measured."""
    parser = cli.bare_parser(__doc__)
    parser.add_argument("name", choices=PROGRAMS)
    parser.add_argument("--sizes", nargs="+", metavar="AxB", help="of what is timed")
    parser.add_argument("--num_rounds", type=int)
    parser.add_argument("--save", action="store_true", help="as the rows of the published table")
    flags = parser.parse_args(arguments)
    program = PROGRAMS[flags.name]
    texts = flags.sizes or program.sizes
    sizes = [tuple(map(int, text.split("x"))) for text in texts]
    num_rounds = program.num_rounds if flags.num_rounds is None else flags.num_rounds
    columns = (
        tuple(texts) + program.columns[len(program.sizes) :]
        if "cost" in flags.name
        else program.columns
    )
    rows = Rows(rows_file(flags.name), columns) if flags.save else None
    of = f" {program.what} = {', '.join(texts)};" if texts else ""
    device = f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores in the machine"
    print(f"Device: {device}.{of} medians of {num_rounds}.\n")
    print(f"{line_of([flags.name, *columns])}\n{'|---' * (1 + len(columns))}|")
    for name, cells in program.rows(sizes, num_rounds):
        print(line_of([name, *(_cell(cells.get(column, "")) for column in columns)]), flush=True)
        if rows is not None:
            rows.add({"method": name, **key_of(), "source": "measured", "note": device, **cells})
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
