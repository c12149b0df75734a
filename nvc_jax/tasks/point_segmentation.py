"""Segmentation of point clouds: a class for every point."""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option
from nvc_jax.data.base.examples import NOTHING, Learned, Spec
from nvc_jax.data.base.source import Source, class_names_of, point_class_names_of
from nvc_jax.data.registry import SOURCES
from nvc_jax.data.shapes.examples import LabeledClouds
from nvc_jax.metrics import segmentation, volumes
from nvc_jax.model.autoencoder import LatentModel, make_bottleneck
from nvc_jax.networks.points import SEGMENTATION_NETWORKS, make_point_segmentation
from nvc_jax.tasks import labels
from nvc_jax.tasks.augment import ASSIGN_FROM, TURN_OPTIONS, turn_points
from nvc_jax.tasks.base import Outputs, Task, histograms


@flax.struct.dataclass
class PointLogits:
    """`logits` float32 `[B, P, C]` of points, and the `category` int32 `[B]` of their clouds."""

    logits: jax.Array
    category: jax.Array


class SegmentationModel(LatentModel):
    """The bottleneck on the global feature; the head labels points by their own and the code."""

    def features(self, batch: Mapping[str, jax.Array], train: bool) -> tuple[jax.Array, Any]:
        """The global feature, and what the head gets beside the code."""
        points, whole = self.encoder(batch[self.field], train)
        return whole, (points, batch["label"])

    def output(
        self, code: jax.Array, context: Any, train: bool, example_index: jax.Array | None
    ) -> Any:
        """`PointLogits`."""
        points, category = context
        return PointLogits(self.decoder(code, points, train, category), category)


class PointSegmentationTask(Task):
    """Class of every point by weighted cross-entropy over known points, and a soft IoU."""

    options = (
        *TURN_OPTIONS,
        ASSIGN_FROM,
        Option("model.know_category", False, "the network is told the category"),
        Option(
            "model.parts", "", "the source whose parts and categories these are; '': data.source"
        ),
        *labels.CLASS_OPTIONS,
    )
    networks = SEGMENTATION_NETWORKS
    examples = LabeledClouds
    fields: ClassVar = {"points": ("[P, C]", "float32"), "point_label": ("[P]", "uint8")}
    decodes_codes = False

    def __init__(self, config: ml_collections.ConfigDict, spec: Spec, learned: Learned = NOTHING):
        super().__init__(config, spec, learned)
        self.parts = None if config.data.compose_scenes else _parts(config)
        if self.parts is None and config.model.know_category:
            raise UserError(
                "model.know_category needs data whose parts belong to categories: set model.parts to the "
                "source that has them, or model.know_category to false."
            )
        self.num_classes = (
            labels.check_num_classes(config) if self.parts is None else self.parts.shape[1]
        )
        self.class_weights = labels.check_class_weights(config, self.num_classes)

    def check_values(self, batch: Mapping[str, np.ndarray]) -> None:
        """See `Task`; classes and categories must be below their number, or unknown."""
        labels.check_labels(batch["point_label"], self.num_classes, "point_label")
        largest = np.max(batch["label"], initial=-1)
        if self.parts is not None and largest >= len(self.parts):
            raise UserError(
                f"label holds the category {largest}: the categories of "
                f"{_source_of_parts(self.config)} go from 0 to {len(self.parts) - 1}, or are -1 for "
                "unknown."
            )

    def make_model(self, axis_name: str | None) -> nn.Module:
        """See `Task`."""
        options, parts = self.config.model, self.parts
        num_categories = len(parts) if options.know_category and parts is not None else 0
        encoder, head = make_point_segmentation(
            options, self.num_classes, num_categories, axis_name
        )
        return SegmentationModel(encoder, make_bottleneck(self.config), head, field="points")

    def prepare(
        self, batch: dict[str, jax.Array], keys: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """See `Task`; with keys, turned about the vertical axis, mirrored and scaled."""
        prepared: dict[str, Any] = {**batch, "target": batch["point_label"]}
        if keys is None:
            return prepared
        (turned,) = turn_points((batch["points"],), keys, self.config.augment)
        if turned is not batch["points"] and self.config.augment.assign_from == "clean":
            prepared["clean"] = dict(batch)
        prepared["points"] = turned
        return prepared

    def reconstruction(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> jax.Array:
        """`−Σ weight[class]·log softmax(logits)[class]  +  w·P·(1 − soft IoU)`, `[B]`.

        The sum runs over known points of the P; w = `loss.soft_iou`, and the soft IoU is the mean of
        the classes in the cloud.
        """
        return labels.labeling_loss(
            outputs.output.logits, batch["target"], self.class_weights, self.config.loss.soft_iou
        )

    def metrics(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Counts of points of every class; where parts have categories, predicted among those."""
        if self.parts is None:
            predicted = jnp.argmax(outputs.output.logits, axis=-1)
            counts = volumes.class_counts(predicted, batch["target"], self.num_classes)
        else:
            counts = segmentation.part_iou_counts(
                outputs.output.logits, batch["target"], batch["label"], self.parts
            )
        return dict(zip(("intersection", "union"), counts, strict=True))

    def summary(self, encoded: Mapping[str, np.ndarray], source: Source) -> dict[str, float]:
        """Pooled `miou` and `accuracy`; where parts have categories, `instance_miou` and `class_miou`.

        These two are of the clouds with a category and a known point, where there are any.
        """
        counts, label = (encoded["intersection"], encoded["union"]), encoded["label"]
        values = {
            "miou": volumes.mean_iou(*counts),
            "accuracy": segmentation.pooled_accuracy(*counts),
        }
        if self.parts is None:
            return values | labels.class_iou(*counts, point_class_names_of(source))
        if not ((label >= 0) & (counts[1].sum(axis=1) > 0)).any():
            return values
        values["instance_miou"], categories = segmentation.part_mious(*counts, label, self.parts)
        values["class_miou"] = categories.mean
        return values | labels.named("miou_category", categories.per_class, class_names_of(source))

    def postprocess(self, output: PointLogits) -> np.ndarray:
        """Class of every point, uint8 `[N, P]`; where parts have categories, among those."""
        logits, category = np.asarray(output.logits), np.asarray(output.category)
        if self.parts is not None:
            possible = self.parts[category] | (category < 0)[:, None]
            logits = np.where(possible[:, None], logits, -np.inf)
        return np.argmax(logits, axis=-1).astype(np.uint8)

    def features(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """Share of the cloud's points in each of 8³ cells."""
        return histograms(batch["points"])


def _source_of_parts(config: ml_collections.ConfigDict) -> str:
    """Name of the source that tells which parts there are."""
    return config.model.parts or config.data.source


def _parts(config: ml_collections.ConfigDict) -> np.ndarray | None:
    """Which parts each category has, bool `[K, C]`; None where points have classes of their own.

    Raises:
      UserError: if `model.parts` names no source with parts.
    """
    reader = SOURCES.get(_source_of_parts(config))
    if config.model.parts and (reader is None or reader.parts is None):
        known = sorted(name for name, reader in SOURCES.items() if reader.parts is not None)
        raise UserError(f"model.parts is {config.model.parts!r}: use one of {', '.join(known)}.")
    return None if reader is None else reader.parts
