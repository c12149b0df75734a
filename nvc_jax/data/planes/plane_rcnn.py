"""Planes of ScanNet's rooms as PlaneRCNN published them, in folders of scenes."""

import functools
import logging
from pathlib import Path
from typing import Any

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.files import (
    FileSource,
    check_image_size,
    existing,
    no_arrays,
    read_lines,
    read_pixels,
    read_text,
    told,
)
from nvc_jax.data.base.tree import files_matching, inside
from nvc_jax.data.planes.frames import UNKNOWN_PLANE, UNLABELED, plane_frame
from nvc_jax.geometry.planes import MAX_PLANES, transform_planes

OPTIONS = (shared.DIR, shared.IMAGE_SIZE)

_SMALLEST_AREA = 500  # pixels
_SMALLEST_OFFSET = 1e-4  # m; planes.npy has rows of 0 for surfaces that are not planar
_MILLIMETERS = 1000.0
_CAMERA = ("fx_depth", "fy_depth", "mx_depth", "my_depth")
_SIZE = ("depthHeight", "depthWidth")
_logger = logging.getLogger("nvc_jax")


def read_plane_rcnn(options: Any, split: str) -> FileSource:
    """Opens the frames of ScanNet's scenes that have PlaneRCNN's annotation.

    In `data.dir` lie, as PlaneRCNN's code expects them:

    - `scans/<scene>/<scene>.txt` (camera), `frames/color/<i>.jpg`, `frames/depth/<i>.png` (mm) and
      `frames/pose/<i>.txt` (camera to world): what ScanNet's reader extracts, or some of it;
    - `scans/<scene>/annotation/planes.npy` (`n·d` in world axes, m) and `segmentation/<i>.png`, in
      which the plane of a pixel is `(65536·R + 256·G + B) // 100 − 1`; −1 (black) and 167771 (white)
      are no plane. `plane_info.npy` is not read, since it holds pickled objects;
    - `ScanNet/Tasks/Benchmark/scannetv1_{train,test}.txt`: the scenes of the splits, of which only
      those of `scene_ids_val.npy` test;
    - `invalid_indices_{train,test}.txt`: frames to leave out, lines of which the second number counts
      the scenes that are there, and the third is the frame.

    Planes of fewer than 500 pixels are left out, as in PlaneRCNN's code. Its cleaning of segmentations
    by measured depth is not done, as it asks `plane_info.npy` for classes. Where a frame has more than
    20 planes the smallest become non-planar, and a warning names it. A frame whose pose was lost has
    unknown planes.

    Args:
      options: `config.data`; `image_size` is what examples are resized to; depth, whose camera is
        taken for both, has 480 × 640. PlaneRCNN pads its images to 640 × 640; here they are not.
      split: `train` or `test`.

    Returns:
      `image`, `planes`, `segmentation`, `depth` (as measured) and `camera`, and no label. Frames are
      read as they are asked for.

    Raises:
      UserError: for a missing or damaged file, or a split without frames.

    Reference: Liu et al., "PlaneRCNN", CVPR 2019, `datasets/scannet_scene.py` and `plane_dataset.py`
      of its code; Dai et al., "ScanNet", CVPR 2017.
    """
    root, size = Path(options.dir), check_image_size(options.image_size)
    invalid = _invalid_frames(existing(root / f"invalid_indices_{split}.txt"))
    items: list[tuple[Any, ...]] = []
    for number, scene in enumerate(_scenes(root, split)):
        shared = (scene, _planes(scene), *_camera(scene / f"{scene.name}.txt"), size)
        items += [(*shared, frame) for frame in _frames(scene) if (number, frame) not in invalid]
    if not items:
        raise UserError(
            f"data.dir = {str(root)!r}: the {split} split has no frame, expected scans/<scene>/ with "
            "annotation/segmentation/<i>.png and frames/color/<i>.jpg of scenes that the lists name."
        )
    return FileSource(items, _read_frame, num_threads=options.num_threads)


def _scenes(root: Path, split: str) -> list[Path]:
    """The folders of a split's scenes, in the order of its list."""
    listing = root / "ScanNet" / "Tasks" / "Benchmark" / f"scannetv1_{split}.txt"
    names = read_lines(listing)
    if split == "test":
        stored = _load(root / "scene_ids_val.npy", "SU", 1)
        tested = {s.decode() if isinstance(s, bytes) else str(s) for s in stored.tolist()}
        names = [name for name in names if name in tested]
    scenes = [inside(root / "scans", name, listing) for name in names]
    return [
        scene
        for scene in scenes
        if (scene / f"{scene.name}.txt").is_file() and _planes_file(scene).is_file()
    ]


def _invalid_frames(path: Path) -> set[tuple[int, int]]:
    """(scene, frame) of the lines of three words."""
    lines = [line.split() for line in read_lines(path)]
    with told(f"{path} is no list of frames: expected a word and two numbers; fetch it again."):
        return {(int(line[1]), int(line[2])) for line in lines if len(line) == 3}


def _frames(scene: Path) -> list[int]:
    """The numbers of the frames that have a color image and a segmentation, in order."""
    color, labeled = (
        {int(path.stem) for path in files_matching(folder, "*", suffix) if _is_number(path.stem)}
        for folder, suffix in (
            (scene / "frames" / "color", ".jpg"),
            (scene / "annotation" / "segmentation", ".png"),
        )
    )
    return sorted(color & labeled)


def _is_number(name: str) -> bool:
    """Whether files of that name are those of a frame."""
    return name.isdecimal() and len(name) < 10 and str(int(name)) == name


def _planes_file(scene: Path) -> Path:
    """Where the planes of a scene are."""
    return scene / "annotation" / "planes.npy"


def _planes(scene: Path) -> np.ndarray:
    """The planes of a scene, `[N, 3]`."""
    planes = _load(_planes_file(scene), "f", 2)
    if planes.shape[1] != 3:
        raise UserError(
            f"{_planes_file(scene)} has shape {planes.shape}, expected [N, 3]; fetch it again."
        )
    return planes


def _load(path: Path, kinds: str, rank: int) -> np.ndarray:
    """An array of a kind and a rank."""
    with told(no_arrays(path)):
        values = np.load(existing(path), allow_pickle=False)
    if not isinstance(values, np.ndarray) or values.ndim != rank or values.dtype.kind not in kinds:
        raise UserError(f"{path} does not hold what its name tells; fetch it again.")
    return values


def _camera(path: Path) -> tuple[np.ndarray, tuple[int, int]]:
    """(fx, fy, cx, cy), (height, width) of depth images, from lines `name = value`."""
    values = dict(line.partition("=")[::2] for line in read_lines(path))
    stripped = {name.strip(): value.strip() for name, value in values.items()}
    with told(
        f"{path} tells no camera: expected lines 'name = number' with {', '.join(_CAMERA)}, "
        f"{', '.join(_SIZE)}; fetch it again."
    ):
        camera = np.array([float(stripped[name]) for name in _CAMERA])
        height, width = (int(stripped[name]) for name in _SIZE)
    return camera, (height, width)


def _read_frame(
    scene: Path,
    planes: np.ndarray,
    camera: np.ndarray,
    stored_size: tuple[int, int],
    size: tuple[int, int],
    frame: int,
) -> dict[str, np.ndarray]:
    """One frame as an example."""
    frames, labels = scene / "frames", scene / "annotation" / "segmentation" / f"{frame}.png"
    image = read_pixels(frames / "color" / f"{frame}.jpg", "RGB")
    depth = read_pixels(frames / "depth" / f"{frame}.png", "I", stored_size) / _MILLIMETERS
    color = read_pixels(labels, "RGB", stored_size).astype(int)
    segmentation = color @ np.array([65536, 256, 1]) // 100 - 1
    pose = _pose(frames / "pose" / f"{frame}.txt")
    if pose is None:
        planes, segmentation = planes[:0], np.full_like(segmentation, UNKNOWN_PLANE)
    else:
        planes = transform_planes(planes, pose)
        segmentation = _without_small(segmentation, planes, labels)
    return plane_frame(image, planes, segmentation, depth, camera, size)


def _without_small(segmentation: np.ndarray, planes: np.ndarray, path: Path) -> np.ndarray:
    """The segmentation without what is no plane, and too small or close to the camera's center."""
    ids, inverse, count = np.unique(segmentation, return_inverse=True, return_counts=True)
    # White is beyond all planes.
    known = (ids >= 0) & (ids < len(planes)) & (count >= _SMALLEST_AREA)
    offset = np.linalg.norm(planes, axis=-1)
    known[known] = offset[ids[known]] > _SMALLEST_OFFSET
    if known.sum() > MAX_PLANES:
        _tell_dropped(str(path), int(known.sum()))
    return np.where(known, ids, UNLABELED)[inverse].reshape(segmentation.shape)


@functools.cache
def _tell_dropped(path: str, count: int) -> None:
    """Warns of a frame, once a process."""
    _logger.warning(
        "%s has %d planes: the %d smallest became non-planar.", path, count, count - MAX_PLANES
    )


def _pose(path: Path) -> np.ndarray | None:
    """From world to camera, `[3, 4]`; None where the file tells that the pose was lost."""
    with told(f"{path} is no pose: expected 4 rows of 4 numbers; fetch it again."):
        values = np.array(read_text(path).split(), float).reshape(4, 4)
    if not np.isfinite(values).all():
        return None
    rotation, center = values[:3, :3], values[:3, 3]
    return np.column_stack([rotation.T, -rotation.T @ center])
