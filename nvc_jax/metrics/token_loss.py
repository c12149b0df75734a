"""Cross-entropy of sequences of tokens with label smoothing, without a one-hot array."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from nvc_jax.core.errors import UserError

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
      UserError: for shapes that do not fit.

    Reference: Szegedy et al., "Rethinking the Inception Architecture", 2016, section 7; Vaswani et
      al., "Attention Is All You Need", 2017.
    """
    logits, targets = jnp.asarray(logits, jnp.float32), jnp.asarray(targets)
    if logits.ndim != 3 or logits.shape[:2] != targets.shape:
        raise UserError(
            f"The token loss needs logits [B, T, V] and targets [B, T], got the shapes {logits.shape} "
            f"and {targets.shape}."
        )
    real = targets != PADDING
    # Differences from the largest: a common offset of the logits cancels before it can round.
    shifted = logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    target = jnp.take_along_axis(shifted, targets[..., None], axis=-1)[..., 0]
    log_sum = jnp.log(jnp.sum(jnp.exp(shifted), axis=-1))
    nll = log_sum - target
    loss = nll + smoothing * (target - jnp.mean(shifted, axis=-1))
    correct = jnp.argmax(logits, axis=-1) == targets
    values = (loss, nll, correct.astype(jnp.float32), jnp.ones_like(loss))
    return TokenSums(*(jnp.sum(jnp.where(real, value, 0.0), axis=1) for value in values))
