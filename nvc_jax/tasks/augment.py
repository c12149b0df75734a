"""Random warps of images and turns of volumes, on the device, one per example."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from nvc_jax.core.options import Option

SHIFT = Option("augment.shift", 0.0, "pixels, drawn from [-this, this]", at_least=0)
ROTATION = Option("augment.rotation", 0.0, "radians, drawn from [-this, this]", at_least=0)
SCALE = Option("augment.scale", 0.0, "0.2: between 1/1.2 and 1.2", at_least=0)
SHEAR = Option("augment.shear", 0.0, "tangent of the angle, drawn from [-this, this]", at_least=0)
MIRROR = Option("augment.mirror", False, "half of the examples are mirrored along x")
UPRIGHT_SYMMETRY = Option(
    "augment.upright_symmetry", False, "quarter turns and mirrors about the vertical axis"
)
_VIEWS = ("clean", "augmented")
TARGET = Option(
    "augment.target", "clean", "reconstruct the clean example, or the augmented one", _VIEWS
)
ASSIGN_FROM = Option(
    "augment.assign_from", "clean", "which view decides on the nearest anchor", _VIEWS
)
WARP_OPTIONS = (SHIFT, ROTATION, SCALE, SHEAR)
TURN_OPTIONS = (UPRIGHT_SYMMETRY, MIRROR, ROTATION, SCALE)


def warp(
    image: jax.Array,
    keys: jax.Array,
    *,
    shift: float = 0.0,
    rotation: float = 0.0,
    scale: float = 0.0,
    shear: float = 0.0,
) -> jax.Array:
    """Shifts, turns, zooms and shears every image by amounts of its own.

    Amounts are uniform in ± their range; the zoom is `exp(u)` with u uniform in ±log(1 + scale).

    Args:
      image: float `[B, H, W, C]`.
      keys: JAX keys `[B]`; an example's warp is a function of its key alone.
      shift: largest shift, in pixels.
      rotation: largest angle, in radians.
      scale: largest zoom, less 1.
      shear: largest tangent of the shear angle.

    Returns:
      The warped images, bilinear, 0 outside; the very input where all ranges are 0.
    """
    if not any((shift, rotation, scale, shear)):
        return image

    def draw(key: jax.Array) -> jax.Array:
        return jax.random.uniform(key, (5,), jnp.float32, minval=-1.0, maxval=1.0)

    amount = jax.vmap(draw)(keys)
    return affine(
        image,
        shift=shift * amount[:, :2],
        rotation=rotation * amount[:, 2],
        zoom=jnp.exp(jnp.log1p(scale) * amount[:, 3]),
        shear=shear * amount[:, 4],
    )


def affine(
    image: jax.Array,
    *,
    shift: jax.Array,
    rotation: jax.Array,
    zoom: jax.Array,
    shear: jax.Array,
) -> jax.Array:
    """Warps every image about its center by given amounts.

    Args:
      image: float `[B, H, W, C]`.
      shift: `[B, 2]`, pixels the content moves down and to the right.
      rotation: `[B]`, radians the content turns counter-clockwise, as `np.rot90` does.
      zoom: `[B]`, factor by which the content grows.
      shear: `[B]`, columns the content moves left for every row below the center.

    Returns:
      The warped images, bilinear, 0 outside.
    """
    size, height, width, channels = image.shape
    rows = jnp.arange(height, dtype=jnp.float32) - (height - 1) / 2
    columns = jnp.arange(width, dtype=jnp.float32) - (width - 1) / 2
    y, x = (grid.reshape(1, -1) for grid in jnp.meshgrid(rows, columns, indexing="ij"))
    y, x = y - shift[:, :1], x - shift[:, 1:]
    x = x + shear[:, None] * y
    cos, sin = (jnp.cos(rotation) / zoom)[:, None], (jnp.sin(rotation) / zoom)[:, None]
    # Zeros all around make "outside" an ordinary address; two at the end, for a corner and the next.
    source_y = jnp.clip(cos * y + sin * x + (height + 1) / 2, 0.0, height + 1.0)
    source_x = jnp.clip(cos * x - sin * y + (width + 1) / 2, 0.0, width + 1.0)
    top, left = jnp.floor(source_y), jnp.floor(source_x)
    down, right = (source_y - top)[..., None], (source_x - left)[..., None]
    padded = jnp.pad(image, ((0, 0), (1, 2), (1, 2), (0, 0))).reshape(-1, channels)
    stride = width + 3
    first = (top * stride + left).astype(jnp.int32)
    first = first + (jnp.arange(size, dtype=jnp.int32) * ((height + 3) * stride))[:, None]

    def corner(offset: int) -> jax.Array:
        return padded.at[first + offset].get(mode="promise_in_bounds")

    upper = (1.0 - right) * corner(0) + right * corner(1)
    lower = (1.0 - right) * corner(stride) + right * corner(stride + 1)
    return ((1.0 - down) * upper + down * lower).reshape(image.shape)


def upright_symmetry(
    volumes: Sequence[jax.Array], keys: jax.Array, *, turns: bool = True
) -> tuple[jax.Array, ...]:
    """Turns and mirrors volumes about the vertical axis: one of the eight symmetries of a square.

    Args:
      volumes: arrays `[B, X, Y, Z, ...]`, y up, with X = Z where they are turned; those of one
        example are treated alike.
      keys: JAX keys `[B]`; an example's symmetry is a function of its key alone.
      turns: False: half of the examples are mirrored along x, and that is all.

    Returns:
      The volumes, of the same shapes.
    """
    flip_x, flip_z, swap = _draw_symmetries(keys)

    def choose(condition: jax.Array, changed: jax.Array, volume: jax.Array) -> jax.Array:
        return jnp.where(condition.reshape(-1, *(1,) * (volume.ndim - 1)), changed, volume)

    def turn(volume: jax.Array) -> jax.Array:
        volume = choose(flip_x, volume[:, ::-1], volume)
        if not turns:
            return volume
        volume = choose(flip_z, volume[:, :, :, ::-1], volume)
        return choose(swap, jnp.swapaxes(volume, 1, 3), volume)

    return tuple(turn(volume) for volume in volumes)


def _draw_symmetries(keys: jax.Array) -> jax.Array:
    """Whether to mirror x, to mirror z, and then to swap them, bool `[3, B]`."""
    return jax.vmap(lambda key: jax.random.bernoulli(key, 0.5, (3,)))(keys).T


def turn_points(
    clouds: Sequence[jax.Array], keys: jax.Array, options: Any
) -> tuple[jax.Array, ...]:
    """Mirrors, turns about the vertical axis, and scales point clouds about the origin.

    Args:
      clouds: float32 `[B, P, C]`, x, y, z first, y up; what follows is left as it is. Those of one
        example are treated alike.
      keys: JAX keys `[B]`; an example's change is a function of its key alone.
      options: `config.augment`; `upright_symmetry`, `mirror`, `rotation` and `scale` are used.

    Returns:
      The clouds, of the same shapes; the very input where all is off.
    """
    if not (options.upright_symmetry or options.mirror or options.rotation or options.scale):
        return tuple(clouds)
    amount = jax.vmap(lambda key: jax.random.uniform(key, (2,), jnp.float32, -1.0, 1.0))(keys)
    angle, zoom = options.rotation * amount[:, 0], jnp.exp(jnp.log1p(options.scale) * amount[:, 1])
    cos, sin, zero, one = jnp.cos(angle), jnp.sin(angle), 0.0 * angle, 0.0 * angle + 1.0
    matrix = jnp.stack([cos, zero, sin, zero, one, zero, -sin, zero, cos], -1).reshape(-1, 3, 3)
    if options.upright_symmetry or options.mirror:
        flip_x, flip_z, swap = _draw_symmetries(jax.vmap(jax.random.fold_in, (0, None))(keys, 1))
        if not options.upright_symmetry:
            flip_z, swap = jnp.zeros_like(flip_z), jnp.zeros_like(swap)
        signs = jnp.stack([jnp.where(flip_x, -one, one), one, jnp.where(flip_z, -one, one)], -1)
        matrix = matrix * signs[:, None]
        matrix = jnp.where(swap[:, None, None], matrix[:, ::-1], matrix)
    matrix = zoom[:, None, None] * matrix

    def turn(cloud: jax.Array) -> jax.Array:
        turned = jnp.einsum("bij,bpj->bpi", matrix, cloud[..., :3], precision="highest")
        return jnp.concatenate([turned, cloud[..., 3:]], axis=-1)

    return tuple(turn(cloud) for cloud in clouds)
