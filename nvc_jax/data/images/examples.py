"""Examples of images."""

from typing import Any

import numpy as np

from nvc_jax.data.base.examples import NOTHING, Examples, Learned, Spec
from nvc_jax.data.base.source import ArraySource, Source


class ImageExamples(Examples):
    """The images as they are."""

    @classmethod
    def from_arrays(cls, inputs: Any, spec: Spec, learned: Learned = NOTHING) -> Source:
        """Images `[N, H, W, C]` or `[N, H, W]` as a source."""
        return ArraySource(np.asarray(inputs))
