"""What a task is: everything about the data that the shared loop does not know."""

import abc
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option
from nvc_jax.data.base.examples import NOTHING, Examples, Learned, Spec
from nvc_jax.data.base.source import Source, check_batch_fields
from nvc_jax.model.autoencoder import Outputs
from nvc_jax.networks.layers import Networks

CELLS = 8  # of the histogram along an axis

# What several tasks read.
KEEP_OBSERVED = Option(
    "eval.keep_observed", True, "voxels and points that were seen stay in a completion"
)
SKIP_OPTIONS = (
    Option("model.skips", True, "feature maps of the encoder go to the decoder beside the code"),
    Option(
        "model.skip_dropout",
        0.1,
        "share of training examples that go without them",
        at_least=0,
        at_most=1,
    ),
)
NUM_POSITIONS = Option(
    "loss.num_positions",
    8,
    "tokens or squares of an example that the latent terms see",
    at_least=1,
)


def check_fields(
    config: ml_collections.ConfigDict,
    spec: Spec,
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
    """What training needs of a kind of data, made from a config and the fields of the data.

    Args:
      config: the whole config.
      spec: name, shape and dtype of the data's fields.
      learned: what `examples` learned of the training examples.

    Attributes:
      options: keys of the config that the task reads beside those that all runs have.
      networks: by the name in `model.network`, the default first, with their options; {}: the task has a
        network of its own, and no such key.
      examples: what its examples are made of.
      fields: those that the data must have, see `check_fields`.
      batch_spec: the fields of a batch.
      decodes_codes: whether the decoder makes something of a code alone, such as that of an anchor.
      gives_answers: whether the model gives several answers to an example, as a conditional nebula does.
      averages_answers: whether the mean of several answers is an answer; not so of points, in no order.
      measures_likelihood: whether the reconstruction error is `−log p(y | z, x)`, in nats.
      measures_predictions: whether `summary` also needs what `predict` makes of every example, as
        `prediction`.

    Raises:
      UserError: for data that do not fit.
    """

    options: ClassVar[tuple[Option, ...]] = ()
    networks: ClassVar[Networks] = {}
    examples: ClassVar[type[Examples]] = Examples
    fields: ClassVar[Mapping[str, tuple[str, str]]] = {}
    decodes_codes = True
    gives_answers = False
    averages_answers = True
    measures_likelihood = False
    measures_predictions = False

    def __init__(self, config: ml_collections.ConfigDict, spec: Spec, learned: Learned = NOTHING):
        check_fields(config, spec, self.fields)
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

    def weight(self, batch: Mapping[str, jax.Array]) -> jax.Array | None:
        """How much every example counts in the mean reconstruction error, such as its number of tokens.

        Args:
          batch: the stored fields.

        Returns:
          float32 `[B]`, not negative; None: all count alike.
        """
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
        return {}

    def summary(self, encoded: Mapping[str, np.ndarray], source: Source) -> dict[str, float]:
        """The task's measures of a whole data set, such as ratios of sums, on the host.

        Args:
          encoded: what `metrics` gave for every example, `[N, ...]`, and `label` `[N]`.
          source: the data set, which may have names of classes.
        """
        return {}

    def evaluate(self, apply: Callable[..., Any], batch: Mapping[str, jax.Array]) -> Outputs:
        """The model's outputs for prepared examples when it is measured or used, on the device.

        A task may take a mean over several views of an example here; the latent is that of the example.

        Args:
          apply: see `predict`.
          batch: what `prepare` made.
        """
        return apply(batch, train=False)

    def predict(self, apply: Callable[..., Any], batch: Mapping[str, jax.Array]) -> Any:
        """What the trained model makes of prepared examples, on the device.

        Args:
          apply: the model's methods with its parameters: `apply(batch, train=False)` → `Outputs`,
            `apply(*arguments, method=name)`.
          batch: what `prepare` made.

        Returns:
          A structure of arrays `[B, ...]`, for `postprocess`.
        """
        return self.with_known(self.evaluate(apply, batch), batch)

    def with_known(self, outputs: Outputs, batch: Mapping[str, jax.Array]) -> Any:
        """The model's output with what is known of the input put in, on the device.

        Returns:
          A structure like `outputs.output`, for `postprocess`.
        """
        return outputs.output

    def finish(self, output: Any) -> jax.Array:
        """The decoder's output as what a user wants to have, an array `[B, ...]` on the device.

        A task has this, or `postprocess` where it makes something else; only with this its decoder can be exported.
        """
        raise NotImplementedError(f"{type(self).__name__} has neither finish nor postprocess.")

    def postprocess(self, output: Any) -> np.ndarray:
        """The decoder's output as what a user wants to have, on the host."""
        return np.asarray(self.finish(jax.tree.map(jnp.asarray, output)))

    def answer(self, output: Any, batch: Mapping[str, jax.Array]) -> jax.Array:
        """An output as an answer of a conditional nebula, on the device: what `postprocess` shows, float32 `[B, …]`.

        What is known of the input is put in. Tasks with `model.conditional` have it.
        """
        raise NotImplementedError

    def answer_error(self, answer: jax.Array, batch: Mapping[str, jax.Array]) -> jax.Array:
        """The error of answers by which the best of several is told, float32 `[B]`; see `answer`."""
        raise NotImplementedError

    def features(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """Stored examples as vectors `[N, F]` on the host, for baselines without a network.

        Raises:
          UserError: if the task has none.
        """
        raise UserError(f"{type(self).__name__} gives no features of its inputs.")


def unit_pixels(batch: Mapping[str, np.ndarray]) -> np.ndarray:
    """Stored bytes of `image` as vectors `[N, H·W·C]` of numbers from 0 to 1."""
    image = batch["image"]
    return image.astype(np.float32).reshape(len(image), -1) / np.float32(255)


def histograms(clouds: np.ndarray) -> np.ndarray:
    """Share of a cloud's points in each of 8³ cells of the cube around it.

    Args:
      clouds: floats `[n, P, C]`, x, y, z first.

    Returns:
      `[n, 512]`, x first, then y: rows of sum 1.
    """
    points = clouds[..., :3]
    low, high = points.min(axis=1, keepdims=True), points.max(axis=1, keepdims=True)
    side = np.maximum((high - low).max(axis=2, keepdims=True), 1e-12)
    cells = ((points - (low + high) / 2) / side + 0.5) * CELLS
    x, y, z = np.moveaxis(np.clip(cells.astype(int), 0, CELLS - 1), -1, 0)
    flat = (x * CELLS + y) * CELLS + z + np.arange(len(clouds))[:, None] * CELLS**3
    counts = np.bincount(flat.ravel(), minlength=len(clouds) * CELLS**3)
    return counts.reshape(len(clouds), -1) / points.shape[1]
