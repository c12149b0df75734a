"""What several tests of numerics share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def normal(seed: int, *shape: int) -> np.ndarray:
    """float32 numbers from a normal distribution."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def numeric_gradient(function: Callable[..., Any], x: Any, step: float = 1e-6) -> np.ndarray:
    """Central differences of a float64 function."""
    x = np.asarray(x, np.float64)
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        ends = []
        for sign in (1, -1):
            moved = x.copy()
            moved[index] += sign * step
            ends.append(function(moved))
        gradient[index] = (ends[0] - ends[1]) / (2 * step)
    return gradient
