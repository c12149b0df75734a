"""Completion of point clouds: the points seen of a shape → points all over it."""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from nvc_jax.core.options import Option
from nvc_jax.data.base.examples import NOTHING, Learned, Spec
from nvc_jax.data.shapes.examples import PointViews
from nvc_jax.metrics.chamfer import (
    CHAMFER,
    chamfer_distance,
    f_score,
    nearest_squared_distances,
)
from nvc_jax.model.autoencoder import LatentModel, SkipModel, make_bottleneck
from nvc_jax.model.conditional import CONDITIONAL_OPTIONS, make_conditional
from nvc_jax.networks.points import (
    POINT_NETWORKS,
    DecodedPoints,
    at_even_steps,
    make_point_autoencoder,
)
from nvc_jax.tasks.augment import ASSIGN_FROM, TURN_OPTIONS, turn_points
from nvc_jax.tasks.base import KEEP_OBSERVED, Outputs, Task, histograms


class PointCompletionTask(Task):
    """Coarse and fine points by Chamfer distance."""

    options = (
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
        *CONDITIONAL_OPTIONS,
        Option("eval.f_score_distance", 0.01, "within which a point counts as found", above=0),
    )
    networks = POINT_NETWORKS
    examples = PointViews
    fields: ClassVar = {"partial": ("[N, 3]", "float32"), "complete": ("[M, 3]", "float32")}
    averages_answers = False

    def __init__(self, config: ml_collections.ConfigDict, spec: Spec, learned: Learned = NOTHING):
        super().__init__(config, spec, learned)
        self.gives_answers = config.model.conditional
        self.decodes_codes = not self.gives_answers
        self.num_added = int(config.model.get("num_added", 0))

    def make_model(self, axis_name: str | None) -> nn.Module:
        """See `Task`."""
        encoder, decoder = make_point_autoencoder(self.config.model, axis_name)
        recognizer, _ = make_point_autoencoder(self.config.model, axis_name)
        parts = encoder, make_bottleneck(self.config), decoder
        if self.num_added:
            # The code of a conditional nebula has what is not seen alone.
            dropout = 0.0 if self.config.model.conditional else self.config.model.skip_dropout
            model: LatentModel = SkipModel(*parts, field="partial", skip_dropout=dropout)
        else:
            model = LatentModel(*parts, field="partial")
        return make_conditional(self.config, model, recognizer)

    def prepare(
        self, batch: dict[str, jax.Array], keys: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """See `Task`; with keys, turned about the vertical axis, mirrored and scaled."""
        prepared: dict[str, Any] = {**batch, "target": batch["complete"]}
        conditional = self.config.model.conditional
        if keys is not None:
            clouds = batch["partial"], batch["complete"]
            turned = turn_points(clouds, keys, self.config.augment)
            by_clean = self.config.augment.assign_from == "clean" and not conditional
            if turned[0] is not clouds[0] and by_clean:
                prepared["clean"] = {"partial": clouds[0]}
            prepared["partial"], prepared["target"] = turned
        if conditional:
            prepared["whole"] = prepared["target"]
        return prepared

    def reconstruction(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> jax.Array:
        """Chamfer distance of the coarse points plus `loss.fine` times that of the fine ones, `[B]`.

        The network `seeds` decodes what is not seen: its fine points count together with the observed ones.

        Reference: Yuan et al., "PCN: Point Completion Network", 2018, equation 5.
        """
        decoded: DecodedPoints = outputs.output
        completed = decoded.fine
        if self.num_added:
            seen = at_even_steps(batch["partial"], self.config.model.num_encoded)  # spares time
            completed = add_missing(completed, seen, self.num_added)
        coarse, fine = (
            chamfer_distance(points, batch["target"], variant=self.config.loss.chamfer)
            for points in (decoded.coarse, completed)
        )
        return coarse + self.config.loss.fine * fine

    def with_known(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> DecodedPoints:
        """The decoded points; with `eval.keep_observed` observed ones are among the fine ones.

        They are half of them; or all are kept, and `model.num_added` decoded ones added.
        """
        decoded: DecodedPoints = outputs.output
        if not self.config.eval.keep_observed:
            return decoded
        if self.num_added:
            fine = add_missing(decoded.fine, batch["partial"], self.num_added)
        else:
            fine = keep_observed(decoded.fine, batch["partial"])
        return decoded.replace(fine=fine)  # type: ignore[attr-defined]

    def metrics(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Of the fine points, in the unit of the data: `chamfer_l1`, `chamfer_l2`, `f_score`.

        `decoded_chamfer_l1` is that of the decoder's own points, whether observed ones are kept or not.
        """
        fine, target = self.with_known(outputs, batch).fine, batch["target"]
        return {
            "decoded_chamfer_l1": chamfer_distance(outputs.output.fine, target, variant="l1"),
            "chamfer_l1": chamfer_distance(fine, target, variant="l1"),
            "chamfer_l2": chamfer_distance(fine, target, variant="l2"),
            "f_score": f_score(fine, target, threshold=self.config.eval.f_score_distance),
        }

    def answer(self, output: Any, batch: Mapping[str, jax.Array]) -> jax.Array:
        """The fine points, `[B, M, 3]`."""
        return self.with_known(Outputs(output, None), batch).fine  # type: ignore[arg-type]

    def answer_error(self, answer: jax.Array, batch: Mapping[str, jax.Array]) -> jax.Array:
        """Chamfer distance (l1), `[B]`."""
        return chamfer_distance(answer, batch["target"], variant="l1")

    def finish(self, output: Any) -> jax.Array:
        """The fine points, `[N, M, 3]`."""
        return output.fine

    def features(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """Share of the partial cloud's points in each of 8³ cells."""
        return histograms(batch["partial"])


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
    added = farthest_points(decoded, observed, decoded.shape[1] - kept)
    return jnp.concatenate([at_even_steps(observed, kept), added], axis=1)


def add_missing(decoded: jax.Array, observed: jax.Array, number: int) -> jax.Array:
    """A completion that has all observed points, and decoded ones where nothing was seen.

    Args:
      decoded: float32 `[B, M, 3]`.
      observed: float32 `[B, N, 3]`.
      number: of decoded points that are added, those farthest from any observed one; M at most.

    Returns:
      float32 `[B, N + min(number, M), 3]`, observed points first.
    """
    added = farthest_points(decoded, observed, min(number, decoded.shape[1]))
    return jnp.concatenate([observed, added], axis=1)


def farthest_points(points: jax.Array, others: jax.Array, number: int) -> jax.Array:
    """Those of points `[B, M, 3]` that are farthest from any of others `[B, N, 3]`, `[B, number, 3]`."""
    distance = nearest_squared_distances(*map(jax.lax.stop_gradient, (points, others)))
    farthest = jax.lax.top_k(distance, number)[1]
    return jnp.take_along_axis(points, farthest[..., None], axis=1)
