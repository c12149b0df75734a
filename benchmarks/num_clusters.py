"""Does the silhouette tell how many clusters there are? `NebulaClustering` beside k-means.

    python -m benchmarks.num_clusters [--data digits iris …] [--seeds 0 1 2]

Every method is fitted to three quarters of the examples with several numbers of clusters, and the
silhouette is that of the last quarter: of codes for the estimator, of scaled features for k-means. Chosen is
the number with the greatest one. Labels are not used; the number of classes is printed beside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from sklearn.cluster import KMeans
from sklearn.model_selection import train_test_split

from benchmarks.estimator import DATA, parse_flags, scaled
from nvc_jax import NebulaClustering, metrics

NUMBERS: dict[str, tuple[int, ...]] = {
    "digits": (5, 8, 10, 12, 15, 20),
    "digits, uneven": (5, 8, 10, 12, 15, 20),
    "blobs": (2, 3, 4, 5, 6),
    "iris": (2, 3, 4, 5, 6),
    "wine": (2, 3, 4, 5, 6),
}

Fitted = tuple[np.ndarray, np.ndarray]
"""Held-out examples in the space of the method, and their clusters."""


def nebula(seen: np.ndarray, held_out: np.ndarray, count: int, seed: int, balanced: bool) -> Fitted:
    """Codes and nearest anchors."""
    model = NebulaClustering(count, random_state=seed, balanced=balanced).fit(seen)
    return model.transform(held_out), model.predict(held_out)


def kmeans(seen: np.ndarray, held_out: np.ndarray, count: int, seed: int) -> Fitted:
    """Scaled features and nearest centers."""
    rows, more = np.split(scaled(np.concatenate([seen, held_out])), [len(seen)])
    return more, KMeans(count, n_init=10, random_state=seed).fit(rows).predict(more)


METHODS: dict[str, Callable[[np.ndarray, np.ndarray, int, int], Fitted]] = {
    "NebulaClustering": partial(nebula, balanced=True),
    "NebulaClustering, balanced=False": partial(nebula, balanced=False),
    "KMeans": kmeans,
}


def silhouettes(method: str, x: np.ndarray, numbers: Sequence[int], seed: int) -> list[float]:
    """One for every number of clusters; NaN where held-out examples are all in one cluster."""
    seen, held_out = train_test_split(x, test_size=0.25, random_state=0)
    found = [
        metrics.silhouette(*METHODS[method](seen, held_out, count, seed)).value for count in numbers
    ]
    return [np.nan if value is None else value for value in found]


def row(name: str, method: str, seeds: Sequence[int]) -> str:
    """One line of the table: means over seeds, and what each seed chooses."""
    x, y = DATA[name]()
    numbers = NUMBERS[name]
    found = np.array([silhouettes(method, x, numbers, seed) for seed in seeds])
    means = ", ".join(f"{k}: {v:.3f}" for k, v in zip(numbers, found.mean(axis=0), strict=True))
    chosen = ", ".join(str(numbers[best]) for best in np.nanargmax(found, axis=1))
    return f"| {name} | {len(np.unique(y))} | {method} | {means} | {chosen} |"


def main() -> None:
    """Prints the table."""
    flags = parse_flags(__doc__, NUMBERS, METHODS)
    print(
        "| data | classes | method | mean silhouette by number of clusters | chosen by each seed |"
    )
    print("|---|---:|---|---|---|")
    for name in flags.data:
        for method in flags.methods:
            print(row(name, method, flags.seeds), flush=True)


if __name__ == "__main__":
    main()
