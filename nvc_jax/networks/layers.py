"""Layers that networks of every kind of data share: precision of biases, normalization, remat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option

HIDDEN = Option("model.hidden", (512, 256, 128), "widths of the dense layers", at_least=1)
CHANNELS = Option("model.channels", (32, 64), "of every stage", at_least=1)
BLOCKS = Option("model.blocks", 1, "residual blocks of a stage", at_least=0)
DECODER_HIDDEN = Option(
    "model.decoder_hidden", (256, 256), "widths of the decoder's dense layers", at_least=1
)
LAYER_OPTIONS = (
    Option("model.batch_norm", False, "batch normalization"),
    Option(
        "model.dtype",
        "float32",
        "of activations; parameters and losses stay float32",
        ("float32", "bfloat16"),
    ),
    Option(
        "model.remat", False, "recompute activations in the backward pass: less memory, more time"
    ),
)
"""What every network of these layers reads."""

Networks = Mapping[str, tuple[Option, ...]]
"""The networks of a kind of data by the name in `model.network`, the default first, with their options."""


def apply_stage(
    stage: Callable[..., jax.Array], module: nn.Module, x: Any, *options: Any
) -> jax.Array:
    """Applies one stage of a network, a method of `module`, to its input: an array, or several.

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


class Block(nn.Module):
    """Optional batch normalization, then ReLU."""

    batch_norm: bool
    axis_name: str | None
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps `[..., C]` to the same shape; statistics are those of the batch in training."""
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
            x = apply_stage(MLP._layer, self, x, width, train)
        return x

    def _layer(self, x: jax.Array, width: int, train: bool) -> jax.Array:
        x = Dense(width, dtype=self.dtype, kernel_init=nn.initializers.he_normal())(x)
        return Block(self.batch_norm, self.axis_name, self.dtype)(x, train)


def module_options(options: Any, axis_name: str | None) -> dict[str, Any]:
    """Attributes that networks of every kind take from the config.

    Args:
      options: `config.model`; `batch_norm`, `dtype` and `remat` are used.
      axis_name: mapped axis whose devices share the statistics of batch normalization.

    Returns:
      `batch_norm`, `axis_name`, `dtype` and `remat`, to pass on as keywords.

    Raises:
      UserError: for an unknown dtype.
    """
    if options.dtype not in ("float32", "bfloat16"):
        raise UserError(f"model.dtype is {options.dtype!r}: use 'float32' or 'bfloat16'.")
    return {
        "batch_norm": options.batch_norm,
        "axis_name": axis_name,
        "dtype": jnp.dtype(options.dtype),
        "remat": options.remat,
    }
