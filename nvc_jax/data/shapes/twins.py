"""Twins: shapes that are nearly alike, which have to stay on one side of a split."""

from collections.abc import Iterator

import numpy as np

from nvc_jax.data.shapes.stretch import crop

BLOCK = 256
"""Shapes that are compared with as many others at once: at 32³ voxels two blocks are 64 MiB."""

THRESHOLD = 0.85
"""IoU above which two shapes are twins, unless another one is asked for."""


def groups_of_twins(voxels: np.ndarray, threshold: float = THRESHOLD) -> np.ndarray:
    """Numbers groups of twins: shapes that are connected by pairs of an IoU above the threshold.

    The IoU of a pair is the largest over quarter turns about the vertical axis, with and without a
    mirror, of what is occupied, moved into the middle of the volume. Intersections are matrix products
    of blocks; pairs whose sizes alone keep them below the threshold are left out.

    Args:
      voxels: `[N, R, R, R]`, occupied where not 0, y up.
      threshold: from 0 to below 1.

    Returns:
      int32 `[N]`, from 0, in the order of the groups' first examples; twins of empty shapes are empty.

    Example:
      >>> cube, bar = np.zeros((2, 4, 4, 4), np.uint8)
      >>> cube[:2, :2, :2], bar[:, 0, 0] = 1, 1
      >>> groups_of_twins(np.stack([cube, bar, bar.swapaxes(0, 2)])).tolist()
      [0, 1, 1]
    """
    from scipy.sparse import coo_array  # slow to import
    from scipy.sparse.csgraph import connected_components

    count = len(voxels)
    pairs = np.array(list(_pairs(voxels, threshold)), np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(pairs), bool), pairs.T), shape=(count, count))
    found = connected_components(graph, directed=False)[1]
    _, first, own = np.unique(found, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first)).astype(np.int32)[own]


def has_twin(asked: np.ndarray, known: np.ndarray, threshold: float) -> np.ndarray:
    """Whether a shape is nearly one of the known ones, as they stand, neither moved nor turned.

    Args:
      asked: `[N, X, Y, Z]`, occupied where not 0.
      known: `[M, X, Y, Z]`.
      threshold: that an IoU has to be above.

    Returns:
      bool `[N]`.
    """
    found = np.zeros(len(asked), bool)
    for start in range(0, len(asked), BLOCK):
        some = _flat(asked[start : start + BLOCK])
        for other in range(0, len(known), BLOCK):
            iou = _iou(some, _flat(known[other : other + BLOCK]))
            found[start : start + BLOCK] |= (iou > threshold).any(axis=1)
    return found


def _pairs(voxels: np.ndarray, threshold: float) -> Iterator[tuple[int, int]]:
    """Pairs of twins by their numbers, some of them twice."""
    count = int(np.prod(voxels.shape[1:]))
    turned = np.stack([_packed(voxels, number) for number in range(8)])
    sizes = (voxels != 0).reshape(len(voxels), -1).sum(axis=1)
    order = np.argsort(sizes, kind="stable")
    for start in range(0, len(order), BLOCK):
        own = order[start : start + BLOCK]
        some = _bits(turned[0, own], count)
        for other in range(start, len(order), BLOCK):
            others = order[other : other + BLOCK]
            # An IoU is at most the ratio of the sizes, and these rise.
            if sizes[own[-1]] <= threshold * sizes[others[0]] and other > start:
                break
            for symmetry in turned:
                iou = _iou(some, _bits(symmetry[others], count))
                for i, j in zip(*np.nonzero(iou > threshold), strict=True):
                    if own[i] != others[j]:
                        yield int(own[i]), int(others[j])


def _packed(voxels: np.ndarray, symmetry: int) -> np.ndarray:
    """Shapes turned, mirrored and moved into the middle, as bits `[N, bytes]`; symmetry 0 to 7."""
    turns, mirror = divmod(symmetry, 2)
    rows = []
    for volume in voxels:
        solid = crop(volume != 0)
        solid = np.rot90(solid[::-1] if mirror else solid, turns, axes=(0, 2))
        middle = np.zeros(volume.shape, bool)
        low = (np.array(volume.shape) - solid.shape) // 2
        middle[tuple(slice(a, a + n) for a, n in zip(low, solid.shape, strict=True))] = solid
        rows.append(np.packbits(middle))
    return np.stack(rows)


def _flat(voxels: np.ndarray) -> np.ndarray:
    """Rows of 0 and 1 in float32: counts below 2²⁴ are exact in it, and products of matrices fast."""
    return (voxels != 0).reshape(len(voxels), -1).astype(np.float32)


def _bits(packed: np.ndarray, count: int) -> np.ndarray:
    """Packed bits as `_flat` gives volumes."""
    return np.unpackbits(packed, axis=1, count=count).astype(np.float32)


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of every row of 0 and 1 with every other one, `[N, M]`; 1 for two empty ones."""
    both = a @ b.T
    either = a.sum(axis=1)[:, None] + b.sum(axis=1) - both
    return np.divide(both, either, out=np.ones_like(both), where=either > 0)
