"""Arrays as a source, parts of sources, and the comparison of a batch with the schema."""

from __future__ import annotations

import numpy as np
import pytest

from nvc_jax.data import ArraySource, FieldSpec, Source, random_subset, subset
from nvc_jax.data.source import check_batch_fields, split_off
from nvc_jax.errors import UserError


def numbers(source):
    return source.gather(np.arange(len(source)))["label"].tolist()


def field(shape, dtype):
    return FieldSpec(shape, np.dtype(dtype))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
def test_arrays_keep_their_dtype_and_gain_a_channel(dtype):
    source = ArraySource(np.arange(24).reshape(2, 3, 4).astype(dtype), np.array([5, 6], np.int64))
    batch = source.gather(np.array([1]))
    assert isinstance(source, Source)
    assert source.spec == {"image": field((3, 4, 1), dtype), "label": field((), np.int32)}
    assert batch["image"].dtype == dtype and batch["label"].dtype == np.int32
    np.testing.assert_array_equal(batch["image"], np.arange(12, 24).reshape(1, 3, 4, 1))
    assert batch["label"].tolist() == [6]


@pytest.mark.parametrize(
    ("image", "label", "message"),
    [
        (np.zeros((5, 784)), None, r"got shape \(5, 784\); reshape"),
        (np.zeros((0, 2, 2)), None, r"no example in it, got shape \(0, 2, 2, 1\)"),
        (np.zeros((5, 2, 2), np.int64), None, "got dtype int64; convert"),
        (np.zeros((5, 2, 2), bool), None, "got dtype bool"),
        (np.zeros((5, 2, 2), "U1"), None, "got dtype <U1"),
        (np.zeros((5, 2, 2)), np.zeros(4, int), r"labels are integers \[5\].*got shape \(4,\)"),
        (np.zeros((5, 2, 2)), np.zeros((5, 1), int), r"got shape \(5, 1\)"),
        (np.zeros((5, 2, 2)), np.zeros(5), "of float64"),
    ],
)
def test_wrong_arrays_are_told(image, label, message):
    with pytest.raises(UserError, match=f"^here: .*{message}"):
        ArraySource(image, label, "here")


def test_subset_of_a_subset(numbered):
    inner = subset(numbered(10), np.array([9, 3, 7]))
    assert numbers(subset(inner, np.array([2, 0]))) == [7, 9]
    assert inner.spec == numbered(10).spec


def test_random_subset_is_distinct_sorted_and_seeded(numbered):
    draws = [numbers(random_subset(numbered(50), 8, seed)) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert len(set(draws[0])) == 8 and draws[0] == sorted(draws[0])
    assert numbers(random_subset(numbered(5), 8, 0)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("size", "fraction", "held"), [(10, 0.3, 3), (7, 0.5, 4), (5, 0.1, None)])
def test_parts_are_disjoint_and_complete(numbered, size, fraction, held):
    rest = split_off(numbered(size), fraction, held_out=False, name="share")
    if held is None:
        assert numbers(rest) == list(range(size))
        with pytest.raises(UserError, match=r"share = 0\.1 leaves a part of 5 examples empty"):
            split_off(numbered(size), fraction, held_out=True, name="share")
        return
    part = split_off(numbered(size), fraction, held_out=True, name="share")
    assert len(part) == held and sorted(numbers(rest) + numbers(part)) == list(range(size))


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 0.99, float("nan"), float("inf")])
def test_impossible_share_is_told(numbered, fraction):
    for held_out in (True, False):
        with pytest.raises(UserError, match="use a share"):
            split_off(numbered(4), fraction, held_out=held_out, name="share")


SPEC = {"image": field((2, 3, 1), np.uint8), "label": field((), np.int32)}
FITTING: dict[str, np.ndarray] = {
    "image": np.zeros((4, 2, 3, 1), np.uint8),
    "label": np.zeros(4, np.int32),
}


def test_fitting_batch_passes_with_more_fields():
    check_batch_fields({**FITTING, "id": np.zeros(4)}, SPEC)


@pytest.mark.parametrize(
    ("batch", "got"),
    [
        ({"img": FITTING["image"], "label": FITTING["label"]}, r"img \[b, 2, 3, 1\] uint8, label"),
        ({**FITTING, "image": np.zeros((4, 3, 2, 1), np.uint8)}, r"image \[b, 3, 2, 1\] uint8"),
        ({**FITTING, "image": np.zeros((4, 2, 3, 1), "f4")}, r"image \[b, 2, 3, 1\] float32"),
        ({"image": FITTING["image"]}, r"image \[b, 2, 3, 1\] uint8\."),
        ({}, "nothing"),
    ],
)
def test_other_batch_is_told_with_what_was_got_and_expected(batch, got):
    expected = r"expected image \[b, 2, 3, 1\] uint8, label \[b\] int32; "
    with pytest.raises(UserError, match=expected + f"got {got}"):
        check_batch_fields(batch, SPEC)
