"""Where anchors are set once the warm-up is over, and which examples are given to which from then on."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import ml_collections
import numpy as np

from nvc_jax.core.logs import logger
from nvc_jax.data import IterableSource, Source, subset
from nvc_jax.data.base.source import random_ids
from nvc_jax.model import anchors as anchor_lib
from nvc_jax.model.guidance import (
    UNKNOWN,
    Guidance,
    guided_centers,
    place_guided,
    spread_labels,
)
from nvc_jax.model.linked_clusters import (
    FEW_LABELS,
    better_merged,
    named_groups,
    small_cluster_numbers,
)
from nvc_jax.model.nebulae import measure_nebulae
from nvc_jax.training.experiment import Experiment
from nvc_jax.training.state import TrainState, replace_anchors

STARTS = 3
"""Of k-means, for each number of small clusters."""


class Placed(NamedTuple):
    """Anchors set from data.

    Attributes:
      centers: float32 `[K, D]`, no two alike.
      shares: float32 `[K]`, of the encoded examples in each cluster.
      known: int32 `[N]`, anchors that examples keep for the whole run; -1: none is given.
      held: int32 `[N]`, anchors that they keep for a while.
    """

    centers: np.ndarray
    shares: np.ndarray
    known: np.ndarray
    held: np.ndarray


def examples_for_anchors(
    source: Source | IterableSource,
    config: ml_collections.ConfigDict,
    guidance: Guidance | None = None,
    *,
    everything: bool = False,
) -> tuple[Source, np.ndarray]:
    """A fixed random subset of the training data, `anchors.max_examples` at most.

    Args:
      source: the training data.
      config: the config of the run.
      guidance: examples that something is known of come in addition.
      everything: all examples, whatever their number.

    Returns:
      (the examples; their numbers, int `[n]` in order).
    """
    limit = config.anchors.max_examples
    if isinstance(source, IterableSource):
        collected = source.collect(limit)
        return collected, np.arange(len(collected))
    ids = random_ids(len(source), len(source) if everything else limit, config.seed)
    if guidance is not None:
        ids = np.union1d(ids, guidance.examples())
    return subset(source, ids), ids


def place_anchors(
    mean: np.ndarray,
    ids: np.ndarray,
    num_examples: int,
    config: ml_collections.ConfigDict,
    *,
    neighbors: np.ndarray | None = None,
    inputs: np.ndarray | None = None,
    guidance: Guidance | None = None,
) -> Placed:
    """Anchors for encoded examples by `anchors.init`, and by what is known of them; logs what was done.

    Args:
      mean: float32 `[n, D]`; rows that are not finite are left out, with a warning.
      ids: int `[n]`, their numbers among the training examples.
      num_examples: N, of the training examples.
      config: the config of the run.
      neighbors: int `[N, k]` or None, along which labels spread, and for `anchors.init=merge`, which needs all examples:
        n = N.
      inputs: float `[n, F]`, what was encoded, for `anchors.merge_inputs`.
      guidance: what is known.

    Raises:
      UserError: if no row is finite, or what is known contradicts itself.
    """
    finite = np.isfinite(mean).all(axis=1)
    if not finite.all():
        logger.warning(
            "Anchors: left %d examples whose code is not finite out of their initialization: check "
            "the data for NaN.", (~finite).sum(),
        )  # fmt: skip
    codes, ids = mean[finite], ids[finite]
    num_anchors, options = config.model.num_anchors, config.anchors
    if options.init == "kmeans++":
        centers = anchor_lib.kmeans_plus_plus(codes, num_anchors, config.seed)
    else:
        restarts = options.restarts
        centers = anchor_lib.kmeans(codes, num_anchors, config.seed, num_restarts=restarts)
    logger.info(
        "Set %d anchors by %s on %d encoded training examples.",
        num_anchors, options.init, len(codes),
    )  # fmt: skip
    known, held = np.full((2, num_examples), UNKNOWN, np.int32)
    cluster = np.asarray(anchor_lib.assign(codes, centers))
    if neighbors is not None and options.init == "merge":
        clusters = np.zeros(num_examples, np.int32)
        clusters[ids] = cluster
        spaces = [codes] if inputs is None else [codes, inputs[finite]]
        merged = _merged(spaces, clusters, ids, neighbors, config)
        if merged is not None:
            cluster = held[ids] = merged
            centers = measure_nebulae(codes, cluster, centers).centers
    if guidance is not None:
        centers = guided_centers(codes, guidance.labels[ids], centers)
        known = place_guided(codes, ids, centers, guidance)
        centers = guided_centers(codes, known[ids], centers)
        cluster = np.asarray(anchor_lib.assign(codes, centers))
        held[:] = UNKNOWN
        told = np.unique(known[known != UNKNOWN])
        if neighbors is not None and len(told) == num_anchors:  # none is left to be found
            held = spread_labels(known, neighbors)
            number = _small_numbers(len(ids), config)[-1]
            few = (known != UNKNOWN).sum() <= FEW_LABELS * num_anchors
            if few and number >= 5 * num_anchors:
                small = _small(codes, ids, num_examples, config, number, 0, 1)
                named = named_groups(small, held, known, neighbors)
                held = held if named is None else named
            cluster = np.where(held[ids] != UNKNOWN, held[ids], cluster)
            centers = measure_nebulae(codes, cluster, centers).centers
    counts = np.bincount(cluster, minlength=num_anchors)
    return Placed(centers, (counts / len(codes)).astype(np.float32), known, held)


def _merged(
    spaces: list[np.ndarray],
    cluster: np.ndarray,
    ids: np.ndarray,
    neighbors: np.ndarray,
    config: ml_collections.ConfigDict,
) -> np.ndarray | None:
    """Merged clusters of the encoded examples, int32 `[n]`, where they are better than k-means."""
    num_anchors = config.model.num_anchors

    def smalls(rows: np.ndarray) -> Iterator[np.ndarray]:
        yield _small(rows, ids, len(cluster), config, num_anchors, 0, config.anchors.restarts)
        for number in _small_numbers(len(ids), config):
            for start in range(STARTS):
                yield _small(rows, ids, len(cluster), config, number, start, 1)

    merged, found = better_merged(map(smalls, spaces), cluster, neighbors, num_anchors)
    logger.info(
        "Merged clusters keep %.3f (modularity) and %.3f (purity) of the edges to neighbors together, "
        "those of k-means %.3f and %.3f: %s are taken.",
        *found[0], *found[1], "the latter" if merged is None else "merged ones",
    )  # fmt: skip
    return None if merged is None else merged[ids]


def _small_numbers(num_encoded: int, config: ml_collections.ConfigDict) -> list[int]:
    """Numbers of small clusters to try."""
    some = min(num_encoded, config.anchors.max_examples)
    return small_cluster_numbers(some, config.model.num_anchors)


def _small(
    rows: np.ndarray,
    ids: np.ndarray,
    num_examples: int,
    config: ml_collections.ConfigDict,
    number: int,
    start: int,
    restarts: int,
) -> np.ndarray:
    """Nearest of so many centers of some rows, int32 `[N]`; 0 for examples without a row."""
    from sklearn.metrics import pairwise_distances_argmin  # slow to import, needed once a run

    order = np.random.default_rng(config.seed).permutation(len(ids))
    some = rows[order[: config.anchors.max_examples]]
    centers = anchor_lib.kmeans(some, number, config.seed + start, num_restarts=restarts)
    found = np.zeros(num_examples, np.int32)
    found[ids] = pairwise_distances_argmin(rows, centers)
    return found


def set_anchors(state: TrainState, placed: Placed, experiment: Experiment) -> TrainState:
    """Moves the anchors and starts afresh what belongs to the warm-up: the optimizer's moments.

    Args:
      state: the state on the host, unreplicated.
      placed: where to.
      experiment: what the config made.

    Returns:
      The state on the host; every anchor counts as used at its step.
    """
    params = replace_anchors(state.params, placed.centers)
    return state.replace(
        params=params,
        opt_state=jax.device_get(jax.jit(experiment.optimizer.init)(params)),
        anchors_step=np.array(state.step),
        shares=placed.shares,
        last_used=np.full_like(state.last_used, state.step),
    )
