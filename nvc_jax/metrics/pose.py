"""How well joints are found: errors in mm, the shares of joints and frames below a threshold.

All means are those of hand3d's `EvalUtil`: of every joint over the frames where it is visible, then over
the joints that are visible anywhere. Where all joints are visible this is the plain mean. Frames or
joints without anything visible count nowhere; where nothing counts the measure is NaN.

The area under the curve of 3D PCK "from 20 to 50 mm" is published in two conventions, which differ by about
0.01 on the same errors, so that each has its own key here; see `AUC_THRESHOLDS`.

References:
  Zimmermann and Brox, "Learning to Estimate 3D Hand Pose from Single RGB Images", ICCV 2017, and its
  program hand3d, utils/general.py; Umeyama, "Least-Squares Estimation of Transformation Parameters
  Between Two Point Patterns", PAMI 1991.
"""

import logging
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nvc_jax.core.errors import UserError
from nvc_jax.geometry.joints import WRIST

AUC_THRESHOLDS: Mapping[str, NDArray[np.float64]] = {
    "auc_20_50": np.linspace(20, 50, 20),
    "auc_20_50_hand3d": np.linspace(0, 50, 20)[8:],
}
"""Thresholds in mm by the measure's key; hand3d's are 12, from 21.05 mm."""

PCK_THRESHOLDS = (10, 20, 30, 40, 50)
"""In mm, of the shares that `pose_measures` gives."""

_logger = logging.getLogger("nvc_jax")
_FEWEST = 3  # visible joints; fewer can always be aligned without an error, and measure nothing


def joint_errors(predicted: ArrayLike, truth: ArrayLike) -> NDArray[np.float64]:
    """`‖p_j − t_j‖` of every joint.

    Args:
      predicted: p, `[N, J, 3]`, mm.
      truth: t, the same shape.

    Returns:
      float64 `[N, J]`, mm.

    Raises:
      UserError: for other or different shapes.
    """
    a, b = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    if a.shape != b.shape or a.ndim != 3 or a.shape[-1] != 3:
        raise UserError(f"Joints are [N, J, 3], both of one shape, got {a.shape} and {b.shape}.")
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # what is not finite is told by who counts it
        return np.linalg.norm(a - b, axis=-1)


def root_relative(joints: ArrayLike) -> NDArray[np.float64]:
    """Joints `[N, J, 3]` about the wrist, float64."""
    values = np.asarray(joints, np.float64)
    return values - values[:, WRIST : WRIST + 1]


def align(
    predicted: ArrayLike, truth: ArrayLike, visible: ArrayLike, *, scale: bool = True
) -> NDArray[np.float64]:
    """Moves every prediction onto the truth: `s·R·p_j + t` of least squared error.

    R is a rotation, det R = +1: a mirrored hand does not become the true one. Where the solution is not
    unique, as for joints that all lie on one line or in one place, it is one of the best.

    Args:
      predicted: p, `[N, J, 3]`.
      truth: `[N, J, 3]`.
      visible: bool `[N, J]`, the joints whose errors count.
      scale: whether s is free too, a similarity; otherwise s = 1.

    Returns:
      The moved predictions, float64 `[N, J, 3]`; unmoved where nothing is visible, or a visible joint is
      not finite. Joints that are not visible may be.

    Reference: Umeyama, 1991.
    """
    p, t = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    visible = np.asarray(visible, bool)
    # What does not count may be anything, NaN too; frames that cannot be aligned stay as they are.
    scored = np.isfinite(joint_errors(p, t))
    usable = (scored | ~visible).all(axis=1, keepdims=True)
    weight = np.asarray(visible & usable, np.float64)[..., None]
    p, t = (np.where((scored & usable)[..., None], x, 0.0) for x in (p, t))
    total = np.maximum(weight.sum(axis=1, keepdims=True), 1)
    middle_p, middle_t = ((weight * x).sum(axis=1, keepdims=True) / total for x in (p, t))
    centered_p, centered_t = p - middle_p, t - middle_t
    u, size, v = np.linalg.svd(np.einsum("nji,njk->nik", weight * centered_t, centered_p))
    sign = np.ones_like(size)
    sign[:, -1] = np.where(np.linalg.det(u @ v) < 0, -1.0, 1.0)
    rotation = u @ (sign[..., None] * v)
    factor = np.ones(len(p))
    if scale:
        spread = (weight * np.square(centered_p)).sum(axis=(1, 2))
        factor = (sign * size).sum(axis=-1) / np.where(spread > 0, spread, 1.0)
    moved = factor[:, None, None] * np.einsum("nik,njk->nji", rotation, centered_p)
    return np.where(weight.sum(axis=1, keepdims=True) > 0, moved + middle_t, np.asarray(predicted))


def mean_over_joints(values: ArrayLike, visible: ArrayLike) -> float:
    """Mean over joints of their means over the frames where they are visible; see the module.

    Args:
      values: floats `[N, J]`.
      visible: bool `[N, J]`.

    Returns:
      The mean; NaN if nothing is visible.
    """
    means = per_joint(values, visible)
    known = means[~np.isnan(means)]
    return float(known.mean()) if known.size else float("nan")


def per_joint(values: ArrayLike, visible: ArrayLike) -> NDArray[np.float64]:
    """Mean of every joint over the frames where it is visible, float64 `[J]`; NaN: nowhere."""
    known = np.asarray(visible, bool)
    total = np.where(known, np.asarray(values, np.float64), 0.0).sum(axis=0)
    count = known.sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def pck_curve(errors: ArrayLike, visible: ArrayLike, thresholds: ArrayLike) -> NDArray[np.float64]:
    """Share of joints whose error is at most t: percentage of correct keypoints, from 0 to 1.

    Args:
      errors: `[N, J]`, mm.
      visible: bool `[N, J]`.
      thresholds: t, `[T]`, mm.

    Returns:
      float64 `[T]`; NaN if nothing is visible.
    """
    found = np.asarray(errors)[..., None] <= np.asarray(thresholds, np.float64)
    return np.array([mean_over_joints(share, visible) for share in np.moveaxis(found, -1, 0)])


def frames_within(
    errors: ArrayLike, visible: ArrayLike, thresholds: ArrayLike
) -> NDArray[np.float64]:
    """Share of frames whose largest error of a visible joint is at most t.

    Args:
      errors: `[N, J]`, mm.
      visible: bool `[N, J]`; frames without a visible joint are left out.
      thresholds: t, `[T]`, mm.

    Returns:
      float64 `[T]`; NaN if there is no frame.
    """
    known = np.asarray(visible, bool)
    largest = np.where(known, np.asarray(errors, np.float64), 0.0).max(axis=1)[known.any(axis=1)]
    levels = np.asarray(thresholds, np.float64)
    if not largest.size:
        return np.full(levels.shape, np.nan)
    return (largest[:, None] <= levels).mean(axis=0)


def pose_measures(predicted: ArrayLike, truth: ArrayLike, visible: ArrayLike) -> dict[str, float]:
    """All measures of a set of frames.

    Args:
      predicted: `[N, 21, 3]` in camera axes, mm.
      truth: the same shape.
      visible: bool `[N, 21]`.

    Returns:
      `mpjpe_abs`, in mm; `mpjpe_root`, about each hand's own wrist, of frames where that is visible;
      `mpjpe_pa`, after `align` with a free scale, of frames with 3 visible joints or more. Of the errors
      about the wrist also `auc_20_50`, `auc_20_50_hand3d` and `pck/t`; of the absolute ones
      `frames_within/t`, with t in mm. The wrist itself counts among the joints everywhere, about which
      its error is 0: so do published scores, which are 20/21 of those without it. Joints that are not visible
      may be NaN. Frames with a visible joint that is not finite, of the prediction or the truth, cannot be
      scored: they count nowhere, a warning names them, and `frames_unscored` is their number, where it is not 0.

    Raises:
      UserError: for other or different shapes.
    """
    known = np.asarray(visible, bool)
    absolute = joint_errors(predicted, truth)
    unscored: NDArray[np.bool_] = np.any(known & ~np.isfinite(absolute), axis=1)
    known = known & ~unscored[:, None]
    relative = joint_errors(root_relative(predicted), root_relative(truth))
    aligned = joint_errors(align(predicted, truth, known), truth)
    about_root = known & known[:, WRIST : WRIST + 1]
    enough = known & (known.sum(axis=1, keepdims=True) >= _FEWEST)
    values = {
        "mpjpe_abs": mean_over_joints(absolute, known),
        "mpjpe_root": mean_over_joints(relative, about_root),
        "mpjpe_pa": mean_over_joints(aligned, enough),
    }
    for name, thresholds in AUC_THRESHOLDS.items():
        curve = pck_curve(relative, about_root, thresholds)
        values[name] = float(np.trapezoid(curve, thresholds) / np.ptp(thresholds))
    correct = pck_curve(relative, about_root, PCK_THRESHOLDS)
    whole = frames_within(absolute, known, PCK_THRESHOLDS)
    for level, share, frames in zip(PCK_THRESHOLDS, correct, whole, strict=True):
        values |= {f"pck/{level}": float(share), f"frames_within/{level}": float(frames)}
    if unscored.any():
        values["frames_unscored"] = float(unscored.sum())
        _logger.warning(
            "Left out %d of %d frames that cannot be scored, as a visible joint is not finite: %s.",
            unscored.sum(),
            len(unscored),
            ", ".join(map(str, np.flatnonzero(unscored)[:20])) + " …" * bool(unscored.sum() > 20),
        )
    return values
