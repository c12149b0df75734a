"""Image encoders and decoders: MLP, strided convolution, and SqueezeNet's fire module."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nvc_jax.errors import UserError

IMAGE_NETWORKS = ("mlp", "conv", "fire")
CONV_CHANNELS = (32, 64)
FIRE_CHANNELS = (32, 64)


def _apply(
    stage: Callable[..., jax.Array], module: nn.Module, x: jax.Array, *options: Any
) -> jax.Array:
    """Applies one stage of a network, a method of `module`, to its input.

    With `module.remat` the stage's input is all that is kept for the backward pass, which computes
    the activations inside again. The module is lifted as it is, so parameters keep their names.
    Before jax 0.12 XLA for the CPU undoes it: there it neither helps nor costs.
    """
    if module.remat:
        stage = nn.remat(stage, static_argnums=tuple(range(2, 2 + len(options))))
    return stage(module, x, *options)


class _Float32Bias(nn.Module):
    """Goes before a layer of Flax: adds the bias in float32.

    The gradient of a bias is a sum over examples and pixels. In bfloat16, which has 8 bits, such a
    sum stands still at 256 times the size of a term.
    """

    use_bias: bool = False  # Flax's own

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        product = super().__call__(x)
        shape = (1,) * (product.ndim - 1) + (-1,)
        bias = self.param("bias", nn.initializers.zeros, product.shape[-1:], jnp.float32)
        return (product.astype(jnp.float32) + bias.reshape(shape)).astype(product.dtype)


class Dense(_Float32Bias, nn.Dense):
    """`nn.Dense`, with the bias in float32."""


class Conv(_Float32Bias, nn.Conv):
    """`nn.Conv`, with the bias in float32."""


class ConvTranspose(_Float32Bias, nn.ConvTranspose):
    """`nn.ConvTranspose`, with the bias in float32."""


class _Block(nn.Module):
    """Optional batch normalization, then ReLU."""

    batch_norm: bool
    axis_name: str | None
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        if self.batch_norm:
            x = nn.BatchNorm(
                use_running_average=not train,
                momentum=0.9,
                axis_name=self.axis_name,
                dtype=jnp.float32,
            )(x.astype(jnp.float32)).astype(self.dtype)
        return nn.relu(x)


class MLP(nn.Module):
    """Dense layers with ReLU. Attribute `hidden`: their widths."""

    hidden: tuple[int, ...]
    batch_norm: bool = False
    axis_name: str | None = None
    dtype: Any = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps `[B, ...]`, flattened, to `[B, hidden[-1]]`."""
        x = x.reshape(x.shape[0], -1).astype(self.dtype)
        for width in self.hidden:
            x = _apply(MLP._layer, self, x, width, train)
        return x

    def _layer(self, x: jax.Array, width: int, train: bool) -> jax.Array:
        x = Dense(width, dtype=self.dtype, kernel_init=nn.initializers.he_normal())(x)
        return _Block(self.batch_norm, self.axis_name, self.dtype)(x, train)


class Fire(nn.Module):
    """Squeeze-expand module: 1 × 1 squeeze, then 1 × 1 and 3 × 3 expand side by side.

    Reference: Iandola et al., "SqueezeNet", 2016.
    """

    channels: int
    strides: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, H / strides, W / strides, channels]`."""
        squeezed = nn.relu(Conv(max(self.channels // 4, 1), (1, 1), dtype=self.dtype)(x))
        half = self.channels // 2
        strides = (self.strides, self.strides)
        parts = [
            Conv(half, (1, 1), strides, dtype=self.dtype)(squeezed),
            Conv(self.channels - half, (3, 3), strides, dtype=self.dtype)(squeezed),
        ]
        return jnp.concatenate(parts, axis=-1)


class ConvEncoder(nn.Module):
    """Halves the image once a stage, then flattens into one dense layer."""

    features: int
    fire: bool = False
    batch_norm: bool = False
    axis_name: str | None = None
    dtype: Any = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, features]`."""
        x = x.astype(self.dtype)
        for channels in FIRE_CHANNELS if self.fire else CONV_CHANNELS:
            x = _apply(ConvEncoder._halve, self, x, channels, train)
        head = MLP((self.features,), self.batch_norm, self.axis_name, self.dtype, self.remat)
        return head(x, train)

    def _halve(self, x: jax.Array, channels: int, train: bool) -> jax.Array:
        if self.fire:
            x = Fire(channels, strides=2, dtype=self.dtype)(x)
        else:
            x = Conv(channels, (3, 3), (2, 2), dtype=self.dtype)(x)
        return _Block(self.batch_norm, self.axis_name, self.dtype)(x, train)


class ConvDecoder(nn.Module):
    """Mirror of `ConvEncoder`: dense, then doubling stages, cropped to the image's size."""

    image_shape: tuple[int, int, int]
    features: int
    fire: bool = False
    batch_norm: bool = False
    axis_name: str | None = None
    dtype: Any = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, code: jax.Array, train: bool) -> jax.Array:
        """Maps `[B, D]` to `[B, H, W, C]`, without an activation."""
        channels = (FIRE_CHANNELS if self.fire else CONV_CHANNELS)[::-1]
        height, width, depth = self.image_shape
        factor = 2 ** len(channels)
        low = (math.ceil(height / factor), math.ceil(width / factor))
        widths = (self.features, low[0] * low[1] * channels[0])
        x = MLP(widths, self.batch_norm, self.axis_name, self.dtype, self.remat)(code, train)
        x = x.reshape(-1, *low, channels[0])
        for count in (*channels[1:], channels[-1]):
            x = _apply(ConvDecoder._double, self, x, count, train)
        x = Conv(depth, (3, 3), dtype=self.dtype)(x)
        return x[:, :height, :width].astype(jnp.float32)

    def _double(self, x: jax.Array, channels: int, train: bool) -> jax.Array:
        if self.fire:
            x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
            x = Fire(channels, dtype=self.dtype)(x)
        else:
            x = ConvTranspose(channels, (3, 3), (2, 2), dtype=self.dtype)(x)
        return _Block(self.batch_norm, self.axis_name, self.dtype)(x, train)


class MLPDecoder(nn.Module):
    """Dense layers from the code to pixels, without an activation at the end."""

    image_shape: tuple[int, int, int]
    hidden: tuple[int, ...]
    batch_norm: bool = False
    axis_name: str | None = None
    dtype: Any = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, code: jax.Array, train: bool) -> jax.Array:
        """Maps `[B, D]` to `[B, H, W, C]`."""
        x = MLP(self.hidden, self.batch_norm, self.axis_name, self.dtype, self.remat)(code, train)
        x = Dense(math.prod(self.image_shape), dtype=self.dtype)(x)
        return x.reshape(-1, *self.image_shape).astype(jnp.float32)


def make_autoencoder(
    options: Any, image_shape: tuple[int, int, int], axis_name: str | None
) -> tuple[nn.Module, nn.Module]:
    """Makes encoder and decoder of one kind.

    Args:
      options: `config.model`; `network`, `hidden`, `batch_norm`, `dtype` and `remat` are used. The
        convolutional kinds have stages of their own and use `hidden[-1]` for the dense layer.
      image_shape: (H, W, C), any size.
      axis_name: mapped axis whose devices share the statistics of batch normalization.

    Returns:
      (encoder: image → `[B, F]`, decoder: code → `[B, H, W, C]` logits or values, float32).

    Raises:
      UserError: for an unknown network or dtype.
    """
    if options.network not in IMAGE_NETWORKS:
        raise UserError(
            f"model.network is {options.network!r}: use one of {', '.join(IMAGE_NETWORKS)}."
        )
    if options.dtype not in ("float32", "bfloat16"):
        raise UserError(f"model.dtype is {options.dtype!r}: use 'float32' or 'bfloat16'.")
    hidden = tuple(options.hidden)
    if not hidden:
        raise UserError("model.hidden is empty: give at least one width.")
    shared: Any = {
        "batch_norm": options.batch_norm,
        "axis_name": axis_name,
        "dtype": jnp.dtype(options.dtype),
        "remat": options.remat,
    }
    if options.network == "mlp":
        return MLP(hidden, **shared), MLPDecoder(image_shape, hidden[::-1], **shared)
    shared["fire"] = options.network == "fire"
    return ConvEncoder(hidden[-1], **shared), ConvDecoder(image_shape, hidden[-1], **shared)
