"""Networks of point clouds.

For completion the encoders PointNet and PCN, and a decoder that folds a grid around coarse points; for
segmentation PointNet and DGCNN, and the head that labels points.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option
from nvc_jax.model.distances import map_rows, squared_distances
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
POINT_NETWORKS: Networks = {
    **dict.fromkeys(("pointnet", "pcn"), (HIDDEN, *FOLDING_OPTIONS, *LAYER_OPTIONS)),
    "seeds": (
        HIDDEN,
        *FOLDING_OPTIONS,
        Option("model.num_encoded", 1024, "observed points that are encoded", at_least=1),
        Option(
            "model.num_mirrored",
            512,
            "of them that are mirrored along x, to begin at, for shapes of two like halves; 0: none",
            at_least=0,
        ),
        Option(
            "model.num_added",
            512,
            "decoded points, the farthest from any observed one, that a completion adds to these",
            at_least=1,
        ),
        Option(
            "model.skip_dropout",
            0.05,
            "share of training examples that are decoded from the code alone",
            at_least=0,
            at_most=1,
        ),
        *LAYER_OPTIONS,
    ),
}
SEGMENTATION_NETWORKS: Networks = {
    "pointnet": (
        HIDDEN,
        DECODER_HIDDEN,
        Option("model.transform", False, "a learned matrix turns the input (T-net)"),
        *LAYER_OPTIONS,
    ),
    "dgcnn": (
        HIDDEN,
        DECODER_HIDDEN,
        Option("model.num_neighbors", 20, "of a point in the graphs", at_least=1),
        Option(
            "model.dilations",
            (),
            "of graphs in space, one a layer; (): graphs of the features",
            at_least=1,
            item=int,
        ),
        *LAYER_OPTIONS,
    ),
}


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
      num_encoded: so many points, at even steps, are encoded and handed on; 0: all, and none.

    The last layer of each is linear, without normalization.

    Reference: Yuan et al., "PCN: Point Completion Network", 2018.
    """

    local: tuple[int, ...] = (128, 256)
    joint: tuple[int, ...] = (512, 1024)
    num_encoded: int = 0

    @nn.compact
    def __call__(self, points: jax.Array, train: bool) -> Any:
        """Maps `[B, N, C]` to `[B, joint[-1]]`; neither order nor repetition of points counts.

        With `num_encoded` also to [those points, what the first PointNet makes of each].
        """
        shared = inherited(self)
        if self.num_encoded:
            points = at_even_steps(points, self.num_encoded)
        x = SharedMLP(self.local[:-1], **shared)(points, train)
        x = Dense(self.local[-1], dtype=self.dtype)(x)
        local, inputs = x, (x, jnp.max(x, axis=1, keepdims=True))
        x = JoinedLayer(self.joint[0], **shared)(inputs, train)
        x = SharedMLP(self.joint[1:-1], **shared)(x, train)
        whole = jnp.max(Dense(self.joint[-1], dtype=self.dtype)(x), axis=1)
        return (whole, [points[..., :3], local]) if self.num_encoded else whole


def at_even_steps(points: jax.Array, count: int) -> jax.Array:
    """At most `count` of the points `[B, N, ...]`, at even steps of their order."""
    kept = min(count, points.shape[1])
    return points[:, np.arange(kept) * points.shape[1] // max(kept, 1)]


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


class SeedDecoder(Network):
    """Points that begin at seeds: coarse ones of the code, and the mirror images of observed ones.

    Every seed is moved, to `grid`² places, by shared layers that see where it is, the code, what the
    encoder made of the observed point nearest to it, and of the one that it is the image of.

    Attributes:
      num_coarse: coarse points.
      num_mirrored: observed points, at even steps, whose mirror images along x are seeds, too.
      grid: u; a seed becomes u² points.
      hidden: widths of the dense layers before the coarse points.
      fold: widths of the layers that all seeds share.
      local: width of what the encoder makes of a point.

    References: Wang, Ang and Lee, "Cascaded Refinement Network for Point Cloud Completion", 2020
    (mirrored input); Xiang et al., "SnowflakeNet", 2021 (points that split by local features).
    """

    num_coarse: int = 256
    num_mirrored: int = 512
    grid: int = 1
    hidden: tuple[int, ...] = (512, 512)
    fold: tuple[int, ...] = (128, 128)
    local: int = 128

    @nn.compact
    def __call__(
        self, code: jax.Array, train: bool, maps: Sequence[jax.Array] | None = None
    ) -> DecodedPoints:
        """Maps `[B, D]`, alone or with the encoder's points `[B, N, 3]` and what it made of them."""
        shared = inherited(self)
        x = MLP(self.hidden, **shared)(code, train)
        coarse = Dense(3 * self.num_coarse, dtype=jnp.float32)(x.astype(jnp.float32))
        coarse = coarse.reshape(-1, self.num_coarse, 3)
        seeds, told = coarse, jnp.zeros((1, 1, 3 + 2 * self.local))  # as of dropped maps
        if maps is not None:
            seeds, told = self._beside(coarse, *maps)
        x = JoinedLayer(self.fold[0], **shared)((seeds, told, code[:, None]), train)
        x = SharedMLP(self.fold[1:], **shared)(x, train)
        init = nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")
        offsets = Dense(3 * self.grid**2, dtype=jnp.float32, kernel_init=init)(
            x.astype(jnp.float32)
        )
        fine = seeds[:, :, None] + offsets.reshape(*seeds.shape[:2], -1, 3)
        return DecodedPoints(coarse, fine.reshape(fine.shape[0], -1, 3))

    def _beside(
        self, coarse: jax.Array, points: jax.Array, local: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """All seeds, and what is told of each beside the code: `[B, S, 3]`, `[B, S, ...]`."""
        images = at_even_steps(points, self.num_mirrored)
        images = images.astype(jnp.float32) * jnp.asarray([[[-1.0, 1.0, 1.0]]])
        seeds = jnp.concatenate([coarse, images], axis=1)
        own = at_even_steps(local, self.num_mirrored)
        own = jnp.pad(own, ((0, 0), (self.num_coarse, 0), (0, 0)))
        nearest = jax.vmap(_nearest)(jax.lax.stop_gradient(seeds), points)
        place = jnp.take_along_axis(points, nearest[..., None], axis=1)
        features = jnp.take_along_axis(local, nearest[..., None], axis=1)
        seen = jnp.any(points != 0, axis=(1, 2), keepdims=True)  # not so where maps were dropped
        offset = jnp.where(seen, place - jax.lax.stop_gradient(seeds), 0.0)
        return seeds, jnp.concatenate([offset.astype(local.dtype), features, own], axis=-1)


def _nearest(rows: jax.Array, others: jax.Array) -> jax.Array:
    """Number of the nearest of others `[N, 3]` to each row `[S, 3]`."""
    return jnp.argmin(squared_distances(rows, others), axis=-1)


def make_point_autoencoder(options: Any, axis_name: str | None) -> tuple[nn.Module, nn.Module]:
    """Makes an encoder of point clouds and the decoder that completes them.

    Args:
      options: `config.model`, with the options of `POINT_NETWORKS`; `hidden` has the widths of the
        encoder: for `pcn` and `seeds` an even number, half for each of its two parts.
      axis_name: mapped axis whose devices share the statistics of batch normalization.

    Returns:
      (encoder: points `[B, N, C]` → `[B, F]`, decoder: code → `DecodedPoints` with
      num_coarse·fold_grid² fine points); of `seeds` the encoder gives maps, too, and the decoder takes them.

    Raises:
      UserError: for widths that make no network.
    """
    check_widths(options, "hidden", "decoder_hidden", "fold_hidden")
    shared = module_options(options, axis_name)
    widths = (options.fold_grid, tuple(options.decoder_hidden), tuple(options.fold_hidden))
    seeds = options.network == "seeds"
    decoder: nn.Module
    hidden = tuple(options.hidden)
    if seeds:
        count, local = options.num_mirrored, hidden[max(len(hidden) // 2 - 1, 0)]
        decoder = SeedDecoder(options.num_coarse, count, *widths, local, **shared)
    else:
        decoder = FoldingDecoder(options.num_coarse, *widths, **shared)
    if options.network == "pointnet":
        return PointNetEncoder(hidden, **shared), decoder
    half = len(hidden) // 2
    if half < 2 or len(hidden) % 2:
        raise UserError(
            f"model.hidden has {len(hidden)} widths: {options.network} needs 4, 6, ..., half for each of "
            "its two parts, such as (128, 256, 512, 1024)."
        )
    encoded = options.num_encoded if seeds else 0
    return PCNEncoder(hidden[:half], hidden[half:], encoded, **shared), decoder


class _TransformNet(Network):
    """T-net of PointNet: a matrix for every cloud, the identity at initialization."""

    size: int
    hidden: tuple[int, ...]
    dense: tuple[int, ...]

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps `[B, N, C]` to float32 `[B, size, size]`."""
        shared = inherited(self)
        x = PointNetEncoder(self.hidden, **shared)(x, train)
        x = MLP(self.dense, **shared)(x, train).astype(jnp.float32)
        change = Dense(self.size**2, dtype=jnp.float32, kernel_init=nn.initializers.zeros)(x)
        return jnp.eye(self.size)[None] + change.reshape(-1, self.size, self.size)


class PointNetSegmentation(Network):
    """PointNet's part segmentation network, up to its global feature.

    Attributes:
      hidden: widths of the shared layers, at least 3; the last one is that of the global feature.
      transform: turn the coordinates, and the features before the last two layers, by learned
        matrices (T-nets).
      transform_hidden: widths of the shared layers of a T-net.
      transform_dense: widths of its dense layers.

    Reference: Qi et al., "PointNet: Deep Learning on Point Sets", 2017, appendix C.
    """

    hidden: tuple[int, ...] = (64, 128, 128, 512, 2048)
    transform: bool = False
    transform_hidden: tuple[int, ...] = (64, 128, 1024)
    transform_dense: tuple[int, ...] = (512, 256)

    @nn.compact
    def __call__(self, points: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Encodes clouds.

        Args:
          points: `[B, N, C]`, the coordinates first.
          train: use the statistics of the batch.

        Returns:
          (what every layer makes of a point, `[B, N, sum(hidden)]`; the maximum of the last one
          over points, `[B, hidden[-1]]`).
        """
        if self.transform:
            turned = self._turn(points[..., :3], points, train)
            points = jnp.concatenate([turned, points[..., 3:]], axis=-1)
        x = points.astype(self.dtype)
        features = []
        for layer, width in enumerate(self.hidden):
            if self.transform and layer == len(self.hidden) - 2:
                x = self._turn(x, x, train)
            x = SharedMLP((width,), **inherited(self))(x, train)
            features.append(x)
        return jnp.concatenate(features, axis=-1), jnp.max(x, axis=1)

    def _turn(self, x: jax.Array, seen: jax.Array, train: bool) -> jax.Array:
        widths = self.transform_hidden, self.transform_dense
        matrix = _TransformNet(x.shape[-1], *widths, **inherited(self))(seen, train)
        return jnp.matmul(x, matrix.astype(x.dtype))


def nearest_neighbors(x: jax.Array, num_neighbors: int) -> jax.Array:
    """Indices of the nearest points of the same cloud, each point itself among them.

    Distances are exact differences in float32, computed in blocks of points: no array of size
    B·N². There is no gradient.

    Args:
      x: `[B, N, C]`, coordinates or features.
      num_neighbors: k, at least 1.

    Returns:
      int32 `[B, N, min(k, N)]`, nearest first; of equally near points, the lower index first.
    """
    x = jax.lax.stop_gradient(x.astype(jnp.float32))
    kept = min(num_neighbors, x.shape[1])

    def nearest(rows: jax.Array) -> jax.Array:
        squared = jax.vmap(squared_distances, in_axes=(1, 0), out_axes=1)(rows, x)
        return jax.lax.top_k(-squared, kept)[1]

    return map_rows(nearest, x.shape[0] * x.shape[1], x.swapaxes(0, 1)).swapaxes(0, 1)


class EdgeConv(Network):
    """What a point's neighbors are to it: the maximum over them of a linear layer, then ReLU.

    `relu(max_j [W·(x_j − x_i) + V·x_i] + b)`. ReLU increases, so that it may follow the maximum,
    and so may everything that is equal for all neighbors: products are made per point, and edges
    only take them up and compare. Normalization stands after the maximum. Products are float32.

    Reference: Wang et al., "Dynamic Graph CNN for Learning on Point Clouds", 2019.
    """

    features: int

    @nn.compact
    def __call__(self, x: jax.Array, neighbors: jax.Array, train: bool) -> jax.Array:
        """Maps `[B, N, C]`, with neighbors int `[B, N, k]`, to `[B, N, features]`."""
        shape = (2 * x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape[1:], jnp.float32)
        relative, own = jnp.split(kernel.astype(x.dtype), 2)
        # Neighbors are alike: their difference would be lost in the rounding of bfloat16 products.
        product = jnp.matmul(x, relative, preferred_element_type=jnp.float32)
        at_point = jnp.matmul(x, own, preferred_element_type=jnp.float32)
        edges = jax.vmap(lambda values, rows: values[rows])(product, neighbors)
        x = jnp.max(edges, axis=2) - product + at_point + bias[None, None]
        return Block(**inherited(self))(x.astype(self.dtype), train)


class DGCNN(Network):
    """Dynamic graph network, up to its global feature.

    Attributes:
      hidden: widths of the edge convolutions.
      embedding: width of the global feature.
      num_neighbors: k of the graphs; clouds with fewer points are connected completely.
      dilations: none: the first graph is that of the coordinates, each further one that of the
        features before it. Otherwise one number d for each edge convolution, whose graph has
        every d-th of the k·d points nearest in space: a wider view, and distances are computed once.

    References: Wang et al., "Dynamic Graph CNN for Learning on Point Clouds", 2019; Li et al.,
    "DeepGCNs: Can GCNs Go as Deep as CNNs?", 2019 (dilation).
    """

    hidden: tuple[int, ...] = (64, 64, 64)
    embedding: int = 1024
    num_neighbors: int = 20
    dilations: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, points: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Encodes clouds.

        Args:
          points: `[B, N, C]`, the coordinates first.
          train: use the statistics of the batch.

        Returns:
          (what every edge convolution makes of a point, `[B, N, sum(hidden)]`; the global feature
          `[B, embedding]`).
        """
        x = points.astype(jnp.float32)
        features: list[jax.Array] = []
        in_space = nearest_neighbors(
            x[..., :3], self.num_neighbors * max(self.dilations, default=1)
        )
        for layer, width in enumerate(self.hidden):
            if self.dilations:
                step = self.dilations[layer]
                neighbors = in_space[..., : self.num_neighbors * step : step]
            else:
                neighbors = nearest_neighbors(x, self.num_neighbors) if layer else in_space
            x = apply_stage(DGCNN._convolve, self, (x, neighbors), width, train)
            features.append(x)
        joined = jnp.concatenate(features, axis=-1)
        whole = SharedMLP((self.embedding,), **inherited(self))(joined, train)
        return joined, jnp.max(whole, axis=1)

    def _convolve(self, inputs: tuple[jax.Array, jax.Array], width: int, train: bool) -> jax.Array:
        return EdgeConv(width, **inherited(self))(*inputs, train)


class SegmentationHead(Network):
    """Labels points by their features beside the code of their cloud.

    Attributes:
      num_classes: `C`.
      hidden: widths of the layers before the logits.
      num_categories: kinds of objects that the head is told about; 0: it is told nothing.
    """

    num_classes: int
    hidden: tuple[int, ...] = (256, 256, 128)
    num_categories: int = 0

    @nn.compact
    def __call__(
        self, code: jax.Array, point_features: jax.Array, train: bool, category: jax.Array
    ) -> jax.Array:
        """Labels every point.

        Args:
          code: `[B, D]`.
          point_features: `[B, N, F]`.
          train: use the statistics of the batch.
          category: int `[B]`, kind of the object, −1 where it is not known.

        Returns:
          Logits float32 `[B, N, C]`.
        """
        inputs = [point_features, code[:, None]]
        if self.num_categories:
            inputs.append(jax.nn.one_hot(category, self.num_categories)[:, None])
        shared = inherited(self)
        x = JoinedLayer(self.hidden[0], **shared)(tuple(inputs), train)
        x = SharedMLP(self.hidden[1:], **shared)(x, train)
        return Dense(self.num_classes, dtype=self.dtype)(x).astype(jnp.float32)


def make_point_segmentation(
    options: Any, num_classes: int, num_categories: int, axis_name: str | None
) -> tuple[nn.Module, nn.Module]:
    """Makes the two halves of a segmentation network; the bottleneck goes between them.

    Args:
      options: `config.model`; `network`, `hidden`, `decoder_hidden`, `transform`,
        `num_neighbors`, `dilations`, `batch_norm`, `dtype` and `remat` are used. `hidden` has the widths of the
        encoder, the last one that of the global feature; `decoder_hidden` those of the head.
      num_classes: `C`.
      num_categories: kinds of objects that the head is told about; 0: none.
      axis_name: mapped axis whose devices share the statistics of batch normalization.

    Returns:
      (encoder: points → (point features, global feature), head: code and point features → logits).

    Raises:
      UserError: for widths and dilations that make no network.
    """
    check_widths(options, "decoder_hidden")
    shared = module_options(options, axis_name)
    hidden, fewest = tuple(options.hidden), 3 if options.network == "pointnet" else 2
    if len(hidden) < fewest:
        raise UserError(
            f"model.hidden has {len(hidden)} widths: {options.network} needs {fewest} or more."
        )
    head = SegmentationHead(num_classes, tuple(options.decoder_hidden), num_categories, **shared)
    if options.network == "pointnet":
        return PointNetSegmentation(hidden, options.transform, **shared), head
    dilations = tuple(options.dilations)
    if dilations and len(dilations) != len(hidden) - 1:
        raise UserError(
            f"model.dilations are {dilations}: give {len(hidden) - 1} numbers, one for each edge "
            "convolution, or none."
        )
    return DGCNN(hidden[:-1], hidden[-1], options.num_neighbors, dilations, **shared), head
