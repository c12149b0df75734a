"""How sure a cluster is: a temperature that is found without labels."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.spatial.distance import cdist
from scipy.special import log_softmax

from nvc_jax.data.base.neighbors import neighbor_ids

LARGEST = 12.0
"""Temperatures are at most e¹² times the mean squared distance to the nearest anchor."""
MOST_CALIBRATED = 5000
"""Examples of a fit at most, whose neighbors among each other are looked at."""
NEIGHBORS = 10


def neighbors_of(features: np.ndarray, seed: int) -> np.ndarray:
    """Neighbors of every example, int `[N, k]`; an example alone is its own."""
    count = min(NEIGHBORS, len(features) - 1)
    return neighbor_ids(features, count, seed) if count else np.zeros((len(features), 1), int)


def log_probabilities(codes: np.ndarray, anchors: np.ndarray, temperature: float) -> np.ndarray:
    """`log softmax_k(−d²(z, A_k) / T)`, float64 `[N, K]`: the nearest anchor is the likeliest.

    Args:
      codes: `[N, D]`.
      anchors: `[K, D]`.
      temperature: T, in squared units of the codes, greater than 0.
    """
    return log_softmax(-_squared(codes, anchors) / temperature, axis=1)


def fit_temperature(codes: np.ndarray, anchors: np.ndarray, neighbors: np.ndarray) -> float:
    """The temperature at which an example's probabilities best tell the clusters of its neighbors.

    It minimizes `−Σ_i Σ_{j near i} log p_T(c_j | z_i)`, with `c_j` the nearest anchor of j: where neighbors
    among the inputs are in one cluster, it may be sure; where they are in several, it should say so. It is
    never below twice the mean variance around an anchor, that of Gaussians of one size.

    Args:
      codes: `[N, D]`.
      anchors: `[K, D]`.
      neighbors: int `[N, k]`, others that are like each example.

    Returns:
      The temperature, greater than 0; 1 where there is nothing to tell apart.

    Reference: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, for the one parameter; they
    fit it to labels.
    """
    squared = _squared(codes, anchors)
    scale = squared.min(axis=1).mean()
    if len(anchors) < 2 or not scale > 0:
        return 1.0
    theirs = squared.argmin(axis=1)[neighbors]

    def surprise(log_temperature: float) -> float:
        found = log_softmax(-squared / (scale * np.exp(log_temperature)), axis=1)
        return -float(np.mean(np.take_along_axis(found, theirs, axis=1)))

    least = np.log(2.0 / codes.shape[1])
    best = minimize_scalar(surprise, bounds=(least, LARGEST), method="bounded")
    return float(scale * np.exp(best.x))


def _squared(codes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Squared distances, float64 `[N, K]`."""
    return cdist(np.asarray(codes, np.float64), np.asarray(anchors, np.float64), "sqeuclidean")
