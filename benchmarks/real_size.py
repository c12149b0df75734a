"""The first step of every recipe for a published data set, on made-up examples: that it runs, and what it takes.

Examples have the shapes and types of the real ones. Hands and planes are drawn, volumes, clouds and tokens are random:
a step takes the same time whatever they hold. `python -m benchmarks.speed real-size` prints the table.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from nvc_jax.config import changed, load_config
from nvc_jax.data import FieldSource, Source
from nvc_jax.data.hands.synthetic import Hands
from nvc_jax.data.planes.rooms import Rooms
from nvc_jax.data.text.examples import VOCABULARY_FILE
from nvc_jax.data.text.vocabulary import END_ID, Vocabulary, train_vocabulary
from nvc_jax.tasks import Learned
from nvc_jax.training import parallel
from nvc_jax.training.experiment import init_state, make_experiment
from nvc_jax.training.step import train_step

RECIPES = (
    "published:shapenet",
    "published:pcn",
    "published:scannet",
    "published:nyu",
    "translation:iwslt14",
)
MIB = 2**20

Lines = Iterator[tuple[str, dict[str, Any]]]
"""Name and cells of every row."""

WORDS = 20_000  # random ones, of which a vocabulary of any usual size can be made


def seconds(function: Callable[[], object]) -> float:
    """The wall-clock seconds of one call, its results included."""
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def recipe(name: str, batch_size: int = 0) -> ml_collections.ConfigDict:
    """The config of a recipe, whose data are not opened.

    Args:
      name: one of `RECIPES`.
      batch_size: in place of the recipe's, examples; 0: the recipe's, of sentences as many as fill its tokens.
    """
    config = load_config(name)
    size = batch_size or config.train.batch_size
    if "tokens_per_batch" in config.train and not batch_size:
        size = config.train.tokens_per_batch // config.data.max_target_tokens
    return changed(config, {"train.batch_size": size})


def made_up(config: ml_collections.ConfigDict) -> tuple[Source, Learned]:
    """A batch of made-up examples of a recipe, and what its task has to know beforehand."""
    number, rng = config.train.batch_size, np.random.default_rng(0)
    return MAKERS[config.task](config, number, rng)


def _volumes(config: Any, number: int, rng: np.random.Generator) -> tuple[Source, Learned]:
    shape = (number, *(config.data.resolution,) * 3)
    partial, complete = ((rng.random(shape) < share).astype(np.uint8) for share in (0.02, 0.1))
    return FieldSource({"partial": partial, "complete": complete}), {}


def _clouds(config: Any, number: int, rng: np.random.Generator) -> tuple[Source, Learned]:
    shape = (number, config.data.num_points, 3)
    clouds = {
        name: rng.normal(0, 0.2, shape).astype(np.float32) for name in ("partial", "complete")
    }
    return FieldSource(clouds), {}


def _rooms(config: Any, number: int, rng: np.random.Generator) -> tuple[Source, Learned]:
    return Rooms("train", number, tuple(config.data.image_size)), {}


def _hands(config: Any, number: int, rng: np.random.Generator) -> tuple[Source, Learned]:
    return Hands("train", number, config.data.image_size[0]), {}


def _sentences(config: Any, number: int, rng: np.random.Generator) -> tuple[Source, Learned]:
    words = [bytes(row).decode() for row in rng.integers(97, 123, (WORDS, 6), np.uint8)]
    lines = [" ".join(words[i : i + 20]) for i in range(0, WORDS, 20)]
    vocabulary = train_vocabulary(lines, config.data.vocab_size)
    size = Vocabulary(vocabulary).size
    fields = {}
    for name in ("source", "target"):
        width = config.data[f"max_{name}_tokens"]
        tokens = rng.integers(END_ID + 1, size, (number, width), np.int32)
        tokens[:, -1] = END_ID
        fields[name] = tokens
    return FieldSource(fields), {VOCABULARY_FILE: vocabulary}


MAKERS: dict[str, Callable[[Any, int, np.random.Generator], tuple[Source, Learned]]] = {
    "voxel_completion": _volumes,
    "point_completion": _clouds,
    "planar_reconstruction": _rooms,
    "hand_pose": _hands,
    "translation": _sentences,
}


class Step(NamedTuple):
    """A training step that is compiled for one batch, and has been taken once.

    Attributes:
      take: takes another one.
      flops: its floating-point operations, by XLA's count.
      mib: memory that it takes beside its inputs and outputs.
      state_mib: memory of the state: parameters, and the optimizer's moments of them.
      parameters: their number.
      seconds: from nothing to the end of the first step.
      error: total loss of the first step.
    """

    take: Callable[[], Any]
    flops: float
    mib: float
    state_mib: float
    parameters: int
    seconds: float
    error: float


def first_step(config: ml_collections.ConfigDict, source: Source, learned: Learned) -> Step:
    """Compiles the mapped step of a run for its first batch, and takes it.

    Args:
      config: whose `train.batch_size` examples of the source are the batch.
      source: the examples.
      learned: what the task has to know beforehand.
    """
    began = time.perf_counter()
    experiment = make_experiment(config, source.spec, parallel.AXIS, learned)
    step: Any = parallel.map_step(partial(train_step, experiment=experiment), donate_state=True)
    batch = parallel.shard(source.gather(np.arange(config.train.batch_size)))
    state = parallel.replicate(init_state(experiment, config))
    arrays = jax.tree.leaves(state)
    state_mib = sum(x.nbytes for x in arrays) / MIB
    parameters = sum(x.size for x in jax.tree.leaves(state.params)) // jax.device_count()
    compiled = step.lower(state, batch).compile()
    held = [state]

    def take() -> Mapping[str, jax.Array]:
        held[0], metrics = compiled(held[0], batch)
        return metrics

    error = float(np.asarray(take()["loss"]).reshape(-1)[0])
    taken = time.perf_counter() - began
    costs, memory = compiled.cost_analysis() or {}, compiled.memory_analysis()
    costs = costs[0] if isinstance(costs, list) else costs
    used = memory.temp_size_in_bytes / MIB if memory else float("nan")
    return Step(take, costs.get("flops", float("nan")), used, state_mib, parameters, taken, error)


def time_recipes(sizes: Sequence[tuple[int, ...]], num_rounds: int) -> Lines:
    """The first step of every recipe on batches of so many examples, and later ones as often as there are rounds."""
    for (examples,) in sizes:
        for name in RECIPES:
            config = recipe(name, examples)
            step = first_step(config, *made_up(config))
            taken = [seconds(step.take) for _ in range(num_rounds)]
            yield (
                f"{name}, {examples} examples",
                {
                    "parameters": step.parameters,
                    "state_mib": step.state_mib,
                    "mib": step.mib,
                    "gflop": step.flops / 1e9,
                    "first_step": step.seconds,
                    "ms": 1e3 * statistics.median(taken) if taken else "",
                },
            )
