"""Nearest neighbors of every example among the others: views of the data that need no augmentation."""

import numpy as np

from nvc_jax.core.errors import UserError

MAX_DIMENSIONS = 50
"""Principal components that distances are taken in: further ones of many features are noise."""


def leading_components(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """Features as they are, and of more than 50 their first 50 principal components: float32 `[N, min(F, 50)]`.

    Args:
      features: float `[N, F]`, finite.
      seed: of the randomized solver.

    Reference: `sklearn.decomposition.PCA`.
    """
    from sklearn.decomposition import PCA  # slow to import, needed once a run

    features = np.asarray(features, np.float32)
    if features.shape[1] > MAX_DIMENSIONS and len(features) > MAX_DIMENSIONS:
        return PCA(MAX_DIMENSIONS, random_state=seed).fit_transform(features)
    return features


def neighbor_ids(features: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Numbers of the nearest other examples, exact.

    More than 50 features are reduced to their first 50 principal components before.

    Args:
      features: float `[N, F]`, finite.
      count: k, from 1 to N − 1.
      seed: of the principal components.

    Returns:
      int32 `[N, k]`, nearest first; never an example itself, though perhaps its copy.

    Raises:
      UserError: for values that are not finite, or too few examples.

    Example:
      >>> neighbor_ids(np.array([[0.0], [1.0], [5.0]]), count=1).tolist()
      [[1], [0], [1]]

    Reference: `sklearn.neighbors.NearestNeighbors`.
    """
    from sklearn.neighbors import NearestNeighbors  # slow to import, needed once a run

    features = np.asarray(features, np.float32)
    if not 0 < count < len(features):
        raise UserError(
            f"{count} neighbors were asked for among {len(features)} examples: use a number from 1 "
            f"to {len(features) - 1}."
        )
    if not np.isfinite(features).all():
        raise UserError(
            "Neighbors cannot be found among values that are not finite: check the data for NaN, or "
            "set anchors.neighbors=0."
        )
    found = NearestNeighbors(n_neighbors=count, n_jobs=-1).fit(leading_components(features, seed))
    return found.kneighbors(return_distance=False).astype(np.int32)
