"""What is known of examples: labels and pairs decide where they go."""

import numpy as np
import pytest

from nvc_jax.core.errors import UserError
from nvc_jax.model.guidance import (
    Guidance,
    guided_centers,
    join,
    place_examples,
    spread_labels,
)

CODES = np.array([[0.0], [1.0], [10.0], [11.0], [20.0], [21.0]])
CENTERS = np.array([[0.5], [10.5], [20.5]])


def pairs(*of):
    return np.array(of, np.int32).reshape(-1, 2)


def labels(**known):
    found = np.full(6, -1, np.int32)
    for number, label in known.items():
        found[int(number[1:])] = label
    return found


def place(guidance, centers=CENTERS):
    ids = guidance.examples()
    return dict(
        zip(
            ids.tolist(),
            place_examples(CODES[ids], centers, join(guidance), ids).tolist(),
            strict=True,
        )
    )


def test_anchors_take_the_numbers_of_the_labels():
    found = guided_centers(CODES, labels(_0=2, _4=0), CENTERS)
    np.testing.assert_allclose(found, [[20.5], [10.5], [0.5]])


def test_labels_that_disagree_with_the_distances_move_the_anchors():
    """10 and 11 are of two clusters, 20 and 21 of none of them: with three anchors {0, 1} and 10 share one."""
    found = guided_centers(CODES, labels(_0=0, _2=0, _3=1), CENTERS)
    np.testing.assert_allclose(found, [[11 / 3], [11.0], [20.5]], rtol=1e-6)


def test_without_labels_the_centers_stay():
    np.testing.assert_array_equal(guided_centers(CODES, labels(), CENTERS), CENTERS)


def test_the_better_of_two_beginnings_is_taken():
    """The given centers are a bad optimum, which the means of the labels are not."""
    bad = np.array([[0.0], [1.0], [15.5]])
    found = guided_centers(CODES, labels(_0=0, _2=1, _4=2), bad)
    np.testing.assert_allclose(found, CENTERS)


def test_examples_go_to_their_labels_and_to_the_nearest_anchor_that_is_allowed():
    """Of two that must be apart the one that loses most by its second choice comes first."""
    found = place(Guidance(labels(_0=1), pairs((2, 3)), pairs((4, 5))))
    assert found == {0: 1, 2: 1, 3: 1, 4: 1, 5: 2}


def test_links_reach_through_others_and_carry_labels():
    found = place(Guidance(labels(_4=0), pairs((0, 1), (1, 4)), pairs((0, 5))))
    assert found == {0: 0, 1: 0, 4: 0, 5: 2}


def test_contradictions_are_named():
    for guidance, words in (
        (Guidance(labels(_0=0, _1=1), pairs((0, 1))), "must_link joins examples of labels"),
        (Guidance(labels(), pairs((0, 1)), pairs((0, 1))), "cannot_link has examples 0 and 1"),
        (Guidance(labels(_0=2, _1=2), pairs(), pairs((1, 0))), "cannot_link has examples 1 and 0"),
        (Guidance(labels(), pairs(), pairs((3, 3))), "cannot_link has examples 3 and 3"),
    ):
        with pytest.raises(UserError, match=words):
            join(guidance)


def test_more_examples_apart_than_clusters_are_refused():
    guidance = Guidance(labels(), pairs(), pairs((0, 1), (0, 2), (1, 2)))
    assert sorted(place(guidance).values()) == [0, 1, 2]
    with pytest.raises(UserError, match="no cluster of 2 for example"):
        place(guidance, CENTERS[:2])


def test_labels_spread_along_neighbors_and_not_beyond():
    neighbors = np.array([[1], [0], [1], [4], [3], [6], [5]])  # 0-1-2, 3-4, 5-6
    found = spread_labels(np.array([7, -1, -1, -1, 2, -1, -1]), neighbors)
    assert found.tolist() == [7, 7, 7, 2, 2, -1, -1]


def test_the_label_that_reaches_an_example_most_is_that_of_the_formula():
    labels, neighbors = np.array([0, -1, -1, 1, -1, -1]), np.array([[1], [2], [3], [4], [5], [4]])
    links = np.zeros((6, 6))
    np.add.at(links, (np.arange(6), neighbors[:, 0]), 1.0)
    links += links.T
    root = np.sqrt(links.sum(axis=1))
    spread = np.linalg.inv(np.eye(6) - 0.99 * links / root / root[:, None])[:, [0, 3]]
    assert np.abs(np.diff(spread)).min() > 0.5  # no tie
    np.testing.assert_array_equal(spread_labels(labels, neighbors), spread.argmax(axis=1))
