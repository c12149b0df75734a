"""Depth of NYU's rooms as TensorFlow Datasets prepares it: no planes, for scores of depth."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.files import check_image_size
from nvc_jax.data.base.source import FieldSpec, Source
from nvc_jax.data.base.tfds import open_prepared
from nvc_jax.data.planes.frames import UNKNOWN_PLANE, plane_frame

OPTIONS = (
    shared.DIR,
    shared.NAME,
    shared.IMAGE_SIZE,
)

CAMERA = (518.8579, 519.4696, 325.5824, 253.7362)
"""fx, fy, cx, cy of the color camera, in pixels of an image 640 wide, as NYU's toolbox has them."""

_SPLITS = {"train": "train", "test": "validation"}


class DepthRecords:
    """Random access to the frames of a `tfds.data_source`, resized as they are asked for.

    Args:
      records: the data source.
      size: (height, width), or (0, 0) for what is stored.
      where: what the data are called in messages.

    Raises:
      UserError: if there is no such feature.
    """

    def __init__(self, records: Any, size: tuple[int, int], where: str):
        self._records, self._size = records, size
        first = records[0]
        for name in ("image", "depth"):
            if name not in first:
                raise UserError(
                    f"{where} has no feature {name!r}, got {', '.join(sorted(first))}; use "
                    "nyu_depth_v2."
                )
        example = self._example(first)
        self.spec = {name: FieldSpec(v.shape, v.dtype) for name, v in example.items()}
        self.spec["label"] = FieldSpec((), np.dtype(np.int32))

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._records)

    def gather(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """See `Source`."""
        rows = self._records.__getitems__([int(i) for i in ids])
        examples = [self._example(row) for row in rows]
        fields = {name: np.stack([example[name] for example in examples]) for name in examples[0]}
        return {**fields, "label": np.full(len(ids), -1, np.int32)}

    def _example(self, row: Any) -> dict[str, np.ndarray]:
        """One frame, of which no plane is known."""
        image, depth = (np.asarray(row[name]) for name in ("image", "depth"))
        unknown = np.full(depth.shape, UNKNOWN_PLANE)
        return plane_frame(
            image, np.zeros((0, 3)), unknown, depth.astype(np.float32), np.array(CAMERA), self._size
        )


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
    wanted = SimpleNamespace(name=options.name or "nyu_depth_v2", dir=options.dir)
    return open_prepared(
        wanted, _SPLITS[split], lambda records, where: DepthRecords(records, size, where)
    )
