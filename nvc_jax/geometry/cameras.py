"""Cameras on the device; on the host see planes.py, which needs no JAX."""

import jax
import jax.numpy as jnp


def rays_of(camera: jax.Array, height: int, width: int) -> jax.Array:
    """`pixel_rays` on the device: `[B, 4]` → float32 `[B, H, W, 3]`."""
    fx, fy, cx, cy = (camera[:, i, None, None] for i in range(4))
    shape = (camera.shape[0], height, width)
    x = jnp.broadcast_to((jnp.arange(width, dtype=jnp.float32)[None, None] - cx) / fx, shape)
    y = jnp.broadcast_to((jnp.arange(height, dtype=jnp.float32)[None, :, None] - cy) / fy, shape)
    return jnp.stack([x, y, jnp.ones(shape, jnp.float32)], axis=-1)
