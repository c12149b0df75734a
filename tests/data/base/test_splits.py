"""Which examples of one file train, validate and test."""

import numpy as np
import pytest

from nvc_jax.data.base.splits import split_numbers, split_of_groups
from tests.refusals import refused


def test_no_group_is_divided_and_the_parts_are_as_large_as_asked():
    rng = np.random.default_rng(0)
    group = rng.integers(0, 60, 500)
    split = split_of_groups(group, 5)
    for number in range(60):
        assert len(set(split[group == number])) == 1
    sizes = np.bincount(split, minlength=3)
    np.testing.assert_allclose(sizes, [300, 100, 100], atol=np.bincount(group).max())
    names = rng.permutation(1000)[group]  # what groups are called does not count
    np.testing.assert_array_equal(split_of_groups(names, 5), split)


def test_a_split_goes_before_groups_and_groups_before_places():
    split, group = np.array([2, 2, 0, 1]), np.array([5, 5, 5, 6])
    assert split_numbers(4, split, group, 3, "it").tolist() == [2, 2, 0, 1]
    assert split_numbers(4, None, group, 3, "it").tolist() == [2, 2, 2, 1]
    assert split_numbers(6, None, None, 3, "it").tolist() == [2, 1, 0, 2, 1, 0]


@pytest.mark.parametrize(
    ("split", "group", "told"),
    [
        (np.array([0, 1, 3]), None, "0 to 3"),
        (np.array([0, 1]), None, "one integer an example"),
        (None, np.zeros(3), "one integer an example"),
    ],
)
def test_what_is_no_split_is_told(split, group, told):
    refused(told, split_numbers, 3, split, group, 5, "it")
