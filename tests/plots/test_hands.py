"""Pictures of hands: bones where the joints are, in the colors of their fingers."""

import numpy as np
from matplotlib.figure import Figure

from nvc_jax import plots
from nvc_jax.data.hands.synthetic import Hands
from nvc_jax.geometry.joints import CHAINS
from nvc_jax.plots import hands as plots_hands
from nvc_jax.plots.hands import SIZE


def hand(tip=(60.0, -60.0, 0.0)):
    """A hand in one place, but for the tip of its index finger."""
    joints = np.zeros((21, 3))
    joints[CHAINS["index"][3]] = tip
    return joints


def drawn(picture):
    return (picture < 0.99).any(axis=-1)


def test_x_points_right_and_y_down():
    picture = plots_hands.render_skeletons(hand())
    assert picture.shape == (SIZE, SIZE, 3)
    rows, columns = np.nonzero(drawn(picture))
    middle = np.argwhere(drawn(picture))[:, 0].mean(), columns.mean()
    # The bone goes from the center of mass up and to the right.
    assert rows.min() < SIZE / 2 - 15 < middle[0]
    assert columns.max() > SIZE / 2 + 15 > middle[1]


def test_skeletons_are_where_the_mean_is_and_pale_where_far():
    joints = np.stack([hand((60, 0, 0)), hand((60, 0, 0)) + 500.0, hand((60, 0, 200))])
    near, moved, far = plots_hands.render_skeletons(joints[None])[0]
    np.testing.assert_allclose(near, moved, atol=1e-5)
    assert near.min() < far[drawn(far)][:, 0].mean()
    assert plots_hands.render_skeletons(joints[:0]).shape == (0, SIZE, SIZE, 3)


def test_joints_lie_on_the_hand():
    batch = Hands("train", 3, 48, 4).gather(np.arange(3))
    plain = plots_hands.enlarge(batch["image"])
    assert plain.shape == (3, SIZE, SIZE, 3)
    np.testing.assert_allclose(plain[:, ::2, ::2], batch["image"][..., :3] / 255)
    shown = plots_hands.overlay(batch["image"], batch["camera"], batch["joints"])
    changed = np.abs(shown - plain).max(axis=-1) > 0.05
    hand_there = batch["image"][..., 3].repeat(2, axis=1).repeat(2, axis=2) > 0
    assert changed.sum() > 300
    assert hand_there[changed].mean() > 0.85
    behind = plots_hands.overlay(batch["image"], batch["camera"], -batch["joints"])
    np.testing.assert_array_equal(behind, plain)


def test_curve_of_correct_keypoints():
    truth = np.zeros((2, 21, 3))
    figure = plots_hands.pck_figure(truth + np.array([0, 0, 30]), truth, np.ones((2, 21), bool))
    assert isinstance(figure, Figure)
    about_wrist, _, absolute, _ = figure.axes[0].get_lines()
    assert np.all(about_wrist.get_ydata() == 1)
    np.testing.assert_array_equal(absolute.get_ydata(), np.arange(61) >= 30)
    assert plots.render(figure)[:4] == b"\x89PNG"


def test_skeletons_to_turn_have_their_wrist_below_and_near_things_near():
    joints = np.zeros((21, 3))
    joints[0] = [0, 50, 400]  # below the others for the camera, and farther away
    solid = plots_hands.solid_skeleton(joints)
    assert solid.kind == "bones" and solid.points.shape == (2 * 20, 3)
    np.testing.assert_allclose(solid.points[0] - solid.points[1], [0, -50, -400])
    np.testing.assert_allclose(solid.points[2:8], np.broadcast_to(solid.points[1], (6, 3)))
    fingers = np.unique(solid.colors, axis=0, return_counts=True)[1]
    assert fingers.tolist() == [8] * 5
