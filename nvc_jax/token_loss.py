"""Cross-entropy of sequences of tokens with label smoothing, without a one-hot array."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from nvc_jax.errors import UserError

PADDING = 0
"""Target that counts nowhere."""


class TokenSums(NamedTuple):
    """Sums over the tokens of every sequence that are not padding, float32 `[B]` each.

    Means are ratios of sums over all sequences: `Σ loss / Σ tokens` is the training loss,
    `exp(Σ nll / Σ tokens)` the perplexity, `Σ correct / Σ tokens` the accuracy.

    Attributes:
      loss: label-smoothed cross-entropy in nats.
      nll: negative log-likelihood in nats, without smoothing.
      correct: tokens whose logit is the largest; of equal ones the lowest index counts.
      tokens: number of tokens.
    """

    loss: jax.Array
    nll: jax.Array
    correct: jax.Array
    tokens: jax.Array


def cross_entropy(logits: ArrayLike, targets: ArrayLike, *, smoothing: float = 0.0) -> TokenSums:
    """Cross-entropy of token targets, smoothed over all V entries of the vocabulary.

    Per token `logsumexp(logits) − (1 − ε)·logits[target] − ε·mean(logits)`. That is the
    cross-entropy with a target distribution of `1 − ε + ε/V` at the target and `ε/V` elsewhere, as
    in Szegedy et al., optax and PyTorch. Newer releases of fairseq spread ε over the V − 1 others:
    their ε is this one times `(V − 1)/V`.

    Args:
      logits: `[B, T, V]`, finite, any floating dtype; computed in float32.
      targets: int `[B, T]`, from 0 to V − 1; positions of 0 are padding. An index beyond the
        vocabulary gives NaN.
      smoothing: ε, from 0 to less than 1.

    Returns:
      Sums over the tokens of every sequence; all 0, with a gradient of 0, where all is padding.

    Raises:
      UserError: for shapes that do not fit, or another ε.

    Reference: Szegedy et al., "Rethinking the Inception Architecture", 2016, section 7; Vaswani et
      al., "Attention Is All You Need", 2017.
    """
    logits, targets = jnp.asarray(logits), jnp.asarray(targets)
    _check(logits, targets, "logits [B, T, V]", smoothing)
    return _sums(_position_values(logits, targets, smoothing), targets)


def chunked_cross_entropy(
    hidden: ArrayLike,
    to_logits: Callable[[jax.Array], jax.Array],
    targets: ArrayLike,
    *,
    chunk: int,
    smoothing: float = 0.0,
) -> TokenSums:
    """`cross_entropy` of logits that are made of a hidden state, a chunk of positions at a time.

    The logits of a chunk are computed again for the gradient, so that `chunk·V` values are alive
    at a time, not `B·T·V`, at the cost of one more product with the output layer.

    Args:
      hidden: `[B, T, W]`, any floating dtype.
      to_logits: `[N, W]` → `[N, V]`, row by row, pure; has a gradient to what it closes over. A
        bound Flax module is none unless its parameters were read before the call.
      targets: int `[B, T]`, as for `cross_entropy`.
      chunk: positions of all B·T whose logits are alive at a time; all at once where there are no
        more than these. The last chunk is padded, so divisors of B·T waste nothing.
      smoothing: ε, as for `cross_entropy`.

    Returns:
      As `cross_entropy`, equal but for rounding.

    Raises:
      UserError: as `cross_entropy`, and for a chunk that is not positive.
    """
    hidden, targets = jnp.asarray(hidden), jnp.asarray(targets)
    _check(hidden, targets, "a hidden state [B, T, W]", smoothing)
    if chunk < 1:
        raise UserError(f"The chunk of positions is {chunk}: it must be greater than 0.")
    rows, flat = hidden.reshape(-1, hidden.shape[-1]), targets.reshape(-1)

    def values_of(rows: jax.Array, flat: jax.Array) -> tuple[jax.Array, ...]:
        return _position_values(to_logits(rows), flat, smoothing)

    count = flat.shape[0]
    if count <= chunk:
        values = values_of(rows, flat)
    else:
        missing = -count % chunk
        rows = jnp.pad(rows, ((0, missing), (0, 0))).reshape(-1, chunk, rows.shape[-1])
        flat = jnp.pad(flat, (0, missing), constant_values=PADDING).reshape(-1, chunk)
        function = jax.checkpoint(values_of)
        chunks = jax.lax.map(lambda some: function(*some), (rows, flat))
        values = tuple(value.reshape(-1)[:count] for value in chunks)
    return _sums(tuple(value.reshape(targets.shape) for value in values), targets)


def _check(array: jax.Array, targets: jax.Array, wanted: str, smoothing: float) -> None:
    """Refuses shapes that do not fit, and a smoothing that is no share."""
    if array.ndim != 3 or array.shape[:2] != targets.shape:
        raise UserError(
            f"The token loss needs {wanted} and targets [B, T], got the shapes {array.shape} and "
            f"{targets.shape}."
        )
    if not 0.0 <= smoothing < 1.0:
        raise UserError(f"Label smoothing is {smoothing}: it must be at least 0 and less than 1.")


def _position_values(
    logits: jax.Array, targets: jax.Array, smoothing: float
) -> tuple[jax.Array, ...]:
    """Smoothed loss, negative log-likelihood and rightness of every position; 0 at padding.

    Args:
      logits: `[..., V]`.
      targets: int `[...]`.
      smoothing: ε.
    """
    real = targets != PADDING
    logits = logits.astype(jnp.float32)
    # Differences from the largest: a common offset of the logits cancels before it can round.
    shifted = logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    target = jnp.take_along_axis(shifted, targets[..., None], axis=-1)[..., 0]
    log_sum = jnp.log(jnp.sum(jnp.exp(shifted), axis=-1))
    nll = log_sum - target
    loss = nll + smoothing * (target - jnp.mean(shifted, axis=-1))
    correct = jnp.argmax(logits, axis=-1) == targets
    return tuple(jnp.where(real, value.astype(jnp.float32), 0.0) for value in (loss, nll, correct))


def _sums(values: tuple[jax.Array, ...], targets: jax.Array) -> TokenSums:
    """Sums over the positions of every sequence of values that are 0 at padding."""
    tokens = (targets != PADDING).astype(jnp.float32)
    return TokenSums(*(jnp.sum(value, axis=1) for value in (*values, tokens)))
