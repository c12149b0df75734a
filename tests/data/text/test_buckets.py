"""Encoded pairs, and batches of a few shapes: nothing lost, nothing twice, little padding."""

import itertools
import logging
from typing import Any

import numpy as np
import pytest

from nvc_jax.data.base.loader import eval_batches
from nvc_jax.data.text.buckets import BucketedBatches, TokenPairs, choose_bounds
from nvc_jax.data.text.parallel_text import pair_source
from tests.refusals import refused
from tests.sources import take


class Numbers:
    """Stands for a vocabulary: a sentence is its numbers."""

    def encode(self, sentences):
        return [[int(word) for word in text.split()] for text in sentences]


NUMBERS: Any = Numbers()


def make(lengths, max_source=50, max_target=50):
    """Pairs of `(source tokens, target tokens)` with their ends; tokens of pair i are 10 + i."""
    texts = [
        [" ".join([str(10 + i)] * (n - 1)) for i, n in enumerate(side)] for side in zip(*lengths)
    ]
    source = pair_source(*texts, where="x", label=np.arange(len(lengths)), class_names=["a"])
    return TokenPairs(source, NUMBERS, max_source, max_target)


def many(n=400, seed=0):
    rng = np.random.default_rng(seed)
    source = np.clip(rng.lognormal(2.3, 0.6, n).astype(int), 2, 50)
    target = np.clip((source * rng.uniform(0.7, 1.3, n)).astype(int), 2, 50)
    return make(list(zip(source.tolist(), target.tolist())))


def one_epoch(batches, epoch=0, **share):
    first = epoch * batches.steps_per_epoch
    return list(itertools.islice(batches.batches(first, **share), batches.steps_per_epoch))


def test_rows_end_and_are_padded():
    pairs = make([(3, 2), (5, 4), (1, 6)], 5, 4)
    batch = take(pairs, 2, 0, 1)
    assert batch["source"].tolist() == [[3, 0, 0, 0, 0], [10, 10, 3, 0, 0], [11, 11, 11, 11, 3]]
    assert batch["target"].tolist() == [[12, 12, 12, 3], [10, 3, 0, 0], [11, 11, 11, 3]]
    assert batch["label"].tolist() == [2, 0, 1]
    assert pairs.is_cut.tolist() == [False, False, True]
    assert pairs.source_lengths.tolist() == [3, 5, 1]
    assert pairs.target_lengths.tolist() == [2, 4, 4]
    assert pairs.sentences == ["10 10", "11 11 11 11", ""]
    assert pairs.references == ["10", "11 11 11", "12 12 12 12 12"]  # whole, though the row is cut
    (evaluated,) = eval_batches(pairs, 4)
    assert evaluated["mask"].tolist() == [True] * 3 + [False]


def test_encoding_by_parts_keeps_the_order(monkeypatch):
    lengths = [(i % 5 + 1, i % 3 + 1) for i in range(10)]
    whole = make(lengths)
    monkeypatch.setattr("nvc_jax.data.text.buckets._ENCODED_AT_ONCE", 3)
    for name, values in make(lengths).gather(np.arange(10)).items():
        np.testing.assert_array_equal(values, whole.gather(np.arange(10))[name])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_bounds_are_the_best_of_all(count):
    rng = np.random.default_rng(1)
    source = rng.integers(2, 9, 40)
    target = np.clip(source + rng.integers(-2, 3, 40), 2, 9)
    # One and the other side of a bucket, of all chains that rise in both.
    corners = list(itertools.product(range(2, 9), range(2, target.max() + 1)))
    top = (int(source.max()), int(target.max()))

    def padded(bounds):
        sizes = [min(s + t for s, t in bounds if a <= s and b <= t) for a, b in zip(source, target)]
        return sum(sizes)

    best = min(
        padded([*chain, top])
        for chain in itertools.combinations(corners, count - 1)
        if all(a[1] <= b[1] for a, b in itertools.pairwise([*chain, top]))
    )
    bounds = choose_bounds(source, target, count)
    assert padded(bounds) == best and bounds[-1] == top and len(bounds) <= count


def test_lengths_that_are_all_the_same_need_one_bucket():
    assert choose_bounds(np.full(5, 7), np.full(5, 4), 4) == [(7, 4)]


@pytest.mark.parametrize("unit", [1, 4])
@pytest.mark.parametrize("num_buckets", [1, 2, 4, 6])
def test_every_epoch_holds_every_pair_at_most_once(unit, num_buckets):
    pairs = many()
    batches = BucketedBatches(pairs, 120, seed=3, unit=unit, num_buckets=num_buckets)
    assert len(batches) == 400 and 1 <= len(batches.buckets) <= num_buckets
    shapes = {(b.batch_size, b.max_source, b.max_target) for b in batches.buckets}
    seen = []
    for epoch in range(3):
        parts = one_epoch(batches, epoch)
        assert {(*p["source"].shape, p["target"].shape[1]) for p in parts} <= shapes
        ids = np.concatenate([part["label"] for part in parts])
        assert len(set(ids.tolist())) == len(ids) > 400 - batches.buckets[0].batch_size
        seen.append(ids.tolist())
        for part in parts:  # whole rows
            full = pairs.gather(part["label"])
            for name in ("source", "target"):
                width = part[name].shape[1]
                np.testing.assert_array_equal(part[name], full[name][:, :width])
                assert not full[name][:, width:].any()
    assert seen[0] != seen[1] and set(seen[0]) | set(seen[1]) | set(seen[2]) == set(range(400))
    # Every long pair comes in every epoch.
    longest = {i for i in range(400) if pairs.target_lengths[i] > batches.buckets[0].max_target}
    assert all(longest <= set(ids) for ids in seen)


def test_batch_sizes_keep_to_the_budget_and_the_unit():
    batches = BucketedBatches(many(2000), 240, seed=0, unit=4)
    assert len(batches.buckets) == 4
    for bucket in batches.buckets:
        assert bucket.batch_size % 4 == 0
        assert abs(bucket.batch_size * bucket.max_target - 240) <= 2 * bucket.max_target


def test_resumes_at_any_step_and_depends_on_the_seed():
    def new(seed):
        return BucketedBatches(many(), 120, seed=seed)

    steps = new(3).steps_per_epoch
    run = list(itertools.islice(new(3).batches(), 2 * steps + 3))
    for start in (1, steps - 1, steps, steps + 1, 2 * steps):
        for got, expected in zip(new(3).batches(start), run[start:]):
            for name in expected:
                np.testing.assert_array_equal(got[name], expected[name])
    other = next(new(4).batches())
    assert not np.array_equal(other["label"], run[0]["label"])


def test_processes_share_a_batch():
    batches = BucketedBatches(many(), 120, seed=0, unit=4)
    whole = one_epoch(batches, 1)
    shares = [one_epoch(batches, 1, process_index=i, process_count=2) for i in range(2)]
    for batch, *parts in zip(whole, *shares):
        for name in batch:
            np.testing.assert_array_equal(np.concatenate([p[name] for p in parts]), batch[name])
    refused("cannot be shared by 3 processes", batches.batches, 0, 0, 3)


def test_share_of_padding_is_counted():
    batches = BucketedBatches(many(), 120, seed=0)
    tokens = np.concatenate(
        [b[n].ravel() for b in one_epoch(batches) for n in ("source", "target")]
    )
    assert batches.padding_share == pytest.approx(np.mean(tokens == 0))
    shares = [
        BucketedBatches(many(), 60, seed=0, num_buckets=k).padding_share for k in (1, 2, 4, 8)
    ]
    assert shares == sorted(shares, reverse=True) and shares[0] > 0.5 and shares[-1] < 0.25
    assert BucketedBatches(make([(4, 4)] * 9), 12, seed=0).padding_share == 0


def test_cut_pairs_are_left_out_of_training(caplog):
    with caplog.at_level(logging.INFO, "nvc_jax"):
        pairs = make([(8, 4), (9, 4), (4, 9), (3, 8)], 8, 8)
        batches = BucketedBatches(pairs, 8, seed=0, num_buckets=1)
    (line,) = caplog.messages
    assert line.startswith("2 of 4 pairs have more than 8 source or 8 target tokens")
    assert len(batches) == 2 and batches.gather(np.arange(2))["label"].tolist() == [0, 3]
    assert sorted(b["label"].tolist() for b in one_epoch(batches)) == [[0], [3]]


def test_few_pairs_make_smaller_batches():
    batches = BucketedBatches(make([(4, 4), (5, 6), (20, 30)]), 10_000, seed=0)
    assert [b["label"].size for b in one_epoch(batches)] == [3]
    batches = BucketedBatches(make([(4, 4)] * 7), 10_000, seed=0, unit=2)
    assert [b["label"].size for b in one_epoch(batches)] == [6]


def test_too_few_pairs_are_told():
    pairs = make([(4, 4)] * 4)
    refused("fewer than a batch of 5", BucketedBatches, pairs, 8, seed=0, unit=5)
