"""The nebulae as they are: where the codes of every anchor lie once a model is trained.

Codes around an anchor are described by a Gaussian with a standard deviation of its own in every
dimension. Everything here is on the host, in float64, for data that are encoded already.
"""

from typing import NamedTuple

import numpy as np


class Nebulae(NamedTuple):
    """A mixture of Gaussians, one around every anchor.

    Attributes:
      centers: `[K, D]`.
      scales: standard deviations, `[K, D]`; 0 where an anchor has too few examples to tell.
      shares: of the examples, `[K]`, of sum 1.
    """

    centers: np.ndarray
    scales: np.ndarray
    shares: np.ndarray


def measure_nebulae(codes: np.ndarray, assignment: np.ndarray, anchors: np.ndarray) -> Nebulae:
    """Mean and standard deviations of the codes of every anchor.

    An anchor without examples stays where it is, and one with a single example has no scale.

    Args:
      codes: `[N, D]`, finite, N at least 1.
      assignment: int `[N]`, each code's anchor.
      anchors: `[K, D]`.

    Returns:
      The mixture, float32.

    Example:
      >>> found = measure_nebulae(np.array([[1.0], [3.0]]), np.array([0, 0]), np.array([[0.0], [9.0]]))
      >>> found.centers.tolist(), found.scales.tolist(), found.shares.tolist()
      ([[2.0], [9.0]], [[1.0], [0.0]], [1.0, 0.0])
    """
    codes, centers = np.asarray(codes, np.float64), np.array(anchors, np.float64)
    scales, counts = np.zeros_like(centers), np.bincount(assignment, minlength=len(centers))
    for k in np.flatnonzero(counts):
        own = codes[assignment == k]
        centers[k], scales[k] = own.mean(axis=0), own.std(axis=0)
    return Nebulae(
        centers.astype(np.float32),
        scales.astype(np.float32),
        (counts / len(codes)).astype(np.float32),
    )


def anchor_offsets(
    codes: np.ndarray, assignment: np.ndarray, anchors: np.ndarray, scales: np.ndarray
) -> np.ndarray:
    """Distance of every anchor from the mean of its codes, in units of its standard deviations.

    `sqrt(Σ_d ((mean_k − A_k) / s_k)²)`: how far off a Gaussian around the anchor is from the codes.

    Args:
      codes: `[N, D]`.
      assignment: int `[N]`.
      anchors: `[K, D]`.
      scales: `[K, D]`, greater than 0.

    Returns:
      float64 `[K]`, NaN for anchors without codes.
    """
    offsets = np.full(len(anchors), np.nan)
    for k in np.unique(assignment):
        away = codes[assignment == k].mean(axis=0, dtype=np.float64) - anchors[k]
        offsets[k] = np.linalg.norm(away / scales[k])
    return offsets


def mixture_kl(mean: np.ndarray, logvar: np.ndarray, nebulae: Nebulae) -> np.ndarray:
    """Bound of the KL divergence of posteriors from the mixture.

    `−log Σ_k π_k·exp(−KL(N(mean, e^logvar) ‖ N(A_k, s_k²)))`, which is at least the divergence, and
    equals it for one anchor.

    Args:
      mean: `[N, D]`.
      logvar: `[N, D]`.
      nebulae: of scales greater than 0.

    Returns:
      float64 `[N]`.

    Reference: Hershey and Olsen, "Approximating the Kullback Leibler divergence between Gaussian mixture
    models", ICASSP 2007, equation 20 for a single Gaussian.
    """
    mean, logvar = np.asarray(mean, np.float64), np.asarray(logvar, np.float64)
    terms = np.empty((len(mean), len(nebulae.centers)))
    with np.errstate(divide="ignore"):
        log_shares = np.log(np.asarray(nebulae.shares, np.float64))
    for k, (center, scale) in enumerate(zip(nebulae.centers, nebulae.scales, strict=True)):
        log_scale = np.log(np.asarray(scale, np.float64))
        ratio = (np.exp(logvar) + np.square(mean - center)) * np.exp(-2 * log_scale)
        terms[:, k] = log_shares[k] - 0.5 * np.sum(ratio - 1 - logvar + 2 * log_scale, axis=1)
    return -np.logaddexp.reduce(terms, axis=1)
