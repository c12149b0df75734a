"""Encoder and decoder from an image to a plane for every pixel.

Squares of pixels are folded into channels, and residual blocks of 3 × 3 convolutions work at a quarter of
the sides and below: on CPUs strided and transposed convolutions are slower than their arithmetic.
"""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nvc_jax.networks.layers import (
    BLOCKS,
    CHANNELS,
    LAYER_OPTIONS,
    PATCH,
    Block,
    Dense,
    Network,
    Networks,
    Residual,
    apply_stage,
    depth_to_space,
    inherited,
    module_options,
    shrink_factor,
    space_to_depth,
)

PLANE_NETWORKS: Networks = {"patch2d": (CHANNELS, BLOCKS, *LAYER_OPTIONS)}
PLANE_LATENTS = ("image", "pixel")
SQUARE_PLANES = 3  # that a square chooses from
_FACING = (0.0, 0.0, 0.3, 0.0)  # first bias of the outputs: a wall 3 m away


class _Network(Network):
    """What the networks below have in common.

    Attributes:
      channels: of every stage: at 1/4 of the sides, 1/8, …
      blocks: residual blocks of a stage.
    """

    channels: tuple[int, ...]
    blocks: int = 1

    def down(self, x: jax.Array, train: bool) -> list[jax.Array]:
        """The feature maps `[B, H / 4, W / 4, channels[0]]`, `[B, H / 8, …]`, … of an image."""
        maps, x = [], x.astype(self.dtype)
        for stage in range(len(self.channels)):
            x = apply_stage(_Network._shrink, self, x, stage, train)
            maps.append(x)
        return maps

    def up(self, x: jax.Array, maps: Sequence[jax.Array] | None, train: bool) -> jax.Array:
        """From the innermost map to one at 1/4 of the sides; the encoder's maps are added to it."""
        for stage in reversed(range(len(self.channels))):
            if maps is not None:
                x = x + self.skip(maps[stage], stage)
            x = apply_stage(_Network._grow, self, x, stage, train)
        return x

    def skip(self, feature_map: jax.Array, stage: int) -> jax.Array:
        """A map of the encoder for its place in the decoder; maps of zeros are as good as none."""
        return nn.Dense(
            self.channels[stage], use_bias=False, dtype=self.dtype, name=f"skip_{stage}"
        )(feature_map)

    def head(self, x: jax.Array) -> jax.Array:
        """Outputs of every pixel, float32 `[B, H, W, 4]`, of a map at 1/4 of the sides.

        A square has a few planes, and each of its pixels a mean of them with weights of its own: where
        they are alike there is no noise from pixel to pixel, and where they are not there is an edge.
        """
        shape = (*x.shape[:3], SQUARE_PLANES, 3)
        planes = Dense(SQUARE_PLANES * 3, dtype=self.dtype, name="planes")(x).reshape(shape)
        pixels = Dense(PATCH**2 * (SQUARE_PLANES + 1), dtype=self.dtype, name="pixels")(x)
        pixels = depth_to_space(pixels, PATCH).astype(jnp.float32)
        weight = jax.nn.softmax(pixels[..., :SQUARE_PLANES])
        of_pixels = jnp.repeat(jnp.repeat(planes.astype(jnp.float32), PATCH, 1), PATCH, 2)
        plane = jnp.sum(weight[..., None] * of_pixels, axis=-2)
        facing = jnp.array(_FACING, jnp.float32)[None, None, None]
        return jnp.concatenate([plane, pixels[..., SQUARE_PLANES:]], axis=-1) + facing

    def refine(self, x: jax.Array, train: bool) -> jax.Array:
        """Residual blocks, then ReLU."""
        for _ in range(self.blocks):
            x = Residual(**inherited(self))(x, train)
        return Block(**inherited(self))(x, train)

    def _shrink(self, x: jax.Array, stage: int, train: bool) -> jax.Array:
        x = space_to_depth(x, 2 if stage else PATCH)
        return self.refine(Dense(self.channels[stage], dtype=self.dtype)(x), train)

    def _grow(self, x: jax.Array, stage: int, train: bool) -> jax.Array:
        x = self.refine(x, train)
        if stage == 0:
            return x
        return depth_to_space(Dense(4 * self.channels[stage - 1], dtype=self.dtype)(x), 2)


class ImageEncoder(_Network):
    """Features of the whole image."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, list[jax.Array]]:
        """Maps `[B, H, W, C]` to features `[B, F]` and the feature maps of all stages."""
        maps = self.down(x, train)
        return maps[-1].reshape(x.shape[0], -1), maps


class _Decoder(_Network):
    """What decoders have beside.

    Attributes:
      low: height and width of the map that the code becomes.
    """

    low: tuple[int, int] = (1, 1)


class ImageDecoder(_Decoder):
    """From the code of the whole image to outputs of every pixel."""

    @nn.compact
    def __call__(
        self, code: jax.Array, train: bool, maps: Sequence[jax.Array] | None = None
    ) -> jax.Array:
        """Maps a code `[B, D]`, with the encoder's maps or alone, to `[B, H, W, 4]`."""
        x = Dense(math.prod(self.low) * self.channels[-1], dtype=self.dtype)(
            code.astype(self.dtype)
        )
        x = x.reshape(-1, *self.low, self.channels[-1])
        return self.head(self.up(x, maps, train))


class PixelEncoder(_Network):
    """Features of every square of 4 × 4 pixels."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, list[jax.Array]]:
        """Maps `[B, H, W, C]` to features `[B, T, F]` of T = H·W / 16 squares, and the first map."""
        maps = self.down(x, train)
        x = self.up(jnp.zeros_like(maps[-1]), maps, train)
        return x.reshape(x.shape[0], -1, x.shape[-1]), maps[:1]


class PixelDecoder(_Decoder):
    """From the code of every square to outputs of its pixels."""

    @nn.compact
    def __call__(
        self, code: jax.Array, train: bool, maps: Sequence[jax.Array] | None = None
    ) -> jax.Array:
        """Maps codes `[B, T, D]`, with the encoder's first map or alone, to `[B, H, W, 4]`.

        A code `[B, D]` is that of every square.
        """
        x = Dense(self.channels[0], dtype=self.dtype)(code.astype(self.dtype))
        if x.ndim == 2:
            x = jnp.broadcast_to(x[:, None], (x.shape[0], math.prod(self.low), x.shape[1]))
        x = x.reshape(x.shape[0], *self.low, x.shape[-1])
        if maps is not None:
            x = x + self.skip(maps[0], 0)
        return self.head(self.refine(x, train))


def make_plane_autoencoder(
    options: Any, image_size: tuple[int, int], axis_name: str | None
) -> tuple[nn.Module, nn.Module]:
    """Makes encoder and decoder.

    Args:
      options: `config.model`, with the options of `PLANE_NETWORKS` and `latent`.
      image_size: (H, W), multiples of what the stages shrink them by.
      axis_name: mapped axis whose devices share the statistics of batch normalization.

    Returns:
      (encoder: image → features `[B, F]`, or `[B, T, F]` with `latent = "pixel"`, and maps; decoder:
      code and maps → `[B, H, W, 4]`, float32: n/d, in 1/m, and the logit of lying on a plane).

    Raises:
      UserError: if there are no stages, or they cannot divide the image.
    """
    factor = shrink_factor(options, image_size, PATCH)
    shared: Any = {
        "channels": tuple(options.channels),
        "blocks": options.blocks,
        **module_options(options, axis_name),
    }
    of_image = options.latent == "image"
    height, width = (side // (factor if of_image else PATCH) for side in image_size)
    encoder, decoder = (ImageEncoder, ImageDecoder) if of_image else (PixelEncoder, PixelDecoder)
    return encoder(**shared), decoder(**shared, low=(height, width))
