"""Depth of NYU's rooms as TensorFlow Datasets prepares it: no planes, for scores of depth."""

from functools import partial
from typing import Any

import numpy as np

from nvc_jax.data.base import options as shared
from nvc_jax.data.base.files import check_image_size
from nvc_jax.data.base.source import Source
from nvc_jax.data.base.tfds import open_prepared
from nvc_jax.data.planes.frames import UNKNOWN_PLANE, plane_frame

OPTIONS = (shared.DIR, shared.NAME, shared.IMAGE_SIZE)

CAMERA = (518.8579, 519.4696, 325.5824, 253.7362)
"""fx, fy, cx, cy of the color camera, in pixels of an image 640 wide, as NYU's toolbox has them."""

_SPLITS = {"train": "train", "test": "validation"}


def read_nyu_depth(options: Any, split: str) -> Source:
    """Opens `nyu_depth_v2`, prepared in the `array_record` format.

    The data are those of FastDepth, with color 480 × 640 and depth in float16, m. TFDS's validation
    part tests; validation examples are cut from the training part. The camera is the color camera's:
    that depth is registered to color is how the data set is used, not what its description says.

    Args:
      options: `config.data`; `dir` is TFDS's folder ("": its own), `name` may tell a version, such as
        `nyu_depth_v2:0.0.1`, and `image_size` is what examples are resized to.
      split: `train` or `test`.

    Returns:
      `image`, `depth`, `camera`, `planes` (none) and `segmentation` (255, unknown, everywhere), and no
      label.

    Raises:
      UserError: if the data set is not prepared; tells how to prepare it.

    Reference: Silberman et al., "Indoor Segmentation and Support Inference from RGBD Images", ECCV
      2012, the camera: its toolbox's `camera_params.m`; Wofk et al., "FastDepth", ICRA 2019.
    """
    size = check_image_size(options.image_size)
    return open_prepared(
        options.name or "nyu_depth_v2",
        options.dir,
        _SPLITS[split],
        partial(_frame, size=size),
        features=["image", "depth"],
        remedy="use nyu_depth_v2",
    )


def _frame(row: Any, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """One frame, of which no plane is known."""
    image, depth = (np.asarray(row[name]) for name in ("image", "depth"))
    planes, segmentation = np.zeros((0, 3)), np.full(depth.shape, UNKNOWN_PLANE)
    return plane_frame(
        image, planes, segmentation, depth.astype(np.float32), np.array(CAMERA), size
    )
