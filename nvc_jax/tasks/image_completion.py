"""Completion of images: some quadrants of a binary picture → the others."""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option
from nvc_jax.data.base.examples import NOTHING, Learned, Spec
from nvc_jax.data.images.arrays import ImageExamples
from nvc_jax.model.autoencoder import LatentModel, make_bottleneck
from nvc_jax.model.conditional import CONDITIONAL_OPTIONS, make_conditional
from nvc_jax.networks.images import IMAGE_NETWORKS, make_autoencoder
from nvc_jax.tasks.base import Outputs, Task
from nvc_jax.tasks.image import check_image_field, to_range

QUADRANTS = ("bottom_left", "top_left", "bottom_right", "top_right")
CERTAIN = 100.0  # logit of a pixel that is seen
HIDDEN_VALUE = -1.0  # of pixels that are not seen, as in Pyro's example


def visible_pixels(quadrants: tuple[str, ...], height: int, width: int) -> np.ndarray:
    """Which pixels are seen, bool `[H, W]`; the middle row and column of odd sides belong to the first half.

    Args:
      quadrants: of `QUADRANTS`, one at least and not all.
      height: `H`.
      width: `W`.

    Raises:
      UserError: for other names or numbers.

    Example:
      >>> visible_pixels(("bottom_left",), 2, 2).tolist()
      [[False, False], [True, False]]
    """
    if not 0 < len(set(quadrants)) < len(QUADRANTS) or not set(quadrants) <= set(QUADRANTS):
        raise UserError(
            f"data.visible is {quadrants}: give one to three of {', '.join(QUADRANTS)}."
        )
    top, left = np.arange(height) * 2 < height, np.arange(width) * 2 < width
    rows, columns = {"top": top, "bottom": ~top}, {"left": left, "right": ~left}
    pairs = (name.split("_") for name in quadrants)
    return np.any([np.outer(rows[y], columns[x]) for y, x in pairs], axis=0)


class ImageCompletionTask(Task):
    """The pixels that are not seen, by binary cross-entropy summed over them."""

    options: ClassVar[tuple[Option, ...]] = (
        Option("data.visible", QUADRANTS[:1], f"quadrants that are seen: {', '.join(QUADRANTS)}"),
        Option("data.threshold", 0.5, "of white, above which a pixel is set", at_least=0, below=1),
        *CONDITIONAL_OPTIONS,
    )
    networks = IMAGE_NETWORKS
    examples = ImageExamples
    measures_likelihood = True

    def __init__(self, config: ml_collections.ConfigDict, spec: Spec, learned: Learned = NOTHING):
        check_image_field(spec, config.task)
        super().__init__(config, spec, learned)
        height, width, channels = spec["image"].shape
        self.shape = (height, width, channels)
        seen = visible_pixels(tuple(config.data.visible), height, width)
        self.visible: np.ndarray = np.broadcast_to(seen[..., None], self.shape)
        self.gives_answers = config.model.conditional
        self.decodes_codes = not self.gives_answers

    def check_values(self, batch: Mapping[str, np.ndarray]) -> None:
        """See `Task`; floating images must lie between 0 and 1."""
        image = batch["image"]
        if image.dtype.kind == "f" and not (
            np.min(image, initial=1.0) >= 0.0 and np.max(image, initial=0.0) <= 1.0
        ):
            raise UserError(
                f"Image values lie from {np.nanmin(image):g} to {np.nanmax(image):g}, or are not finite: "
                "scale the images to 0 to 1."
            )

    def make_model(self, axis_name: str | None) -> nn.Module:
        """See `Task`."""
        encoder, decoder = make_autoencoder(self.config.model, self.shape, axis_name)
        recognizer, _ = make_autoencoder(self.config.model, self.shape, axis_name)
        model = LatentModel(encoder, make_bottleneck(self.config), decoder, field="image")
        return make_conditional(self.config, model, recognizer)

    def prepare(
        self, batch: dict[str, jax.Array], keys: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """See `Task`; `whole` is the picture, `image` what is seen of it."""
        del keys
        whole = to_range(batch["image"], (0.0, 1.0)) > self.config.data.threshold
        whole = whole.astype(jnp.float32)
        seen = jnp.where(self.visible[None], whole, HIDDEN_VALUE)
        return {**batch, "image": seen, "whole": whole, "target": whole}

    def reconstruction(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> jax.Array:
        """Binary cross-entropy in nats, summed over the pixels that are not seen, `[B]`."""
        error = optax.sigmoid_binary_cross_entropy(outputs.output, batch["target"])
        return jnp.sum(jnp.where(self.visible[None], 0.0, error), axis=(1, 2, 3))

    def with_known(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> jax.Array:
        """The logits; those of pixels that are seen are as good as infinite."""
        return self._with_seen(outputs.output, batch)

    def _with_seen(self, logits: jax.Array, batch: Mapping[str, jax.Array]) -> jax.Array:
        """See `with_known`."""
        seen = jnp.where(batch["image"] > 0, CERTAIN, -CERTAIN)
        return jnp.where(self.visible[None], seen, logits)

    def metrics(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """`wrong_pixels`: how many of the pixels that are not seen are wrong, `[B]`."""
        return {"wrong_pixels": self.answer_error(self.answer(outputs.output, batch), batch)}

    def answer(self, output: Any, batch: Mapping[str, jax.Array]) -> jax.Array:
        """Probability of every pixel, `[B, H, W, C]`."""
        return jax.nn.sigmoid(self._with_seen(output, batch))

    def answer_error(self, answer: jax.Array, batch: Mapping[str, jax.Array]) -> jax.Array:
        """Wrong pixels, `[B]`; a pixel of probability above ½ is set."""
        wrong = (answer > 0.5) != (batch["target"] > 0.5)
        return jnp.sum(wrong, axis=(1, 2, 3)).astype(jnp.float32)

    def finish(self, output: Any) -> jax.Array:
        """Probability of every pixel, `[N, H, W, C]`."""
        return jax.nn.sigmoid(output)

    def shown(self, stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Stored images as (what is seen, the rest gray; the whole), from 0 to 1."""
        prepared = jax.device_get(self.prepare({"image": jnp.asarray(stored)}))
        return np.where(self.visible[None], prepared["whole"], 0.5), prepared["whole"]

    def features(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """The pixels that are seen, 0 or 1."""
        seen = np.asarray(self.prepare({"image": jnp.asarray(batch["image"])})["whole"])
        return seen[:, self.visible]
