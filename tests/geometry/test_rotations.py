"""Rotations by a right angle, and by many angles at once."""

import numpy as np
import pytest

from nvc_jax.geometry.rotations import about_x, about_y, about_z

X, Y, Z = np.eye(3)


@pytest.mark.parametrize(
    ("turn", "axis", "before", "after"),
    [(about_x, X, -Y, Z), (about_y, Y, Z, X), (about_z, Z, -Y, X)],
)
def test_right_angles_by_hand(turn, axis, before, after):
    quarter = turn(np.pi / 2)
    np.testing.assert_allclose(quarter @ before, after, atol=1e-12)
    np.testing.assert_allclose(quarter @ axis, axis)
    np.testing.assert_allclose(quarter @ after, -before, atol=1e-12)
    both = turn([0.3, np.pi / 2])
    np.testing.assert_array_equal(both, [turn(0.3), quarter])
    np.testing.assert_allclose(both @ both.swapaxes(1, 2), [np.eye(3)] * 2, atol=1e-12)
