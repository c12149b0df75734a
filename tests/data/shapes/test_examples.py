"""What a user's clouds become."""

import numpy as np
import pytest

from nvc_jax.data.shapes.examples import as_clouds
from tests.refusals import refused


def clouds(count=3, points=6, channels=3, seed=0):
    return np.random.default_rng(seed).normal(size=(count, points, channels)).astype(np.float32)


def rows_of(cloud):
    """Every row and how often it occurs."""
    rows, counts = np.unique(cloud, axis=0, return_counts=True)
    return {tuple(row): count for row, count in zip(rows.tolist(), counts.tolist(), strict=True)}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clouds_with_the_points_of_the_training_stay_as_they_are(dtype):
    given = clouds().astype(dtype)
    found = as_clouds(given, (6, 3))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, given)


def test_of_more_points_none_is_drawn_twice():
    given = clouds(points=40)
    found = as_clouds(given, (6, 3))
    assert found.shape == (3, 6, 3)
    for cloud, drawn in zip(given, found, strict=True):
        assert set(rows_of(drawn).values()) == {1}
        assert rows_of(drawn).keys() <= rows_of(cloud).keys()


def test_of_fewer_points_each_is_drawn_as_often():
    given = clouds(points=3, channels=5)
    for cloud, drawn in zip(given, as_clouds(given, (7, 5)), strict=True):
        assert rows_of(drawn).keys() == rows_of(cloud).keys()
        assert sorted(rows_of(drawn).values()) == [2, 2, 3]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_points_that_are_not_finite_are_left_out(value):
    given = clouds()
    given[1, [0, 4], [2, 0]] = value
    found = as_clouds(given, (6, 3))
    np.testing.assert_array_equal(found[[0, 2]], given[[0, 2]])
    assert rows_of(found[1]).keys() == rows_of(given[1, [1, 2, 3, 5]]).keys()


def test_a_cloud_is_drawn_alike_whatever_stands_beside_it():
    given = clouds(points=40)
    np.testing.assert_array_equal(as_clouds(given, (6, 3))[1:], as_clouds(given[1:], (6, 3)))


def test_what_is_no_cloud_is_refused():
    for given, message in [
        (np.zeros((2, 6, 4)), r"\[n, P, 3\], got shape \(2, 6, 4\)"),
        (np.zeros((6, 3)), r"got shape \(6, 3\)"),
        (np.zeros((2, 0, 3)), "cloud 0 is empty"),
        (np.stack([np.zeros((6, 3)), np.full((6, 3), np.nan)]), "cloud 1 is empty.*none is finite"),
        ([np.zeros((2, 3)), np.zeros((4, 3))], "different numbers of points"),
        ("chair", "one array of numbers"),
    ]:
        refused(message, as_clouds, given, (6, 3))


def test_no_clouds_are_no_clouds():
    assert as_clouds(np.zeros((0, 9, 3)), (6, 3)).shape == (0, 6, 3)
