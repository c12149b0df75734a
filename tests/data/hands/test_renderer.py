"""Rays and capsules, against a walk along every ray."""

from __future__ import annotations

import numpy as np
import pytest

from nvc_jax.data.hands.renderer import cast_capsules, shade
from nvc_jax.geometry.planes import pixel_rays

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
