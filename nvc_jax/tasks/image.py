"""Images: reconstruct the picture."""

from collections.abc import Mapping
from typing import Any

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
from nvc_jax.networks.images import IMAGE_NETWORKS, make_autoencoder
from nvc_jax.tasks.augment import ASSIGN_FROM, TARGET, WARP_OPTIONS, warp
from nvc_jax.tasks.base import Outputs, Task

LIKELIHOODS = ("squared_error", "binary_cross_entropy")
STORED = (np.dtype(np.uint8), np.dtype(np.uint16))


def to_range(image: jax.Array, value_range: tuple[float, float]) -> jax.Array:
    """Integer images → float32 in the range, 0 to its start and the dtype's maximum to its end.

    Floating images are taken as they are: their values must lie in the range already.
    """
    if not jnp.issubdtype(image.dtype, jnp.integer):
        return image.astype(jnp.float32)
    low, high = value_range
    top = float(jnp.iinfo(image.dtype).max)
    level, unit = image.astype(jnp.float32), (high - low) / top
    # Counted from the nearer end, so that no rounding of a compiler can miss either.
    return jnp.where(level < top / 2, low + unit * level, high - unit * (top - level))


def check_image_field(spec: Spec, task: str) -> None:
    """Checks that there are images of a kind whose white is known.

    Raises:
      UserError: telling what was got.
    """
    if "image" not in spec or len(spec["image"].shape) != 3:
        got = ", ".join(f"{name} {list(field.shape)}" for name, field in spec.items())
        raise UserError(f"The {task} task needs a field image [H, W, C], got {got}.")
    dtype = np.dtype(spec["image"].dtype)
    if dtype.kind != "f" and dtype not in STORED:
        raise UserError(
            f"Images are uint8, uint16 or floats, got {dtype}, whose white is not known: "
            "convert them first, as with images.astype('uint8')."
        )


class ImageTask(Task):
    """Reconstruction of images by squared error or binary cross-entropy, summed over pixels."""

    options = (
        Option(
            "loss.likelihood", "squared_error", "or binary_cross_entropy, on logits", LIKELIHOODS
        ),
        Option("loss.value_range", (0.0, 1.0), "of the images that the network sees"),
        *WARP_OPTIONS,
        TARGET,
        ASSIGN_FROM,
    )
    networks = IMAGE_NETWORKS
    examples = ImageExamples

    def __init__(self, config: ml_collections.ConfigDict, spec: Spec, learned: Learned = NOTHING):
        check_image_field(spec, config.task)
        super().__init__(config, spec, learned)
        self.likelihood = config.loss.likelihood
        self.value_range = tuple(config.loss.value_range)
        if len(self.value_range) != 2 or not self.value_range[0] < self.value_range[1]:
            raise UserError(
                f"loss.value_range is {self.value_range}: give two numbers, the smaller one first."
            )
        low, high = self.value_range
        if self.likelihood == "binary_cross_entropy" and (low, high) != (0.0, 1.0):
            raise UserError(
                f"loss.value_range = ({low}, {high}) does not fit binary_cross_entropy: use "
                "(0.0, 1.0), or loss.likelihood = 'squared_error'."
            )

    def check_values(self, batch: Mapping[str, np.ndarray]) -> None:
        """See `Task`; floating images must lie in `loss.value_range`."""
        image = batch["image"]
        if image.dtype.kind != "f":
            return
        low, high = self.value_range
        if np.min(image, initial=high) >= low and np.max(image, initial=low) <= high:
            return  # every training batch comes here: the copy below is for the message
        finite = image[np.isfinite(image)]
        if finite.size and (finite.min() < low or finite.max() > high):
            raise UserError(
                f"Image values lie from {finite.min():g} to {finite.max():g}, outside of "
                f"loss.value_range = ({low:g}, {high:g}): scale the images or set the range."
            )

    def make_model(self, axis_name: str | None) -> nn.Module:
        """See `Task`."""
        options = self.config.model
        height, width, channels = self.batch_spec["image"].shape
        encoder, decoder = make_autoencoder(options, (height, width, channels), axis_name)
        return LatentModel(encoder, make_bottleneck(self.config), decoder, field="image")

    def prepare(
        self, batch: dict[str, jax.Array], keys: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """See `Task`."""
        options = self.config.augment
        clean = to_range(batch["image"], self.value_range)
        prepared: dict[str, Any] = {**batch, "image": clean, "target": clean}
        ranges = {name: options[name] for name in ("shift", "rotation", "scale", "shear")}
        if keys is None or not any(ranges.values()):
            return prepared
        low = self.value_range[0]
        warped = warp(clean - low, keys, **ranges) + low
        prepared["image"] = warped
        if options.target == "augmented":
            prepared["target"] = warped
        if options.assign_from == "clean":
            prepared["clean"] = {"image": clean}
        return prepared

    def reconstruction(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> jax.Array:
        """Squared error or binary cross-entropy, summed over pixels and channels, `[B]`."""
        if self.likelihood == "squared_error":
            error = jnp.square(outputs.output - batch["target"])
        else:
            error = optax.sigmoid_binary_cross_entropy(outputs.output, batch["target"])
        return jnp.sum(error, axis=(1, 2, 3))

    def metrics(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """`squared_error`: of the displayed picture, averaged over pixels, `[B]`."""
        shown = outputs.output
        if self.likelihood == "binary_cross_entropy":
            shown = jax.nn.sigmoid(shown)
        error = jnp.square(shown - batch["target"])
        return {"squared_error": jnp.mean(error, axis=(1, 2, 3))}

    def finish(self, output: Any) -> jax.Array:
        """Values from 0 to 1."""
        if self.likelihood == "binary_cross_entropy":
            return jax.nn.sigmoid(output)
        low, high = self.value_range
        return jnp.clip((output - low) / (high - low), 0.0, 1.0)

    def to_unit(self, stored: np.ndarray) -> np.ndarray:
        """Stored images with values from 0 to 1."""
        low, high = self.value_range
        ranged = np.asarray(to_range(jnp.asarray(stored), self.value_range))
        return np.clip((ranged - low) / (high - low), 0.0, 1.0)

    def features(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """The pixels, from 0 to 1."""
        return self.to_unit(batch["image"]).reshape(len(batch["image"]), -1)
