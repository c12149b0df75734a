"""A conditional nebula beside what it is compared with, on quadrants of images.

All have the same encoder and decoder, data and number of steps. Answers are compared by the errors of the best of n: of
the n most probable ones, and of n that stand for all, or for many draws, by k-means (`reduce_answers`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax

from benchmarks.table import Changes, Row, evaluated, trained
from nvc_jax.core.options import Option
from nvc_jax.data.base.examples import NOTHING, Learned, Spec
from nvc_jax.model.bottleneck import Latent
from nvc_jax.model.mixture import Prior
from nvc_jax.networks.images import make_autoencoder
from nvc_jax.tasks import TASKS, Outputs
from nvc_jax.tasks.image_completion import ImageCompletionTask

RELAXATION = Option("loss.relaxation", 0.05, "share of the loss that all other heads have", below=1)


class Heads(nn.Module):
    """Encoder → decoder with K outputs and their weights; no latent, but a parameter for the shared loop.

    Attributes:
      encoder: what is seen → features.
      decoder: features → K pictures, one channel each.
      heads: K.
    """

    encoder: nn.Module
    decoder: nn.Module
    heads: int

    def setup(self) -> None:
        """Declares the weights."""
        self.weights = nn.Dense(self.heads, kernel_init=nn.initializers.zeros)
        self.anchors = self.param("anchors", nn.initializers.normal(), (self.heads, 1))

    def __call__(self, batch: Mapping[str, jax.Array], *, train: bool, **unused: Any) -> Outputs:
        """In training all heads and their weights; else the most probable head."""
        logits, prior = self._all(batch, train)
        latent = self._latent(prior)
        if train:
            return Outputs((logits, prior.log_weight), latent)
        index = latent.assignment[:, None, None, None, None]
        return Outputs(jnp.take_along_axis(logits, index, axis=1)[:, 0], latent)

    def encode(self, batch: Mapping[str, jax.Array]) -> Latent:
        """See `ConditionalModel`."""
        prior = self._all(batch, False)[1]
        return self._latent(prior).replace(prior=prior)  # type: ignore[attr-defined]

    posterior = encode

    def answers(self, batch: Mapping[str, jax.Array], code: jax.Array, index: jax.Array) -> Any:
        """See `ConditionalModel`; the code says nothing."""
        index = index[:, :, None, None, None]
        return jnp.take_along_axis(self._all(batch, False)[0], index, axis=1)

    def _all(self, batch: Mapping[str, jax.Array], train: bool) -> tuple[jax.Array, Prior]:
        """Logits `[B, K, H, W, 1]`, and the prior."""
        features = self.encoder(batch["image"], train)
        logits = jnp.moveaxis(self.decoder(features, train), -1, 1)[..., None]
        weight = jax.nn.log_softmax(self.weights(features))
        zeros = jnp.zeros((*weight.shape, 1))
        return logits, Prior(weight, zeros, zeros)

    def _latent(self, prior: Prior) -> Latent:
        """A latent without content."""
        best = jnp.argmax(prior.log_weight, axis=-1).astype(jnp.int32)
        zero = jnp.zeros((best.shape[0], 1)) + 0.0 * self.anchors[0]
        return Latent(zero, zero, zero, zero, best, jnp.exp(prior.log_weight), self.anchors)


class HeadsTask(ImageCompletionTask):
    """K heads, the best of which is trained for each example, and the others a little.

    References: Guzman-Rivera et al., "Multiple Choice Learning", NeurIPS 2012; Rupprecht et al., "Learning in an
    Uncertain World", ICCV 2017, for the relaxation.
    """

    options: ClassVar[tuple[Option, ...]] = (*ImageCompletionTask.options, RELAXATION)
    measures_likelihood = False

    def __init__(self, config: ml_collections.ConfigDict, spec: Spec, learned: Learned = NOTHING):
        super().__init__(config, spec, learned)
        self.gives_answers, self.decodes_codes = True, False

    def make_model(self, axis_name: str | None) -> nn.Module:
        """See `Task`."""
        heads, (height, width, _) = self.config.model.num_anchors, self.shape
        encoder, decoder = make_autoencoder(self.config.model, (height, width, heads), axis_name)
        return Heads(encoder, decoder, heads)

    def reconstruction(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> jax.Array:
        """Of the one that is shown; in training that of the best head, less its log weight, and of the others."""
        if not isinstance(outputs.output, tuple):
            return super().reconstruction(outputs, batch)
        logits, log_weight = outputs.output
        error = optax.sigmoid_binary_cross_entropy(logits, batch["target"][:, None])
        error = jnp.sum(jnp.where(self.visible[None, None], 0.0, error), axis=(2, 3, 4))
        best = jax.nn.one_hot(jnp.argmin(error, axis=1), error.shape[1])
        share = self.config.loss.relaxation / max(error.shape[1] - 1, 1)
        mixed = best * (1 - self.config.loss.relaxation) + (1 - best) * share
        return jnp.sum(mixed * error - best * log_weight, axis=1)


TASKS["image_heads"] = HeadsTask

NUMBERS = (1, 3, 5, 10)
BEST_OF = tuple(
    f"{name}/{n}"
    for name in ("best_of_reduced_draws", "best_of_reduced", "best_of")
    for n in NUMBERS
)
"""The first ones, of what stands for draws, tell every method by the same measure."""
COLUMNS = (
    *BEST_OF,
    "mean_answer",
    "log_likelihood",
    "reconstruction",
    "wrong_pixels",
    "answer_distance",
    "prior_entropy",
    "prior_calibration",
    "anchors_possible",
)
WHOLE: Changes = {"loss.reconstruction.value": 1.0, "loss.own.value": 0.0}
"""Weights of a loss without own answers."""

CVAE: Changes = {"model.num_anchors": 1, "loss.own_of_mean": 0.0}
METHODS: dict[str, Changes] = {
    "network alone": {**WHOLE, **CVAE, "model.conditional": False, "loss.kl.value": 0.0},
    "CVAE": {**WHOLE, **CVAE, "loss.kl.value": 1.0},
    "CVAE, hybrid": CVAE,
    "heads, winner takes all": {
        **WHOLE,
        "task": "image_heads",
        "model.conditional": False,
        "loss.kl.value": 0.0,
        "anchors.init": "normal",
    },
    "nebula, by codes": {"anchors.choose_by": "code"},
    "nebula, by errors": {},
    "nebula, by errors, 64 anchors": {"model.num_anchors": 64},
}

VOXEL_COLUMNS = (
    "iou",
    *BEST_OF,
    "mean_answer",
    "prior_calibration",
    "anchors_possible",
)
VOXEL_METHODS: dict[str, Changes] = {"CVAE, hybrid": {"model.num_anchors": 1}, "nebula": {}}
ONE_VIEW: Changes = {
    "data.side_views": False,
    "data.oblique_views": 1,
    "model.conditional": True,
    "loss.own.value": 1.0,
    "loss.triplet.value": 0.0,
    "anchors.choose_by": "error",
    "anchors.max_examples": 200,
    "eval.batch_size": 8,
    "eval.max_train_examples": 100,
}
"""Of the embedded furniture."""


def measure(config: ml_collections.ConfigDict, directory: Path) -> Row:
    """A `Measure` of what quadrants need: no k-means on pixels."""
    return trained(config, directory) | evaluated(directory, [("eval.kmeans_inputs", "false")])
