"""What a task is: everything about the data that the shared loop does not know."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import flax.linen as nn
import jax
import ml_collections
import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option
from nvc_jax.data.base.source import FieldSpec, Source, check_batch_fields
from nvc_jax.model.autoencoder import Outputs
from nvc_jax.networks.layers import Networks


def check_fields(
    config: ml_collections.ConfigDict,
    spec: Mapping[str, FieldSpec],
    expected: Mapping[str, tuple[str, str]],
) -> None:
    """Compares rank and dtype of the data's fields with what a task needs.

    Args:
      config: the whole config.
      spec: the fields of the data.
      expected: name → (shape as it is written, `[X, Y, Z]`, where a number is fixed; dtype).

    Raises:
      UserError: listing what was got and what was expected.
    """

    def fits(name: str, shape: str, dtype: str) -> bool:
        sides = shape.strip("[]").split(", ")
        got = spec.get(name)
        return (
            got is not None
            and np.dtype(got.dtype) == dtype
            and len(got.shape) == len(sides)
            and all(
                str(n) == side for n, side in zip(got.shape, sides, strict=True) if side.isdigit()
            )
        )

    if all(fits(name, *field) for name, field in expected.items()):
        return
    wanted = ", ".join(f"{name} {shape} {dtype}" for name, (shape, dtype) in expected.items())
    got = ", ".join(f"{name} {list(f.shape)} {np.dtype(f.dtype)}" for name, f in spec.items())
    got = got or "nothing"
    raise UserError(f"The task {config.task} needs the fields {wanted}; got {got}.")


class Task(abc.ABC):
    """Made from a config and the fields of the data.

    Args:
      config: the whole config.
      spec: name, shape and dtype of the data's fields.

    Attributes:
      options: keys of the config that the task reads beside those that all runs have.
      networks: by the name in `model.network`, the default first, with their options; {}: the task has a
        network of its own, and no such key.
      batch_spec: the fields of a batch.
      learns: whether `learn` gives something, which `__init__` and `examples` then take as a last
        argument.
      decodes_codes: whether the decoder makes something of a code alone, such as that of an anchor.
      measures_predictions: whether `summary` also needs what `predict` makes of every example, as
        `prediction`.
    """

    options: ClassVar[tuple[Option, ...]] = ()
    networks: ClassVar[Networks] = {}
    learns = False
    decodes_codes = True
    measures_predictions = False

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

    @classmethod
    def learn(cls, source: Source, config: ml_collections.ConfigDict) -> dict[str, bytes]:
        """Learns what has to be known before there are examples, such as a vocabulary.

        Args:
          source: the training examples as they are stored.
          config: the whole config.

        Returns:
          Contents of files by their names; the work directory keeps them.
        """
        del source, config
        return {}

    @classmethod
    def examples(cls, source: Source, config: ml_collections.ConfigDict, split: str) -> Source:
        """Makes the task's examples of what is stored, such as views of shapes.

        Args:
          source: what `data.source` names.
          config: the whole config.
          split: `train`, `validation` or `test`.
        """
        del config, split
        return source

    def as_source(self, inputs: Any) -> Source:
        """A user's inputs, an array `[N, ...]`, as a source whose other fields are unknown.

        Raises:
          UserError: if the task takes sources alone.
        """
        del inputs
        raise UserError(f"{type(self).__name__} takes no arrays: use encode and predict.")

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

    def weight(self, batch: Mapping[str, jax.Array]) -> jax.Array | None:
        """How much every example counts in the mean reconstruction error, such as its number of tokens.

        Args:
          batch: the stored fields.

        Returns:
          float32 `[B]`, not negative; None: all count alike.
        """
        del batch
        return None

    @abc.abstractmethod
    def reconstruction(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> jax.Array:
        """Reconstruction error of every example, float32 `[B]`."""

    def metrics(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """The task's own measures of every example.

        Returns:
          float32 `[B]`, which are averaged over a data set under their names, and others
          `[B, ...]`, which only `summary` sees.
        """
        del outputs, batch
        return {}

    def summary(self, encoded: Mapping[str, np.ndarray], source: Source) -> dict[str, float]:
        """The task's measures of a whole data set, such as ratios of sums, on the host.

        Args:
          encoded: what `metrics` gave for every example, `[N, ...]`, and `label` `[N]`.
          source: the data set, which may have names of classes.
        """
        del encoded, source
        return {}

    def predict(self, apply: Callable[..., Any], batch: Mapping[str, jax.Array]) -> Any:
        """What the trained model makes of prepared examples, on the device.

        Args:
          apply: the model's methods with its parameters: `apply(batch, train=False)` → `Outputs`,
            `apply(*arguments, method=name)`.
          batch: what `prepare` made.

        Returns:
          A structure of arrays `[B, ...]`, for `present`.
        """
        return self.predicted(apply(batch, train=False), batch)

    def predicted(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> Any:
        """What the model's output becomes by what is known of the input, on the device.

        Returns:
          A structure like `outputs.output`, for `present`.
        """
        del batch
        return outputs.output

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

    def describe(self, source: Source, ids: np.ndarray) -> list[str] | None:
        """Examples of a source as lines of text; None: the task's examples are no text.

        Args:
          source: of the task's examples.
          ids: int `[n]`.
        """
        del source, ids
        return None

    def pictures(self, batch: Mapping[str, np.ndarray]) -> np.ndarray | None:
        """Stored examples as pictures that show what they are.

        Args:
          batch: the stored fields, `[n, ...]`.

        Returns:
          `[n, H, W, C]` from 0 to 1; None: the task has none, and examples are not drawn.
        """
        del batch
        return None

    def render(self, presented: np.ndarray) -> np.ndarray | None:
        """What `present` gives as pictures.

        Args:
          presented: `[..., *shape of an output]`, with any number of axes before.

        Returns:
          `[..., H, W, C]` from 0 to 1; None: the task has none, and decoded anchors are not drawn.
        """
        del presented
        return None

    def export(self, presented: np.ndarray, stem: Path) -> Path | None:
        """Writes one output, as `present` gives it, to a file for other programs.

        Args:
          presented: of one example.
          stem: path of the file without its suffix.

        Returns:
          The file; None: there is nothing to write.
        """
        del presented, stem
        return None

    def figures(self, batch: Mapping[str, np.ndarray], decoded: np.ndarray) -> dict[str, Any]:
        """Figures of a few examples with what the model makes of them, by name.

        Args:
          batch: stored examples `[n, ...]`.
          decoded: their decoded means, as `present` gives them, `[n, ...]`.

        Returns:
          matplotlib figures.
        """
        del batch, decoded
        return {}
