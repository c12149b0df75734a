"""A fresh run that begins with some of another run's parameters."""

import re
from pathlib import Path
from typing import Any

import jax
import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.logs import logger
from nvc_jax.training.checkpoint import Checkpoints
from nvc_jax.training.state import TrainState


def warm_start(state: TrainState, source: Path, include: str) -> TrainState:
    """Copies parameters and running statistics; step, optimizer and seed stay fresh.

    Args:
      state: a fresh state on the host.
      source: work directory of the run to take from; its newest checkpoint is read.
      include: regular expression searched for in names such as `params/encoder/Dense_0/kernel`.
        Anchors that are taken count as set at step 0, if they were set.

    Returns:
      The state.

    Raises:
      UserError: if there is no checkpoint, nothing matches, or a leaf is missing or has another
        shape there.
    """
    try:
        pattern = re.compile(include)
    except re.error as error:
        raise UserError(f"--init_include={include!r} is no regular expression: {error}.") from None
    stored = Checkpoints(source).read_leaves()
    loaded: list[str] = []

    def take(path: Any, leaf: np.ndarray) -> np.ndarray:
        name = "/".join(str(key.key) for key in path)
        if not pattern.search(name):
            return leaf
        if name not in stored or stored[name].shape != leaf.shape:
            got = f"shape {stored[name].shape}" if name in stored else "no such leaf"
            raise UserError(
                f"{name} cannot be taken from {source}: expected shape {leaf.shape}, got {got}; "
                "narrow --init_include or make the models alike."
            )
        loaded.append(name)
        return stored[name]

    taken = jax.tree_util.tree_map_with_path(
        take, {"params": state.params, "batch_stats": state.batch_stats}
    )
    if not loaded:
        names = [name for name in stored if name.startswith("params/")]
        raise UserError(
            f"--init_include={include!r} matches nothing; {source} has {', '.join(names)}."
        )
    logger.info("Took %d arrays from %s: %s.", len(loaded), source, ", ".join(loaded))
    begun = state.replace(**taken)
    if any(name.endswith("/anchors") for name in loaded) and stored["anchors_step"] >= 0:
        begun = begun.replace(anchors_step=np.zeros_like(state.anchors_step))
    return begun
