"""Random affine warps of image batches, on the device and under `jit`."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def warp(
    image: jax.Array,
    keys: jax.Array,
    *,
    shift: float = 0.0,
    rotation: float = 0.0,
    scale: float = 0.0,
    fill: float = 0.0,
) -> jax.Array:
    """Warps every image by its own random shift, rotation and zoom.

    Per image: shift `t ~ U[-shift, shift]²` pixels, angle `r ~ U[-rotation, rotation]` radians and
    zoom `s = (1 + scale)^u`, `u ~ U[-1, 1]`, so that zooming in and out are equally likely. An
    image depends on its own key alone, so not on how a batch is split over devices; and the random
    numbers of one parameter do not depend on the ranges of the others.

    Args:
      image: float `[B, H, W, C]`.
      keys: typed PRNG keys `[B]`, one per image.
      shift: largest shift in pixels, along each axis.
      rotation: largest angle in radians.
      scale: largest relative zoom; 0.2 zooms by factors from 1/1.2 to 1.2.
      fill: value of pixels that come from outside the image.

    Returns:
      `[B, H, W, C]`, same dtype. With all ranges 0 it is `image` itself.

    Raises:
      ValueError: for a negative range.
    """
    for name, value in (("shift", shift), ("rotation", rotation), ("scale", scale)):
        if value < 0:
            raise ValueError(f"{name} is {value}: a range must not be negative.")
    if shift == rotation == scale == 0:
        return image
    u = jax.vmap(lambda key: jax.random.uniform(key, (4,), jnp.float32, -1.0, 1.0))(keys)
    return affine(
        image,
        shift=shift * u[:, :2],
        rotation=rotation * u[:, 2],
        scale=(1.0 + scale) ** u[:, 3],
        fill=fill,
    )


def affine(
    image: jax.Array,
    *,
    shift: jax.Array,
    rotation: jax.Array,
    scale: jax.Array,
    fill: float = 0.0,
) -> jax.Array:
    """Zooms, rotates, then shifts every image, with bilinear interpolation.

    A point at `p = (y, x)` from the image's center moves to `s·R(r)·p + t`. The value of an output
    pixel is interpolated at the point that moves there:
    `y' = (cos r·(y - t_y) + sin r·(x - t_x)) / s`, `x' = (cos r·(x - t_x) - sin r·(y - t_y)) / s`.

    Args:
      image: float `[B, H, W, C]`.
      shift: float32 `[B, 2]`, (down, right) in pixels.
      rotation: float32 `[B]`, radians; positive is counterclockwise as displayed, `np.rot90`'s
        direction.
      scale: float32 `[B]`, zoom factor; above 1 enlarges the content.
      fill: value of pixels that come from outside the image.

    Returns:
      `[B, H, W, C]`, same dtype.
    """
    return jax.vmap(_affine_one, (0, 0, 0, 0, None))(image, shift, rotation, scale, fill)


def _affine_one(
    image: jax.Array, shift: jax.Array, rotation: jax.Array, scale: jax.Array, fill: float
) -> jax.Array:
    """Warps one image `[H, W, C]`: four gathers, which XLA fuses into one loop on a CPU."""
    height, width, _ = image.shape
    y = (jnp.arange(height, dtype=jnp.float32) - (height - 1) / 2 - shift[0])[:, None]
    x = (jnp.arange(width, dtype=jnp.float32) - (width - 1) / 2 - shift[1])[None, :]
    cos, sin = jnp.cos(rotation) / scale, jnp.sin(rotation) / scale
    # Points further outside than one pixel see the fill value alone, as those at one pixel do.
    source_y = jnp.clip(cos * y + sin * x + (height - 1) / 2, -1, height)
    source_x = jnp.clip(cos * x - sin * y + (width - 1) / 2, -1, width)
    top, left = jnp.floor(source_y), jnp.floor(source_x)
    down = (source_y - top)[..., None].astype(image.dtype)
    right = (source_x - left)[..., None].astype(image.dtype)

    padded = jnp.pad(image, ((1, 2), (1, 2), (0, 0)), constant_values=fill)
    row, column = top.astype(jnp.int32) + 1, left.astype(jnp.int32) + 1

    def pixel(dy: int, dx: int) -> jax.Array:
        return padded.at[row + dy, column + dx].get(mode="promise_in_bounds")

    upper = pixel(0, 0) * (1 - right) + pixel(0, 1) * right
    lower = pixel(1, 0) * (1 - right) + pixel(1, 1) * right
    return upper * (1 - down) + lower * down
