"""What tasks with a class for every voxel or point share."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option
from nvc_jax.geometry.labels import UNKNOWN
from nvc_jax.metrics.volumes import iou

SOFT_IOU = Option(
    "loss.soft_iou",
    0.0,
    "weight of 1 - soft IoU, times the number of voxels or points",
    at_least=0,
)
CLASS_OPTIONS = (
    Option("model.num_classes", 0, "of voxels, empty among them, or of points", at_least=0),
    Option("loss.class_weights", (), "one for each class of voxels or points; (): 1", at_least=0),
    SOFT_IOU,
)


def check_num_classes(config: ml_collections.ConfigDict) -> int:
    """`model.num_classes`, which the fields of the data do not tell.

    Raises:
      UserError: if it is not set, or more than uint8 labels can tell.
    """
    count = config.model.num_classes
    if not 2 <= count <= UNKNOWN:
        raise UserError(
            f"model.num_classes is {count}: set it to the number of classes of the data, from 2 to "
            f"{UNKNOWN}."
        )
    return count


def check_class_weights(config: ml_collections.ConfigDict, num_classes: int) -> tuple[float, ...]:
    """`loss.class_weights`, one for each class; 1 for all where none is given.

    Raises:
      UserError: for another number of weights, or a negative one.
    """
    weights = tuple(config.loss.class_weights) or (1.0,) * num_classes
    if len(weights) != num_classes or min(weights) < 0:
        raise UserError(
            f"loss.class_weights are {weights}: give {num_classes} numbers from 0, one for each "
            "class, or none."
        )
    return weights


def check_labels(labels: np.ndarray, num_classes: int, name: str) -> None:
    """Checks that labels are below the number of classes, or 255.

    Raises:
      UserError: naming the field and the largest label.
    """
    wrong = (labels >= num_classes) & (labels != UNKNOWN)
    if wrong.any():
        raise UserError(
            f"{name} holds the label {labels[wrong].max()}: labels go from 0 to {num_classes - 1}, "
            f"or are {UNKNOWN} for unknown; check model.num_classes."
        )


def cross_entropy(logits: jax.Array, target: jax.Array, weights: Sequence[float]) -> jax.Array:
    """`Σ w[target]·(−log softmax(logits)[target])` over the known voxels or points.

    Args:
      logits: float32 `[B, ..., C]`.
      target: uint8 `[B, ...]`, from 0 to C − 1, 255 unknown.
      weights: of the C classes.

    Returns:
      float32 `[B]`; 0 where nothing is known.
    """
    known = target != UNKNOWN
    label = jnp.where(known, target, 0).astype(jnp.int32)
    error = optax.softmax_cross_entropy_with_integer_labels(logits, label)
    weight = jnp.where(known, jnp.asarray(weights, jnp.float32)[label], 0.0)
    return jnp.sum((weight * error).reshape(target.shape[0], -1), axis=1)


def expected_iou(probability: jax.Array, truth: jax.Array, known: jax.Array) -> jax.Array:
    """`Σ p·y / Σ (p + y − p·y)` over what is known; 1 where both p and y are 0 everywhere.

    Args:
      probability: float32 `[B, n, ...]`.
      truth: bool `[B, n, ...]`.
      known: bool, of a shape that broadcasts to theirs.

    Returns:
      float32 `[B, ...]`.
    """
    probability = jnp.where(known, probability, 0.0)
    inside = jnp.sum(jnp.where(truth, probability, 0.0), axis=1)
    size = jnp.sum(truth & known, axis=1, dtype=jnp.float32)
    union = jnp.sum(probability, axis=1) + size - inside
    return jnp.where(union > 0, inside / jnp.where(union > 0, union, 1.0), 1.0)


def soft_iou(logits: jax.Array, target: jax.Array, first_class: int = 0) -> jax.Array:
    """Mean over the classes of an example of `Σ p·y / Σ (p + y − p·y)`, p the softmax.

    Args:
      logits: float32 `[B, ..., C]`.
      target: uint8 `[B, ...]`, from 0 to C − 1, 255 unknown; sums run over what is known.
      first_class: classes below it do not count, such as that of empty voxels.

    Returns:
      float32 `[B]`, from 0 to 1; 1 for an example without a class that counts.

    Reference: Rahman and Wang, "Optimizing Intersection-Over-Union in Deep Neural Networks for
    Image Segmentation", 2016.
    """
    batch, num_classes = logits.shape[0], logits.shape[-1]
    probability = jax.nn.softmax(logits.reshape(batch, -1, num_classes))[..., first_class:]
    target = target.reshape(batch, -1, 1)
    truth = target == jnp.arange(first_class, num_classes, dtype=target.dtype)[None, None]
    ratio = expected_iou(probability, truth, target != UNKNOWN)
    present = jnp.any(truth, axis=1).astype(jnp.float32)
    count = jnp.sum(present, axis=1)
    mean = jnp.sum(present * ratio, axis=1) / jnp.maximum(count, 1.0)
    return jnp.where(count > 0, mean, 1.0)


def labeling_loss(
    logits: jax.Array,
    target: jax.Array,
    weights: Sequence[float],
    soft_iou_weight: float,
    first_class: int = 0,
) -> jax.Array:
    """`Σ w[target]·(−log softmax(logits)[target])  +  w·n·(1 − soft IoU)`.

    The sum runs over known places, n is the number of all of them.

    Args:
      logits: float32 `[B, ..., C]`.
      target: uint8 `[B, ...]`, from 0 to C − 1, 255 unknown.
      weights: of the C classes in the cross-entropy.
      soft_iou_weight: w, `loss.soft_iou`.
      first_class: classes below it do not count in the soft IoU.

    Returns:
      float32 `[B]`.
    """
    error = cross_entropy(logits, target, weights)
    if soft_iou_weight == 0.0:
        return error
    scale = soft_iou_weight * float(np.prod(target.shape[1:]))
    return error + scale * (1.0 - soft_iou(logits, target, first_class))


def named(prefix: str, values: Mapping[int, float], names: Sequence[str]) -> dict[str, float]:
    """Values of classes as metrics, `prefix/name`; a class without a name goes by its number."""
    return {
        f"{prefix}/{names[index] if index < len(names) else index}": value
        for index, value in values.items()
    }


def class_iou(
    intersection: np.ndarray, union: np.ndarray, names: Sequence[str]
) -> dict[str, float]:
    """Pooled IoU of every class that occurs, as metrics.

    Args:
      intersection: `[N, C]`.
      union: `[N, C]`.
      names: of the classes, as far as they have any.
    """
    inner, outer = np.sum(intersection, axis=0), np.sum(union, axis=0)
    present = np.flatnonzero(outer)
    return named("iou_class", {int(k): float(iou(inner[k], outer[k])) for k in present}, names)
