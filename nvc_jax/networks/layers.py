"""Layers that networks of every kind of data share: precision of biases, normalization, remat."""

from collections.abc import Callable, Mapping, Sequence
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

PATCH = 4  # side of the squares or cubes that the first stage of patch2d and patch3d folds

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


class Network(nn.Module, kw_only=True):
    """What networks take from the config, and hand on to those inside of them.

    Attributes:
      batch_norm: batch normalization before every ReLU.
      axis_name: mapped axis whose devices share its statistics.
      dtype: of activations; parameters and outputs are float32.
      remat: compute activations again in the backward pass, see `apply_stage`.
    """

    batch_norm: bool = False
    axis_name: str | None = None
    dtype: Any = jnp.float32
    remat: bool = False


def inherited(network: Network) -> dict[str, Any]:
    """Attributes of a network for one inside of it, as keywords."""
    names = ("batch_norm", "axis_name", "dtype", "remat")
    return {name: getattr(network, name) for name in names}


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


class Block(Network):
    """Optional batch normalization, then ReLU."""

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


class Residual(Network):
    """x + convolution(ReLU(convolution(ReLU(x)))), of 3 pixels or voxels a side, the identity at first."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps `[B, ..., C]` to the same shape."""
        channels, kernel = x.shape[-1], (3,) * (x.ndim - 2)
        y = Conv(channels, kernel, dtype=self.dtype)(Block(**inherited(self))(x, train))
        y = Block(**inherited(self))(y, train)
        return x + Conv(channels, kernel, dtype=self.dtype, kernel_init=nn.initializers.zeros)(y)


class MLP(Network):
    """Dense layers with ReLU. Attribute `hidden`: their widths."""

    hidden: tuple[int, ...]

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps `[B, ...]`, flattened, to `[B, hidden[-1]]`."""
        x = x.reshape(x.shape[0], -1).astype(self.dtype)
        for width in self.hidden:
            x = apply_stage(MLP._layer, self, x, width, train)
        return x

    def _layer(self, x: jax.Array, width: int, train: bool) -> jax.Array:
        x = Dense(width, dtype=self.dtype, kernel_init=nn.initializers.he_normal())(x)
        return Block(**inherited(self))(x, train)


def space_to_depth(x: jax.Array, size: int) -> jax.Array:
    """Folds squares of size² pixels, or cubes of size³ voxels, into channels.

    Args:
      x: `[B, H, W, C]` or `[B, X, Y, Z, C]`, every side a multiple of `size`.
      size: side of a square or cube.

    Returns:
      `[B, H / size, W / size, size²·C]`, or `[B, X / size, Y / size, Z / size, size³·C]`.
    """
    batch, *sides, channels = x.shape
    axes, low = len(sides), [side // size for side in sides]
    x = x.reshape(batch, *(n for side in low for n in (side, size)), channels)
    x = x.transpose(0, *range(1, 2 * axes, 2), *range(2, 2 * axes + 1, 2), 2 * axes + 1)
    return x.reshape(batch, *low, size**axes * channels)


def depth_to_space(x: jax.Array, size: int) -> jax.Array:
    """Inverse of `space_to_depth`."""
    batch, *low, channels = x.shape
    axes = len(low)
    x = x.reshape(batch, *low, *(size,) * axes, channels // size**axes)
    x = x.transpose(0, *(n for i in range(1, axes + 1) for n in (i, i + axes)), 2 * axes + 1)
    return x.reshape(batch, *(side * size for side in low), -1)


def check_widths(options: Any, *names: str) -> None:
    """Checks that there is at least one width of each kind.

    Args:
      options: `config.model`.
      names: of options that are tuples.

    Raises:
      UserError: naming the one that is empty.
    """
    for name in names:
        if not options[name]:
            raise UserError(f"model.{name} is empty: give at least one number.")


def shrink_factor(options: Any, sides: Sequence[int], first: int) -> int:
    """What the stages of a network shrink its inputs by: `first`, and by 2 in every further one.

    Args:
      options: `config.model`; `network` and `channels`, one for every stage, are used.
      sides: of the inputs.
      first: what the first stage shrinks them by.

    Raises:
      UserError: if there are no stages, or they cannot divide the inputs.
    """
    check_widths(options, "channels")
    stages = len(options.channels)
    factor = first * 2 ** (stages - 1)
    if any(side % factor for side in sides):
        raise UserError(
            f"Inputs of {list(sides)} do not divide by {factor}, which model.network = "
            f"{options.network!r} with {stages} model.channels shrinks them by: use fewer or more "
            "channels, or data of another size."
        )
    return factor


def module_options(options: Any, axis_name: str | None) -> dict[str, Any]:
    """Attributes of a `Network` by the config.

    Args:
      options: `config.model`; `batch_norm`, `dtype` and `remat` are used.
      axis_name: mapped axis whose devices share the statistics of batch normalization.
    """
    return {
        "batch_norm": options.batch_norm,
        "axis_name": axis_name,
        "dtype": jnp.dtype(options.dtype),
        "remat": options.remat,
    }
