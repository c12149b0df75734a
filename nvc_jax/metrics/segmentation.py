"""How well points are segmented: counts on the device, their ratios on the host.

Two conventions. ShapeNet-Part: every shape has an IoU of its own, over all the parts of its
category, a part that is in neither target nor prediction counting as 1 (`part_mious`). S3DIS: counts
are summed over all points before they are divided, and there is no such rule (`metrics.mean_iou` of
`metrics.class_counts`, and `pooled_accuracy`).
Points whose label is unknown (255) count nowhere.
"""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from nvc_jax.core.errors import UserError
from nvc_jax.metrics.volumes import (
    ClassMeans,
    Counts,
    checked_counts,
    class_counts,
    class_means,
    iou,
)


def part_iou_counts(
    logits: jax.Array, point_label: jax.Array, category: jax.Array, parts_of_category: ArrayLike
) -> Counts:
    """Intersection and union of every part, predicted among the parts of the shape's category.

    Args:
      logits: `[B, P, C]`, any floating dtype.
      point_label: uint8 `[B, P]`, part from 0 to C − 1, 255 unknown.
      category: integers `[B]`, from 0 to K − 1; −1: unknown, so that any part can be predicted.
      parts_of_category: bool `[K, C]`, whether the category has the part.

    Returns:
      Intersection and union, float32 `[B, C]`: integers.

    Raises:
      UserError: if there is not one label for the logits of each point.
    """
    own = jnp.asarray(parts_of_category, jnp.bool_)[category] | (category < 0)[:, None]
    predicted = jnp.argmax(jnp.where(own[:, None, :], logits, -jnp.inf), axis=-1)
    return class_counts(predicted, point_label, logits.shape[-1])


def part_mious(
    intersection: ArrayLike, union: ArrayLike, category: ArrayLike, parts_of_category: ArrayLike
) -> tuple[float, ClassMeans]:
    """Means of the shape IoU, the mean IoU of all the parts of a shape's category.

    A part that is in neither target nor prediction has the IoU 1. Shapes without a category or
    without a known point are left out, and so are categories without a shape.

    Args:
      intersection: `[N, C]`, from `part_iou_counts`.
      union: `[N, C]`.
      category: integers `[N]`, from 0 to K − 1, −1 unknown.
      parts_of_category: bool `[K, C]`, every category with a part.

    Returns:
      (instance mIoU, the mean over shapes; class mIoU, the means over the shapes of every category,
      and the mean of these).

    Raises:
      UserError: for shapes that do not fit, a category that is not in the table or has no part, or
        no shape left.

    Reference:
      Qi, Yi, Su, Guibas. PointNet++: Deep Hierarchical Feature Learning on Point Sets in a Metric
      Space. NeurIPS 2017. Its part segmentation's `evaluate.py`.
    """
    ratios, known = iou(intersection, union), np.asarray(union).sum(axis=-1) > 0
    category, parts = np.asarray(category), np.asarray(parts_of_category, bool)
    if ratios.shape != (*category.shape, *parts.shape[1:]) or ratios.ndim != 2:
        raise UserError(
            "Expected counts [N, C], category [N] and parts_of_category [K, C], got the shapes "
            f"{ratios.shape}, {category.shape} and {parts.shape}."
        )
    scored = (category >= 0) & known
    if not scored.any():
        raise UserError("No shape has both a category and a known point: there is none to score.")
    ratios, own = ratios[scored], category[scored]
    for index in np.unique(own):
        if index >= len(parts) or not parts[index].any():
            raise UserError(
                f"Category {index} has no part: parts_of_category needs a row with a part for each "
                f"category, got {len(parts)} rows."
            )
    shapes = np.mean(ratios, axis=1, where=parts[own])
    return float(shapes.mean()), class_means(shapes, own)


def pooled_accuracy(intersection: ArrayLike, union: ArrayLike) -> float:
    """Share of the known points, of all examples together, whose class is right.

    `2·ΣI / (ΣU + ΣI)`: a right point is in one intersection and one union, a wrong one in two
    unions.

    Args:
      intersection: `[N, C]`, of all the classes.
      union: `[N, C]`.

    Returns:
      A number from 0 to 1; 1 if no point is known.

    Raises:
      UserError: for different shapes, or no example.
    """
    right, touched = (counts.sum() for counts in checked_counts(intersection, union))
    return float(iou(2.0 * right, touched + right))
