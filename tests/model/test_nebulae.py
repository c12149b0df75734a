"""Where the codes of anchors lie: means, spreads, offsets and the KL from their mixture."""

import numpy as np
import pytest
from scipy import stats

from nvc_jax.model.nebulae import Nebulae, anchor_offsets, measure_nebulae, mixture_kl


def test_means_spreads_and_shares_are_those_of_numpy():
    rng = np.random.default_rng(0)
    codes, assignment = rng.normal(3.0, 2.0, (50, 3)), rng.integers(0, 2, 50)
    found = measure_nebulae(codes, assignment, np.zeros((2, 3)))
    for k in range(2):
        own = codes[assignment == k]
        np.testing.assert_allclose(found.centers[k], own.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(found.scales[k], own.std(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found.shares, np.bincount(assignment) / 50)


def test_an_anchor_alone_stays_and_one_example_has_no_scale():
    found = measure_nebulae(
        np.array([[1.0, 2.0]]), np.array([1]), np.array([[5.0, 5.0], [0.0, 0.0]])
    )
    assert found.centers.tolist() == [[5.0, 5.0], [1.0, 2.0]]
    assert not found.scales.any() and found.shares.tolist() == [0.0, 1.0]


def test_offset_is_counted_in_standard_deviations():
    codes = np.array([[3.0, 0.0], [5.0, 0.0], [0.0, 9.0]])
    anchors, scales = np.array([[0.0, 0.0], [0.0, 0.0], [7.0, 7.0]]), np.full((3, 2), 2.0)
    found = anchor_offsets(codes, np.array([0, 0, 1]), anchors, scales)
    np.testing.assert_allclose(found, [2.0, 4.5, np.nan])


def test_offsets_are_nearly_0_after_measuring():
    rng = np.random.default_rng(1)
    codes, assignment = rng.normal(size=(200, 4)), rng.integers(0, 3, 200)
    found = measure_nebulae(codes, assignment, np.ones((3, 4)))
    assert (anchor_offsets(codes, assignment, found.centers, found.scales) < 1e-5).all()


def test_kl_from_one_gaussian_is_exact():
    mean, logvar = np.array([[1.0, -2.0]]), np.array([[0.3, -1.0]])
    center, scale = np.array([[0.5, 0.0]]), np.array([[2.0, 0.7]])
    sigma = np.exp(0.5 * logvar)
    expected = np.sum(
        np.log(scale / sigma) + (sigma**2 + (mean - center) ** 2) / (2 * scale**2) - 0.5
    )
    found = mixture_kl(mean, logvar, Nebulae(center, scale, np.ones(1)))
    np.testing.assert_allclose(found, [expected], rtol=1e-6)


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.9, 0.1], [1.0, 0.0]])
def test_kl_from_a_mixture_is_bounded_above(shares):
    nebulae = Nebulae(np.array([[-1.0], [2.0]]), np.array([[1.0], [0.5]]), np.array(shares))
    x = np.linspace(-30, 30, 200_001)
    density = sum(
        share * stats.norm.pdf(x, c, s)
        for share, c, s in zip(shares, [-1.0, 2.0], [1.0, 0.5], strict=True)
    )
    for mean, sd in ((0.0, 0.3), (2.0, 0.5), (-4.0, 2.0)):
        own = stats.norm.pdf(x, mean, sd)
        inside = own > 1e-250
        ratio = own[inside] * (np.log(own[inside]) - np.log(density[inside] + 1e-300))
        exact = ratio.sum() * (x[1] - x[0])
        bound = mixture_kl(np.array([[mean]]), np.array([[2 * np.log(sd)]]), nebulae)[0]
        assert bound >= exact - 1e-3 and np.isfinite(bound)
