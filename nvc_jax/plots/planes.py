"""Pictures of planes and depth, and the curve of recall, for the figures of a task or a user.

Records are those of `PlanarReconstructionTask.postprocess`: `planes`, `segmentation`, `depth`, `camera`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from nvc_jax import plots
from nvc_jax.geometry.planes import MAX_PLANES, NON_PLANAR, split_planes
from nvc_jax.metrics import planes as plane_metrics
from nvc_jax.plots import drawing as draw

_NO_PLANE = np.array([0.35, 0.35, 0.35])
_HAZE_DEPTH = 6.0
"""Depth, in m, at which a decoded layout has lost most of its color."""


def plane_colors(segmentation: ArrayLike) -> NDArray[np.float64]:
    """Colors `[..., 3]` in [0, 1] of the planes of a segmentation; gray off the planes."""
    numbers = np.asarray(segmentation)
    colors = draw.PALETTE[np.minimum(numbers, MAX_PLANES - 1)]
    return np.where(numbers[..., None] < MAX_PLANES, colors, _NO_PLANE)


def overlay(image: ArrayLike, segmentation: ArrayLike) -> NDArray[np.float64]:
    """Planes in color over images.

    Args:
      image: uint8 `[..., H, W, 3]`.
      segmentation: uint8 `[..., H, W]`.

    Returns:
      `[..., H, W, 3]` in [0, 1].
    """
    gray = np.asarray(image, np.float64).mean(axis=-1, keepdims=True) / 255
    return plane_colors(segmentation) * (0.35 + 0.65 * gray)


def match_colors(segmentation: ArrayLike, predicted: ArrayLike) -> NDArray[np.uint8]:
    """The prediction with planes renumbered so that a true plane and its best match share a color.

    Args:
      segmentation: uint8 `[H, W]`, the truth.
      predicted: uint8 `[H, W]`.

    Returns:
      uint8 `[H, W]`: a renumbering of the planes of `predicted`.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import

    true, found = np.asarray(segmentation), np.asarray(predicted)
    overlap = np.zeros((256, 256), np.int64)
    np.add.at(overlap, (true.reshape(-1), found.reshape(-1)), 1)
    row, column = linear_sum_assignment(overlap[:MAX_PLANES, :MAX_PLANES], maximize=True)
    table = np.full(256, NON_PLANAR, np.uint8)
    table[column] = row
    return table[found]


def depth_picture(depth: ArrayLike, farthest: ArrayLike) -> NDArray[np.float64]:
    """Depths as colors, bright is near; unknown depths are gray.

    Args:
      depth: floats `[..., H, W]`, m, 0 unknown.
      farthest: floats `[...]`, m: the depth of the darkest color.

    Returns:
      `[..., H, W, 3]` in [0, 1].
    """
    values = np.asarray(depth)
    share = values / np.maximum(np.asarray(farthest), 1e-6)[..., None, None]
    colors = colormaps["viridis"](1 - np.clip(share, 0, 1))[..., :3]
    return np.where(values[..., None] > 0, colors, _NO_PLANE)


def plane_grid(batch: Mapping[str, np.ndarray], presented: np.ndarray) -> Figure:
    """Images with the planes and the depth that were found in them, and the truth.

    Args:
      batch: stored examples: `image`, `segmentation` and `depth`, `[n, ...]`.
      presented: their records `[n]`.

    Returns:
      A figure. Predicted planes have the color of the true plane that they match best; `anchors` shows
      the nearest anchor of every square of pixels.
    """
    matched = np.array(
        [
            match_colors(true, found)
            for true, found in zip(batch["segmentation"], presented["segmentation"], strict=True)
        ]
    )
    farthest = batch["depth"].max(axis=(1, 2))
    rows = {
        "image": batch["image"] / 255,
        "planes": overlay(batch["image"], matched),
        "true planes": overlay(batch["image"], batch["segmentation"]),
        "depth": depth_picture(presented["depth"], farthest),
        "true depth": depth_picture(batch["depth"], farthest),
    }
    if presented["anchor"].any():  # with one latent an image there is nothing to see
        size = batch["image"].shape[1] // presented["anchor"].shape[1]
        anchors = presented["anchor"].repeat(size, axis=1).repeat(size, axis=2)
        rows["anchors"] = draw.PALETTE[anchors % len(draw.PALETTE)]
    return plots.example_grid(rows, title="Planes and depth")


def render_layout(presented: np.ndarray) -> NDArray[np.float64]:
    """Records `[...]` as pictures `[..., H, W, 3]`: the direction of planes as color, paler with depth.

    Red tells how far a normal points to the right, green down, blue forward. What lies on no plane is
    gray.
    """
    normals = split_planes(presented["planes"])[0]
    number = presented["segmentation"]
    row = np.minimum(number, MAX_PLANES - 1).astype(int).reshape(*number.shape[:-2], -1, 1)
    chosen = np.take_along_axis(normals, row, axis=-2).reshape(*number.shape, 3)
    color = np.where(number[..., None] < MAX_PLANES, 0.5 + 0.5 * chosen, _NO_PLANE)
    haze = 1 - np.exp(-presented["depth"][..., None] / _HAZE_DEPTH)
    return color * (1 - haze) + haze


def recall_curves(methods: Mapping[str, Sequence[plane_metrics.PlaneOverlaps]]) -> Figure:
    """Recall of planes and of pixels against the threshold of depth, and of the angle of normals.

    Args:
      methods: what `plane_overlaps` gave for every image, by name of the method.

    Returns:
      A figure of two panels.
    """
    figure = draw.new_figure(9.0, 3.6)
    panels = {"depth": "mean depth error ≤ … m", "normal": "angle of normals ≤ … °"}
    for position, (by, label) in enumerate(panels.items()):
        axes, thresholds = figure.add_subplot(1, 2, position + 1), plane_metrics.THRESHOLDS[by]
        for index, (name, overlaps) in enumerate(methods.items()):
            color = draw.COLORS[index % len(draw.COLORS)]
            recall = plane_metrics.recall(overlaps, by)
            axes.plot(thresholds, recall.planes, color=color, label=f"{draw.plain(name)}: planes")
            axes.plot(thresholds, recall.pixels, "--", color=color, label="… pixels")
        axes.set_xlabel(label)
        axes.set_ylim(0, 1)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("recall, IoU > ½")
    figure.axes[-1].legend(fontsize="small")
    counts = {len(overlaps) for overlaps in methods.values()}
    images = " or ".join(f"{count:,}" for count in sorted(counts))
    draw.set_title(figure, "Recall of planes", f"{images} images")
    return figure
