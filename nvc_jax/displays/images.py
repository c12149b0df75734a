"""How images are shown, and hands and planes in them; planes are written for other programs too."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax import plots
from nvc_jax.displays.base import Display
from nvc_jax.geometry.plane_segmentation import Planes
from nvc_jax.geometry.planes import NON_PLANAR, pixel_rays, points_of_depth
from nvc_jax.metrics.planes import plane_overlaps
from nvc_jax.plots import hands
from nvc_jax.plots.export import export_points
from nvc_jax.plots.planes import (
    match_colors,
    plane_colors,
    plane_grid,
    recall_curves,
    render_layout,
)
from nvc_jax.plots.solids import Solid, solid_cloud


class ImageDisplay(Display):
    """The images themselves."""

    def pictures(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `Display`."""
        return self.task.to_unit(batch["image"])

    def render(self, outputs: np.ndarray) -> np.ndarray:
        """See `Display`."""
        return outputs

    def figures(self, batch: Mapping[str, np.ndarray], outputs: np.ndarray) -> dict[str, Any]:
        """`reconstructions`."""
        label = batch["label"]
        captions = [str(k) if k >= 0 else "" for k in label] if (label >= 0).any() else None
        rows = {"input": self.pictures(batch), "reconstruction": outputs}
        return {"reconstructions": plots.example_grid(rows, captions=captions)}


class ImageCompletionDisplay(Display):
    """What is seen of images on gray, and the whole."""

    def pictures(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `Display`; the whole."""
        return self.task.shown(batch["image"])[1]

    def render(self, outputs: np.ndarray) -> np.ndarray:
        """See `Display`."""
        return outputs

    def figures(self, batch: Mapping[str, np.ndarray], outputs: np.ndarray) -> dict[str, Any]:
        """`completions`."""
        seen, whole = self.task.shown(batch["image"])
        return {
            "completions": plots.example_grid(
                {"input": seen, "completion": outputs, "truth": whole}, title="Completions"
            )
        }

    def hypotheses(
        self, batch: Mapping[str, np.ndarray], answers: np.ndarray, probabilities: np.ndarray
    ) -> Any:
        """See `Display`; and how far the answers differ in every pixel."""
        seen, whole = self.task.shown(batch["image"])
        return plots.hypothesis_grid(
            {"input": seen, "truth": whole}, answers, probabilities, answers.std(axis=1)
        )


class HandDisplay(Display):
    """Images with their joints, and skeletons."""

    def pictures(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `Display`; the images with their joints."""
        return hands.overlay(batch["image"], batch["camera"], batch["joints"])

    def render(self, outputs: np.ndarray) -> np.ndarray:
        """See `Display`; skeletons."""
        return hands.render_skeletons(outputs)

    def solids(self, outputs: np.ndarray) -> list[Solid]:
        """See `Display`; skeletons, each about its middle."""
        return [hands.solid_skeleton(joints) for joints in outputs]

    def turned(
        self, batch: Mapping[str, np.ndarray], outputs: np.ndarray
    ) -> dict[str, list[Solid]]:
        """See `Display`."""
        return {"prediction": self.solids(outputs), "truth": self.solids(batch["joints"])}

    def figures(self, batch: Mapping[str, np.ndarray], outputs: np.ndarray) -> dict[str, Any]:
        """`poses` and, of the examples shown, `pck`."""
        rows = {
            "input": hands.enlarge(batch["image"]),
            "prediction": hands.overlay(batch["image"], batch["camera"], outputs),
            "truth": self.pictures(batch),
        }
        return {
            "poses": plots.example_grid(rows, title="Joints"),
            "pck": hands.pck_figure(outputs, batch["joints"], batch["visible"]),
        }


class PlaneDisplay(Display):
    """Planes in the color of their direction, paler with depth."""

    def pictures(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `Display`; the images."""
        return batch["image"].astype(np.float32) / 255.0

    def render(self, outputs: np.ndarray) -> np.ndarray:
        """See `Display`."""
        return render_layout(outputs)

    def solids(self, outputs: np.ndarray) -> list[Solid]:
        """See `Display`; the pixels that lie on planes, in the color of their plane."""
        segmentations = outputs["segmentation"]
        return _rooms(outputs["depth"], segmentations, outputs["camera"], segmentations)

    def turned(
        self, batch: Mapping[str, np.ndarray], outputs: np.ndarray
    ) -> dict[str, list[Solid]]:
        """See `Display`; a plane that was found has the color of the true one that it matches best."""
        pairs = zip(batch["segmentation"], outputs["segmentation"], strict=True)
        matched = [match_colors(*pair) for pair in pairs]
        true = batch["segmentation"]
        return {
            "prediction": _rooms(
                outputs["depth"], outputs["segmentation"], outputs["camera"], matched
            ),
            "truth": _rooms(batch["depth"], true, batch["camera"], true),
        }

    def figures(self, batch: Mapping[str, np.ndarray], outputs: np.ndarray) -> dict[str, Any]:
        """`planes` and `recall`, of the examples shown."""
        pairs = zip(batch["planes"], batch["segmentation"], strict=True)
        rays = (pixel_rays(camera, *batch["depth"].shape[1:]) for camera in batch["camera"])
        found = (Planes(record["planes"], record["segmentation"]) for record in outputs)
        overlaps = [plane_overlaps(*images) for images in zip(pairs, found, rays, strict=True)]
        return {
            "planes": plane_grid(batch, outputs),
            "recall": recall_curves({"predicted planes": overlaps}),
        }

    def export(self, output: np.ndarray, stem: Path) -> Path | None:
        """See `Display`; the pixels that lie on planes, as points in the color of their plane, PLY."""
        planar = output["segmentation"] < NON_PLANAR
        if not planar.any():
            return None
        rays = pixel_rays(output["camera"], *planar.shape)
        points = points_of_depth(output["depth"], rays)[planar]
        colors = plane_colors(output["segmentation"][planar])
        return export_points(stem.with_suffix(".ply"), points, colors)


def _rooms(
    depth: np.ndarray, segmentation: np.ndarray, camera: np.ndarray, colored: Any
) -> list[Solid]:
    """The pixels of each image that lie on planes, as points of known depth.

    Args:
      depth: `[n, H, W]`, m, 0 unknown.
      segmentation: uint8 `[n, H, W]`.
      camera: `[n, 4]`.
      colored: uint8 `[n, H, W]`, the planes by the numbers that their colors have.
    """
    rooms = []
    for far, planes, lens, numbers in zip(depth, segmentation, camera, colored, strict=True):
        shown = (planes < NON_PLANAR) & (far > 0)
        points = points_of_depth(far, pixel_rays(lens, *far.shape))[shown] * [1, -1, -1]
        rooms.append(solid_cloud(points, colors=plane_colors(numbers[shown])))
    return rooms
