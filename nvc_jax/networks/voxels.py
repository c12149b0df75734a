"""Encoder and decoder of volumes: space-to-depth with residual blocks, or strided convolutions."""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nvc_jax.core.options import Option
from nvc_jax.networks.layers import (
    BLOCKS,
    CHANNELS,
    LAYER_OPTIONS,
    PATCH,
    Block,
    Conv,
    ConvTranspose,
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

VOLUME_NETWORKS: Networks = dict.fromkeys(
    ("patch3d", "conv3d"),
    (
        CHANNELS,
        BLOCKS,
        Option(
            "model.see_mirrored",
            False,
            "the encoder gets the volume's mirror image along x beside it, for shapes of two like halves",
        ),
        *LAYER_OPTIONS,
    ),
)
_SPARSE = nn.initializers.variance_scaling(4.0, "fan_in", "truncated_normal")  # few inputs are 1


class _AxialResidual(Network):
    """x + three convolutions of 3 voxels, along x, y and z, with ReLUs; the identity at first.

    Each is a dense layer on three shifted copies: a matrix product, and a ninth of the arithmetic of
    a 3³ convolution.
    """

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        channels, y = x.shape[-1], x
        for axis in (1, 2, 3):
            y = _with_neighbors(Block(**inherited(self))(y, train), axis)
            init = nn.initializers.zeros if axis == 3 else nn.initializers.he_normal()
            y = Dense(channels, dtype=self.dtype, kernel_init=init)(y)
        return x + y


def _with_neighbors(x: jax.Array, axis: int) -> jax.Array:
    """Channels of the voxel before, of the voxel itself and of the one after, side by side."""
    size = x.shape[axis]
    padded = jnp.pad(x, [(int(i == axis),) * 2 for i in range(x.ndim)])
    shifted = [jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(3)]
    return jnp.concatenate(shifted, axis=-1)


class VolumeEncoder(Network):
    """Stages that shrink the volume, each followed by residual blocks.

    Attributes:
      channels: of every stage.
      strided: shrink by 4³ convolutions of stride 2, as published networks do, with blocks of 3³
        convolutions; otherwise by space-to-depth and a dense layer: by 4 in the first stage, by 2 in
        the others, with blocks of convolutions along one axis after the other.
      blocks: residual blocks of a stage.
      mirrored: the volume's mirror image along x is a second channel of the input.
    """

    channels: tuple[int, ...]
    strided: bool = False
    blocks: int = 1
    mirrored: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, list[jax.Array]]:
        """Maps `[B, X, Y, Z]` to features `[B, F]` and the feature maps of all stages."""
        x = jnp.stack([x, x[:, ::-1]] if self.mirrored else [x], axis=-1).astype(self.dtype)
        maps = []
        for stage, channels in enumerate(self.channels):
            x = apply_stage(VolumeEncoder._stage, self, x, stage, channels, train)
            maps.append(x)
        return Block(**inherited(self))(x, train).reshape(x.shape[0], -1), maps

    def _stage(self, x: jax.Array, stage: int, channels: int, train: bool) -> jax.Array:
        if stage:
            x = Block(**inherited(self))(x, train)
        if self.strided:
            x = Conv(channels, (4, 4, 4), (2, 2, 2), dtype=self.dtype)(x)
        else:
            x = space_to_depth(x, 2 if stage else PATCH)
            init = nn.initializers.lecun_normal() if stage else _SPARSE
            x = Dense(channels, dtype=self.dtype, kernel_init=init)(x)
        for _ in range(self.blocks):
            x = _block(self)(x, train)
        return x


class VolumeDecoder(Network):
    """Mirror of `VolumeEncoder`, to whose feature maps it adds those of the encoder.

    Attributes:
      shape: (X, Y, Z).
      outputs: numbers for every voxel.
    """

    shape: tuple[int, int, int]
    channels: tuple[int, ...]
    outputs: int = 1
    strided: bool = False
    blocks: int = 1

    @nn.compact
    def __call__(
        self, code: jax.Array, train: bool, maps: Sequence[jax.Array] | None = None
    ) -> jax.Array:
        """Maps a code `[B, D]`, with the encoder's maps or alone, to `[B, X, Y, Z, outputs]`."""
        factor = (2 if self.strided else PATCH) * 2 ** (len(self.channels) - 1)
        low = [side // factor for side in self.shape]
        x = Dense(math.prod(low) * self.channels[-1], dtype=self.dtype)(code.astype(self.dtype))
        x = x.reshape(-1, *low, self.channels[-1])
        for stage in reversed(range(len(self.channels))):
            if maps is not None:
                # Without bias, maps of zeros, as dropped ones are, are as good as none.
                skip = nn.Dense(
                    self.channels[stage], use_bias=False, dtype=self.dtype, name=f"skip_{stage}"
                )
                x = x + skip(maps[stage])
            x = apply_stage(VolumeDecoder._stage, self, x, stage, train)
        return x.astype(jnp.float32)

    def _stage(self, x: jax.Array, stage: int, train: bool) -> jax.Array:
        for _ in range(self.blocks):
            x = _block(self)(x, train)
        x = Block(**inherited(self))(x, train)
        channels = self.channels[stage - 1] if stage else self.outputs
        if self.strided:
            return ConvTranspose(channels, (4, 4, 4), (2, 2, 2), dtype=self.dtype)(x)
        size = PATCH if stage == 0 else 2
        return depth_to_space(Dense(size**3 * channels, dtype=self.dtype)(x), size)


def _block(module: VolumeEncoder | VolumeDecoder) -> nn.Module:
    """A residual block of a network's kind."""
    return (Residual if module.strided else _AxialResidual)(**inherited(module))


def make_volume_autoencoder(
    options: Any, shape: tuple[int, int, int], outputs: int, axis_name: str | None
) -> tuple[nn.Module, nn.Module]:
    """Makes encoder and decoder of volumes.

    Args:
      options: `config.model`, with the options of `VOLUME_NETWORKS`.
      shape: (X, Y, Z), multiples of what the stages shrink them by.
      outputs: numbers for every voxel.
      axis_name: mapped axis whose devices share the statistics of batch normalization.

    Returns:
      (encoder: volume → features and maps, decoder: code and maps → `[B, X, Y, Z, outputs]` logits,
      float32).

    Raises:
      UserError: if there are no stages, or they cannot divide the volume.
    """
    strided = options.network == "conv3d"
    shrink_factor(options, shape, 2 if strided else PATCH)
    shared: Any = {
        "channels": tuple(options.channels),
        "strided": strided,
        "blocks": options.blocks,
        **module_options(options, axis_name),
    }
    encoder = VolumeEncoder(**shared, mirrored=options.see_mirrored)
    return encoder, VolumeDecoder(shape, outputs=outputs, **shared)
