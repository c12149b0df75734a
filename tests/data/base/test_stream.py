"""Any iterable of dict batches as data."""

import itertools

import grain
import jax.numpy as jnp
import numpy as np
import pytest

from nvc_jax.data import IterableSource, train_batches
from tests.refusals import refused


def batch(number, size=8, dtype=np.float32):
    return {"image": np.full((size, 2, 3, 1), number, dtype)}


def generator(count):
    return (batch(i) for i in range(count))


class Reiterable:
    """Gives three batches whenever it is iterated."""

    def __iter__(self):
        return generator(3)


def grain_dataset():
    rows = [{"image": np.full((2, 3, 1), i // 8, np.float32)} for i in range(24)]
    return grain.MapDataset.source(rows).batch(8).to_iter_dataset()


def first_pixels(batches, count):
    return [float(b["image"][0, 0, 0, 0]) for b in itertools.islice(batches, count)]


@pytest.mark.parametrize("make", [Reiterable, grain_dataset, lambda: list(generator(3))])
@pytest.mark.parametrize("start_step", [0, 2, 4])
def test_batches_come_over_and_over_and_resume(make, start_step):
    source = IterableSource(make())
    assert source.spec["image"] == ((2, 3, 1), np.float32)
    got = first_pixels(train_batches(source, 8, seed=0, start_step=start_step), 5)
    assert got == [(start_step + i) % 3 for i in range(5)]


def test_generator_serves_one_pass_and_then_tells(tmp_path):
    batches = IterableSource(generator(3)).batches()
    assert first_pixels(batches, 3) == [0, 1, 2]
    refused("ended after 3 batches and cannot be iterated again", next, batches)


def test_generator_resumes_by_skipping():
    assert first_pixels(IterableSource(generator(5)).batches(start_step=2), 3) == [2, 3, 4]


def test_label_is_optional_and_becomes_int32():
    without = next(IterableSource([batch(0)]).batches())["label"]
    assert without.tolist() == [-1] * 8 and without.dtype == np.int32
    given = next(IterableSource([{**batch(0), "label": np.arange(8)}]).batches())["label"]
    assert given.tolist() == list(range(8)) and given.dtype == np.int32


def test_arrays_of_jax_and_lists_become_numpy():
    got = next(IterableSource([{"image": jnp.ones((2, 1, 1, 1)), "label": [3, 4]}]).batches())
    assert all(type(value) is np.ndarray for value in got.values())
    assert got["label"].tolist() == [3, 4]


def test_collect_joins_batches_to_a_source():
    source = IterableSource(Reiterable()).collect()
    assert len(source) == 24
    assert source.gather(np.array([23, 0]))["image"][:, 0, 0, 0].tolist() == [2, 0]
    assert len(IterableSource(Reiterable()).collect(limit=9)) == 16


def test_collect_of_a_generator_would_lose_batches():
    refused(r"iterated again.*anchors\.init", IterableSource(generator(3)).collect)


def test_what_is_no_batch_is_told():
    for data, message in [
        ([], "is empty"),
        (iter([]), "is empty"),
        ([np.zeros((8, 2, 3, 1))], "dict of arrays, got ndarray"),
        ([{}], "one length"),
        ([{"image": np.float32(1)}], r"one length, their first axis; got {'image': \(\)}"),
        (
            [{**batch(0), "label": np.zeros(7)}],
            r"one length.*'image': \(8, 2, 3, 1\), 'label': \(7,\)",
        ),
    ]:
        refused(message, IterableSource, data)


def test_later_batch_with_other_fields_is_told():
    for second, got in [
        ({"img": batch(1)["image"]}, r"img \[b, 2, 3, 1\] float32"),
        ({"image": np.zeros((8, 3, 2, 1), np.float32)}, r"image \[b, 3, 2, 1\] float32"),
        (batch(1, dtype=np.uint8), r"image \[b, 2, 3, 1\] uint8"),
    ]:
        source = IterableSource([batch(0), second])
        expected = rf"expected image \[b, 2, 3, 1\] float32, label \[b\] int32; got {got}"
        refused(expected, list, itertools.islice(source.batches(), 2))
        refused(expected, source.collect)
