"""Point-cloud encoders (PointNet, PCN) and a decoder that folds a grid around coarse points."""

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option
from nvc_jax.networks.layers import (
    DECODER_HIDDEN,
    HIDDEN,
    LAYER_OPTIONS,
    MLP,
    Block,
    Dense,
    Network,
    Networks,
    apply_stage,
    check_widths,
    inherited,
    module_options,
)

FOLDING_OPTIONS = (
    DECODER_HIDDEN,
    Option("model.num_coarse", 512, "coarse points of a completed cloud", at_least=1),
    Option(
        "model.fold_grid", 2, "a grid of so many points, squared, is folded around each", at_least=1
    ),
    Option("model.fold_hidden", (128, 128), "widths of the layers that fold", at_least=1),
)
POINT_NETWORKS: Networks = dict.fromkeys(
    ("pointnet", "pcn"), (HIDDEN, *FOLDING_OPTIONS, *LAYER_OPTIONS)
)


class SharedMLP(MLP):
    """The same dense layers with ReLU for every point. Attribute `hidden`: their widths."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps `[B, N, C]` to `[B, N, hidden[-1]]`."""
        x = x.astype(self.dtype)
        for width in self.hidden:
            x = apply_stage(MLP._layer, self, x, width, train)
        return x


class JoinedLayer(Network):
    """A dense layer with ReLU on inputs side by side, which need not be as large as one another.

    `Σ_i x_i·W_i + b`, with W_i the rows of one kernel: what a dense layer makes of the concatenated
    inputs, but a vector of a whole cloud is multiplied once, and not once for every point.
    Attribute `features`: the width.
    """

    features: int

    @nn.compact
    def __call__(self, inputs: tuple[jax.Array, ...], train: bool) -> jax.Array:
        """Maps inputs `[B, ..., C_i]`, of one rank and with axes that broadcast."""
        return apply_stage(JoinedLayer._layer, self, inputs, train)

    def _layer(self, inputs: tuple[jax.Array, ...], train: bool) -> jax.Array:
        widths = [x.shape[-1] for x in inputs]
        shape = (sum(widths), self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape[1:], jnp.float32)
        total = bias.reshape((1,) * (inputs[0].ndim - 1) + (-1,))  # float32: see `layers.Dense`
        for x, rows in zip(inputs, jnp.split(kernel, np.cumsum(widths)[:-1]), strict=True):
            product = jnp.matmul(x.astype(self.dtype), rows.astype(self.dtype))
            total = total + product.astype(jnp.float32)
        return Block(**inherited(self))(total.astype(self.dtype), train)


class PointNetEncoder(Network):
    """Shared dense layers with ReLU, then the maximum over points. Attribute `hidden`: widths.

    Reference: Qi et al., "PointNet: Deep Learning on Point Sets", 2017.
    """

    hidden: tuple[int, ...] = (64, 128, 256)

    @nn.compact
    def __call__(self, points: jax.Array, train: bool) -> jax.Array:
        """Maps `[B, N, C]` to `[B, hidden[-1]]`; neither order nor repetition of points counts."""
        return jnp.max(SharedMLP(self.hidden, **inherited(self))(points, train), axis=1)


class PCNEncoder(Network):
    """Two PointNets: the second one sees what the first one found beside its features.

    Attributes:
      local: widths of the first one, at least 2.
      joint: widths of the second one, at least 2.

    The last layer of each is linear, without normalization.

    Reference: Yuan et al., "PCN: Point Completion Network", 2018.
    """

    local: tuple[int, ...] = (128, 256)
    joint: tuple[int, ...] = (512, 1024)

    @nn.compact
    def __call__(self, points: jax.Array, train: bool) -> jax.Array:
        """Maps `[B, N, C]` to `[B, joint[-1]]`; neither order nor repetition of points counts."""
        shared = inherited(self)
        x = SharedMLP(self.local[:-1], **shared)(points, train)
        x = Dense(self.local[-1], dtype=self.dtype)(x)
        inputs = (x, jnp.max(x, axis=1, keepdims=True))
        x = JoinedLayer(self.joint[0], **shared)(inputs, train)
        x = SharedMLP(self.joint[1:-1], **shared)(x, train)
        return jnp.max(Dense(self.joint[-1], dtype=self.dtype)(x), axis=1)


@flax.struct.dataclass
class DecodedPoints:
    """What `FoldingDecoder` returns, float32: `coarse` `[B, M, 3]`, `fine` `[B, M·u², 3]`."""

    coarse: jax.Array
    fine: jax.Array


class FoldingDecoder(Network):
    """Coarse points by dense layers, then a small grid folded around each of them.

    Attributes:
      num_coarse: `M`.
      grid: u; a grid of u × u points is folded around every coarse point.
      hidden: widths of the dense layers before the coarse points.
      fold: widths of the layers that all points of all grids share.
      extent: half the side of a grid, in the unit of the points.

    Reference: Yuan et al., "PCN: Point Completion Network", 2018.
    """

    num_coarse: int = 1024
    grid: int = 4
    hidden: tuple[int, ...] = (1024, 1024)
    fold: tuple[int, ...] = (512, 512)
    extent: float = 0.05

    @nn.compact
    def __call__(self, code: jax.Array, train: bool) -> DecodedPoints:
        """Maps `[B, D]`; the points of a coarse point's grid follow one another in `fine`."""
        shared = inherited(self)
        x = MLP(self.hidden, **shared)(code, train)
        # Coordinates are made in float32: bfloat16 tells points apart that are 1/256 apart.
        coarse = Dense(3 * self.num_coarse, dtype=jnp.float32)(x.astype(jnp.float32))
        coarse = coarse.reshape(-1, self.num_coarse, 3)
        offsets = apply_stage(FoldingDecoder._fold, self, (code, coarse), train)
        fine = coarse[:, :, None] + offsets
        return DecodedPoints(coarse, fine.reshape(fine.shape[0], -1, 3))

    def _fold(self, inputs: tuple[jax.Array, jax.Array], train: bool) -> jax.Array:
        """Offsets of the points of all grids from their coarse points, `[B, M, u², 3]`."""
        code, coarse = inputs
        side = np.linspace(-self.extent, self.extent, self.grid, dtype=np.float32)
        grid = jnp.asarray(np.stack(np.meshgrid(side, side), -1).reshape(1, 1, -1, 2))
        shared = {**inherited(self), "remat": False}  # all of it is recomputed already
        first = JoinedLayer(self.fold[0], **shared)
        x = first((grid, coarse[:, :, None], code[:, None, None]), train)
        x = SharedMLP(self.fold[1:], **shared)(x, train)
        return Dense(3, dtype=jnp.float32)(x.astype(jnp.float32))


def make_point_autoencoder(options: Any, axis_name: str | None) -> tuple[nn.Module, nn.Module]:
    """Makes an encoder of point clouds and the decoder that completes them.

    Args:
      options: `config.model`, with the options of `POINT_NETWORKS`; `hidden` has the widths of the
        encoder: for `pcn` an even number, half for each of its two parts.
      axis_name: mapped axis whose devices share the statistics of batch normalization.

    Returns:
      (encoder: points `[B, N, C]` → `[B, F]`, decoder: code → `DecodedPoints` with
      num_coarse·fold_grid² fine points).

    Raises:
      UserError: for widths that make no network.
    """
    check_widths(options, "hidden", "decoder_hidden", "fold_hidden")
    shared = module_options(options, axis_name)
    decoder = FoldingDecoder(
        options.num_coarse,
        options.fold_grid,
        tuple(options.decoder_hidden),
        tuple(options.fold_hidden),
        **shared,
    )
    hidden = tuple(options.hidden)
    if options.network == "pointnet":
        return PointNetEncoder(hidden, **shared), decoder
    half = len(hidden) // 2
    if half < 2 or len(hidden) % 2:
        raise UserError(
            f"model.hidden has {len(hidden)} widths: pcn needs 4, 6, ..., half for each of its two "
            "parts, such as (128, 256, 512, 1024)."
        )
    return PCNEncoder(hidden[:half], hidden[half:], **shared), decoder
