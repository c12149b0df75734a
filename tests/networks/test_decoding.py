"""Greedy and beam search on models that are tables, against all sequences there are."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.networks.decoding import beam_search, greedy

V, L = 4, 4  # padding, another token, begin, end
NEVER = -1e9  # a logit


def tables(seed, size=3, scale=2.0):
    """Logits for every beginning, `[B, L, V^L, V]`: a model that remembers all tokens."""
    return np.random.default_rng(seed).normal(size=(size, L, V**L, V), scale=scale)


def start(table):
    """(step, cache): the cache holds which table a sequence uses, and its beginning."""
    table = jnp.asarray(table, jnp.float32)

    def step(cache, tokens, index):
        past = jnp.where(index == 0, 0, cache["past"] * V + tokens)
        logits = table[cache["row"], index, past]
        return logits, {"row": cache["row"], "past": past}

    rows = jnp.arange(len(table), dtype=jnp.int32)
    return step, {"row": rows, "past": jnp.zeros_like(rows)}


@functools.partial(jax.jit, static_argnames=("beam_size", "alpha"))
def beams(table, limit=None, *, beam_size, alpha):
    step, cache = start(table)
    options = {"beam_size": beam_size, "alpha": alpha, "max_length": L, "limit": limit}
    return beam_search(step, cache, len(table), **options)


@jax.jit
def greedily(table, limit=None):
    step, cache = start(table)
    return greedy(step, cache, len(table), max_length=L, limit=limit)


def log_probability(table, sequence):
    """Of a sequence by one table `[L, V^L, V]`, in float64."""
    total, past = 0.0, 0
    for index, token in enumerate(sequence):
        logits = np.asarray(table[index, past], np.float64)
        total += logits[token] - np.logaddexp.reduce(logits)
        past = past * V + token
    return total


def best_of_all(table, alpha, limit=L):
    """The best score of all sequences that end, and the sequence with its padding."""
    found = []
    for length in range(1, limit + 1):
        for beginning in itertools.product((1, 2), repeat=length - 1):
            sequence = (*beginning, 3)
            score = log_probability(table, sequence) / ((5 + length) / 6) ** alpha
            found.append((score, sequence + (0,) * (L - length)))
    return max(found)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_a_wide_beam_finds_the_best_sequence_there_is(alpha):
    table = tables(0, size=20)
    limit = np.array(17 * [4] + [3, 2, 1], np.int32)
    ids, scores = beams(table, limit, beam_size=32, alpha=alpha)
    expected = [best_of_all(t, alpha, n) for t, n in zip(table, limit)]
    np.testing.assert_array_equal(ids, [sequence for _, sequence in expected])
    np.testing.assert_allclose(scores, [score for score, _ in expected], rtol=1e-5)
    assert ids.dtype == jnp.int32 and scores.dtype == jnp.float32


def test_length_penalty():
    """p = 0.5 against 0.4·0.9, by three tokens: (8/6)^α > ln 0.36 / ln 0.5 from α = 1.35 on."""
    table = np.full((1, L, V**L, V), NEVER)
    table[0, 0, 0, [1, 2, 3]] = np.log([0.4, 0.1, 0.5])
    table[0, 1, 1, [1, 3]] = np.log([0.9, 0.1])
    table[0, 1, 2, 3] = 0.0
    table[0, 2, 5, 3] = 0.0
    for alpha, sequence, score in (
        (0.0, [3, 0, 0, 0], np.log(0.5)),
        (1.3, [3, 0, 0, 0], np.log(0.5)),
        (1.4, [1, 1, 3, 0], np.log(0.36) / (8 / 6) ** 1.4),
    ):
        ids, scores = beams(table, beam_size=4, alpha=alpha)
        np.testing.assert_array_equal(ids[0], sequence)
        np.testing.assert_allclose(scores[0], score, rtol=1e-5)


def test_greedy_is_wrong_where_two_beams_are_right():
    """0.6·0.5·1 by the first token, 0.4·0.9 by the second one."""
    table = np.full((1, L, V**L, V), NEVER)
    table[0, 0, 0, [1, 2]] = np.log([0.6, 0.4])
    table[0, 1, 1, [2, 3]] = np.log([0.51, 0.49])
    table[0, 1, 2, [1, 3]] = np.log([0.1, 0.9])
    table[0, 2, :, 3] = 0.0
    np.testing.assert_array_equal(greedily(table), [[1, 2, 3, 0]])
    ids, scores = beams(table, beam_size=2, alpha=0.0)
    np.testing.assert_array_equal(ids, [[2, 3, 0, 0]])
    np.testing.assert_allclose(scores, [np.log(0.36)], rtol=1e-5)


def test_an_ended_hypothesis_is_kept_while_longer_ones_go_on():
    """It ends first at 0.3; what is better then comes to 0.7·0.1·… at most."""
    table = np.full((1, L, V**L, V), NEVER)
    table[0, 0, 0, [1, 3]] = np.log([0.7, 0.3])
    table[0, 1, 1, [1, 2]] = np.log([0.9, 0.1])
    table[0, 2, :, [1, 2]] = np.log(0.5)
    table[0, 3, :, [2, 3]] = np.log([0.9, 0.1])[:, None]
    ids, scores = beams(table, beam_size=2, alpha=0.0)
    np.testing.assert_array_equal(ids, [[3, 0, 0, 0]])
    np.testing.assert_allclose(scores, [np.log(0.3)], rtol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 3.0])
def test_one_beam_is_greedy(alpha):
    """Also where logits are equal, or so near that their log probabilities are."""
    table = np.concatenate([tables(1, 20), np.round(tables(2, 20, scale=0.7)), tables(3, 20, 1e-7)])
    limit = np.arange(60, dtype=np.int32) % L + 1
    expected = np.asarray(greedily(table, limit))
    ids, scores = beams(table, limit, beam_size=1, alpha=alpha)
    np.testing.assert_array_equal(ids, expected)
    for row, (sequence, score) in enumerate(zip(expected, scores)):
        sequence = sequence[sequence > 0]
        total = log_probability(table[row], sequence)
        penalty = ((5 + len(sequence)) / 6) ** alpha
        np.testing.assert_allclose(score, total / penalty, rtol=1e-4)


def test_greedy_by_hand():
    """Ends, is cut at its limit, takes the lower one of equals, and never takes padding."""
    table = np.zeros((3, L, V**L, V))
    table[0, 0, 0] = [9, 1, 8, 2]
    table[0, 1, 2] = [9, 0, 1, 2]
    table[1, :, :, 2] = 1
    ids = greedily(table, np.array([4, 3, 2], np.int32))
    np.testing.assert_array_equal(ids, [[2, 3, 0, 0], [2, 2, 2, 0], [1, 1, 0, 0]])
    assert ids.dtype == jnp.int32


def test_what_never_ends_is_cut():
    table = tables(4)
    table[..., 3] = -np.inf
    limit = np.array([4, 2, 3], np.int32)
    ids, scores = beams(table, limit, beam_size=16, alpha=0.5)
    np.testing.assert_array_equal((np.asarray(ids) > 0).sum(1), limit)
    for row, n in enumerate(limit):
        everything = itertools.product((1, 2), repeat=n)
        best = max((log_probability(table[row], s), s) for s in everything)
        np.testing.assert_array_equal(ids[row, :n], best[1])
        np.testing.assert_allclose(scores[row], best[0] / ((5 + n) / 6) ** 0.5, rtol=1e-5)


def test_others_in_the_batch_do_not_count():
    table, limit = tables(5, size=5), np.array([4, 2, 3, 4, 1], np.int32)
    ids, scores = beams(table, limit, beam_size=2, alpha=1.0)
    for start_row, size in ((0, 1), (4, 1), (1, 2), (3, 2)):
        rows = slice(start_row, start_row + size)
        part = beams(table[rows], limit[rows], beam_size=2, alpha=1.0)
        np.testing.assert_array_equal(part[0], ids[rows])
        np.testing.assert_array_equal(part[1], scores[rows])


def test_steps_end_with_the_last_example():
    """Not with the array of ids."""
    ends = jnp.array([[0.0, 0.0, 0.0, 9.0], [0.0, 1.0, 0.0, 0.0]])

    def run(decode):
        seen = []

        def step(cache, tokens, index):
            jax.debug.callback(lambda i: seen.append(int(i)), index)
            return jnp.where(index >= 2, ends[0], ends[1])[None].repeat(len(tokens), 0), cache

        jax.block_until_ready(decode(step, jnp.zeros(2), 2, max_length=50))
        jax.effects_barrier()
        return sorted(seen)

    assert run(greedy) == [0, 1, 2]
    assert run(functools.partial(beam_search, beam_size=1, alpha=1.0)) == [0, 1, 2]
