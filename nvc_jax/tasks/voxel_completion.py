"""Completion of volumes: what is seen of a shape → which voxels it fills."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option
from nvc_jax.data.base.examples import NOTHING, Learned, Spec
from nvc_jax.data.base.source import Source, class_names_of
from nvc_jax.data.shapes.examples import VoxelViews
from nvc_jax.geometry.labels import UNKNOWN
from nvc_jax.metrics import volumes
from nvc_jax.model.autoencoder import SkipModel, make_bottleneck
from nvc_jax.model.conditional import CONDITIONAL_OPTIONS, make_conditional
from nvc_jax.networks.voxels import VOLUME_NETWORKS, make_volume_autoencoder
from nvc_jax.tasks.augment import ASSIGN_FROM, MIRROR, UPRIGHT_SYMMETRY, upright_symmetry
from nvc_jax.tasks.base import KEEP_OBSERVED, SKIP_OPTIONS, Outputs, Task
from nvc_jax.tasks.labels import SOFT_IOU, expected_iou, named

CERTAIN = 100.0  # logit of a voxel that is occupied without doubt
POOLED_SIDE = 8  # of the volumes that a baseline without a network is given


class VolumeTask(Task):
    """What tasks have in common that map a partial volume to a complete one.

    Attributes:
      outputs: numbers that the decoder gives for every voxel.
    """

    networks = VOLUME_NETWORKS
    fields: ClassVar = dict.fromkeys(("partial", "complete"), ("[X, Y, Z]", "uint8"))
    options: ClassVar[tuple[Option, ...]] = (
        *SKIP_OPTIONS,
        KEEP_OBSERVED,
        MIRROR,
        UPRIGHT_SYMMETRY,
        ASSIGN_FROM,
        Option("eval.mirror", False, "mean of logits over a volume and its mirror image along x"),
    )

    outputs = 1

    def __init__(self, config: ml_collections.ConfigDict, spec: Spec, learned: Learned = NOTHING):
        super().__init__(config, spec, learned)
        x, y, z = spec["partial"].shape
        if spec["complete"].shape != (x, y, z):
            raise UserError(
                f"partial and complete have one shape [X, Y, Z], got {[x, y, z]} and "
                f"{list(spec['complete'].shape)}."
            )
        self.shape = (x, y, z)
        if config.augment.upright_symmetry and x != z:
            raise UserError(
                "augment.upright_symmetry turns volumes about the vertical axis: it needs X = Z, got "
                f"{x} and {z}."
            )

    def make_model(self, axis_name: str | None) -> Any:
        """See `Task`."""
        options = self.config.model
        encoder, decoder = make_volume_autoencoder(options, self.shape, self.outputs, axis_name)
        return SkipModel(
            encoder,
            make_bottleneck(self.config),
            decoder,
            field="partial",
            skips=options.skips,
            # The code of a conditional nebula has what is not seen alone.
            skip_dropout=0.0 if options.get("conditional", False) else options.skip_dropout,
        )

    def prepare(
        self, batch: dict[str, jax.Array], keys: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """See `Task`; with keys, turned and mirrored about the vertical axis."""
        partial, target = batch["partial"], batch["complete"]
        prepared: dict[str, Any] = {**batch, "target": target}
        augment = self.config.augment
        if keys is not None and (augment.upright_symmetry or augment.mirror):
            if augment.assign_from == "clean" and not self.config.model.get("conditional", False):
                prepared["clean"] = {"partial": partial.astype(jnp.float32)}
            partial, prepared["target"] = upright_symmetry(
                (partial, target), keys, turns=augment.upright_symmetry
            )
        prepared["partial"] = partial.astype(jnp.float32)
        return prepared

    def evaluate(self, apply: Callable[..., Any], batch: Mapping[str, jax.Array]) -> Outputs:
        """See `Task`; with `eval.mirror` the mean of the logits and of those of the mirror image."""
        outputs: Outputs = apply(batch, train=False)
        if not self.config.eval.mirror:
            return outputs
        turned = {**batch, "partial": batch["partial"][:, ::-1]}
        other = apply(turned, train=False).output[:, ::-1]
        return outputs.replace(output=(outputs.output + other) / 2)  # type: ignore[attr-defined]

    def features(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """The partial volumes, averaged over blocks to 8³ values at most."""
        partial: np.ndarray = batch["partial"].astype(np.float32)
        for axis in (1, 2, 3):
            step = -(-partial.shape[axis] // POOLED_SIDE)
            starts = np.arange(0, partial.shape[axis], step)
            lengths = np.diff(starts, append=partial.shape[axis])  # the last one may be shorter
            lengths = lengths.astype(np.float32).reshape(-1, *(1,) * (3 - axis))
            partial = np.add.reduceat(partial, starts, axis=axis) / lengths
        return partial.reshape(len(partial), -1)


class VoxelCompletionTask(VolumeTask):
    """Occupancy of every voxel by weighted binary cross-entropy, summed over known voxels."""

    options = (
        *VolumeTask.options,
        Option(
            "loss.gamma",
            0.5,
            "weight of occupied voxels; 1 - this is that of empty ones",
            above=0,
            below=1,
        ),
        SOFT_IOU,
        *CONDITIONAL_OPTIONS,
        Option(
            "eval.threshold",
            0.5,
            "a voxel of this probability or more is occupied",
            above=0,
            below=1,
        ),
        Option(
            "eval.thresholds",
            (0.3, 0.4, 0.5, 0.6, 0.7),
            "the same measure at others",
            above=0,
            below=1,
        ),
    )
    examples = VoxelViews

    def __init__(self, config: ml_collections.ConfigDict, spec: Spec, learned: Learned = NOTHING):
        super().__init__(config, spec, learned)
        self.gives_answers = config.model.conditional
        self.decodes_codes = not self.gives_answers

    def make_model(self, axis_name: str | None) -> nn.Module:
        """See `Task`."""
        options = self.config.model
        recognizer, _ = make_volume_autoencoder(options, self.shape, self.outputs, axis_name)
        return make_conditional(self.config, super().make_model(axis_name), recognizer)

    def prepare(
        self, batch: dict[str, jax.Array], keys: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """See `Task`; of a conditional nebula also `whole`, occupied voxels as 1."""
        prepared = super().prepare(batch, keys)
        if not self.config.model.conditional:
            return prepared
        target = prepared["target"]
        occupied = (target != 0) & (target != UNKNOWN)
        return {**prepared, "whole": occupied.astype(jnp.float32)}

    def reconstruction(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> jax.Array:
        """Weighted binary cross-entropy, and one less the soft IoU, float32 `[B]`.

        `Σ γ·y·(−log p) + (1 − γ)·(1 − y)·(−log(1 − p))  +  w·V·(1 − Σ p·y / Σ (p + y − p·y))`

        Sums run over known voxels; V is the number of all voxels. The second part, of weight
        w = `loss.soft_iou`, counts every shape alike, however small, as the mean IoU does; observed
        voxels have p = 1 in it with `eval.keep_observed`.

        References: Yang et al., "Dense 3D Object Reconstruction from a Single Depth View", 2018,
        equation 1, where γ = 0.85; Rahman and Wang, "Optimizing Intersection-Over-Union in Deep
        Neural Networks for Image Segmentation", 2016.
        """
        gamma, logits, target = self.config.loss.gamma, outputs.output[..., 0], batch["target"]
        known, occupied = target != UNKNOWN, target != 0
        error = jnp.where(
            occupied,
            -gamma * jax.nn.log_sigmoid(logits),
            -(1.0 - gamma) * jax.nn.log_sigmoid(-logits),
        )
        error = jnp.sum(jnp.where(known, error, 0.0), axis=(1, 2, 3))
        weight = self.config.loss.soft_iou
        if weight == 0.0:
            return error
        weight *= float(np.prod(self.shape))
        probability = jax.nn.sigmoid(self.with_known(outputs, batch)[..., 0])
        flat = [x.reshape(x.shape[0], -1) for x in (probability, occupied, known)]
        return error + weight * (1.0 - expected_iou(*flat))

    def with_known(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> jax.Array:
        """The logits; with `eval.keep_observed` those of seen voxels are as good as infinite."""
        if not self.config.eval.keep_observed:
            return outputs.output
        return jnp.where(batch["partial"][..., None] > 0, CERTAIN, outputs.output)

    def metrics(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Counts of voxels at `eval.threshold`, then at `eval.thresholds`, `[B, 1 + T]`."""
        options = self.config.eval
        probability = jax.nn.sigmoid(self.with_known(outputs, batch)[..., 0])
        intersection, union = volumes.occupancy_counts(
            probability, batch["target"], (options.threshold, *options.thresholds)
        )
        return {"intersection": intersection, "union": union}

    def summary(self, encoded: Mapping[str, np.ndarray], source: Source) -> dict[str, float]:
        """IoU of occupied voxels in every convention."""
        intersection, union = encoded["intersection"], encoded["union"]
        first = intersection[:, 0], union[:, 0]
        values = {"iou": volumes.iou_mean(*first), "iou_pooled": volumes.iou_pooled(*first)}
        values |= {
            f"iou_at/{threshold:g}": volumes.iou_mean(intersection[:, i], union[:, i])
            for i, threshold in enumerate(self.config.eval.thresholds, 1)
        }
        if (encoded["label"] >= 0).any():
            classes = volumes.class_means(volumes.iou(*first), encoded["label"])
            values["iou_class_mean"] = classes.mean
            values |= named("iou_class", classes.per_class, class_names_of(source))
        return values

    def answer(self, output: Any, batch: Mapping[str, jax.Array]) -> jax.Array:
        """Probability of every voxel to be occupied, `[B, X, Y, Z]`."""
        return jax.nn.sigmoid(self.with_known(Outputs(output, None), batch)[..., 0])  # type: ignore[arg-type]

    def answer_error(self, answer: jax.Array, batch: Mapping[str, jax.Array]) -> jax.Array:
        """One less the IoU at `eval.threshold`, `[B]`."""
        levels = (self.config.eval.threshold,)
        intersection, union = volumes.occupancy_counts(answer, batch["target"], levels)
        return 1.0 - jnp.where(union > 0, intersection / jnp.maximum(union, 1), 1.0)[:, 0]

    def finish(self, output: Any) -> jax.Array:
        """Probability of every voxel to be occupied, `[N, X, Y, Z]`."""
        return jax.nn.sigmoid(output[..., 0])
