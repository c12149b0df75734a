"""The number of clusters that two halves of the data agree on."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs

from nvc_jax.core.errors import UserError
from nvc_jax.model.number import find_number


@pytest.mark.parametrize("count", [3, 6])
def test_the_number_of_separate_blobs_is_found(count):
    x, _ = make_blobs(60 * count, n_features=4, centers=count, cluster_std=0.5, random_state=count)
    found = find_number(x, 12, seed=0)
    assert found.found == found.low == found.high == count
    assert found.stability[count] == pytest.approx(1.0)


def test_the_bound_holds():
    x, _ = make_blobs(400, centers=6, cluster_std=0.3, random_state=1)
    assert find_number(x, 4, seed=0).found <= 4


def test_few_examples_are_one_cluster():
    assert find_number(np.zeros((15, 2)), 10, seed=0).found == 1


def test_one_cloud_has_a_wide_range_or_no_stable_number():
    x = np.random.default_rng(0).standard_normal((400, 8))
    found = find_number(x, 10, seed=0)
    assert max(found.stability.values()) < 0.9


def test_the_same_seed_gives_the_same_number():
    x = np.random.default_rng(0).standard_normal((200, 3))
    assert find_number(x, 5, seed=3) == find_number(x, 5, seed=3)


def test_a_bound_below_one_is_refused():
    with pytest.raises(UserError, match="upper bound"):
        find_number(np.zeros((20, 2)), 0, seed=0)
