"""What a baseline sees of clouds."""

import numpy as np

from nvc_jax.tasks.base import CELLS, histograms


def clouds(count=3, points=6, channels=3, seed=0):
    return np.random.default_rng(seed).normal(size=(count, points, channels)).astype(np.float32)


def test_histogram_by_hand():
    # The cube is 8 wide, as the longest side is, and centered: y is from -3 to 5, z from -4 to 4.
    cloud = np.array([[0, 0, 0], [8, 2, 0], [2.5, 1.5, 0], [2.9, 1.9, 0]], np.float32)
    expected = np.zeros((CELLS, CELLS, CELLS))
    expected[0, 3, 4], expected[7, 5, 4], expected[2, 4, 4] = 0.25, 0.25, 0.5
    np.testing.assert_array_equal(histograms(cloud[None])[0], expected.ravel())


def test_histogram_is_that_of_the_cloud_alone():
    """Where it lies, how large it is and what is beside it do not count, and neither do colors."""
    given = clouds(points=30, channels=6)
    found = histograms(given)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_array_equal(histograms(given[1:]), found[1:])
    np.testing.assert_array_equal(histograms(given[..., :3]), found)
    moved = 4 * given[1:2, :, :3] + np.array([8, -16, 2], np.float32)
    assert np.abs(histograms(moved) - found[1:2]).sum() < 0.1  # a point may round to the next cell
    assert np.abs(found[0] - found[1]).sum() > 1


def test_histogram_of_one_place_has_one_cell():
    found = histograms(np.full((2, 5, 3), 7.0, np.float32))
    np.testing.assert_array_equal(np.sort(found, axis=1)[:, -2:], [[0, 1], [0, 1]])
