"""What the readers of hands share: a cube cut out around a hand, as color or depth, of right hands.

Camera axes are OpenCV's: x right, y down, z forward, in mm. A camera is fx, fy, cx, cy in pixels, where
the center of the pixel in row v and column u lies at (u, v). A crop shows a cube of 300 mm, whose faces
are parallel to the image, around a point `center`; its window in the image is the cube's section at the
depth of that point. So a hand has one scale in all crops, and the crop's camera follows from `center`.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.data.base.examples import NOTHING, Examples, Learned, Spec, check_images
from nvc_jax.data.base.files import FileSource, check_frames, existing, told
from nvc_jax.data.base.source import FieldSource, Source
from nvc_jax.geometry.joints import NUM_JOINTS

HALF_CUBE = 150.0
"""Half an edge of the cube that a crop shows, mm."""

_NEAREST = 10.0  # mm; a hand closer to the camera is an error of the file


ASSUMED_CENTER = (0.0, 0.0, 600.0)
"""In mm: where a hand is taken to be of which there is only an image."""


class Hand(NamedTuple):
    """An annotated hand as a camera sees it.

    Attributes:
      joints: float `[21, 3]`, mm, in the order of `nvc_jax/geometry/joints.py`; NaN where there is no
        annotation.
      visible: bool `[21]`: the joints that count.
      camera: float `[4]`: fx, fy, cx, cy in pixels of the whole image.
      is_left: whether it is a left hand, which is mirrored.
    """

    joints: np.ndarray
    visible: np.ndarray
    camera: np.ndarray
    is_left: bool = False


def crop_side(options: Any, default: int = 128) -> int:
    """Side of square crops in pixels: `data.image_size`, the default where that is (0, 0).

    Raises:
      UserError: for a size that is not square.
    """
    size = tuple(options.image_size)
    if len(size) != 2 or size[0] != size[1]:
        raise UserError(
            f"data.image_size is {size}: crops of hands are square, use (side, side), or (0, 0) for "
            f"{default}."
        )
    return int(size[0]) or default


def color_crop(image: np.ndarray, hand: Hand, side: int, where: str) -> dict[str, np.ndarray]:
    """An example from a color image, centered on the mean of the annotated joints.

    A pixel of the crop is the mean over its area; what lies outside the image is black.

    Args:
      image: uint8 `[H, W, 3]`.
      hand: the hand.
      side: S, pixels.
      where: what the example is called in messages.

    Returns:
      `image` uint8 `[S, S, 3]`, `joints` float32 `[21, 3]`, `camera` float32 `[4]` of the crop, `center`
      float32 `[3]`, `visible` bool `[21]`. A left hand is mirrored, x → −x. Joints without annotation lie
      at `center` and are not visible.

    Raises:
      UserError: for joints of which none is annotated, or that are not in front of the camera.
    """
    center = _joint_center(hand, where)
    crop = np.asarray(image, np.float32)
    for axis, start, width in _window(center, hand.camera):
        weights = _area_weights(start, width, side, crop.shape[axis])
        crop = np.moveaxis(np.tensordot(weights, crop, axes=(1, axis)), 0, axis)
    return _example(np.rint(crop).astype(np.uint8), hand, center, side)


def depth_crop(depth: np.ndarray, hand: Hand, side: int, where: str) -> dict[str, np.ndarray]:
    """An example from a depth image, centered on the mean of the surface around the annotated joints.

    The center is measured, as far as a cube around the annotated joints has surface in it, so that the
    place of the joints is not given away. A pixel of the crop takes the nearest pixel, since depth may
    not be mixed across an edge.

    Args:
      depth: floats `[H, W]`, mm; 0 or far away where there is no hand.
      hand: the hand.
      side: S, pixels.
      where: what the example is called in messages.

    Returns:
      As of `color_crop`, but `image` uint8 `[S, S, 1]`, see `encode_depth`.

    Raises:
      UserError: see `color_crop`.

    Reference: Oberweger and Lepetit, "DeepPrior++", ICCV workshops 2017 (center of mass).
    """
    center = surface_center(depth, hand.camera, _joint_center(hand, where))
    crop = depth
    for axis, start, width in _window(center, hand.camera):
        rows = np.floor(start + (np.arange(side) + 0.5) * (width / side)).astype(int)
        inside = (rows >= 0) & (rows < depth.shape[axis])
        crop = np.take(crop, np.where(inside, rows, 0), axis=axis)
        crop = np.where(np.expand_dims(inside, 1 - axis), crop, 0)
    return _example(encode_depth(crop, float(center[2]))[..., None], hand, center, side)


def encode_depth(depth: np.ndarray, center_z: float) -> np.ndarray:
    """Depth as bytes: `1 + 254·(z_c + 150 − z) / 300`, rounded; 0 for what is outside of that range.

    Args:
      depth: floats `[...]`, z in mm; not above 0 where it is not known.
      center_z: z_c, mm.

    Returns:
      uint8 `[...]`: 255 at the cube's near face, 1 at the far one, 0 where there is no hand.
    """
    ahead = center_z + HALF_CUBE - np.asarray(depth, np.float64)
    inside = (depth > 0) & (ahead >= 0) & (ahead <= 2 * HALF_CUBE)
    return np.where(inside, 1 + np.rint(ahead * (127 / HALF_CUBE)), 0).astype(np.uint8)


def surface_center(depth: np.ndarray, camera: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Mean of the points of a depth image in the cube around a point; that point if there are none.

    Args:
      depth: floats `[H, W]`, mm; not above 0 where it is not known.
      camera: floats `[4]`.
      around: floats `[3]`, mm.

    Returns:
      float64 `[3]`, mm.
    """
    fx, fy, cx, cy = camera
    near = (depth > 0) & (np.abs(depth - around[2]) <= HALF_CUBE)
    v, u = np.nonzero(near)
    z = depth[v, u].astype(np.float64)
    points = np.stack([(u - cx) / fx * z, (v - cy) / fy * z, z], axis=-1)
    points = points[(np.abs(points[:, :2] - around[:2]) <= HALF_CUBE).all(axis=1)]
    return points.mean(axis=0) if len(points) else around


def crop_camera(center: np.ndarray, side: int) -> np.ndarray:
    """The camera of a crop: focal lengths `S·z_c / 300`; the cube's section at z_c fills the image.

    Args:
      center: floats `[3]`, mm.
      side: S, pixels.

    Returns:
      float64 `[4]`: fx, fy, cx, cy.
    """
    x, y, z = center
    scale = side / (2 * HALF_CUBE)  # pixels a mm at the center's depth
    return np.array(
        [scale * z, scale * z, scale * (HALF_CUBE - x) - 0.5, scale * (HALF_CUBE - y) - 0.5]
    )


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


def depth_source(
    options: Any,
    frames: Iterable[tuple[Path, np.ndarray]],
    read: Callable[[Path], np.ndarray],
    camera: Sequence[float],
    *,
    label: Sequence[int] = (),
    class_names: Sequence[str] = (),
    wrong: str = "cannot be read as an image",
) -> FileSource:
    """Depth images of right hands, all joints of which count that are annotated.

    Args:
      options: `config.data`; `image_size` is the side of the crops, see `crop_side`.
      frames: path and joints of every frame, see `Hand`.
      read: path → depth `[H, W]`, mm; a function of a module.
      camera: fx, fy, cx, cy of the whole image.
      label: of every frame; (): there is none.
      class_names: name of every label.
      wrong: see `check_frames`.

    Returns:
      The fields of `depth_crop`, read as they are asked for.
    """
    frames = list(frames)
    check_frames((path for path, _ in frames), wrong)
    frame = partial(_read_depth, read=read, camera=camera, side=crop_side(options))
    threads = options.num_threads
    return FileSource(frames, frame, label=label, class_names=class_names, num_threads=threads)


def _read_depth(
    path: Path,
    joints: np.ndarray,
    *,
    read: Callable[[Path], np.ndarray],
    camera: Sequence[float],
    side: int,
) -> dict[str, np.ndarray]:
    """One frame."""
    hand = Hand(joints, np.ones(21, bool), np.array(camera))
    return depth_crop(read(path), hand, side, str(path))


def read_mat(path: Path, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """An array of numbers in a MATLAB file of version 5 to 7; no code or object in it is run.

    Args:
      path: the file.
      name: the variable.
      shape: its shape; None for an axis of any length that is not 0.

    Returns:
      The array.

    Raises:
      UserError: for a missing or damaged file, a missing variable, or another shape.
    """
    from scipy.io import loadmat  # slow to import

    with told(f"{path} cannot be read as a MATLAB file; fetch it again."):
        values = loadmat(existing(path), variable_names=[name]).get(name)
    got = getattr(values, "shape", None)
    if (
        not isinstance(values, np.ndarray)
        or values.dtype.kind not in "fiu"
        or values.ndim != len(shape)
        or not values.size
        or any(e not in (None, s) for e, s in zip(shape, values.shape, strict=True))
    ):
        expected = ", ".join("any" if e is None else str(e) for e in shape)
        raise UserError(
            f"{path}: {name!r} has shape {got}, expected numbers [{expected}]; fetch it again."
        )
    return values


def _joint_center(hand: Hand, where: str) -> np.ndarray:
    """Mean of the annotated joints, which lies in front of the camera."""
    known = hand.joints[np.isfinite(hand.joints).all(axis=1)]
    center = known.mean(axis=0) if len(known) else np.zeros(3)
    if center[2] < _NEAREST:
        raise UserError(
            f"{where}: no hand in front of the camera, its joints have a mean of "
            f"{np.round(center, 1).tolist()} mm; fetch the annotation again."
        )
    return center


def _window(center: np.ndarray, camera: np.ndarray) -> list[tuple[int, float, float]]:
    """(axis of the image, first edge, width) of a crop, where pixel k covers k to k + 1."""
    z = center[2]
    return [
        (axis, camera[i] * (center[i] - HALF_CUBE) / z + camera[2 + i] + 0.5, w)
        for axis, i in ((0, 1), (1, 0))
        for w in [2 * HALF_CUBE * camera[i] / z]
    ]


def _area_weights(start: float, width: float, side: int, length: int) -> np.ndarray:
    """Share of `length` pixels in each of `side` equal parts of `width`, float32 `[side, length]`."""
    edges = start + width / side * np.arange(side + 1)
    pixels = np.arange(length)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (np.maximum(overlap, 0) * (side / width)).astype(np.float32)


def _example(image: np.ndarray, hand: Hand, center: np.ndarray, side: int) -> dict[str, np.ndarray]:
    """A crop with its annotation, mirrored if the hand is left."""
    known = np.isfinite(hand.joints).all(axis=1)
    joints = np.where(known[:, None], hand.joints, center)
    camera = crop_camera(center, side)
    if hand.is_left:
        image = image[:, ::-1]
        joints, center = (values * [-1, 1, 1] for values in (joints, center))
        camera[2] = side - 1 - camera[2]
    return {
        "image": np.ascontiguousarray(image),
        "joints": joints.astype(np.float32),
        "camera": camera.astype(np.float32),
        "center": np.asarray(center, np.float32),
        "visible": hand.visible & known,
    }
