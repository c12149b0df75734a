"""How far drawn examples are from real ones, both as features `[N, F]`."""

import numpy as np
from numpy.typing import ArrayLike

from nvc_jax.core.errors import UserError


def frechet_distance(x: ArrayLike, y: ArrayLike) -> float:
    """`|μ_x − μ_y|² + Tr(Σ_x + Σ_y − 2·(Σ_x Σ_y)^½)`, with sample covariances: two Gaussians' Wasserstein distance, squared.

    With features of an Inception network it is the FID; what features are used has to be said beside it.

    Args:
      x: `[N, F]`, N ≥ 2, finite.
      y: `[M, F]`, M ≥ 2, finite.

    Returns:
      From 0, in squared units of the features. For few examples it is too large.

    Raises:
      UserError: for another shape.

    Reference: Heusel, Ramsauer, Unterthiner, Nessler and Hochreiter, "GANs Trained by a Two Time-Scale Update Rule
    Converge to a Local Nash Equilibrium", NeurIPS 2017, equation 6.

    Example:
      >>> round(frechet_distance([[0.0], [2.0]], [[3.0], [5.0]]), 6)
      9.0
    """
    one, two = _features(x, y)
    first, second = (np.atleast_2d(np.cov(values, rowvar=False)) for values in (one, two))
    # Tr (Σ_x Σ_y)^½ is the sum of the singular values of Σ_x^½ Σ_y^½, which rounding leaves real and not negative.
    crossed = np.linalg.svd(_root(first) @ _root(second), compute_uv=False).sum()
    shift = np.square(one.mean(axis=0) - two.mean(axis=0)).sum()
    return float(max(shift + np.trace(first) + np.trace(second) - 2.0 * crossed, 0.0))


def two_sample_accuracy(x: ArrayLike, y: ArrayLike) -> float:
    """How often the nearest other example tells on which side one is, on the mean of both sides.

    Args:
      x: `[N, F]`, N ≥ 2, finite, best as many as of y.
      y: `[M, F]`, M ≥ 2, finite.

    Returns:
      0.5 where both are drawn alike, 1 where they lie apart, below 0.5 where one repeats the other.

    Raises:
      UserError: for another shape.

    Reference: Lopez-Paz and Oquab, "Revisiting Classifier Two-Sample Tests", ICLR 2017; Xu et al., "An empirical study
    on evaluation metrics of generative adversarial networks", 2018, whose 1-NN accuracy it is.

    Example:
      >>> two_sample_accuracy([[0.0], [0.1]], [[5.0], [5.1]])
      1.0
    """
    from sklearn.neighbors import NearestNeighbors  # slow to import

    one, two = _features(x, y)
    side = np.repeat([0, 1], [len(one), len(two)])
    # Without arguments the neighbors of the fitted examples leave each itself out.
    found = NearestNeighbors(n_neighbors=1).fit(np.concatenate([one, two]))
    right = side == side[found.kneighbors(return_distance=False)[:, 0]]
    return float((right[side == 0].mean() + right[side == 1].mean()) / 2)


def _root(covariance: np.ndarray) -> np.ndarray:
    """The symmetric square root of a covariance."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def _features(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both in float64, of the same features."""
    one, two = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if (
        one.ndim != 2
        or two.ndim != 2
        or one.shape[1] != two.shape[1]
        or min(len(one), len(two)) < 2
    ):
        raise UserError(
            f"Two sets of examples are compared by features [N, F] of N ≥ 2 each, got {one.shape} and {two.shape}."
        )
    return one, two
