"""What a task is: everything about the data that the shared loop does not know."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import ml_collections
import numpy as np

from nvc_jax.bottleneck import Latent
from nvc_jax.data.source import FieldSpec, check_batch_fields
from nvc_jax.errors import UserError


@flax.struct.dataclass
class Outputs:
    """What a model returns: the decoder's `output`, and the `latent` it was decoded from."""

    output: jax.Array
    latent: Latent


class Task(abc.ABC):
    """Made from a config and the fields of the data.

    Args:
      config: the whole config.
      spec: name, shape and dtype of the data's fields.

    Attributes:
      batch_spec: the fields of a batch.
    """

    def __init__(self, config: ml_collections.ConfigDict, spec: Mapping[str, FieldSpec]):
        self.config = config
        self.batch_spec = dict(spec)

    def check_batch(self, batch: Mapping[str, np.ndarray]) -> None:
        """Compares a batch on the host with `batch_spec`, and checks its values.

        Raises:
          UserError: listing what was got and what was expected.
        """
        check_batch_fields(batch, self.batch_spec)
        self.check_values(batch)

    def check_values(self, batch: Mapping[str, np.ndarray]) -> None:
        """Checks that the values of a batch on the host are such as the model can take.

        Raises:
          UserError: telling what was got and expected.
        """
        del batch

    @abc.abstractmethod
    def make_model(self, axis_name: str | None) -> nn.Module:
        """Makes the module: encoder → NebulaBottleneck → decoder.

        It has `__call__(batch, *, train, example_index=None, noise_scale=1.0, assignment=None)` →
        `Outputs`, `encode(batch)` → deterministic `Latent`, and `decode(sample)`.
        """

    @abc.abstractmethod
    def prepare(
        self, batch: dict[str, jax.Array], keys: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Makes a stored batch ready for the model, on the device.

        Args:
          batch: the stored fields.
          keys: JAX keys `[b]` for augmentation; None: no augmentation.

        Returns:
          The model's input fields and `target`; where the augmented example's anchor is to be taken
          from the clean one, also the fields of the clean example under `clean`.
        """

    @abc.abstractmethod
    def reconstruction(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> jax.Array:
        """Reconstruction error of every example, float32 `[B]`."""

    def metrics(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """The task's own measures of every example, float32 `[B]` each."""
        del outputs, batch
        return {}

    @abc.abstractmethod
    def present(self, output: Any) -> np.ndarray:
        """The decoder's output as what a user wants to have, on the host."""

    def features(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """Stored examples as vectors `[N, F]` on the host, for baselines without a network.

        Raises:
          UserError: if the task has none.
        """
        del batch
        raise UserError(f"{type(self).__name__} gives no features of its inputs.")

    def figures(
        self,
        batch: Mapping[str, np.ndarray],
        decoded: np.ndarray,
        decoded_anchors: np.ndarray,
        decoded_samples: np.ndarray,
        counts: np.ndarray,
    ) -> dict[str, Any]:
        """The task's own figures, by name.

        Args:
          batch: a few stored examples `[n, ...]`.
          decoded: their decoded means, as `present` gives them, `[n, ...]`.
          decoded_anchors: the anchors, decoded, `[K, ...]`.
          decoded_samples: samples drawn around each anchor, decoded, `[K, S, ...]`.
          counts: number of test examples of each anchor, `[K]`.

        Returns:
          matplotlib figures.
        """
        del batch, decoded, decoded_anchors, decoded_samples, counts
        return {}
