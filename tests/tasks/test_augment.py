"""Affine warps against SciPy, turns against NumPy, and the amounts that are drawn."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from scipy import ndimage

from nvc_jax.tasks import augment
from tests.numeric import normal

IDENTITY: dict[str, Any] = {"shift": (0.0, 0.0), "rotation": 0.0, "zoom": 1.0, "shear": 0.0}
affine = jax.jit(augment.affine)
warp = jax.jit(augment.warp, static_argnames=("shift", "rotation", "scale", "shear"))


def warp_by(image, **amounts):
    """One image `[H, W, C]` warped by given amounts."""
    amounts = {**IDENTITY, **amounts}
    return np.asarray(affine(image[None], **{k: jnp.array([v]) for k, v in amounts.items()})[0])


def image_of(*shape, seed=0):
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


def scipy_warp(image, shift, rotation, zoom, shear):
    """The same by SciPy: content is sheared, turned and zoomed about the center, then shifted."""
    cos, sin = np.cos(rotation), np.sin(rotation)
    # Rows and columns: a turn to the left moves what is on the right up, to smaller rows.
    forward = np.array([[1, 0], [-shear, 1]]) @ (zoom * np.array([[cos, -sin], [sin, cos]]))
    inverse = np.linalg.inv(forward)
    center = (np.array(image.shape[:2]) - 1) / 2
    offset = center - inverse @ (center + np.asarray(shift))
    channels = [
        ndimage.affine_transform(channel, inverse, offset, order=1, mode="grid-constant")
        for channel in np.moveaxis(image.astype(np.float64), -1, 0)
    ]
    return np.stack(channels, axis=-1)


AMOUNTS: list[dict[str, Any]] = [
    {"shift": (1.25, -2.5)},
    {"rotation": 0.4},
    {"zoom": 1.3},
    {"zoom": 0.6},
    {"shear": 0.5},
    {"shift": (-3.3, 0.7), "rotation": -2.0, "zoom": 0.8, "shear": -0.3},
]


@pytest.mark.parametrize("shape", [(9, 9, 1), (7, 12, 3), (1, 5, 1)])
def test_warp_equals_scipy(shape):
    images = np.stack([image_of(*shape, seed=seed) for seed in range(len(AMOUNTS))])
    amounts = [{**IDENTITY, **changes} for changes in AMOUNTS]
    columns = {name: jnp.array([a[name] for a in amounts]) for name in IDENTITY}
    for found, image, amount in zip(affine(images, **columns), images, amounts):
        expected = scipy_warp(image, **amount)
        np.testing.assert_allclose(found, expected, atol=2e-5, err_msg=str(amount))


def test_directions_are_the_documented_ones():
    image = image_of(5, 5, 2)
    moved = warp_by(image, shift=(1.0, -2.0))  # down and to the left
    np.testing.assert_allclose(moved[1:, :3], image[:-1, 2:], atol=1e-5)
    turned = warp_by(image, rotation=np.pi / 2)
    np.testing.assert_allclose(turned, np.rot90(image), atol=1e-5)
    sheared = warp_by(image, shear=1.0)
    np.testing.assert_allclose(sheared[2], image[2], atol=1e-6)
    np.testing.assert_allclose(sheared[3, :4], image[3, 1:], atol=1e-6)
    np.testing.assert_allclose(warp_by(image, zoom=2.0)[::2, ::2], image[1:4, 1:4], atol=1e-6)


def test_identity_amounts_give_the_image():
    image = image_of(6, 7, 3)
    np.testing.assert_array_equal(warp_by(image), image)


@pytest.mark.parametrize("shift", [(5.0, 0.0), (-5.0, 0.0), (0.0, 5.0), (0.0, -5.0), (99.0, 99.0)])
def test_outside_is_exactly_zero(shift):
    np.testing.assert_array_equal(warp_by(np.ones((5, 5, 1), np.float32), shift=shift), 0.0)
    half = warp_by(np.ones((5, 5, 1), np.float32), shift=np.array(shift) / 5 * 2)
    assert set(np.unique(half)) <= {0.0, 1.0}


KEYS = jax.random.split(jax.random.key(0), 400)
RANGES = {"shift": 2.0, "rotation": 0.3, "scale": 0.25, "shear": 0.2}


def test_without_ranges_the_very_input_comes_back():
    image = jnp.asarray(image_of(4, 4, 1))[None]
    assert augment.warp(image, KEYS[:1]) is image


def test_an_example_s_warp_is_a_function_of_its_key_alone():
    images = np.stack([image_of(8, 8, 1)] * 6)
    warped = warp(images, KEYS[:6], **RANGES)
    chex.assert_shape(warped, (6, 8, 8, 1))
    np.testing.assert_allclose(warp(images[:2], KEYS[3:5], **RANGES), warped[3:5], atol=1e-5)
    assert len(np.unique(np.asarray(warped).reshape(6, -1).round(4), axis=0)) == 6


def blob(height=33, width=33):
    """A smooth spot right of the center, whose place tells how the image was warped."""
    y, x = np.mgrid[:height, :width] - np.array([height // 2, width // 2])[:, None, None]
    return np.exp(-(np.square(y) + np.square(x - 6)) / 8).astype(np.float32)[..., None]


def places(**ranges):
    """Center of mass of the spot in 400 warps, relative to the image's center."""
    warped = np.asarray(warp(np.stack([blob()] * 400), KEYS, **ranges))[..., 0]
    y, x = np.mgrid[:33, :33] - 16
    mass = warped.sum((1, 2))
    return (warped * y).sum((1, 2)) / mass, (warped * x).sum((1, 2)) / mass


@pytest.mark.parametrize("name", ["rows", "columns", "rotation", "scale"])
def test_amounts_fill_their_range(name):
    if name in ("rows", "columns"):
        amounts = places(shift=2.5)[name == "columns"] - 6 * (name == "columns")
        limit = 2.5
    elif name == "rotation":
        y, x = places(rotation=0.5)
        amounts, limit = np.arctan2(-y, x), 0.5
    else:
        amounts, limit = np.log(places(scale=0.25)[1] / 6), np.log(1.25)
    assert np.all(np.abs(amounts) < 1.05 * limit)
    assert -0.95 * limit > amounts.min() and amounts.max() > 0.95 * limit
    # A uniform amount has a standard deviation of limit/√3.
    np.testing.assert_allclose(amounts.std(), limit / np.sqrt(3), rtol=0.1)
    assert abs(amounts.mean()) < 0.1 * limit


upright_symmetry = jax.jit(augment.upright_symmetry)


def eight_of(volume):
    """The symmetries of a volume `[X, Y, Z, ...]` about y, by NumPy."""
    return [
        np.rot90(seen, turns, axes=(0, 2))
        for seen in (volume, np.flip(volume, axis=0))
        for turns in range(4)
    ]


def test_volumes_are_turned_and_mirrored_alike_in_all_eight_ways():
    first = normal(0, 3, 2, 3)
    second = np.arange(4 * 5 * 4 * 2, dtype=np.uint8).reshape(4, 5, 4, 2)
    volumes = [np.stack([volume] * 64) for volume in (first, second)]
    turned = jax.device_get(upright_symmetry(volumes, KEYS[:64]))
    assert turned[0].dtype == np.float32 and turned[1].dtype == np.uint8
    which = []
    for found in zip(*turned):
        kinds = [
            [np.array_equal(x, candidate) for candidate in eight_of(volume)]
            for x, volume in zip(found, (first, second))
        ]
        assert kinds[0] == kinds[1] and sum(kinds[0]) == 1
        which.append(kinds[0].index(True))
    assert set(which) == set(range(8))
    alone = upright_symmetry([volumes[0][:3]], KEYS[7:10])[0]
    np.testing.assert_array_equal(alone, turned[0][7:10])


def test_volumes_of_any_form_are_mirrored_along_x():
    volume = normal(0, 3, 2, 5)
    (found,) = augment.upright_symmetry([jnp.stack([volume] * 64)], KEYS[:64], turns=False)
    mirrored = [np.array_equal(x, volume[::-1]) for x in found]
    assert 16 < sum(mirrored) < 48
    assert all(flip or np.array_equal(x, volume) for x, flip in zip(found, mirrored))


def turn_points(clouds, keys, *, upright_symmetry=False, mirror=False, rotation=0.0, scale=0.0):
    options = ml_collections.ConfigDict(
        {
            "upright_symmetry": upright_symmetry,
            "mirror": mirror,
            "rotation": rotation,
            "scale": scale,
        }
    )
    return augment.turn_points(clouds, keys, options)


turn = jax.jit(turn_points, static_argnames=("upright_symmetry", "mirror", "rotation", "scale"))


def matrices(**options):
    """What happens to the three axes, `[400, 3, 3]`: a column is where an axis went."""
    axes = np.stack([np.eye(3, dtype=np.float32)] * 400)
    found = np.asarray(turn([axes], KEYS, **options)[0])
    return found.transpose(0, 2, 1)


def test_points_turn_about_the_vertical_axis():
    found = matrices(rotation=0.5)
    angle = np.arctan2(found[:, 0, 2], found[:, 0, 0])
    c, s, zero, one = np.cos(angle), np.sin(angle), 0 * angle, 0 * angle + 1
    # By the right hand, the thumb along y: z goes to x, x to −z.
    expected = np.array([[c, zero, s], [zero, one, zero], [-s, zero, c]]).transpose(2, 0, 1)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.all(np.abs(angle) <= 0.5) and angle.min() < -0.47 and angle.max() > 0.47
    np.testing.assert_allclose(angle.std(), 0.5 / np.sqrt(3), rtol=0.1)


def test_points_are_mirrored_and_turned_by_quarters_in_all_eight_ways():
    found = matrices(upright_symmetry=True)
    np.testing.assert_allclose(np.abs(found).sum(axis=1), 1.0, atol=1e-6)
    np.testing.assert_array_equal(found[:, 1], [[0, 1, 0]] * 400)
    kinds, counts = np.unique(np.rint(found).reshape(400, 9), axis=0, return_counts=True)
    assert len(kinds) == 8 and counts.min() > 25  # of 50


def test_points_are_mirrored_along_x_alone():
    found = matrices(mirror=True)
    kinds, counts = np.unique(np.rint(found).reshape(400, 9), axis=0, return_counts=True)
    np.testing.assert_array_equal(kinds, [np.diag([x, 1, 1]).ravel() for x in (-1, 1)])
    assert counts.min() > 160  # of 200


def test_points_are_scaled_about_the_origin():
    found = matrices(scale=0.25)
    zoom = found[:, 0, 0]
    np.testing.assert_allclose(found, zoom[:, None, None] * np.eye(3), atol=1e-6)
    assert 0.799 < zoom.min() < 0.82 and 1.22 < zoom.max() < 1.251
    assert abs(np.log(zoom).mean()) < 0.02


def test_clouds_of_an_example_are_changed_alike_and_keep_their_form():
    first, second = normal(0, 6, 5, 6), normal(1, 6, 4, 3)
    options = {"upright_symmetry": True, "rotation": 3.0, "scale": 0.5}
    found = turn([first, second], KEYS[:6], **options)
    np.testing.assert_array_equal(found[0][..., 3:], first[..., 3:])
    joined = np.concatenate([first[..., :3], second], axis=1)
    whole = turn([joined], KEYS[:6], **options)[0]
    np.testing.assert_allclose(found[0][..., :3], whole[:, :5], atol=1e-5)
    np.testing.assert_allclose(found[1], whole[:, 5:], atol=1e-5)

    def squared(x):
        return np.square(x[:, :, None] - x[:, None]).sum(-1)

    kept = turn([second], KEYS[:6], upright_symmetry=True, rotation=3.0)[0]
    np.testing.assert_allclose(squared(np.asarray(kept)), squared(second), rtol=1e-4, atol=1e-5)
    ratio = squared(np.asarray(found[1]))[:, 0, 1:] / squared(second)[:, 0, 1:]
    np.testing.assert_allclose(ratio, ratio[:, :1] * np.ones(3), rtol=1e-4)
    assert ratio.std() > 0.1


def test_a_cloud_s_change_is_a_function_of_its_key_alone():
    clouds = np.stack([normal(0, 4, 3)] * 6)
    options = {"upright_symmetry": True, "rotation": 1.0, "scale": 0.5}
    found = turn([clouds], KEYS[:6], **options)[0]
    np.testing.assert_allclose(turn([clouds[:2]], KEYS[3:5], **options)[0], found[3:5], atol=1e-6)
    assert len(np.unique(np.asarray(found).reshape(6, -1).round(4), axis=0)) == 6


def test_where_all_is_off_the_very_clouds_come_back():
    clouds = jnp.ones((2, 3, 3)), jnp.zeros((2, 4, 3))
    found = turn_points(clouds, KEYS[:2])
    assert found[0] is clouds[0] and found[1] is clouds[1]
