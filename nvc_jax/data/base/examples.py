"""What a task's examples are made of: the way from what is stored to what is trained on."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option
from nvc_jax.data.base.source import FieldSource, FieldSpec, Source

Learned = Mapping[str, bytes]
"""What was learned of the training examples before anything else, by file name."""

Spec = Mapping[str, FieldSpec]
"""The fields of a source, by name."""

NOTHING: Learned = MappingProxyType({})


class Examples:
    """Examples that are what is stored.

    Attributes:
      options: keys of the config that making the examples reads.
    """

    options: ClassVar[tuple[Option, ...]] = ()

    @classmethod
    def trained_on(cls, source: Source, config: Any, open_split: Callable[[str], Source]) -> Source:
        """Of what is stored, the training examples that may be learned from.

        Args:
          source: the training examples as they are stored.
          config: the whole config.
          open_split: opens `validation` or `test` as they are stored.
        """
        return source

    @classmethod
    def learn(cls, source: Source, config: Any) -> dict[str, bytes]:
        """Learns what has to be known before there are examples, such as a vocabulary.

        Args:
          source: the training examples as they are stored.
          config: the whole config.

        Returns:
          Contents of files by their names; the work directory keeps them.
        """
        return {}

    @classmethod
    def make(cls, source: Source, config: Any, split: str, learned: Learned = NOTHING) -> Source:
        """Makes examples of what is stored, such as views of shapes.

        Args:
          source: what `data.source` names.
          config: the whole config.
          split: `train`, `validation` or `test`.
          learned: what `learn` gave.
        """
        return source

    @classmethod
    def from_arrays(cls, inputs: Any, spec: Spec, learned: Learned = NOTHING) -> Source:
        """A user's inputs, an array `[N, ...]`, as a source whose other fields are unknown.

        Args:
          inputs: of any number N.
          spec: the fields of the training.
          learned: what `learn` gave.

        Raises:
          UserError: for inputs that do not fit, and where no single array makes an example.
        """
        names = [name for name in spec if name != "label"]
        if len(names) != 1:
            raise UserError(
                f"Examples have the fields {', '.join(names)}, which no single array tells: use encode "
                "and predict with a source."
            )
        return FieldSource({names[0]: np.asarray(inputs, spec[names[0]].dtype)})


def check_images(inputs: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A user's images, which have to be uint8 `[N, *shape]`.

    Raises:
      UserError: telling what was got and expected.
    """
    image = np.asarray(inputs)
    if image.dtype != np.uint8 or image.shape[1:] != tuple(shape):
        expected = ", ".join(["N", *map(str, shape)])
        raise UserError(
            f"Images are uint8 [{expected}], got {image.dtype} {list(image.shape)}: convert them first."
        )
    return image
