"""What the readers of planes share: an image with its planes, depth and camera, in the size asked for."""

from typing import Any

import numpy as np

from nvc_jax.data.base.examples import NOTHING, Examples, Learned, Spec, check_images
from nvc_jax.data.base.source import FieldSource, Source
from nvc_jax.geometry.labels import UNKNOWN
from nvc_jax.geometry.planes import MAX_PLANES, assumed_camera, keep_largest, scale_camera

UNLABELED, UNKNOWN_PLANE = -1, -2
"""In `keep_largest`'s segmentations: on no plane, and not known."""


def plane_frame(
    image: np.ndarray,
    planes: np.ndarray,
    segmentation: np.ndarray,
    depth: np.ndarray,
    camera: np.ndarray,
    size: tuple[int, int],
) -> dict[str, np.ndarray]:
    """An example of the planes' schema, resized.

    The image is resized bilinearly, an average where it shrinks; segmentation and depth take the
    nearest pixel, since neither may be mixed across an edge; the camera follows.

    Args:
      image: uint8 `[H', W', 3]`, red, green, blue, of any size that shows the same view.
      planes: floats `[N, 3]`, `n·d`, m.
      segmentation: integers `[H, W]`: rows of `planes`, `UNLABELED` or `UNKNOWN_PLANE`.
      depth: floats `[H, W]`, m; what is not finite or not above 0 is unknown.
      camera: floats `[4]`: fx, fy, cx, cy in pixels of the segmentation.
      size: (height, width); (0, 0) for that of the segmentation.

    Returns:
      `image`, `planes` (those that are seen, by their area, 20 at most), `segmentation`, `depth` and
      `camera`; conventions in `nvc_jax/geometry/planes.py`.
    """
    from PIL import Image  # slow to import

    height, width = size if any(size) else depth.shape
    factor = height / depth.shape[0], width / depth.shape[1]
    kept, rows = keep_largest(planes, _nearest(segmentation, height, width))
    known = np.isfinite(depth) & (depth > 0)
    if image.shape[:2] != (height, width):
        resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        image = np.asarray(resized)
    return {
        "image": image,
        "planes": kept,
        "segmentation": rows,
        "depth": _nearest(np.where(known, depth, 0).astype(np.float32), height, width),
        "camera": scale_camera(camera, factor),
    }


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


def _nearest(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """The pixels of `values` under the centers of the pixels of a resized image."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int)
        for new, old in zip((height, width), values.shape, strict=True)
    )
    return values[rows[:, None], columns]
