"""What several tests of numerics share."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import pytest

from nvc_jax.model import distances


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


def numpy_distances(x: Any, anchors: Any) -> np.ndarray:
    """Squared distances in float64, `[N, K]`."""
    difference = np.asarray(x, np.float64)[:, None] - np.asarray(anchors, np.float64)
    return np.square(difference).sum(-1)


_rows = jax.make_user_context()  # part of the key under which JAX keeps what it compiled


@contextlib.contextmanager
def blocks_of(rows: int) -> Iterator[None]:
    """Has large inputs worked on so many rows at a time, by functions compiled for that."""
    with pytest.MonkeyPatch.context() as patch, _rows(rows):
        patch.setattr(distances, "BLOCK_VALUES", 1)
        patch.setattr(distances, "SMALLEST_BLOCK", rows)
        yield


def jitted(function: Callable[..., Any], *arrays: Any, **options: Any) -> Any:
    """What a function gives, compiled as one: operation by operation takes many times as long."""
    return jax.jit(lambda *arrays: function(*arrays, **options))(*arrays)


def value_and_gradient(function: Callable[..., Any], argnums: Any = 0) -> Callable[..., Any]:
    """Compiled `jax.value_and_grad` of a function with further results."""
    return jax.jit(jax.value_and_grad(function, argnums, has_aux=True))


def temporary_bytes(function: Callable[..., Any], *arrays: Any) -> int:
    """What the compiled function allocates beyond its inputs and outputs; it is not run."""
    shapes = jax.tree.map(lambda v: jax.ShapeDtypeStruct(v.shape, v.dtype), arrays)
    return jax.jit(function).lower(*shapes).compile().memory_analysis().temp_size_in_bytes
