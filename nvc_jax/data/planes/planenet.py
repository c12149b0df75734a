"""Planes of ScanNet's rooms as PlaneNet published them, in TFRecord files."""

from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.files import FileSource, check_image_size, existing
from nvc_jax.data.base.tfrecord import Values, parse_example, read_record, record_offsets
from nvc_jax.data.planes.frames import UNLABELED, plane_frame
from nvc_jax.geometry.planes import (
    MAX_PLANES,
    pixel_rays,
    scale_camera,
    segmented_depth,
)

OPTIONS = (shared.DIR, shared.IMAGE_SIZE)

_FILES = {"train": "planes_scannet_train.tfrecords", "test": "planes_scannet_val.tfrecords"}
_HEIGHT, _WIDTH = 192, 256
_FEATURES = {
    "image_raw": _HEIGHT * _WIDTH * 3,
    "segmentation_raw": _HEIGHT * _WIDTH,
    "depth": _HEIGHT * _WIDTH,
    "plane": MAX_PLANES * 3,
    "num_planes": 1,
    "info": 20,
}
"""Features that are read, and how many bytes or numbers each of them has."""

_FARTHEST = 10.0  # m, of a depth that follows from a plane


def read_planenet(options: Any, split: str) -> FileSource:
    """Opens `planes_scannet_train.tfrecords`, or `planes_scannet_val.tfrecords` for the test split.

    The published validation part tests, as in the publications; validation examples are cut from the
    training part. All records of a file are examples: 50,000 and 760 are published. The files store
    blue before red, and planes in other axes, `(x, −z, y)` of ours. Depth on planes follows from the
    planes, as in published evaluations, and is measured elsewhere, and where a plane would be more
    than 10 m away or behind the camera.

    The camera is the one that each record's `info` tells, for an image of its own size, and not the
    one camera (f = 517.97, center (320, 240) of 640 × 480) that PlanarReconstruction assumes for all.
    PlaneNet's own rays differ from ours by less than a pixel of 256, since it takes the pixel u for
    u·(w + 1)/257 of an image w wide.

    Args:
      options: `config.data`; `image_size` is what examples are resized to, 192 × 256 are stored.
      split: `train` or `test`.

    Returns:
      `image`, `planes`, `segmentation`, `depth` and `camera`, and no label. Records are read as they
      are asked for; opening reads their lengths alone.

    Raises:
      UserError: for a missing or damaged file or record.

    Reference: Liu et al., "PlaneNet", CVPR 2018, and `RecordReaderAll.py` of its code; Yu et al.,
      "Single-Image Piece-wise Planar 3D Reconstruction via Associative Embedding", CVPR 2019.
    """
    size = check_image_size(options.image_size)
    path = existing(Path(options.dir) / _FILES[split], " and ".join(_FILES.values()))
    items = [(path, number, offset, size) for number, offset in enumerate(record_offsets(path))]
    return FileSource(items, _read_example, num_threads=options.num_threads)


def _read_example(
    path: Path, number: int, offset: int, size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """One record as an example."""
    where = f"{path}, record {number} (from 0)"
    record = parse_example(read_record(path, number, offset), list(_FEATURES), where)
    stored = {name: _checked(values, name, where) for name, values in record.items()}
    image = stored["image_raw"].reshape(_HEIGHT, _WIDTH, 3)[..., ::-1]
    count = np.clip(stored["num_planes"][0], 0, MAX_PLANES)
    # Theirs are x right, y forward, z up.
    planes = stored["plane"].reshape(-1, 3)[:count, [0, 2, 1]] * np.array([1, -1, 1], np.float32)
    segmentation = stored["segmentation_raw"].reshape(_HEIGHT, _WIDTH).astype(int)
    distance = np.linalg.norm(planes, axis=-1)
    exists = np.append(np.isfinite(distance) & (distance > 0), False)
    segmentation[~exists[np.minimum(segmentation, count)]] = UNLABELED
    depth = stored["depth"].reshape(_HEIGHT, _WIDTH)
    camera = _camera(stored["info"], where)
    example = plane_frame(np.ascontiguousarray(image), planes, segmentation, depth, camera, size)
    rays = pixel_rays(example["camera"], *example["depth"].shape)
    on_planes = segmented_depth(example["planes"], example["segmentation"], rays)
    usable = (on_planes > 0) & (on_planes <= _FARTHEST)
    return {**example, "depth": np.where(usable, on_planes, example["depth"])}


def _checked(values: Values, name: str, where: str) -> np.ndarray:
    """The values of a feature, as many as there have to be."""
    if isinstance(values, list):
        values = np.frombuffer(b"".join(values), np.uint8)
    if len(values) != _FEATURES[name]:
        raise UserError(
            f"{where}: feature {name!r} has {len(values)} values, expected {_FEATURES[name]}: it "
            "belongs to another data set."
        )
    return values


def _camera(info: np.ndarray, where: str) -> np.ndarray:
    """fx, fy, cx, cy of the stored image; `info` is a 4 × 4 matrix, width, height and two more."""
    camera, size = info[[0, 5, 2, 6]], info[[17, 16]]
    if not (np.isfinite(info[:18]).all() and min(*camera[:2], *size) > 0):
        raise UserError(f"{where}: feature 'info' holds no camera; fetch the file again.")
    return scale_camera(camera, (_HEIGHT / size[0], _WIDTH / size[1]))
