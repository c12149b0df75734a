"""What a user tells an estimator of some examples, checked."""

from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.model.guidance import UNKNOWN, Guidance, join


def make_guidance(
    labels: Any, must_link: Any, cannot_link: Any, *, num_examples: int, num_clusters: int
) -> Guidance | None:
    """Labels and pairs as what the core reads.

    Args:
      labels: integers `[N]`, the cluster of an example, -1 where it is not known; None: of none.
      must_link: integers `[P, 2]`, numbers of examples; None: no pairs.
      cannot_link: likewise.
      num_examples: N.
      num_clusters: K.

    Returns:
      The guidance; None if nothing is known.

    Raises:
      UserError: for anything else.
    """
    known = np.full(num_examples, UNKNOWN, np.int32)
    if labels is not None:
        given = np.asarray(labels)
        if given.shape != (num_examples,) or not _are_whole(given):
            raise UserError(
                f"labels has a whole number for each of the {num_examples} examples, its cluster or -1 where it is "
                f"not known, got {given.dtype} of shape {given.shape}."
            )
        if given.size and not UNKNOWN <= given.min() <= given.max() < num_clusters:
            raise UserError(
                f"labels go from -1, not known, to n_clusters - 1 = {num_clusters - 1}, got numbers from "
                f"{given.min():g} to {given.max():g}: number the clusters from 0, or ask for more."
            )
        known = given.astype(np.int32)
    pairs = [
        _pairs(value, name, num_examples)
        for name, value in (("must_link", must_link), ("cannot_link", cannot_link))
    ]
    guidance = Guidance(known, *pairs)
    join(guidance)  # contradictions are told before the training
    return guidance if len(guidance.examples()) else None


def _are_whole(values: np.ndarray) -> bool:
    """Whether an array holds whole numbers, of whatever dtype."""
    if values.dtype.kind not in "biuf":
        return False
    return bool(np.isfinite(values).all() and (values == np.round(values)).all())


def _pairs(value: Any, name: str, num_examples: int) -> np.ndarray:
    """Pairs of examples, int32 `[P, 2]`."""
    pairs = np.asarray([] if value is None else value)
    if pairs.size == 0:
        return np.zeros((0, 2), np.int32)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not _are_whole(pairs):
        raise UserError(
            f"{name} is a list of pairs of numbers of examples, got {pairs.dtype} of shape {pairs.shape}."
        )
    if pairs.min() < 0 or pairs.max() >= num_examples:
        raise UserError(
            f"{name} has examples from {pairs.min():g} to {pairs.max():g}: they go from 0 to {num_examples - 1}."
        )
    return pairs.astype(np.int32)
