"""Arrays as a source, parts of sources, and the comparison of a batch with the schema."""

import numpy as np
import pytest

from nvc_jax.data import ArraySource, FieldSource, FieldSpec, Source, random_subset, subset
from nvc_jax.data.base.source import (
    check_batch_fields,
    class_names_of,
    every_nth,
    is_in_memory,
    point_class_names_of,
    select,
    split_off,
)
from tests.refusals import refused
from tests.sources import numbered, take


def numbers(source):
    return source.gather(np.arange(len(source)))["label"].tolist()


def field(shape, dtype):
    return FieldSpec(shape, np.dtype(dtype))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
def test_arrays_keep_their_dtype_and_gain_a_channel(dtype):
    source = ArraySource(np.arange(24).reshape(2, 3, 4).astype(dtype), np.array([5, 6], np.int64))
    batch = take(source, 1)
    assert isinstance(source, Source)
    assert source.spec == {"image": field((3, 4, 1), dtype), "label": field((), np.int32)}
    np.testing.assert_array_equal(batch["image"], np.arange(12, 24).reshape(1, 3, 4, 1))
    assert batch["label"].tolist() == [6]


def test_wrong_arrays_are_told():
    for image, label, message in [
        (np.zeros((5, 784)), None, r"got shape \(5, 784\); reshape"),
        (np.zeros((0, 2, 2)), None, "no example in it"),
        (np.zeros((5, 2, 2), np.int64), None, "got dtype int64; convert"),
        (np.zeros((5, 2, 2), bool), None, "got dtype bool"),
        (np.zeros((5, 2, 2), "U1"), None, "got dtype <U1"),
        (np.zeros((5, 2, 2)), np.zeros(4, int), r"labels are integers \[5\].*got shape \(4,\)"),
        (np.zeros((5, 2, 2)), np.zeros((5, 1), int), r"got shape \(5, 1\)"),
        (np.zeros((5, 2, 2)), np.zeros(5), "of float64"),
    ]:
        refused(f"^here: .*{message}", ArraySource, image, label, "here")


POINTS = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
PARTS = np.array([[7, 255], [1, 0]], np.uint8)


def clouds(**changes):
    fields = {"points": POINTS, "point_label": PARTS, "label": np.array([1, 0]), **changes}
    return FieldSource(fields, "here", ["a", "b"], ["top", "leg"])


def test_fields_come_as_they_are_and_labels_as_int32():
    source = clouds()
    assert isinstance(source, Source) and len(source) == 2 and is_in_memory(source)
    assert source.spec == {
        "points": field((2, 3), np.float32),
        "point_label": field((2,), np.uint8),
        "label": field((), np.int32),
    }
    batch = take(source, 1, 0, 1)
    np.testing.assert_array_equal(batch["points"], POINTS[[1, 0, 1]])
    np.testing.assert_array_equal(batch["point_label"], [[1, 0], [7, 255], [1, 0]])
    assert batch["label"].tolist() == [0, 1, 0]


def test_fields_without_labels_have_none():
    source = FieldSource({"points": POINTS})
    assert numbers(source) == [-1, -1] and source.spec["label"] == field((), np.int32)
    assert class_names_of(source) == point_class_names_of(source) == ()


def test_wrong_fields_are_told():
    for changes, message in [
        ({"points": POINTS[:1]}, "one length, got .*'points': 1, 'point_label': 2"),
        ({"label": np.zeros(3, int)}, r"labels are integers \[2\].*got shape \(3,\)"),
        ({"label": np.zeros(2)}, r"labels are integers \[2\].*got shape \(2,\) of float64"),
        ({"label": np.zeros((2, 1), int)}, r"labels are integers \[2\].*got shape \(2, 1\)"),
        ({"label": np.array(["a", "b"])}, "labels are integers .* of <U1"),
        ({"points": POINTS[:0], "point_label": PARTS[:0], "label": PARTS[:0]}, "no example"),
    ]:
        refused(f"^here: .*{message}", clouds, **changes)


def test_parts_of_a_source_keep_its_names():
    for part in [
        lambda source: subset(source, np.array([1])),
        lambda source: select(subset(source, np.array([1])), ("label", "point_label")),
        lambda source: split_off(source, 0.5, held_out=True, name="share"),
    ]:
        assert class_names_of(part(clouds())) == ("a", "b")
        assert point_class_names_of(part(clouds())) == ("top", "leg")
        assert is_in_memory(part(clouds()))


def test_sources_of_other_programs_have_no_names_and_are_read_ahead():
    class Other:
        spec = clouds().spec

        def __len__(self):
            return 1

        def gather(self, ids):
            return clouds().gather(ids)

    for source in (Other(), subset(Other(), np.array([0])), select(Other(), ["label"])):
        assert class_names_of(source) == point_class_names_of(source) == ()
        assert not is_in_memory(source)


def test_select_gives_the_fields_that_are_there():
    source = select(clouds(), ("label", "point_label", "voxels"))
    assert isinstance(source, Source) and len(source) == 2
    assert source.spec == {k: clouds().spec[k] for k in ("label", "point_label")}
    batch = take(source, 1)
    assert batch["label"].tolist() == [0] and batch["point_label"].tolist() == [[1, 0]]


def test_every_nth_example_tests_and_the_next_validates():
    for size, every, test, validation, train in [
        (11, 5, [0, 5, 10], [1, 6], [2, 3, 4, 7, 8, 9]),
        (7, 3, [0, 3, 6], [1, 4], [2, 5]),
        (3, 9, [0], [1], [2]),
    ]:
        expected = {"test": test, "validation": validation, "train": train}
        parts = {split: every_nth(numbered(size), split, every) for split in expected}
        assert {split: numbers(part) for split, part in parts.items()} == expected


@pytest.mark.parametrize(("size", "split"), [(1, "validation"), (1, "train"), (2, "train")])
def test_too_few_examples_for_a_split_are_told(size, split):
    refused(f"{split} split is empty: {size} examples .* = 5", every_nth, numbered(size), split, 5)


def test_subset_of_a_subset():
    inner = subset(numbered(10), np.array([9, 3, 7]))
    assert numbers(subset(inner, np.array([2, 0]))) == [7, 9]
    assert inner.spec == numbered(10).spec


def test_random_subset_is_distinct_sorted_and_seeded():
    draws = [numbers(random_subset(numbered(50), 8, seed)) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert len(set(draws[0])) == 8 and draws[0] == sorted(draws[0])
    assert numbers(random_subset(numbered(5), 8, 0)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("size", "fraction", "held"), [(10, 0.3, 3), (7, 0.5, 4), (5, 0.1, None)])
def test_parts_are_disjoint_and_complete(size, fraction, held):
    rest = split_off(numbered(size), fraction, held_out=False, name="share")
    if held is None:
        assert numbers(rest) == list(range(size))
        message = r"share = 0\.1 leaves a part of 5 examples empty"
        refused(message, split_off, numbered(size), fraction, held_out=True, name="share")
        return
    part = split_off(numbered(size), fraction, held_out=True, name="share")
    assert len(part) == held and sorted(numbers(rest) + numbers(part)) == list(range(size))


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 0.99, float("nan"), float("inf")])
def test_impossible_share_is_told(fraction):
    for held_out in (True, False):
        refused("use a share", split_off, numbered(4), fraction, held_out=held_out, name="share")


SPEC = {"image": field((2, 3, 1), np.uint8), "label": field((), np.int32)}
FITTING: dict[str, np.ndarray] = {
    "image": np.zeros((4, 2, 3, 1), np.uint8),
    "label": np.zeros(4, np.int32),
}


def test_fitting_batch_passes_with_more_fields():
    check_batch_fields({**FITTING, "id": np.zeros(4)}, SPEC)


def test_other_batch_is_told_with_what_was_got_and_expected():
    for batch, got in [
        ({"img": FITTING["image"], "label": FITTING["label"]}, r"img \[b, 2, 3, 1\] uint8, label"),
        ({**FITTING, "image": np.zeros((4, 3, 2, 1), np.uint8)}, r"image \[b, 3, 2, 1\] uint8"),
        ({**FITTING, "image": np.zeros((4, 2, 3, 1), "f4")}, r"image \[b, 2, 3, 1\] float32"),
        ({"image": FITTING["image"]}, r"image \[b, 2, 3, 1\] uint8\."),
        ({}, "nothing"),
    ]:
        expected = r"expected image \[b, 2, 3, 1\] uint8, label \[b\] int32; "
        refused(expected + f"got {got}", check_batch_fields, batch, SPEC)
