"""Whether probabilities are right: what is given p happens in a share p of the cases."""

import numpy as np
from numpy.typing import ArrayLike

from nvc_jax.core.errors import UserError

BINS = 10


def calibration_gap(probability: ArrayLike, right: ArrayLike) -> float:
    """`Σ_bins |Σ p − number of right ones|` over ten bins of probability.

    Args:
      probability: any shape, from 0 to 1.
      right: of the same shape, 1 or true where what had that probability was so.

    Returns:
      From 0 to the number of entries.
    """
    p, hit = np.ravel(probability).astype(np.float64), np.ravel(right).astype(np.float64)
    place = np.minimum((p * BINS).astype(int), BINS - 1)
    return float(np.abs(np.bincount(place, p - hit, BINS)).sum())


def expected_calibration_error(confidence: ArrayLike, right: ArrayLike) -> float:
    """`1/N Σ_bins |Σ confidence − number of right ones|`, ten bins of one width.

    Args:
      confidence: `[N]`, N ≥ 1, the probability of what was named, from 0 to 1.
      right: bool `[N]`, whether it was so.

    Returns:
      From 0, as for probabilities that are right, to 1.

    Raises:
      UserError: without an example, or for arrays of different lengths.

    Reference: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, equation 3;
    Naeini, Cooper and Hauskrecht, AAAI 2015.

    Example:
      >>> expected_calibration_error([0.75, 0.75, 0.75, 0.75], [True, True, True, False])
      0.0
    """
    if np.shape(confidence) != np.shape(right) or np.size(right) == 0:
        raise UserError(
            f"confidence and right are of N ≥ 1 examples each, got {np.shape(confidence)} and {np.shape(right)}."
        )
    return calibration_gap(confidence, right) / np.size(right)
