"""Semantic completion of volumes: what is seen of a scene → the class of every voxel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from nvc_jax.core.options import Option
from nvc_jax.data.base.source import FieldSpec, Source, point_class_names_of, select
from nvc_jax.data.shapes.scenes import SCENE_OPTIONS, SceneVolumes, scene_options
from nvc_jax.data.shapes.stretch import STRETCH_OPTIONS, with_stretched_copies
from nvc_jax.metrics import volumes
from nvc_jax.plots.export import export_points
from nvc_jax.tasks import labels
from nvc_jax.tasks.base import Outputs
from nvc_jax.tasks.voxel_completion import VolumeTask


class SemanticCompletionTask(VolumeTask):
    """Class of every voxel by weighted cross-entropy, summed over known voxels."""

    options = (
        *VolumeTask.volume_options,
        *SCENE_OPTIONS,
        *STRETCH_OPTIONS,
        Option("data.scene_size", (32, 16, 32), "voxels", at_least=1),
        *labels.CLASS_OPTIONS,
    )

    def __init__(self, config: ml_collections.ConfigDict, spec: Mapping[str, FieldSpec]):
        super().__init__(config, spec)
        self.outputs = labels.check_num_classes(config)
        self.class_weights = labels.check_class_weights(config, self.outputs)

    @classmethod
    def examples(cls, source: Source, config: ml_collections.ConfigDict, split: str) -> Source:
        """Scenes composed of stored shapes; labeled volumes are taken as they are."""
        if "partial" in source.spec:
            return source
        size = tuple(config.data.scene_size)
        source = select(source, ("voxels", "label"))
        source = with_stretched_copies(source, config.data, split)
        return SceneVolumes(source, size=size, **scene_options(config.data, split))

    def check_values(self, batch: Mapping[str, np.ndarray]) -> None:
        """See `Task`; classes must be below `model.num_classes`, or 255."""
        labels.check_labels(batch["complete"], self.outputs, "complete")

    def reconstruction(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> jax.Array:
        """`−Σ weight[class]·log softmax(logits)[class]  +  w·V·(1 − soft IoU)`, `[B]`.

        The sum runs over known voxels; V is the number of all voxels, w = `loss.soft_iou`, and the soft
        IoU is the mean of the classes in the scene but the empty one.
        """
        return labels.labeling_loss(
            outputs.output, batch["target"], self.class_weights, self.config.loss.soft_iou, 1
        )

    def metrics(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Counts of voxels of every class, and of those that are not empty."""
        predicted = jnp.argmax(self.predicted(outputs, batch), axis=-1)
        intersection, union = volumes.class_counts(predicted, batch["target"], self.outputs)
        occupied = volumes.geometric_counts(predicted, batch["target"])
        return {
            "intersection": intersection,
            "union": union,
            "geometry": jnp.stack(occupied, axis=-1),
        }

    def predicted(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> jax.Array:
        """The logits; with `eval.keep_observed` what was seen cannot be empty."""
        logits = outputs.output
        if not self.config.eval.keep_observed:
            return logits
        empty = jnp.where(batch["partial"] > 0, -jnp.inf, logits[..., 0])
        return logits.at[..., 0].set(empty)

    def summary(self, encoded: Mapping[str, np.ndarray], source: Source) -> dict[str, float]:
        """`miou` over all classes but the empty one, `iou_geometric`, and the IoU of every class.

        Sums run over the whole data set.
        """
        intersection, union = encoded["intersection"], encoded["union"]
        values = {
            "miou": volumes.mean_iou(intersection, union, range(1, self.outputs)),
            "iou_geometric": volumes.iou_pooled(*encoded["geometry"].T),
        }
        return values | labels.class_iou(intersection, union, point_class_names_of(source))

    def present(self, output: Any) -> np.ndarray:
        """Class of every voxel, uint8 `[N, X, Y, Z]`."""
        return np.argmax(np.asarray(output), axis=-1).astype(np.uint8)

    def render(self, presented: np.ndarray) -> np.ndarray:
        """Pictures of volumes as `present` gives them."""
        from nvc_jax.plots import shapes as plots_3d  # matplotlib is slow to import

        return plots_3d.render_volumes(presented)

    def export(self, presented: np.ndarray, stem: Path) -> Path | None:
        """See `Task`; the centers of occupied voxels in the color of their class, as PLY."""
        from nvc_jax.plots import shapes as plots_3d  # matplotlib is slow to import

        occupied = np.argwhere(presented > 0)
        if not len(occupied):
            return None
        centers = (occupied + 0.5 - np.array(presented.shape) / 2) / max(presented.shape)
        colors = plots_3d.class_colors(presented[presented > 0])
        return export_points(stem.with_suffix(".ply"), centers, colors)
