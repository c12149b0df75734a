"""Examples of hands."""

from typing import Any

import numpy as np

from nvc_jax.data.base.examples import NOTHING, Examples, Learned, Spec, check_images
from nvc_jax.data.base.source import FieldSource, Source
from nvc_jax.data.hands.crops import crop_camera
from nvc_jax.geometry.joints import NUM_JOINTS

ASSUMED_CENTER = (0.0, 0.0, 600.0)
"""In mm: where a hand is taken to be of which there is only an image."""


class HandExamples(Examples):
    """The crops as they are."""

    @classmethod
    def from_arrays(cls, inputs: Any, spec: Spec, learned: Learned = NOTHING) -> Source:
        """Images uint8 `[N, S, S, C]` as a source, of hands at the assumed place."""
        image = check_images(inputs, spec["image"].shape)
        number, center = len(image), np.array(ASSUMED_CENTER, np.float32)
        camera = crop_camera(center, image.shape[1]).astype(np.float32)
        return FieldSource(
            {
                "image": image,
                "joints": np.tile(center, (number, NUM_JOINTS, 1)),
                "camera": np.tile(camera, (number, 1)),
                "center": np.tile(center, (number, 1)),
                "visible": np.zeros((number, NUM_JOINTS), bool),
            }
        )
