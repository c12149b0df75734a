"""Completion of point clouds: the points seen of a shape → points all over it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.source import FieldSource, FieldSpec, Source, select
from nvc_jax.data.shapes.stretch import STRETCH_OPTIONS, with_stretched_copies
from nvc_jax.data.shapes.views import OBLIQUE_VIEWS, PartialClouds
from nvc_jax.metrics.chamfer import (
    CHAMFER,
    chamfer_distance,
    f_score,
    nearest_squared_distances,
)
from nvc_jax.model.autoencoder import LatentModel, make_bottleneck
from nvc_jax.networks.points import POINT_NETWORKS, DecodedPoints, make_point_autoencoder
from nvc_jax.plots.export import export_points
from nvc_jax.tasks.augment import ASSIGN_FROM, TURN_OPTIONS, turn_points
from nvc_jax.tasks.base import Outputs, Task, check_fields
from nvc_jax.tasks.clouds import as_clouds, histograms
from nvc_jax.tasks.options import KEEP_OBSERVED


class PointCompletionTask(Task):
    """Coarse and fine points by Chamfer distance."""

    options = (
        OBLIQUE_VIEWS,
        shared.NUM_POINTS,
        *STRETCH_OPTIONS,
        *TURN_OPTIONS,
        ASSIGN_FROM,
        Option(
            "loss.chamfer",
            "l1",
            "mean distance, halved and summed; or l2, squared distances, summed",
            tuple(CHAMFER),
        ),
        Option("loss.fine", 1.0, "weight of the fine points beside the coarse ones", at_least=0),
        KEEP_OBSERVED,
        Option("eval.f_score_distance", 0.01, "within which a point counts as found", above=0),
    )
    networks = POINT_NETWORKS

    def __init__(self, config: ml_collections.ConfigDict, spec: Mapping[str, FieldSpec]):
        check_fields(
            config, spec, {"partial": ("[N, 3]", "float32"), "complete": ("[M, 3]", "float32")}
        )
        super().__init__(config, spec)
        self.variant = config.loss.chamfer
        if self.variant not in CHAMFER:
            raise UserError(f"loss.chamfer is {self.variant!r}: use one of {', '.join(CHAMFER)}.")
        if not config.eval.f_score_distance > 0:
            raise UserError(
                f"eval.f_score_distance is {config.eval.f_score_distance}: it must be greater than 0."
            )

    @classmethod
    def examples(cls, source: Source, config: ml_collections.ConfigDict, split: str) -> Source:
        """Oblique views of stored shapes; pairs are taken as they are."""
        if "partial" in source.spec:
            return source
        data = config.data
        source = with_stretched_copies(select(source, ("points", "label")), data, split)
        return PartialClouds(
            source, num_views=data.oblique_views, num_points=data.num_points, seed=data.view_seed
        )

    def as_source(self, inputs: Any) -> Source:
        """Partial clouds `[n, P, 3]` of any number P of points as a source."""
        partial = as_clouds(inputs, self.batch_spec["partial"].shape)
        complete = np.zeros((len(partial), *self.batch_spec["complete"].shape), np.float32)
        return FieldSource({"partial": partial, "complete": complete})

    def make_model(self, axis_name: str | None) -> nn.Module:
        """See `Task`."""
        encoder, decoder = make_point_autoencoder(self.config.model, axis_name)
        return LatentModel(encoder, make_bottleneck(self.config), decoder, field="partial")

    def prepare(
        self, batch: dict[str, jax.Array], keys: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """See `Task`; with keys, turned about the vertical axis, mirrored and scaled."""
        prepared: dict[str, Any] = {**batch, "target": batch["complete"]}
        if keys is None:
            return prepared
        clouds = batch["partial"], batch["complete"]
        turned = turn_points(clouds, keys, self.config.augment)
        if turned[0] is not clouds[0] and self.config.augment.assign_from == "clean":
            prepared["clean"] = {"partial": clouds[0]}
        prepared["partial"], prepared["target"] = turned
        return prepared

    def reconstruction(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> jax.Array:
        """Chamfer distance of the coarse points plus `loss.fine` times that of the fine ones, `[B]`.

        Reference: Yuan et al., "PCN: Point Completion Network", 2018, equation 5.
        """
        coarse, fine = (
            chamfer_distance(points, batch["target"], variant=self.variant)
            for points in (outputs.output.coarse, outputs.output.fine)
        )
        return coarse + self.config.loss.fine * fine

    def predicted(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> DecodedPoints:
        """The decoded points; with `eval.keep_observed` half of the fine ones are observed ones."""
        decoded: DecodedPoints = outputs.output
        if not self.config.eval.keep_observed:
            return decoded
        return decoded.replace(fine=keep_observed(decoded.fine, batch["partial"]))  # type: ignore

    def metrics(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Of the fine points, in the unit of the data: `chamfer_l1`, `chamfer_l2`, `f_score`.

        `decoded_chamfer_l1` is that of the decoder's own points, whether observed ones are kept or not.
        """
        fine, target = self.predicted(outputs, batch).fine, batch["target"]
        return {
            "decoded_chamfer_l1": chamfer_distance(outputs.output.fine, target, variant="l1"),
            "chamfer_l1": chamfer_distance(fine, target, variant="l1"),
            "chamfer_l2": chamfer_distance(fine, target, variant="l2"),
            "f_score": f_score(fine, target, threshold=self.config.eval.f_score_distance),
        }

    def present(self, output: Any) -> np.ndarray:
        """The fine points, `[N, M, 3]`."""
        return np.asarray(output.fine)

    def features(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """Share of the partial cloud's points in each of 8³ cells."""
        return histograms(batch["partial"])

    def pictures(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """See `Task`; the complete clouds."""
        return self.render(batch["complete"])

    def render(self, presented: np.ndarray) -> np.ndarray:
        """See `Task`."""
        from nvc_jax.plots import shapes as plots_3d  # matplotlib is slow to import

        return plots_3d.render_points(presented)

    def export(self, presented: np.ndarray, stem: Path) -> Path | None:
        """See `Task`; the points, as PLY."""
        return export_points(stem.with_suffix(".ply"), presented)

    def figures(self, batch: Mapping[str, np.ndarray], decoded: np.ndarray) -> dict[str, Any]:
        """`completions`."""
        from nvc_jax import plots  # matplotlib is slow to import
        from nvc_jax.plots import shapes as plots_3d  # matplotlib is slow to import

        clouds = {"input": batch["partial"], "completion": decoded, "truth": batch["complete"]}
        rows = {
            name: plots_3d.render_points(points, frame=batch["complete"])
            for name, points in clouds.items()
        }
        return {"completions": plots.example_grid(rows, title="Completions")}


def keep_observed(decoded: jax.Array, observed: jax.Array) -> jax.Array:
    """A completion of as many points, half of which are observed ones.

    The other half are the decoded points that are farthest from any observed one: those of what
    was not seen.

    Args:
      decoded: float32 `[B, M, 3]`.
      observed: float32 `[B, N, 3]`; ⌈M / 2⌉ of them are taken, at even steps, or all of fewer.

    Returns:
      float32 `[B, M, 3]`, observed points first.
    """
    kept = min((decoded.shape[1] + 1) // 2, observed.shape[1])
    steps = np.arange(kept) * observed.shape[1] // kept
    distance = nearest_squared_distances(decoded, observed)
    farthest = jax.lax.top_k(distance, decoded.shape[1] - kept)[1]
    added = jnp.take_along_axis(decoded, farthest[..., None], axis=1)
    return jnp.concatenate([observed[:, steps], added], axis=1)
