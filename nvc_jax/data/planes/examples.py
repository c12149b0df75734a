"""Examples of images with planes."""

from typing import Any

import numpy as np

from nvc_jax.data.base.examples import NOTHING, Examples, Learned, Spec, check_images
from nvc_jax.data.base.source import FieldSource, Source
from nvc_jax.geometry.labels import UNKNOWN
from nvc_jax.geometry.planes import MAX_PLANES, assumed_camera


class PlaneExamples(Examples):
    """The images as they are."""

    @classmethod
    def from_arrays(cls, inputs: Any, spec: Spec, learned: Learned = NOTHING) -> Source:
        """Images uint8 `[N, H, W, 3]` as a source, with the assumed camera and nothing else known."""
        image = check_images(inputs, spec["image"].shape)
        number, height, width, _ = image.shape
        return FieldSource(
            {
                "image": image,
                "planes": np.zeros((number, MAX_PLANES, 3), np.float32),
                "segmentation": np.full((number, height, width), UNKNOWN, np.uint8),
                "depth": np.zeros((number, height, width), np.float32),
                "camera": np.repeat(assumed_camera(height, width)[None], number, axis=0),
            }
        )
