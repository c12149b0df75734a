"""Groups of small clusters whose code gets shorter, against all groups that there are."""

from itertools import product

import numpy as np

from nvc_jax.model.merging import code_length, links_between, merge_linked
from nvc_jax.model.regrouping import regroup


def random_links(count, seed):
    weights = np.random.default_rng(seed).random((count, count)) ** 4
    weights += weights.T
    return weights / weights.sum()


def length(links, groups):
    return code_length(links_between(links, groups))


def shortest(links, count):
    """Of all groupings, by trying each."""
    every = map(np.array, product(range(count), repeat=len(links)))
    return min(length(links, groups) for groups in every if len(set(groups)) == count)


def test_groups_are_never_worse_than_before_and_mostly_the_best_there_are():
    """Of random links, among which there are no groups to speak of."""
    best = []
    for seed in range(12):
        links = random_links(8, seed)
        start = merge_linked(links, 3)
        found = regroup(links, start)
        assert sorted(set(found.tolist())) == [0, 1, 2]
        least = shortest(links, 3)
        assert least - 1e-12 <= length(links, found) <= length(links, start) + 1e-12
        best.append(length(links, found) < least + 1e-9)
    assert np.mean(best) > 0.5


def test_any_beginning_ends_at_groups_that_are_apart():
    """Four groups of four with edges of one strength among them, and weak ones between."""
    true = np.repeat(np.arange(4), 4)
    links = np.where(true[:, None] == true, 1.0, 0.02)
    links /= links.sum()
    for seed in range(10):
        start = np.random.default_rng(seed).permutation(true)
        found = regroup(links, start)
        assert len(np.unique(np.stack([true, found]), axis=1).T) == 4, "one to one"


def test_what_merging_joined_too_early_is_split_where_two_others_join():
    """Two groups of two were made one, and another was left in halves: moves of one alone make every code longer."""
    pairs = np.kron(np.eye(3), np.array([[1.0, 1.0], [1.0, 1.0]])) + 0.01
    links = pairs / pairs.sum()
    found = regroup(links, np.array([0, 0, 0, 0, 1, 2]))
    assert found[0] == found[1] and found[2] == found[3] and found[4] == found[5]
    assert len(set(found.tolist())) == 3


def test_nothing_to_regroup_is_left_as_it_is():
    for links in (np.ones((1, 1)), np.eye(3) / 3, np.zeros((3, 3))):
        groups = np.arange(len(links))
        np.testing.assert_array_equal(regroup(links, groups), groups)
    together = np.zeros(3, np.int64)
    np.testing.assert_array_equal(regroup(np.ones((3, 3)) / 9, together), together)


def test_a_group_is_never_left_empty():
    """Everything belongs together, and three groups are asked for."""
    found = regroup(np.ones((5, 5)) / 25, np.array([0, 1, 2, 2, 2]))
    assert sorted(set(found.tolist())) == [0, 1, 2]
