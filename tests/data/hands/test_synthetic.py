"""Synthetic hands: bones and bends, rays and capsules, who occurs in which split, and that nothing changes."""

import numpy as np
import pytest

from nvc_jax.data import Source, open_source
from nvc_jax.data.base.source import class_names_of
from nvc_jax.data.hands.crops import HALF_CUBE
from nvc_jax.data.hands.synthetic import (
    GESTURES,
    LIMITS,
    PERSONS,
    Hands,
    capsules,
    cast_capsules,
    draw_angles,
    draw_person,
    forward_kinematics,
    shade,
)
from nvc_jax.geometry.joints import CHAINS, FINGERS, NUM_JOINTS, PARENTS
from nvc_jax.geometry.planes import pixel_rays
from tests.refusals import refused


def bones(joints):
    return np.linalg.norm(joints[..., 1:, :] - joints[..., list(PARENTS[1:]), :], axis=-1)


def pixels(batch):
    joints, camera = batch["joints"], batch["camera"][:, None]
    return joints[..., :2] / joints[..., 2:] * camera[..., :2] + camera[..., 2:]


def test_fields_fit_each_other(options):
    source = open_source(options("hands", num_scenes=30, image_size=(40, 40)), "train")
    assert isinstance(source, Source)
    batch = source.gather(np.arange(30))
    for name, field in source.spec.items():
        assert batch[name].shape == (30, *field.shape)
        assert batch[name].dtype == field.dtype
    assert batch["visible"].all()
    assert class_names_of(source) == tuple(GESTURES)
    assert 0 <= batch["label"].min() <= batch["label"].max() < len(GESTURES)
    # The surface covers the joints: seen depth is less than theirs, by the flesh at most.
    u, v = np.rint(pixels(batch)).astype(int).transpose(2, 0, 1)
    inside = (np.stack([u, v]) >= 0).all(axis=0) & (np.stack([u, v]) < 40).all(axis=0)
    assert inside.mean() > 0.95
    frame = np.broadcast_to(np.arange(30)[:, None], u.shape)
    value = batch["image"][frame[inside], v[inside], u[inside], 0].astype(float)
    assert (value > 0).mean() > 0.97
    center = batch["center"][frame[inside]]
    seen = center[:, 2] + HALF_CUBE - (value - 1) * (HALF_CUBE / 127)
    behind = (batch["joints"][inside][:, 2] - seen)[value > 0]
    assert np.quantile(behind, 0.02) > -3
    assert np.median(behind) < 25
    # It is centered on what is seen of it.
    lit = batch["image"][..., 0] > 0
    places = np.array([np.argwhere(image).mean(axis=0) for image in lit])
    np.testing.assert_allclose(places.mean(axis=0), 19.5, atol=1.5)


def test_channels_and_sides():
    depth, color, both = (
        Hands("test", 3, 24, channels).gather(np.arange(3)) for channels in (1, 3, 4)
    )
    np.testing.assert_array_equal(both["image"][..., :3], color["image"])
    np.testing.assert_array_equal(depth["joints"], both["joints"])
    same = (depth["image"][..., 0] > 0) == (both["image"][..., 3] > 0)
    assert same.mean() > 0.99
    assert Hands("test", 1).spec["image"].shape == (48, 48, 1)


def test_a_hand_is_a_function_of_its_number():
    one, other = Hands("train", 9), Hands("train", 7)
    first = one.gather(np.array([5, 2, 5]))
    second = other.gather(np.array([2, 5]))
    for name in first:
        np.testing.assert_array_equal(first[name][1], second[name][0])
        np.testing.assert_array_equal(first[name][[0, 2]], second[name][[1, 1]])
    assert (first["image"][0] != first["image"][1]).any()
    assert (Hands("train", 9, seed=1).gather(np.array([5]))["joints"] != first["joints"][0]).any()


def test_persons_of_the_test_never_occur_in_training():
    sizes = {
        split: bones(Hands(split, 2 * number, 8).gather(np.arange(2 * number))["joints"])
        for split, number in PERSONS.items()
    }
    for split, number in PERSONS.items():
        # Every person has one skeleton, in whatever pose.
        np.testing.assert_allclose(sizes[split][:number], sizes[split][number:], atol=1e-3)
    for split in ("validation", "test"):
        difference = np.abs(sizes[split][:, None] - sizes["train"][None]).max(axis=-1)
        assert difference.min() > 1


def test_wrong_options_are_one_sentence(options):
    for changes, words in [
        ({"image_size": (48, 64)}, r"\(48, 64\).*square"),
        ({"image_size": (4, 4)}, "side of 8 pixels"),
    ]:
        refused(words, open_source, options("hands", **changes), "train")


def person(seed=0):
    return draw_person(np.random.default_rng(seed))


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


CAMERA = np.array([40.0, 44.0, 11.0, 13.0])
SIDE = 24


def outside(points, starts, ends, radii):
    """Distance of points `[N, 3]` from the nearest of the capsules, in float64."""
    distances = []
    for a, b, r in zip(starts, ends, radii, strict=True):
        along = b - a
        share = np.clip((points - a) @ along / max(along @ along, 1e-12), 0, 1)
        distances.append(np.linalg.norm(points - a - share[:, None] * along, axis=1) - r)
    return np.min(distances, axis=0)


@pytest.mark.parametrize("seed", range(4))
def test_depth_is_where_a_walk_along_the_ray_first_meets_a_capsule(seed):
    rng = np.random.default_rng(seed)
    starts = rng.uniform([-120, -120, 420], [120, 120, 620], (6, 3))
    ends = starts + rng.normal(0, 50, (6, 3))
    radii = rng.uniform(5, 30, 6)
    rays = pixel_rays(CAMERA, SIDE, SIDE).reshape(-1, 3).astype(np.float64)
    view = cast_capsules(rays, starts, ends, radii)
    t = np.zeros(len(rays))
    for _ in range(300):  # a step as long as the way is free for sure
        t += outside(t[:, None] * rays, starts, ends, radii) / np.linalg.norm(rays, axis=1)
    met = t < 1000
    assert 50 < met.sum() < len(rays)
    hit = view.depth > 0
    assert (hit == met).mean() > 0.99  # but for rays that graze a capsule
    np.testing.assert_allclose(view.depth[hit & met], t[hit & met], atol=0.05)
    # The surface's normal is the direction in which the distance from it grows.
    points, normal = (view.depth[:, None] * rays)[hit], view.normal[hit].astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1, atol=1e-2)
    grown = outside(points + 0.1 * normal, starts, ends, radii)
    assert np.median(np.abs(grown - 0.1)) < 1e-2
    assert not view.normal[~hit].any()


def test_a_capsule_by_hand():
    # Along the axis of the camera: its first point is r before its end. Then one across it.
    rays = np.array([[0.0, 0.0, 1.0], [0.0, 2.0, 1.0]])
    view = cast_capsules(rays, [[0, 0, 100]], [[0, 0, 150]], [10])
    np.testing.assert_allclose(view.depth, [90, 0])
    np.testing.assert_allclose(view.normal, [[0, 0, -1], [0, 0, 0]])
    two = cast_capsules(rays[:1], [[0, 0, 100], [-50, 0, 80]], [[0, 0, 150], [50, 0, 80]], [10, 5])
    np.testing.assert_allclose(two.depth, [75])


def test_colors_show_the_hand_in_the_light_of_its_lamp():
    rays = pixel_rays(CAMERA, SIDE, SIDE).reshape(-1, 3)
    view = cast_capsules(rays, [[-10, 0, 300]], [[30, 0, 300]], [60])
    skin = np.array([1.0, 0.5, 0.25])
    image = shade(view, SIDE, skin, np.random.default_rng(0))
    assert image.shape == (SIDE, SIDE, 3)
    assert image.dtype == np.uint8
    hand = image.reshape(-1, 3)[view.depth > 0].astype(float)
    bright = hand[hand[:, 0] < 250]  # not clipped
    np.testing.assert_allclose(bright.mean(axis=0) / bright[:, 0].mean(), skin, atol=0.03)
    assert hand[:, 0].std() > 10
