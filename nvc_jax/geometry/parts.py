"""Connected parts of volumes, on the device."""

import jax
import jax.numpy as jnp

_TOUCHING = (1, 3, 3, 3)  # a voxel and those that share a corner with it


def connected_parts(occupied: jax.Array) -> jax.Array:
    """Numbers the connected parts of volumes; voxels that share a corner are connected.

    Every voxel takes the largest number around it, over and over, until none changes.

    Args:
      occupied: bool `[B, X, Y, Z]`.

    Returns:
      int32 `[B, X, Y, Z]`: 0 where nothing is, else the same number from 1 to X·Y·Z all over a part, and another
      one in every other part of the volume.

    Reference: `scipy.ndimage.label`.
    """
    size = occupied[0].size
    numbers = jnp.arange(1, size + 1, dtype=jnp.int32).reshape(1, *occupied.shape[1:])
    start = jnp.where(occupied, numbers, 0)

    def spread(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        own, _ = state
        around = jax.lax.reduce_window(
            own, jnp.int32(0), jax.lax.max, _TOUCHING, (1, 1, 1, 1), "SAME"
        )
        new = jnp.where(occupied, around, 0)
        return new, jnp.any(new != own)

    return jax.lax.while_loop(lambda state: state[1], spread, (start, jnp.bool_(True)))[0]


def mean_over_parts(values: jax.Array, parts: jax.Array) -> jax.Array:
    """Means of values over parts, at every voxel of each; 0 where there is no part.

    Args:
      values: float32 `[B, X, Y, Z, C]`.
      parts: int32 `[B, X, Y, Z]`, see `connected_parts`.

    Returns:
      float32 `[B, X, Y, Z, C]`.
    """
    count = parts[0].size + 1

    def mean(values: jax.Array, parts: jax.Array) -> jax.Array:
        total = jax.ops.segment_sum(values, parts, count)
        number = jax.ops.segment_sum(jnp.ones(parts.shape, jnp.float32), parts, count)
        return (total / jnp.maximum(number, 1.0)[:, None])[parts]

    flat = values.reshape(len(values), -1, values.shape[-1])
    found = jax.vmap(mean)(flat, parts.reshape(len(parts), -1))
    return jnp.where(parts[..., None] > 0, found.reshape(values.shape), 0.0)
