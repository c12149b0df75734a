"""Anchors from data: after the warm-up, k-means on encoded training examples."""

from __future__ import annotations

import jax
import ml_collections
import numpy as np

from nvc_jax.core.logs import logger
from nvc_jax.data import IterableSource, Source, random_subset
from nvc_jax.model import anchors as anchor_lib
from nvc_jax.training.experiment import Experiment
from nvc_jax.training.state import TrainState, replace_anchors


def examples_for_anchors(
    source: Source | IterableSource, config: ml_collections.ConfigDict
) -> Source:
    """A fixed random subset of the training data, `anchors.max_examples` at most."""
    limit = config.anchors.max_examples
    if isinstance(source, IterableSource):
        return source.collect(limit)
    return random_subset(source, limit, config.seed)


def centers_of(mean: np.ndarray, config: ml_collections.ConfigDict, step: int) -> np.ndarray:
    """Anchors for encoded examples by `anchors.init`; logs what was done.

    Args:
      mean: float32 `[N, D]`; rows that are not finite are left out, with a warning.
      config: the config of the run.
      step: global step, for the log.

    Returns:
      float32 `[K, D]`, no two alike.

    Raises:
      UserError: if no row is finite.
    """
    finite = np.isfinite(mean).all(axis=1)
    if not finite.all():
        logger.warning(
            "Step %d: left %d examples whose code is not finite out of the anchors' "
            "initialization: check the data for NaN.", step, (~finite).sum(),
        )  # fmt: skip
    num_anchors, seed = config.model.num_anchors, config.seed
    if config.anchors.init == "kmeans++":
        centers = anchor_lib.kmeans_plus_plus(mean[finite], num_anchors, seed)
    else:
        centers = anchor_lib.kmeans(
            mean[finite], num_anchors, seed, num_restarts=config.anchors.restarts
        )
    logger.info(
        "Step %d: set %d anchors by %s on %d encoded training examples.",
        step, num_anchors, config.anchors.init, finite.sum(),
    )  # fmt: skip
    return centers


def set_anchors(state: TrainState, centers: np.ndarray, experiment: Experiment) -> TrainState:
    """Moves the anchors and starts afresh what belongs to the warm-up: the optimizer's moments.

    Args:
      state: the state on the host, unreplicated.
      centers: float32 `[K, D]`.
      experiment: what the config made.

    Returns:
      The state on the host; every anchor counts as used at its step.
    """
    params = replace_anchors(state.params, centers)
    return state.replace(
        params=params,
        opt_state=jax.device_get(jax.jit(experiment.optimizer.init)(params)),
        anchors_ready=np.ones_like(state.anchors_ready),
        last_used=np.full_like(state.last_used, state.step),
    )
