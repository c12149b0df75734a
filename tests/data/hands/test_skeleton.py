"""The kinematic hand: a right one, of constant bones, that bends toward its palm."""

from __future__ import annotations

import numpy as np
import pytest

from nvc_jax.data.hands.skeleton import (
    GESTURES,
    LIMITS,
    capsules,
    draw_angles,
    draw_person,
    forward_kinematics,
)
from nvc_jax.geometry.joints import CHAINS, FINGERS, NUM_JOINTS, PARENTS


def person(seed=0):
    return draw_person(np.random.default_rng(seed))


def bones(joints):
    return np.linalg.norm(joints[1:] - joints[list(PARENTS[1:])], axis=1)


def angles_of(gesture):
    return np.deg2rad(np.array(GESTURES[gesture], float))


@pytest.mark.parametrize("seed", range(3))
def test_bones_keep_their_lengths_in_every_pose(seed):
    rng, hand = np.random.default_rng(seed), person(seed)
    poses = [forward_kinematics(hand, draw_angles(rng)[0]) for _ in range(5)]
    for pose in poses[1:]:
        np.testing.assert_allclose(bones(pose), bones(poses[0]))
    lengths = bones(poses[0]).reshape(5, 4)[:, 1:]
    np.testing.assert_allclose(lengths, hand.lengths)
    assert not np.allclose(bones(poses[0]), bones(forward_kinematics(person(seed + 1), rng_pose())))


def rng_pose():
    return draw_angles(np.random.default_rng(9))[0]


def test_poses_stay_within_the_limits_and_gestures_are_all_drawn():
    rng = np.random.default_rng(0)
    drawn = [draw_angles(rng) for _ in range(300)]
    angles = np.stack([pose for pose, _ in drawn])
    assert (angles >= LIMITS[..., 0]).all()
    assert (angles <= LIMITS[..., 1]).all()
    assert {gesture for _, gesture in drawn} == set(range(len(GESTURES)))
    for gesture in GESTURES:
        assert (angles_of(gesture) >= LIMITS[..., 0] - 1e-9).all(), gesture
        assert (angles_of(gesture) <= LIMITS[..., 1] + 1e-9).all(), gesture


def test_it_is_a_right_hand_that_bends_toward_its_palm():
    straight = forward_kinematics(person(), np.zeros((5, 4)))
    index, little = straight[CHAINS["index"][0]], straight[CHAINS["little"][0]]
    # Fingers up (−y), thumb on the left (−x): of a right hand one sees the back.
    assert straight[CHAINS["middle"][3], 1] < straight[CHAINS["middle"][0], 1] < 0
    assert straight[CHAINS["thumb"][3], 0] < straight[CHAINS["middle"][3], 0]
    palm = np.cross(index, little)
    assert palm[2] > 0
    fist = forward_kinematics(person(), angles_of("fist"))
    for name in FINGERS:
        assert (fist[CHAINS[name][3]] - straight[CHAINS[name][3]]) @ palm > 0, name
    reach = np.linalg.norm(fist[[CHAINS[name][3] for name in FINGERS[1:]]], axis=1)
    assert (reach < np.linalg.norm(straight[[8, 12, 16, 20]], axis=1) - 40).all()


def test_angles_by_hand():
    angles = np.zeros((5, 4))
    angles[2, 0] = np.pi / 2  # the middle finger bends at its base alone
    angles[1, 1] = np.pi / 6  # the index finger moves away from it, toward the thumb
    hand = person()
    joints = forward_kinematics(hand, angles)
    base = joints[CHAINS["middle"][0]]
    np.testing.assert_allclose(joints[CHAINS["middle"][3]] - base, [0, 0, hand.lengths[2].sum()])
    bone = joints[CHAINS["index"][1]] - joints[CHAINS["index"][0]]
    np.testing.assert_allclose(bone / hand.lengths[1, 0], [-0.5, -np.sqrt(0.75), 0], atol=1e-12)


def test_every_bone_of_a_finger_is_a_capsule():
    hand = person()
    joints = forward_kinematics(hand, rng_pose())
    starts, ends, radii = capsules(hand, joints)
    assert starts.shape == ends.shape == (len(radii), 3)
    assert (radii > 0).all()
    assert (np.linalg.norm(ends - starts, axis=1) > 1).all()
    segments = {(*a, *b): r for a, b, r in zip(starts, ends, radii, strict=True)}
    for finger, name in enumerate(FINGERS):
        for joint, radius in zip(CHAINS[name][1:], hand.radii[finger], strict=True):
            assert segments[(*joints[PARENTS[joint]], *joints[joint])] == radius
    assert len(joints) == NUM_JOINTS
