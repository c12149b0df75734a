"""Point clouds: the unit ball and draws by hand, and tables of numbers."""

import numpy as np
import pytest

from nvc_jax.data.shapes.clouds import normalize, parse_table, resample, whole_numbers
from tests.refusals import refused

NAN = float("nan")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([[1, 1, 1]] * 4, [[0, 0, 0]] * 4),
        ([[0.1, 0.7, 1e6]] * 3, [[0, 0, 0]] * 3),
        ([[5, 6, 7]], [[0, 0, 0]]),
        ([[-1, 0, 0], [-3, 0, 0]], [[1, 0, 0], [-1, 0, 0]]),
        ([[NAN, 0, 0], [0, 0, 4], [0, 0, 2]], [[0, 0, 1], [0, 0, -1]]),
        ([[0, 0, 3e-30], [0, 0, 1e-30], [0, np.inf, 0]], [[0, 0, 1], [0, 0, -1]]),
    ],
)
def test_unit_ball_by_hand(dtype, points, expected):
    found = normalize(np.array(points, dtype))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == np.float32


def test_one_bad_row_of_five_is_left_out():
    points = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    points[2, 1] = NAN
    found = normalize(points)
    assert found.shape == (4, 3) and np.isfinite(found).all()
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(np.sqrt((found**2).sum(1)).max(), 1, atol=1e-6)


@pytest.mark.parametrize("points", [np.zeros((0, 3)), np.full((2, 3), NAN)])
def test_cloud_without_points_is_told(points):
    refused(f"chair.pcd is empty: got {len(points)} points", normalize, points, "chair.pcd")
    message = f"chair.pcd is empty: got {len(points)} points"
    refused(message, resample, points, 2, np.random.default_rng(0), "chair.pcd")


def test_draws_repeat_no_more_than_needed():
    for size, count, least, most in ((3, 8, 2, 3), (8, 3, 0, 1), (4, 4, 1, 1), (1, 5, 5, 5)):
        points = np.random.default_rng(1).normal(size=(size, 3))
        ids = resample(points, count, np.random.default_rng(0))
        times = np.bincount(ids, minlength=size)
        assert len(ids) == count and (times.min(), times.max()) == (least, most)
        np.testing.assert_array_equal(ids, resample(points, count, np.random.default_rng(0)))


def test_draws_reach_every_finite_point_and_no_other():
    points = np.zeros((6, 9))
    points[4, 8] = NAN
    drawn = [resample(points, 2, np.random.default_rng(seed)) for seed in range(60)]
    assert set(np.ravel(drawn)) == {0, 1, 2, 3, 5}
    assert all(len(set(ids)) == 2 for ids in drawn)


def test_tables():
    np.testing.assert_array_equal(
        parse_table(b"1 -2.5e1\t3\r\n\nnan 5 6.0\n", 3, "x"), [[1, -25, 3], [NAN, 5, 6]]
    )
    assert parse_table(b" \n", 3, "x").shape == (0, 3)


def test_wrong_tables_are_told():
    for content, message in [
        (b"1 2 3\n4 5\n6 7 8 9\n", "a.pts is cut short or damaged: expected 3 numbers"),
        (b"1 2 x\n", "a.pts is cut short or damaged"),
        (b"\xff\xfe\x00", "a.pts is cut short or damaged"),
        (b"# 2 3\n", "a.pts is cut short or damaged"),
        (b"1 2\n3 4\n", "a.pts has 2 numbers a line, expected 3"),
    ]:
        refused(message, parse_table, content, 3, "a.pts")


def test_labels_are_whole_numbers_of_the_range():
    labels = whole_numbers(np.array([2.0, 4.0]), 2, 5, "x")
    assert labels.tolist() == [2, 4] and labels.dtype == np.int64
    for wrong in (1, 5, 2.5, NAN, np.inf):
        message = f"a.seg: labels here .* from 2 to 4, got {wrong:g}"
        refused(message, whole_numbers, np.array([2.0, wrong]), 2, 5, "a.seg")
