"""Random affine warps of image batches, on the device and under `jit`."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from nvc_jax.errors import UserError


def warp(
    image: jax.Array,
    keys: jax.Array,
    *,
    shift: float = 0.0,
    rotation: float = 0.0,
    scale: float = 0.0,
    shear: float = 0.0,
    fill: float = 0.0,
) -> jax.Array:
    """Warps every image by its own random shift, rotation, zoom and shear.

    Per image: shift `t ~ U[-shift, shift]²` pixels, angle `r ~ U[-rotation, rotation]` radians,
    zoom `s = (1 + scale)^u`, `u ~ U[-1, 1]`, so that zooming in and out are equally likely, and
    shear `h ~ U[-shear, shear]`; applied as in `affine`. An image depends on its own key alone, so not on how a batch is split over devices; and the random
    numbers of one parameter do not depend on the ranges of the others.

    Args:
      image: float `[B, H, W, C]`.
      keys: typed PRNG keys `[B]`, one per image.
      shift: largest shift in pixels, along each axis.
      rotation: largest angle in radians.
      scale: largest relative zoom; 0.2 zooms by factors from 1/1.2 to 1.2.
      shear: largest tangent of the shear angle.
      fill: value of pixels that come from outside the image.

    Returns:
      `[B, H, W, C]`, same dtype. With all ranges 0 it is `image` itself.

    Raises:
      UserError: for a negative range.
    """
    ranges = {"shift": shift, "rotation": rotation, "scale": scale, "shear": shear}
    for name, value in ranges.items():
        if value < 0:
            raise UserError(f"The range {name} of the warp is {value}: it must not be negative.")
    if not any(ranges.values()):
        return image
    u = jax.vmap(lambda key: jax.random.uniform(key, (5,), jnp.float32, -1.0, 1.0))(keys)
    return affine(
        image,
        shift=shift * u[:, :2],
        rotation=rotation * u[:, 2],
        scale=(1.0 + scale) ** u[:, 3],
        shear=shear * u[:, 4],
        fill=fill,
    )


def affine(
    image: jax.Array,
    *,
    shift: jax.Array,
    rotation: jax.Array,
    scale: jax.Array,
    shear: jax.Array,
    fill: float = 0.0,
) -> jax.Array:
    """Shears, zooms, rotates, then shifts every image, with bilinear interpolation.

    A point at `p = (y, x)` from the image's center moves to `s·R(r)·(y, x + h·y) + t`, with shear
    `h`, zoom `s`, rotation `R` by the angle `r` and shift `t`. The value of an output pixel is
    interpolated at the point that moves there.

    Args:
      image: float `[B, H, W, C]`.
      shift: float32 `[B, 2]`, (down, right) in pixels.
      rotation: float32 `[B]`, radians; positive is counterclockwise as displayed, `np.rot90`'s
        direction.
      scale: float32 `[B]`, zoom factor; above 1 enlarges the content.
      shear: float32 `[B]`; a row moves right by `shear` pixels for each pixel below the center.
      fill: value of pixels that come from outside the image.

    Returns:
      `[B, H, W, C]`, same dtype.
    """
    warp_one = functools.partial(_affine_one, fill=fill)
    return jax.vmap(warp_one)(image, shift, rotation, scale, shear)


def _affine_one(
    image: jax.Array,
    shift: jax.Array,
    rotation: jax.Array,
    scale: jax.Array,
    shear: jax.Array,
    *,
    fill: float,
) -> jax.Array:
    """Warps one image `[H, W, C]`: four gathers, which XLA fuses into one loop on a CPU."""
    height, width, _ = image.shape
    y = (jnp.arange(height, dtype=jnp.float32) - (height - 1) / 2 - shift[0])[:, None]
    x = (jnp.arange(width, dtype=jnp.float32) - (width - 1) / 2 - shift[1])[None, :]
    cos, sin = jnp.cos(rotation) / scale, jnp.sin(rotation) / scale
    source_y = cos * y + sin * x
    source_x = cos * x - sin * y - shear * source_y
    # A point further outside than one pixel sees the fill value alone, as one at one pixel does.
    source_y = jnp.clip(source_y + (height - 1) / 2, -1, height)
    source_x = jnp.clip(source_x + (width - 1) / 2, -1, width)
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
