"""How many clusters there are: the largest number that two halves of the data agree on."""

from typing import NamedTuple

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.threads import one_thread

AGREE = 0.9
"""Adjusted Rand index from which on two partitions count as the same."""
REPEATS = 4
MOST_EXAMPLES = 2000
SMALLEST = 8
"""Examples of a cluster, on the mean, at least."""
STARTS = 2


class Number(NamedTuple):
    """A number of clusters.

    Attributes:
      found: the number.
      low, high: smallest and largest number that are found if one of the repeats is left out.
      stability: by number, how far two halves agree on so many clusters, up to 1.
    """

    found: int
    low: int
    high: int
    stability: dict[int, float]


def find_number(codes: np.ndarray, most: int, seed: int) -> Number:
    """The largest number of clusters that are the same whichever half of the data they are found in.

    For every number k-means finds clusters in two halves of the data, apart from each other, and both
    partitions are laid over all of them: their adjusted Rand index, on the mean of some divisions, is the
    stability. The largest number whose stability is 0.9 or more is taken; where there is none, the most
    stable one. No label is used.

    Args:
      codes: `[N, D]`, finite; of more than 2,000 a random part is looked at.
      most: upper bound; so is an eighth of the examples. Above 15 not every number is tried.
      seed: of the divisions and of k-means.

    Returns:
      The number, 1 where there are too few examples to tell.

    Raises:
      UserError: for a bound below 1.

    Reference: Tibshirani and Walther, "Cluster validation by prediction strength", 2005, who take the largest
    number with a prediction strength above 0.8 to 0.9; Hubert and Arabie, "Comparing partitions", 1985.
    """
    from sklearn.cluster import KMeans  # slow to import, needed once a run
    from sklearn.metrics import adjusted_rand_score

    if most < 1:
        raise UserError(f"The upper bound of the number of clusters is {most}: give 1 or more.")
    rng = np.random.default_rng(seed)
    codes = np.asarray(codes, np.float32)[rng.permutation(len(codes))[:MOST_EXAMPLES]]
    numbers = [k for k in _candidates(most) if k <= len(codes) // SMALLEST]
    if not numbers:
        return Number(1, 1, 1, {})

    def agreement(count: int, order: np.ndarray) -> float:
        halves = np.array_split(codes[order], 2)
        fits = [
            KMeans(count, n_init=STARTS, random_state=seed + i).fit(h) for i, h in enumerate(halves)
        ]
        return adjusted_rand_score(*(fit.predict(codes) for fit in fits))

    with one_thread():
        orders = [rng.permutation(len(codes)) for _ in range(REPEATS)]
        found = np.array([[agreement(count, order) for count in numbers] for order in orders])
    others = [np.delete(found, i, axis=0).mean(axis=0) for i in range(REPEATS)]
    picked = [_pick(numbers, row) for row in others]
    mean = found.mean(axis=0)
    stability = {count: float(value) for count, value in zip(numbers, mean, strict=True)}
    return Number(_pick(numbers, mean), min(picked), max(picked), stability)


def _candidates(most: int) -> list[int]:
    """Every number from 2 to 15, then ever larger steps."""
    numbers = list(range(2, 16))
    while numbers[-1] < most:
        numbers.append(int(np.ceil(numbers[-1] * 1.1)))
    return [count for count in numbers if count <= most]


def _pick(numbers: list[int], stability: np.ndarray) -> int:
    """The largest stable number, or else the most stable one."""
    stable = np.flatnonzero(stability >= AGREE)
    return numbers[int(stable[-1] if len(stable) else stability.argmax())]
