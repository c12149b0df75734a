"""Tables: reconstruct the row of features."""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from nvc_jax.core.options import Option
from nvc_jax.model.autoencoder import LatentModel, make_bottleneck
from nvc_jax.networks.images import MLPDecoder
from nvc_jax.networks.layers import HIDDEN, LAYER_OPTIONS, MLP, module_options
from nvc_jax.tasks.augment import ASSIGN_FROM, TARGET
from nvc_jax.tasks.base import Outputs, Task


def swap_features(x: jax.Array, keys: jax.Array, share: float) -> jax.Array:
    """Replaces features, each with probability `share`, by those of random rows.

    Args:
      x: `[B, F]`.
      keys: JAX keys `[B]`.
      share: from 0 to 1.

    Returns:
      `[B, F]`; every column holds values of the same column.
    """
    count, width = x.shape

    def draw(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        which, whose = jax.random.split(key)
        return (
            jax.random.bernoulli(which, share, (width,)),
            jax.random.randint(whose, (width,), 0, count, jnp.int32),
        )

    swapped, other = jax.vmap(draw)(keys)
    return jnp.where(swapped, jnp.take_along_axis(x, other, axis=0), x)


class TableTask(Task):
    """Reconstruction of rows by squared error, summed over features.

    In training a share `augment.swap` of an input's features, drawn anew at every step, is that of other
    rows of the batch (of a device's share of it), and the row as it was is reconstructed.

    Reference: Bahri et al., "SCARF: Self-Supervised Contrastive Learning using Random Feature
    Corruption", ICLR 2022, for the way to change rows.
    """

    options = (
        Option(
            "augment.swap",
            0.0,
            "share of features that are those of another row",
            at_least=0,
            at_most=1,
        ),
        TARGET,
        ASSIGN_FROM,
    )
    fields: ClassVar = {"features": ("[F]", "float32")}
    networks: ClassVar = {"mlp": (HIDDEN, *LAYER_OPTIONS)}

    def make_model(self, axis_name: str | None) -> nn.Module:
        """See `Task`; dense layers."""
        options = self.config.model
        hidden, shared = tuple(options.hidden), module_options(options, axis_name)
        encoder = MLP(hidden, **shared)
        shape: Any = self.batch_spec["features"].shape  # the decoder takes any
        decoder = MLPDecoder(shape, hidden[::-1], **shared)
        return LatentModel(encoder, make_bottleneck(self.config), decoder, field="features")

    def prepare(
        self, batch: dict[str, jax.Array], keys: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """See `Task`."""
        clean = batch["features"]
        prepared: dict[str, Any] = {**batch, "target": clean}
        share = self.config.augment.swap
        if keys is None or not share:
            return prepared
        prepared["features"] = swap_features(clean, keys, share)
        if self.config.augment.target == "augmented":
            prepared["target"] = prepared["features"]
        if self.config.augment.assign_from == "clean":
            prepared["clean"] = {"features": clean}
        return prepared

    def reconstruction(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> jax.Array:
        """Squared error, summed over features, `[B]`."""
        return jnp.sum(jnp.square(outputs.output - batch["target"]), axis=1)

    def finish(self, output: Any) -> jax.Array:
        """The rows."""
        return output

    def features(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """The rows."""
        return batch["features"]
