"""How well volumes are completed: counts on the device, their ratios on the host.

The device gives the intersection and the union of each example, exact integers; the host divides
them in float64. Voxels whose target is unknown (255) count nowhere. Where prediction and target are
both empty the IoU is 1: there was nothing to find, and nothing was found.

Papers disagree about what they average, so the name says it: `iou_mean` is a mean over examples,
`class_means` of `iou` one over examples and then classes, `iou_pooled` and `mean_iou` divide sums
over all examples.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from nvc_jax.core.errors import UserError
from nvc_jax.geometry.labels import UNKNOWN

Counts = tuple[jax.Array, jax.Array]


class ClassMeans(NamedTuple):
    """The mean of the classes' means, and the mean of every class that has an example."""

    mean: float
    per_class: dict[int, float]


def occupancy_counts(
    probability: jax.Array, complete: jax.Array, thresholds: Sequence[float]
) -> Counts:
    """Intersection and union of the occupied voxels, where probability ≥ threshold is occupied.

    Takes probabilities, not logits: a logit of 0.2 is a probability of 0.55, occupied at 0.5.

    Args:
      probability: `[B, X, Y, Z]` from 0 to 1, any dtype, of booleans too; compared in float32.
      complete: uint8 `[B, X, Y, Z]`, 0 empty, 255 unknown, anything else occupied.
      thresholds: T numbers; 3D-R2N2 uses 0.4, 3D-RecGAN++ 0.5.

    Returns:
      Intersection and union, float32 `[B, T]`: integers, exact up to 2²⁴ = 256³ voxels.

    Raises:
      UserError: for different shapes.

    Reference:
      Choy et al. 3D-R2N2: A Unified Approach for Single and Multi-view 3D Object Reconstruction.
      ECCV 2016.
    """
    probability, complete = _flat(probability, complete)
    probability = probability.astype(jnp.float32)
    levels = jnp.asarray(thresholds, jnp.float32)
    return _counts(complete, levels, lambda level: (probability >= level, complete != 0))


def class_counts(predicted: jax.Array, target: jax.Array, num_classes: int) -> Counts:
    """Intersection and union of every class, in volumes or among points.

    Args:
      predicted: class of every voxel or point, integers `[B, ...]`.
      target: uint8 `[B, ...]`, from 0 to C − 1, 255 unknown.
      num_classes: `C`.

    Returns:
      Intersection and union, float32 `[B, C]`: integers, exact up to 2²⁴.

    Raises:
      UserError: for different shapes.
    """
    predicted, target = (labels.astype(jnp.int32) for labels in _flat(predicted, target))
    classes = jnp.arange(num_classes, dtype=jnp.int32)
    return _counts(target, classes, lambda index: (predicted == index, target == index))


def checked_counts(
    intersection: ArrayLike, union: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both counts as float64.

    Raises:
      UserError: for different shapes, or no count at all.
    """
    inner, outer = np.asarray(intersection, np.float64), np.asarray(union, np.float64)
    if inner.shape != outer.shape or not inner.size:
        raise UserError(
            "intersection and union must have one shape with at least one example, got "
            f"{inner.shape} and {outer.shape}."
        )
    return inner, outer


def iou(intersection: ArrayLike, union: ArrayLike, smoothing: float = 0.0) -> NDArray[np.float64]:
    """`(I + smoothing) / (U + smoothing)` of each pair of counts, 1 where that is 0 / 0.

    Args:
      intersection: I, any shape.
      union: U, the same shape.
      smoothing: 0, or ForkNet's 0.1.

    Returns:
      float64 from 0 to 1, the same shape.

    Raises:
      UserError: for different shapes, or no count at all.
    """
    top, bottom = (counts + smoothing for counts in checked_counts(intersection, union))
    return np.divide(top, bottom, out=np.ones_like(bottom), where=bottom > 0)


def iou_mean(intersection: ArrayLike, union: ArrayLike, smoothing: float = 0.0) -> float:
    """Mean over examples of their IoU; every example weighs the same, however small.

    ForkNet's number is that of all classes but the empty one, smoothed:
    `iou_mean(intersection[:, 1:], union[:, 1:], 0.1)`.

    Args:
      intersection: `[N]`, or `[N, C]`.
      union: the same shape.
      smoothing: see `iou`.

    Returns:
      A number from 0 to 1.

    Raises:
      UserError: for different shapes, or no example.

    Example:
      >>> iou_mean([1, 2], [4, 2]), iou_pooled([1, 2], [4, 2])
      (0.625, 0.5)

    Reference:
      Wang, Tan, Navab, Tombari. ForkNet: Multi-branch Volumetric Semantic Completion from a Single
      Depth Image. ICCV 2019.
    """
    return float(iou(intersection, union, smoothing).mean())


def iou_pooled(intersection: ArrayLike, union: ArrayLike) -> float:
    """`ΣI / ΣU` over all examples; large ones weigh more.

    Args:
      intersection: `[N]`.
      union: `[N]`.

    Returns:
      A number from 0 to 1.

    Raises:
      UserError: for different shapes, or no example.
    """
    inner, outer = checked_counts(intersection, union)
    return float(iou(inner.sum(), outer.sum()))


def class_means(values: ArrayLike, label: ArrayLike) -> ClassMeans:
    """Mean of a measure over the examples of every class, and the mean of these means.

    Args:
      values: a number for every example, such as its `iou`, `[N]`.
      label: its class, integers `[N]`; examples of −1 are left out.

    Returns:
      ClassMeans(mean, per_class), with the classes in ascending order.

    Raises:
      UserError: for different shapes, or no example with a class.
    """
    values, label = np.asarray(values, np.float64), np.asarray(label)
    if values.ndim != 1 or values.shape != label.shape:
        raise UserError(
            f"There must be one value and one label [N] per example, got the shapes {values.shape} "
            f"and {label.shape}."
        )
    classes = np.unique(label[label >= 0]).tolist()
    if not classes:
        raise UserError("A mean over classes needs an example with a label, got none.")
    means = {index: float(values[label == index].mean()) for index in classes}
    return ClassMeans(float(np.mean(list(means.values()))), means)


def mean_iou(
    intersection: ArrayLike, union: ArrayLike, classes: Sequence[int] | None = None
) -> float:
    """Mean over classes of `ΣI / ΣU` over all examples (semantic completion, S3DIS).

    Classes that are in neither the targets nor the predictions are left out; if none is left, 1.

    Args:
      intersection: `[N, C]`.
      union: `[N, C]`.
      classes: the classes that count; None: all. Semantic completion leaves out the empty one:
        `range(1, C)`.

    Returns:
      A number from 0 to 1.

    Raises:
      UserError: for different shapes, or no example.
    """
    chosen = slice(None) if classes is None else list(classes)
    inner, outer = (counts.sum(axis=0)[chosen] for counts in checked_counts(intersection, union))
    ratios = iou(inner, outer)
    return float(ratios[outer > 0].mean()) if outer.any() else 1.0


def _flat(predicted: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both as `[B, n]`; arrays of different shapes would be broadcast without a word."""
    if predicted.shape != target.shape:
        raise UserError(
            f"Predictions and targets must have one shape [B, ...], got {predicted.shape} and "
            f"{target.shape}."
        )
    batch = target.shape[0]
    return predicted.reshape(batch, -1), target.reshape(batch, -1)


def _counts(
    target: jax.Array,
    values: jax.Array,
    masks: Callable[[jax.Array], tuple[jax.Array, jax.Array]],
) -> Counts:
    """Counts the two masks `[B, n]` of every value where the target is known, float32 `[B, T]`.

    One value after the other: no array is larger than the volumes themselves.
    """
    known = target != UNKNOWN

    def count(value: jax.Array) -> Counts:
        predicted, present = masks(value)
        both = jnp.sum(predicted & present & known, axis=1, dtype=jnp.int32)
        either = jnp.sum((predicted | present) & known, axis=1, dtype=jnp.int32)
        return both.astype(jnp.float32), either.astype(jnp.float32)

    intersection, union = jax.lax.map(count, values)
    return intersection.T, union.T
