"""The gradient of a loss that compares examples, made piece by piece in the memory of one piece."""

from collections.abc import Callable
from typing import Any

import jax

from nvc_jax.core.errors import UserError

Forward = Callable[[Any, Any], tuple[Any, Any]]
Loss = Callable[[Any, Any, Any], tuple[jax.Array, Any]]


def _split(examples: Any, num_pieces: int) -> Any:
    """Arrays `[N, ...]` as consecutive pieces `[num_pieces, N / num_pieces, ...]`."""

    def split(array: jax.Array) -> jax.Array:
        if array.shape[0] % num_pieces:
            raise UserError(
                f"train.microbatches = {num_pieces} does not divide the {array.shape[0]} examples of a "
                "device: let the data give batches of a multiple of devices times microbatches."
            )
        return array.reshape(num_pieces, -1, *array.shape[1:])

    return jax.tree.map(split, examples)


def map_pieces(function: Callable[[Any], Any], examples: Any, num_pieces: int) -> Any:
    """Applies a function that works example by example, one piece of them after the other.

    Args:
      function: pytree of arrays `[n, ...]` → pytree of arrays `[n, ...]`.
      examples: pytree of arrays `[N, ...]`.
      num_pieces: divides N; 1 is the plain call.

    Returns:
      `function(examples)`, arrays `[N, ...]`.

    Raises:
      UserError: if N does not divide.
    """
    if num_pieces == 1:
        return function(examples)
    mapped = jax.lax.map(function, _split(examples, num_pieces))
    return jax.tree.map(lambda array: jax.lax.collapse(array, 0, 2), mapped)


def value_and_grad_in_pieces(
    forward: Forward, loss: Loss, params: Any, examples: Any, num_pieces: int
) -> tuple[tuple[jax.Array, Any], Any]:
    """Value and gradient of `loss(params, forward(params, examples))`, exact for any `loss`.

    With `y = forward(params, x)` and `g = ∂loss/∂y`, which sees all examples at once,
    `∇ = ∂loss/∂params + Σ_pieces (∂y_piece/∂params)ᵀ·g_piece`. A first pass makes y without keeping
    anything for the gradient, a second one makes each piece's y again and pulls g back through it:
    one more forward pass than with a single piece, which is differentiated as a whole.

    Args:
      forward: (params, piece) → (y, aux), pytrees of arrays `[n, ...]`, each made of one example
        alone; aux gets no gradient. With one piece aux may hold anything.
      loss: (params, y, aux) → (scalar, any pytree).
      params: pytree of float arrays; the gradient is added up in their dtype.
      examples: pytree of arrays `[N, ...]`.
      num_pieces: divides N.

    Returns:
      ((loss, its second result), gradient), as `jax.value_and_grad` with `has_aux`.

    Raises:
      UserError: if N does not divide.

    Reference: Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited
    Setup", 2021 (gradient caching).
    """
    if num_pieces == 1:

        def whole(params: Any) -> tuple[jax.Array, Any]:
            return loss(params, *forward(params, examples))

        return jax.value_and_grad(whole, has_aux=True)(params)
    outputs, aux = map_pieces(lambda piece: forward(params, piece), examples, num_pieces)
    found, (direct, cotangents) = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(
        params, outputs, aux
    )

    def add(gradient: Any, piece: Any) -> tuple[Any, None]:
        inputs, cotangent = piece
        _, pull_back = jax.vjp(lambda params: forward(params, inputs)[0], params)
        (share,) = pull_back(cotangent)
        return jax.tree.map(jax.lax.add, gradient, share), None

    gradient, _ = jax.lax.scan(add, direct, _split((examples, cotangents), num_pieces))
    return found, gradient
