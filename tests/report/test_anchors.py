"""Anchors in words: nearest examples by brute force, shares and origins by hand."""

import numpy as np

from nvc_jax.report.gallery import anchor_texts, nearest_members

ANCHORS = np.array([[0.0, 0.0], [9.0, 9.0], [4.0, 0.0]])
MEAN = np.array([[1.0, 0.0], [4.0, 1.0], [0.0, 0.5], [2.5, 0.0], [0.0, 3.0]])
ASSIGNMENT = np.array([0, 2, 0, 2, 0])


def test_nearest_members_by_hand():
    found = nearest_members(MEAN, ASSIGNMENT, ANCHORS, 2)
    assert [ids.tolist() for ids in found] == [[2, 0], [], [1, 3]]
    none = nearest_members(MEAN[:0], ASSIGNMENT[:0], ANCHORS, 2)
    assert [ids.tolist() for ids in none] == [[], [], []]


def test_report_by_hand():
    members = nearest_members(MEAN, ASSIGNMENT, ANCHORS, 2)
    label = np.array([1, -1, 1, -1, 7])
    text = anchor_texts(
        members, ASSIGNMENT, label, ("news", "talks"), lambda ids: [f"#{i}" for i in ids]
    )
    assert text == (
        "Anchor 0: 3 examples, 60.0%; talks 67%, 7 33%\n  #2\n  #0\n"
        "Anchor 1: 0 examples, 0.0%\n"
        "Anchor 2: 2 examples, 40.0%\n  #1\n  #3\n"
    )


def test_no_report_without_words_or_examples():
    members = nearest_members(MEAN, ASSIGNMENT, ANCHORS, 2)
    assert anchor_texts(members, ASSIGNMENT, ASSIGNMENT, (), lambda ids: None) is None
    nothing = [np.array([], int)] * 3
    assert anchor_texts(nothing, ASSIGNMENT[:0], ASSIGNMENT[:0], (), lambda ids: ()) is None
