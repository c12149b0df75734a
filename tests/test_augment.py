"""Affine warps against SciPy, and the amounts that are drawn."""

from __future__ import annotations

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from nvc_jax import augment

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
