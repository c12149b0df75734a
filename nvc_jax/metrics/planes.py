"""How well planes are found: recall by depth and by normal, agreement of segmentations, depth errors.

Published numbers differ in conventions, so these say theirs. Pixels that are unknown in the truth (255)
count nowhere. What lies on no plane is either left out by the truth (only pixels that lie on a plane in
the truth count, whatever was predicted there) or is one more segment, see `contingency`. The
variation of information is in bits, as PlanarReconstruction has it, or in any other base.

Reference: Liu et al., "PlaneNet", 2018; Yu et al., "Single-Image Piece-wise Planar 3D Reconstruction via
Associative Embedding" (PlanarReconstruction), 2019.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nvc_jax.core.errors import UserError
from nvc_jax.geometry.labels import UNKNOWN
from nvc_jax.geometry.planes import NON_PLANAR, plane_depth, split_planes

THRESHOLDS = {
    "depth": tuple(np.round(np.arange(13) * 0.05, 2).tolist()),
    "normal": tuple((np.arange(13) * 2.5).tolist()),
}
"""Of `recall`: 0, 0.05 … 0.6 m; 0, 2.5 … 30 degrees."""

LEAST_IOU = 0.5
"""A plane is found by a prediction whose IoU with it is greater."""

LEAST_DEPTH = 1e-4
"""A smaller true depth, in m, is no measurement."""


class PlaneOverlaps(NamedTuple):
    """Every true plane of an image against every predicted one.

    Attributes:
      area: pixels of each true plane, int `[G]`, all greater than 0.
      overlap: pixels that both have, int `[G, P]`.
      iou: float64 `[G, P]`.
      depth_error: mean `|depth of one plane − depth of the other|` where they overlap, m; inf
        without overlap.
      normal_error: angle between the normals, degrees, float64 `[G, P]`.
    """

    area: NDArray[np.int64]
    overlap: NDArray[np.int64]
    iou: NDArray[np.float64]
    depth_error: NDArray[np.float64]
    normal_error: NDArray[np.float64]


class Recall(NamedTuple):
    """At every threshold, float64 `[T]`: share of planes found; mean over images of that of pixels."""

    planes: NDArray[np.float64]
    pixels: NDArray[np.float64]


def plane_overlaps(
    truth: tuple[ArrayLike, ArrayLike], found: tuple[ArrayLike, ArrayLike], rays: ArrayLike
) -> PlaneOverlaps:
    """Compares the planes of one image with predicted ones.

    Depths are those of the planes, in truth and prediction. Planes without a pixel are left out.

    Args:
      truth: planes, floats `[N, 3]`, `n·d` in m; segmentation, uint8 `[H, W]`: rows of the planes,
        20 non-planar, 255 unknown.
      found: predicted planes `[M, 3]` and segmentation, likewise.
      rays: floats `[H, W, 3]`, see `pixel_rays`.

    Returns:
      The comparison.

    Raises:
      UserError: for segmentations of different shapes.
    """
    true, predicted = _checked(truth[1], found[1])
    known = true != UNKNOWN
    true_ids = np.unique(true[known & (true < NON_PLANAR)])
    found_ids = np.unique(predicted[known & (predicted < NON_PLANAR)])
    true_masks = (true[known] == true_ids[:, None]).astype(np.int64)
    found_masks = (predicted[known] == found_ids[:, None]).astype(np.int64)
    area, overlap = true_masks.sum(axis=1), true_masks @ found_masks.T
    union = area[:, None] + found_masks.sum(axis=1) - overlap

    normals, depths = [], []
    for values, ids in ((truth[0], true_ids), (found[0], found_ids)):
        chosen = np.asarray(values, np.float64).reshape(-1, 3)[ids]
        normals.append(split_planes(chosen)[0])
        depths.append(plane_depth(chosen, np.asarray(rays, np.float64)[known][None])[:, 0])
    cosine = np.clip(normals[0] @ normals[1].T, -1, 1)
    error = np.full(overlap.shape, np.inf)
    for row, column in np.argwhere(overlap > 0):
        both = (true_masks[row] & found_masks[column]).astype(bool)
        difference = np.abs(depths[0][row, both] - depths[1][column, both])
        # A plane that is not in front of the camera everywhere has no depth to compare.
        error[row, column] = np.mean(np.where(np.isnan(difference), np.inf, difference))
    return PlaneOverlaps(
        area, overlap, overlap / np.maximum(union, 1), error, np.degrees(np.arccos(cosine))
    )


def recall(
    images: Sequence[PlaneOverlaps],
    by: str,
    thresholds: Sequence[float] = (),
) -> Recall:
    """Share of planes found: IoU > 0.5 and an error ≤ t.

    Planes are pooled over all images. Pixels: `Σ min(overlap of what was accepted, area) / Σ area`
    in each image with a plane, averaged over these images.

    Args:
      images: what `plane_overlaps` gave for each.
      by: the error: mean difference of `depth`, m, or angle of the `normal`, degrees.
      thresholds: t; (): those of `THRESHOLDS`.

    Returns:
      The recall; NaN where there is no plane at all.
    """
    levels = np.asarray(thresholds or THRESHOLDS[by], np.float64)
    found: list[NDArray] = [np.zeros((0, len(levels)), bool)]
    shares: list[NDArray] = [np.zeros((0, len(levels)))]
    for image in images:
        if not len(image.area):
            continue
        error = image.depth_error if by == "depth" else image.normal_error
        accepted = (image.iou[..., None] > LEAST_IOU) & (error[..., None] <= levels)
        found.append(np.asarray(accepted.any(axis=1)))
        pixels = np.minimum((image.overlap[..., None] * accepted).sum(axis=1), image.area[:, None])
        shares.append(pixels.sum(axis=0, keepdims=True) / image.area.sum())
    return Recall(_mean(np.concatenate(found)), _mean(np.concatenate(shares)))


def _mean(rows: NDArray) -> NDArray[np.float64]:
    return rows.mean(axis=0) if len(rows) else np.full(rows.shape[1], np.nan)


def contingency(
    segmentation: ArrayLike, predicted: ArrayLike, *, with_non_planar: bool
) -> NDArray[np.int64]:
    """Pixels that each true segment shares with each predicted one.

    Args:
      segmentation: integers of any shape: segments; 20 non-planar, 255 unknown.
      predicted: integers of the same shape; 20 non-planar, which is a segment here.
      with_non_planar: what is non-planar in the truth is one segment more; otherwise it is left out.

    Returns:
      int64 `[G, P]`, without empty rows and columns.

    Raises:
      UserError: for different shapes.
    """
    true, found = _checked(segmentation, predicted)
    counted = (true != UNKNOWN) & (with_non_planar | (true != NON_PLANAR))
    rows, row = np.unique(true[counted], return_inverse=True)
    columns, column = np.unique(found[counted], return_inverse=True)
    table = np.zeros((len(rows), len(columns)), np.int64)
    np.add.at(table, (row.reshape(-1), column.reshape(-1)), 1)
    return table


def rand_index(table: NDArray[np.int64]) -> float:
    """Share of pairs of pixels that both segmentations join, or both part.

    `1 − [½(Σ nᵢ.² + Σ n.ⱼ²) − Σ nᵢⱼ²] / C(N, 2)`

    Args:
      table: from `contingency`.

    Returns:
      From 0 to 1; 1 for a single pixel, NaN for none.

    Reference: Rand, "Objective criteria for the evaluation of clustering methods", 1971.
    """
    total = int(table.sum())
    if total < 2:
        return 1.0 if total else float("nan")
    squares = [int(np.square(counts).sum()) for counts in (table.sum(1), table.sum(0), table)]
    return 1.0 - ((squares[0] + squares[1]) / 2 - squares[2]) / (total * (total - 1) / 2)


def variation_of_information(table: NDArray[np.int64], base: float = 2.0) -> float:
    """`H(true) + H(predicted) − 2·I = H(true | predicted) + H(predicted | true)`; 0 is best.

    Args:
      table: from `contingency`.
      base: of the logarithm: 2 gives bits, e nats.

    Returns:
      Not negative; NaN where there is no pixel.

    Reference: Meilă, "Comparing clusterings: an information based distance", 2007.
    """
    if not table.size:
        return float("nan")
    row, column = np.nonzero(table)
    joint = table[row, column] / table.sum()
    given = [(table.sum(axis)[index] / table.sum()) for axis, index in ((1, row), (0, column))]
    return float(-np.sum(joint * (2 * np.log(joint) - np.log(given[0] * given[1]))) / np.log(base))


def segmentation_covering(table: NDArray[np.int64]) -> float:
    """Mean of both coverings, `½ Σ_A |A|/N · max_B IoU(A, B)  +` the same with A and B exchanged.

    Args:
      table: from `contingency`.

    Returns:
      From 0 to 1, which is best; NaN where there is no pixel.

    Reference: Arbelaez et al., "Contour detection and hierarchical image segmentation", 2011, who
    cover the truth by the prediction; PlanarReconstruction has the mean of both directions.
    """
    if not table.size:
        return float("nan")
    rows, columns = table.sum(1), table.sum(0)
    iou = table / (rows[:, None] + columns - table)
    return float((rows @ iou.max(1) + columns @ iou.max(0)) / (2 * table.sum()))


def depth_errors(depth: ArrayLike, predicted: ArrayLike) -> dict[str, float]:
    """Errors of predicted depths, over all pixels of known depth.

    `rel` mean `|Δ| / depth`; `rms` root of the mean of Δ², m; `log10` mean `|log₁₀ ratio|`;
    `delta1` … `delta3` share of pixels with max(ratio, 1 / ratio) < 1.25ⁿ.

    Args:
      depth: floats of any shape, m; what is not above 0.1 mm is unknown.
      predicted: floats of the same shape, m; raised to 0.1 mm.

    Returns:
      By name; NaN where no depth is known.

    Reference: Eigen et al., "Depth Map Prediction from a Single Image", 2014.
    """
    true, found = _checked(depth, predicted)
    known = true > LEAST_DEPTH
    true = true[known].astype(np.float64)
    found = np.maximum(found[known].astype(np.float64), LEAST_DEPTH)
    ratio = np.maximum(true / found, found / true)
    pixels = {
        "rel": np.abs(found - true) / true,
        "log10": np.log10(ratio),
        **{f"delta{n}": ratio < 1.25**n for n in (1, 2, 3)},
    }
    values = {name: _mean(value[:, None]).item() for name, value in pixels.items()}
    return values | {"rms": float(np.sqrt(_mean(np.square(found - true)[:, None]).item()))}


def _checked(true: ArrayLike, predicted: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays, of one shape."""
    true, predicted = np.asarray(true), np.asarray(predicted)
    if true.shape != predicted.shape:
        raise UserError(
            f"Truth and prediction must have one shape, got {true.shape} and {predicted.shape}."
        )
    return true, predicted
