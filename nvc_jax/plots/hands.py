"""Pictures of hands: skeletons, joints over images, and the curve of correct keypoints."""

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from nvc_jax.geometry.joints import FINGERS, NUM_JOINTS, PARENTS, WRIST
from nvc_jax.metrics import pose as pose_metrics
from nvc_jax.plots import drawing as draw
from nvc_jax.plots.solids import Solid

SIZE = 96
"""Side of pictures of skeletons, and least side of enlarged images, in pixels."""

_EXTENT = 220.0  # mm that a picture of a skeleton shows
_COLORS = np.array([to_rgb(c) for c in ("#fa4c17", "#ab310c", "#1fa17a", "#056392", "#9544e5")])
"""Of the fingers: seen on white as well as on the black of depth images (3:1), and told apart by the color-blind."""
_BONES = [joint for joint in range(NUM_JOINTS) if PARENTS[joint] >= 0]
_THICK = 1.1  # half a bone's width, pixels


def render_skeletons(joints: ArrayLike) -> NDArray[np.float32]:
    """Draws hands as their bones, seen by a camera far away, each in the middle of its picture.

    Args:
      joints: floats `[..., 21, 3]` in camera axes, mm.

    Returns:
      `[..., 96, 96, 3]` in [0, 1]; a finger has one color, and parts that are farther away are paler.
    """
    hands = np.asarray(joints, np.float64)
    about = hands - hands.mean(axis=-2, keepdims=True)
    places = about[..., :2] * (SIZE / _EXTENT) + (SIZE - 1) / 2
    paleness = np.clip(about[..., 2] / _EXTENT + 0.1, 0.0, 0.5)
    flat = places.reshape(-1, NUM_JOINTS, 2)
    pictures = np.ones((len(flat), SIZE, SIZE, 3), np.float32)
    for picture, hand, pale in zip(pictures, flat, paleness.reshape(-1, NUM_JOINTS), strict=True):
        _draw_bones(picture, hand, pale)
    return pictures.reshape(*hands.shape[:-2], SIZE, SIZE, 3)


def solid_skeleton(joints: ArrayLike) -> Solid:
    """The bones of a hand, to be turned; they have the colors of `render_skeletons`.

    Args:
      joints: floats `[21, 3]` in camera axes, mm; the hand's middle becomes 0.
    """
    hand = np.asarray(joints, np.float64)
    about = (hand - hand.mean(axis=0)) * [1, -1, -1]  # y up, z toward the viewer
    ends = np.array([[PARENTS[joint], joint] for joint in _BONES]).reshape(-1)
    fingers = [(joint - 1) // 4 % len(FINGERS) for joint in _BONES]
    return Solid(
        kind="bones",
        points=about[ends],
        colors=_COLORS[np.repeat(fingers, 2)],
        text=f"{len(_BONES)} bones",
    )


def enlarge(image: ArrayLike) -> NDArray[np.float32]:
    """Images of hands as pictures of 96 pixels or more a side.

    Args:
      image: uint8 `[N, S, S, C]`; C = 1 depth, 3 color, 4 both, of which the color is shown.

    Returns:
      `[N, m·S, m·S, 3]` in [0, 1].
    """
    values = np.asarray(image)
    times = -(-SIZE // values.shape[1])
    color = values[..., :3] if values.shape[-1] > 1 else np.repeat(values, 3, axis=-1)
    return (color.repeat(times, axis=1).repeat(times, axis=2) / 255).astype(np.float32)


def overlay(image: ArrayLike, camera: ArrayLike, joints: ArrayLike) -> NDArray[np.float32]:
    """Draws bones over images.

    Args:
      image: as of `enlarge`.
      camera: floats `[N, 4]`: fx, fy, cx, cy in pixels.
      joints: floats `[N, 21, 3]` in camera axes, mm; hands behind the camera are not drawn.

    Returns:
      As `enlarge`.
    """
    pictures = enlarge(image)
    times = pictures.shape[1] / np.asarray(image).shape[1]
    for picture, (fx, fy, cx, cy), hand in zip(
        pictures, np.asarray(camera), np.asarray(joints), strict=True
    ):
        if (hand[:, 2] > 0).all():
            places = hand[:, :2] / hand[:, 2:] * [fx, fy] + [cx, cy]
            _draw_bones(picture, (places + 0.5) * times - 0.5, np.zeros(NUM_JOINTS))
    return pictures


def pck_figure(predicted: ArrayLike, truth: ArrayLike, visible: ArrayLike) -> Figure:
    """Share of correct keypoints, and of frames that are right as a whole, against the threshold.

    Args:
      predicted: floats `[N, 21, 3]`, mm.
      truth: of the same shape.
      visible: bool `[N, 21]`.

    Returns:
      A figure of four curves: errors about the wrist, absolute ones, and both of whole frames.
    """
    figure = draw.new_figure(5.6, 4.0)
    axes = figure.add_subplot()
    levels = np.linspace(0, 60, 61)
    relative = [pose_metrics.root_relative(x) for x in (predicted, truth)]
    known = np.asarray(visible, bool)
    rooted = known & known[:, WRIST : WRIST + 1]
    for color, name, pair, counted in (
        (draw.COLORS[0], "about the wrist", relative, rooted),
        (draw.COLORS[2], "absolute", [predicted, truth], known),
    ):
        errors = pose_metrics.joint_errors(*pair)
        axes.plot(levels, pose_metrics.pck_curve(errors, counted, levels), color=color, label=name)
        whole = pose_metrics.frames_within(errors, counted, levels)
        axes.plot(levels, whole, "--", color=color, label="… all joints of a frame")
    axes.set_xlabel("error ≤ … mm")
    axes.set_ylabel("share")
    axes.set_xlim(0, 60)
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    draw.set_title(figure, "Correct keypoints", f"{len(known):,} examples shown")
    return figure


def _draw_bones(picture: NDArray[np.float32], places: NDArray, pale: NDArray) -> None:
    """Draws bones into a picture `[H, W, 3]`, far ones first.

    Args:
      picture: changed in place.
      places: x and y of joints in pixels, `[21, 2]`.
      pale: how much white their colors have, `[21]`.
    """
    rows, columns = np.indices(picture.shape[:2])
    pixels = np.stack([columns, rows], axis=-1)
    for joint in sorted(_BONES, key=lambda joint: -pale[joint]):
        start, end = places[PARENTS[joint]], places[joint]
        bone, away = end - start, pixels - start
        share = np.clip(away @ bone / max(bone @ bone, 1e-9), 0, 1)[..., None]
        distance = np.linalg.norm(away - share * bone, axis=-1)[..., None]
        covered = np.clip(_THICK + 0.5 - distance, 0, 1)
        color = _COLORS[(joint - 1) // 4 % len(FINGERS)]
        color = color + pale[joint] * (1 - color)
        picture += (covered * (color - picture)).astype(np.float32)
