"""Tells where test examples have twins among those for training: a test of them is easier than it looks."""

import hashlib
import math
from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.logs import logger
from nvc_jax.data.base.source import Source, is_in_memory, select
from nvc_jax.data.registry import SOURCES, open_source
from nvc_jax.data.shapes.twins import has_twin

INPUTS = ("image", "voxels", "points", "partial", "values", "counts")
"""Fields that twins are alike in; the first that a source has is compared."""

NEAR = 0.95
"""IoU above which volumes are twins."""

MOST_BYTES, MOST_PAIRS = 2**30, 2**22
"""Of a split that is compared; and of volumes that are compared in more than their hashes."""

CHUNK = 1024
"""Examples that are gathered at once."""


def warn_of_twins(train: Source, options: Any) -> None:
    """Warns in one sentence where test examples equal training examples, or are volumes nearly alike.

    Only stored data that are in memory are compared, for that costs little: no drawn examples, no files that are
    read as they are asked for, and no more than `MOST_BYTES`. Labels do not count.

    Args:
      train: the training split as it is stored.
      options: `config.data` that it was opened with.
    """
    reader = SOURCES.get(options.source)
    name = next((name for name in INPUTS if name in train.spec), "")
    if reader is None or not reader.needs_dir or not name or not _is_small(train):
        return
    try:
        test = open_source(options, "test")
    except UserError:  # whoever tests is told
        return
    if train.spec[name] != test.spec.get(name) or not _is_small(test):
        return
    twins = twins_in(test, train, name)
    if twins.any():
        alike = "nearly the same" if name == "voxels" else "the same"
        logger.warning(
            "%d of %d test examples have twins in the training split (%s %s): what is measured on them is "
            "memory, not generalization; split by group, or leave them out.",
            twins.sum(), len(twins), alike, name,
        )  # fmt: skip


def twins_in(asked: Source, known: Source, name: str) -> np.ndarray:
    """Which examples equal a known one in a field; volumes of an IoU above `NEAR` are equal, too.

    Args:
      asked: N examples.
      known: M examples.
      name: of the field.

    Returns:
      bool `[N]`.
    """
    hashes = set(_hashes(known, name))
    found = np.array([own in hashes for own in _hashes(asked, name)], bool)
    if name == "voxels" and len(asked) * len(known) <= MOST_PAIRS:
        volumes = [select(s, (name,)).gather(np.arange(len(s)))[name] for s in (asked, known)]
        found |= has_twin(volumes[0], volumes[1], NEAR)
    return found


def _hashes(source: Source, name: str) -> list[bytes]:
    """A hash of what every example has in a field."""
    field = select(source, (name,))
    found = []
    for start in range(0, len(field), CHUNK):
        ids = np.arange(start, min(start + CHUNK, len(field)))
        values = np.ascontiguousarray(field.gather(ids)[name])
        found += [hashlib.blake2b(one.tobytes(), digest_size=16).digest() for one in values]
    return found


def _is_small(source: Source) -> bool:
    """Whether a split is in memory, and no larger than what may be compared."""
    size = sum(math.prod(field.shape) * field.dtype.itemsize for field in source.spec.values())
    return is_in_memory(source) and len(source) * size <= MOST_BYTES
