"""How volumes and point clouds are shown, and written for other programs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax import plots
from nvc_jax.displays.base import Display
from nvc_jax.plots.export import export_points, export_voxels
from nvc_jax.plots.shapes import class_colors, render_points, render_volumes
from nvc_jax.plots.solids import Solid, solid_cloud, solid_volume


class VolumeDisplay(Display):
    """Volumes by the class of their voxels; 0 is empty."""

    def pictures(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `Display`; the complete volumes."""
        return render_volumes(batch["complete"])

    def render(self, outputs: np.ndarray) -> np.ndarray:
        """See `Display`."""
        return render_volumes(outputs)

    def solids(self, outputs: np.ndarray) -> list[Solid]:
        """See `Display`."""
        return [solid_volume(volume) for volume in outputs]

    def turned(
        self, batch: Mapping[str, np.ndarray], outputs: np.ndarray
    ) -> dict[str, list[Solid]]:
        """See `Display`."""
        known = {name: [solid_volume(v) for v in batch[name]] for name in ("partial", "complete")}
        return {
            "input": known["partial"],
            "completion": self.solids(outputs),
            "truth": known["complete"],
        }

    def export(self, output: np.ndarray, stem: Path) -> Path | None:
        """See `Display`; the centers of occupied voxels in the color of their class, as PLY."""
        occupied = np.argwhere(output > 0)
        if not len(occupied):
            return None
        centers = (occupied + 0.5 - np.array(output.shape) / 2) / max(output.shape)
        return export_points(stem.with_suffix(".ply"), centers, class_colors(output[output > 0]))

    def figures(self, batch: Mapping[str, np.ndarray], outputs: np.ndarray) -> dict[str, Any]:
        """`completions`."""
        rows = {
            "input": render_volumes(batch["partial"]),
            "completion": self.render(outputs),
            "truth": self.pictures(batch),
        }
        return {"completions": plots.example_grid(rows, title="Completions")}


class OccupancyDisplay(VolumeDisplay):
    """Volumes of probabilities: voxels of `eval.threshold` or more are there."""

    def render(self, outputs: np.ndarray) -> np.ndarray:
        """See `Display`."""
        return render_volumes(outputs >= self.task.config.eval.threshold)

    def solids(self, outputs: np.ndarray) -> list[Solid]:
        """See `Display`."""
        return super().solids(outputs >= self.task.config.eval.threshold)

    def export(self, output: np.ndarray, stem: Path) -> Path | None:
        """See `Display`; the surface, as PLY."""
        threshold = self.task.config.eval.threshold
        if not (output >= threshold).any():
            return None
        return export_voxels(stem.with_suffix(".ply"), output, threshold=threshold)

    def hypotheses(
        self, batch: Mapping[str, np.ndarray], answers: np.ndarray, probabilities: np.ndarray
    ) -> Any:
        """See `Display`; spread is voxels that are in some answers and not in others."""
        inside = answers >= self.task.config.eval.threshold
        known = {"input": render_volumes(batch["partial"]), "truth": self.pictures(batch)}
        spread = render_volumes(inside.any(axis=1) & ~inside.all(axis=1))
        return plots.hypothesis_grid(known, self.render(answers), probabilities, spread)


class CloudDisplay(Display):
    """Completed point clouds."""

    def pictures(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `Display`; the complete clouds."""
        return render_points(batch["complete"])

    def render(self, outputs: np.ndarray) -> np.ndarray:
        """See `Display`."""
        return render_points(outputs)

    def solids(self, outputs: np.ndarray) -> list[Solid]:
        """See `Display`."""
        return [solid_cloud(cloud) for cloud in outputs]

    def turned(
        self, batch: Mapping[str, np.ndarray], outputs: np.ndarray
    ) -> dict[str, list[Solid]]:
        """See `Display`."""
        clouds = {"input": batch["partial"], "completion": outputs, "truth": batch["complete"]}
        return {name: self.solids(cloud) for name, cloud in clouds.items()}

    def export(self, output: np.ndarray, stem: Path) -> Path | None:
        """See `Display`; the points, as PLY."""
        return export_points(stem.with_suffix(".ply"), output)

    def figures(self, batch: Mapping[str, np.ndarray], outputs: np.ndarray) -> dict[str, Any]:
        """`completions`."""
        clouds = {"input": batch["partial"], "completion": outputs, "truth": batch["complete"]}
        rows = {name: render_points(x, frame=batch["complete"]) for name, x in clouds.items()}
        return {"completions": plots.example_grid(rows, title="Completions")}

    def hypotheses(
        self, batch: Mapping[str, np.ndarray], answers: np.ndarray, probabilities: np.ndarray
    ) -> Any:
        """See `Display`; spread is all answers in one cloud."""
        frame = batch["complete"]
        columns = np.moveaxis(answers, 1, 0)
        shown = np.stack([render_points(cloud, frame=frame) for cloud in columns], axis=1)
        together = answers.reshape(len(answers), -1, answers.shape[-1])
        known = {
            "input": render_points(batch["partial"], frame=frame),
            "truth": self.pictures(batch),
        }
        spread = render_points(together, frame=frame)
        return plots.hypothesis_grid(known, shown, probabilities, spread)


class LabeledCloudDisplay(Display):
    """Point clouds colored by class, gray where it is unknown."""

    def pictures(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `Display`."""
        return render_points(batch["points"], batch["point_label"])

    def turned(
        self, batch: Mapping[str, np.ndarray], outputs: np.ndarray
    ) -> dict[str, list[Solid]]:
        """See `Display`."""
        labels = {"prediction": outputs, "truth": batch["point_label"]}
        return {
            name: [solid_cloud(*pair) for pair in zip(batch["points"], label, strict=True)]
            for name, label in labels.items()
        }

    def figures(self, batch: Mapping[str, np.ndarray], outputs: np.ndarray) -> dict[str, Any]:
        """`segmentations`."""
        predicted = render_points(batch["points"], outputs)
        rows = {"prediction": predicted, "truth": self.pictures(batch)}
        return {"segmentations": plots.example_grid(rows, title="Segmentations")}
