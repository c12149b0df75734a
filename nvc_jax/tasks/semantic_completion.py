"""Semantic completion of volumes: what is seen of a scene → the class of every voxel."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from nvc_jax.core.options import Option
from nvc_jax.data.base.examples import NOTHING, Learned, Spec
from nvc_jax.data.base.source import Source, point_class_names_of
from nvc_jax.data.shapes.examples import VoxelScenes
from nvc_jax.geometry.parts import connected_parts, mean_over_parts
from nvc_jax.metrics import volumes
from nvc_jax.tasks import labels
from nvc_jax.tasks.base import Outputs
from nvc_jax.tasks.voxel_completion import VolumeTask


class SemanticCompletionTask(VolumeTask):
    """Class of every voxel by weighted cross-entropy, summed over known voxels."""

    options = (
        *VolumeTask.options,
        *labels.CLASS_OPTIONS,
        Option(
            "eval.one_class_a_part", False, "voxels that are connected get one class, by a vote"
        ),
    )
    examples = VoxelScenes

    def __init__(self, config: ml_collections.ConfigDict, spec: Spec, learned: Learned = NOTHING):
        super().__init__(config, spec, learned)
        self.outputs = labels.check_num_classes(config)
        self.class_weights = labels.check_class_weights(config, self.outputs)

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
        predicted = jnp.argmax(self.with_known(outputs, batch), axis=-1)
        intersection, union = volumes.class_counts(predicted, batch["target"], self.outputs)
        occupied = volumes.occupancy_counts(predicted > 0, batch["target"], (0.5,))
        geometry = jnp.concatenate(occupied, axis=-1)
        return {"intersection": intersection, "union": union, "geometry": geometry}

    def with_known(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> jax.Array:
        """The logits; with `eval.keep_observed` what was seen cannot be empty.

        With `eval.one_class_a_part` those of classes are log-probabilities, averaged over connected parts of
        what is not empty.
        """
        logits, options = outputs.output, self.config.eval
        if options.keep_observed:
            empty = jnp.where(batch["partial"] > 0, -jnp.inf, logits[..., 0])
            logits = logits.at[..., 0].set(empty)
        if not options.one_class_a_part:
            return logits
        occupied = jnp.argmax(logits, axis=-1) > 0
        votes = jax.nn.log_softmax(logits[..., 1:], axis=-1)
        voted = mean_over_parts(votes, connected_parts(occupied))
        nothing = jnp.full_like(voted[..., :1], -jnp.inf)
        voted = jnp.concatenate([nothing, voted], axis=-1)
        return jnp.where(occupied[..., None], voted, logits)

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

    def finish(self, output: Any) -> jax.Array:
        """Class of every voxel, uint8 `[N, X, Y, Z]`."""
        return jnp.argmax(output, axis=-1).astype(jnp.uint8)
