"""Greedy and beam search for any model that makes logits token by token, with a cache.

A model is a function `step(cache, tokens, index) → (logits, cache)`: `tokens` int32 `[N]` are those
at position `index`, 0 for the first one, and `logits` `[N, V]` are of the tokens after them. The
cache is a pytree whose leaves have the N sequences on axis 0. The functions can be compiled. No
result depends on the other examples of a batch.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

Step = Callable[[Any, jax.Array, jax.Array], tuple[jax.Array, Any]]


def greedy(
    step: Step,
    cache: Any,
    batch_size: int,
    *,
    max_length: int,
    limit: jax.Array | None = None,
    begin: int = 2,
    end: int = 3,
    padding: int = 0,
) -> jax.Array:
    """Takes the most probable token, again and again, up to `end`; the lowest one of equals.

    Args:
      step: the model.
      cache: leaves `[B, ...]`.
      batch_size: `B`.
      max_length: L, most tokens of an output, `end` among them.
      limit: int32 `[B]`, the same for each example, 1 or more; None: L.
      begin: token at position 0 of the input.
      end: token that ends an output.
      padding: token after the end; it is never chosen.

    Returns:
      ids, int32 `[B, L]`: the output with `end`, if it got there within its limit, then padding.

    Example:
      >>> def successor(cache, tokens, index):
      ...     return jax.nn.one_hot(tokens + 1, 8), cache
      >>> greedy(successor, {}, batch_size=1, max_length=5, begin=4, end=7).tolist()
      [[5, 6, 7, 0, 0]]
    """
    limit = _limits(limit, batch_size, max_length)

    def unfinished(state: tuple[Any, ...]) -> jax.Array:
        return jnp.any(~state[2])

    def advance(state: tuple[Any, ...]) -> tuple[Any, ...]:
        index, tokens, done, ids, cache = state
        logits, cache = step(cache, tokens, index)
        best = jnp.argmax(_eligible(logits, padding), axis=-1).astype(jnp.int32)
        tokens = jnp.where(done, padding, best)
        done = done | (tokens == end) | (index + 1 >= limit)
        return index + 1, tokens, done, ids.at[:, index].set(tokens), cache

    state = (
        jnp.int32(0),
        jnp.full(batch_size, begin, jnp.int32),
        jnp.zeros(batch_size, bool),
        jnp.full((batch_size, max_length), padding, jnp.int32),
        cache,
    )
    return jax.lax.while_loop(unfinished, advance, state)[3]


@flax.struct.dataclass
class _Beams:
    """State of a beam search for B examples with K beams; `done` and what follows are `[B, ...]`."""

    index: jax.Array
    cache: Any  # leaves [B·K, ...]
    ids: jax.Array  # int32 [B, K, L], of the beams, best first
    total: jax.Array  # [B, K], their log probabilities; −∞ where there is no beam yet
    num_ended: jax.Array  # hypotheses that have ended
    best_ids: jax.Array  # int32 [B, L], of the best one among them
    best_score: jax.Array  # −∞ as long as there is none
    done: jax.Array


def beam_search(
    step: Step,
    cache: Any,
    batch_size: int,
    *,
    beam_size: int,
    alpha: float,
    max_length: int,
    limit: jax.Array | None = None,
    begin: int = 2,
    end: int = 3,
    padding: int = 0,
) -> tuple[jax.Array, jax.Array]:
    """Looks for the output of the highest score, with the K best beginnings going on.

    `score(y) = Σ_t log p(y_t | y_<t) / ((5 + n) / 6)^α`, with n tokens, `end` among them. In every
    step the beginnings are extended by every token. Extensions by `end` that are among the best K
    are ended hypotheses; the best K of the others go on. An example is done when it has K ended
    ones, or at its limit. Its output is the ended hypothesis of the highest score, the first of
    equals; only where none has ended, it is the best beginning. With one beam, this is `greedy`
    whatever α is.

    Args:
      step: the model; it is called with N = B·K, where the K beams of an example are neighbors.
      cache: leaves `[B, ...]`, of the examples; each is repeated for its beams.
      batch_size: `B`.
      beam_size: K, 1 or more.
      alpha: α, 0 for log probabilities; larger ones favor longer outputs.
      max_length: L, most tokens of an output, `end` among them.
      limit: int32 `[B]`, the same for each example, 1 or more; None: L.
      begin: token at position 0 of the input.
      end: token that ends an output.
      padding: token after the end; it is never chosen.

    Returns:
      (ids, int32 `[B, L]`, as those of `greedy`; scores, float32 `[B]`).

    Reference: Wu et al., "Google's Neural Machine Translation System", 2016, equation 14, without
    the coverage penalty.
    """
    limit = _limits(limit, batch_size, max_length)

    def unfinished(beams: _Beams) -> jax.Array:
        return jnp.any(~beams.done)

    def advance(beams: _Beams) -> _Beams:
        last = jax.lax.dynamic_index_in_dim(
            beams.ids, jnp.maximum(beams.index - 1, 0), axis=2, keepdims=False
        )
        tokens = jnp.where(beams.index == 0, begin, last).reshape(-1)
        logits, cache = step(beams.cache, tokens, beams.index)
        total, parent, token = _extensions(beams.total, logits, padding)
        beams = _end(beams, total, parent, token, alpha, end)
        beams = _go_on(replace(beams, cache=cache), total, parent, token, end)
        return replace(
            beams,
            index=beams.index + 1,
            done=beams.done | (beams.num_ended >= beam_size) | (beams.index + 1 >= limit),
        )

    ids = jnp.full((batch_size, beam_size, max_length), padding, jnp.int32)
    beams = _Beams(
        index=jnp.int32(0),
        cache=jax.tree.map(lambda x: jnp.repeat(x, beam_size, axis=0), cache),
        ids=ids,
        # The beams begin alike: one of them is enough.
        total=jnp.where(jnp.arange(beam_size) == 0, 0.0, -jnp.inf)[None].repeat(batch_size, 0),
        num_ended=jnp.zeros(batch_size, jnp.int32),
        best_ids=ids[:, 0],
        best_score=jnp.full(batch_size, -jnp.inf),
        done=jnp.zeros(batch_size, bool),
    )
    beams = jax.lax.while_loop(unfinished, advance, beams)
    ended = beams.num_ended > 0
    cut = beams.total[:, 0] / _penalty(limit, alpha)
    return (
        jnp.where(ended[:, None], beams.best_ids, beams.ids[:, 0]),
        jnp.where(ended, beams.best_score, cut),
    )


def _limits(limit: jax.Array | None, batch_size: int, max_length: int) -> jax.Array:
    return jnp.full(batch_size, max_length) if limit is None else jnp.minimum(limit, max_length)


def _eligible(logits: jax.Array, padding: int) -> jax.Array:
    """The logits to choose a token by."""
    logits = jnp.where(logits == 0, 0.0, logits)  # −0, which top_k puts below 0, becomes 0
    return jnp.where((jnp.arange(logits.shape[-1]) == padding)[None], -jnp.inf, logits)


def _penalty(length: jax.Array, alpha: float) -> jax.Array:
    return ((5.0 + length.astype(jnp.float32)) / 6.0) ** alpha


def _extensions(
    total: jax.Array, logits: jax.Array, padding: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The best 2K ways to extend K beginnings by a token, best first.

    At most K of them are by `end`, so that K others are left. The tokens of a beam are compared by
    their logits, as in `greedy`: no sum rounds a difference away, and of equals the lower one wins.

    Returns:
      (log probability, index of the beam, token), all `[B, 2K]`.
    """
    batch_size, beam_size = total.shape
    logits = logits.astype(jnp.float32)
    best, token = jax.lax.top_k(_eligible(logits, padding), min(2 * beam_size, logits.shape[-1]))
    best = (best - jax.nn.logsumexp(logits, axis=-1, keepdims=True)).reshape(*total.shape, -1)
    best = (total[:, :, None] + best).reshape(batch_size, -1)
    total, index = jax.lax.top_k(best, 2 * beam_size)
    parent = index // token.shape[-1]
    token = jnp.take_along_axis(token.reshape(batch_size, -1), index, axis=1)
    return total, parent, token


def _extend(ids: jax.Array, parent: jax.Array, token: jax.Array, index: jax.Array) -> jax.Array:
    """`[B, n, L]`: of the beams `parent` `[B, n]`, with a token at position `index`."""
    ids = jnp.take_along_axis(ids, parent[:, :, None], axis=1)
    return ids.at[:, :, index].set(token)


def _end(
    beams: _Beams,
    total: jax.Array,
    parent: jax.Array,
    token: jax.Array,
    alpha: float,
    end: int,
) -> _Beams:
    """Counts the hypotheses that end in this step, and keeps the best of them if it is better."""
    beam_size = beams.total.shape[1]
    ended = (token[:, :beam_size] == end) & (total[:, :beam_size] > -jnp.inf)
    ended = ended & ~beams.done[:, None]
    # All are of one length: the first one has the best score.
    first = jnp.argmax(ended, axis=1)[:, None]
    score = jnp.take_along_axis(total, first, axis=1)[:, 0] / _penalty(beams.index + 1, alpha)
    better = jnp.any(ended, axis=1) & (score > beams.best_score)
    parent, token = (jnp.take_along_axis(x, first, axis=1) for x in (parent, token))
    ids = _extend(beams.ids, parent, token, beams.index)[:, 0]
    return replace(
        beams,
        num_ended=beams.num_ended + jnp.sum(ended, axis=1, dtype=jnp.int32),
        best_ids=jnp.where(better[:, None], ids, beams.best_ids),
        best_score=jnp.where(better, score, beams.best_score),
    )


def _go_on(
    beams: _Beams, total: jax.Array, parent: jax.Array, token: jax.Array, end: int
) -> _Beams:
    """Takes the best K extensions that have not ended as the beams; those of done examples stay."""
    batch_size, beam_size = beams.total.shape
    total, index = jax.lax.top_k(jnp.where(token == end, -jnp.inf, total), beam_size)
    parent, token = (jnp.take_along_axis(x, index, axis=1) for x in (parent, token))
    rows = (jnp.arange(batch_size)[:, None] * beam_size + parent).reshape(-1)
    done = beams.done[:, None]
    return replace(
        beams,
        cache=jax.tree.map(lambda x: x[rows], beams.cache),
        ids=jnp.where(done[:, :, None], beams.ids, _extend(beams.ids, parent, token, beams.index)),
        total=jnp.where(done, beams.total, total),
    )
