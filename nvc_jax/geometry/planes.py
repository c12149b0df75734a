"""Planes seen by a camera: the conventions of all sources of planes, and what follows from them.

Camera axes are OpenCV's: x right, y down, z forward, in meters. A plane is `n·d`, its point nearest to
the camera: n is the unit normal that points away from the camera, d > 0 the distance, and `n·x = d` holds
on it; `(0, 0, 0)` is no plane. A camera is `fx, fy, cx, cy` in pixels, where the center of the pixel in
row v and column u lies at (u, v), so that the middle of an image of W columns is (W − 1) / 2. Depth is z.
A segmentation tells for each pixel the row of its plane among `MAX_PLANES`, `NON_PLANAR`, or 255.
"""

import numpy as np

MAX_PLANES = 20
"""Rows of `planes`; what has more loses those with the fewest pixels."""

NON_PLANAR = 20
"""In a segmentation: what is seen there lies on no plane. 255 (`UNKNOWN`) is not known."""

FOCAL_LENGTH = 0.9
"""Over the width of an image: of the camera that is assumed where none is known."""


def pixel_rays(camera: np.ndarray, height: int, width: int) -> np.ndarray:
    """Directions `K⁻¹·(u, v, 1)` of pixel centers, of depth 1: `x = depth·ray`.

    Args:
      camera: floats `[..., 4]`: fx, fy, cx, cy in pixels.
      height: `H`.
      width: `W`.

    Returns:
      float64 `[..., H, W, 3]`.
    """
    fx, fy, cx, cy = np.moveaxis(np.asarray(camera, np.float64), -1, 0)[..., None, None]
    shape = (*np.shape(camera)[:-1], height, width)
    x = np.broadcast_to((np.arange(width) - cx) / fx, shape)
    y = np.broadcast_to((np.arange(height)[:, None] - cy) / fy, shape)
    return np.stack([x, y, np.ones(shape)], axis=-1)


def assumed_camera(height: int, width: int) -> np.ndarray:
    """A camera for images whose own is not known, float32 `[4]`: fx, fy, cx, cy."""
    focal = FOCAL_LENGTH * width
    return np.array([focal, focal, (width - 1) / 2, (height - 1) / 2], np.float32)


def scale_camera(camera: np.ndarray, factor: tuple[float, float]) -> np.ndarray:
    """The camera of a resized image.

    Args:
      camera: floats `[..., 4]`: fx, fy, cx, cy.
      factor: new height / old height, new width / old width.

    Returns:
      float32 `[..., 4]`. The corner of the image, (−½, −½), stays where it is.
    """
    down, right = factor
    scale = np.array([right, down, right, down])
    shift = np.array([0.0, 0.0, 0.5, 0.5])
    return ((np.asarray(camera, np.float64) + shift) * scale - shift).astype(np.float32)


def invert_planes(planes: np.ndarray) -> np.ndarray:
    """`n·d` → `n/d`, and back: `p / ‖p‖²`; zero stays zero.

    Args:
      planes: floats `[..., 3]`.

    Returns:
      Floats of the same shape and dtype.
    """
    square = np.sum(np.square(planes), axis=-1, keepdims=True)
    return planes / np.where(square > 0, square, 1)


def split_planes(planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`n·d` → (n, d).

    Args:
      planes: floats `[..., 3]`.

    Returns:
      (unit normals `[..., 3]`, distances `[...]` ≥ 0); both 0 where there is no plane.
    """
    distance = np.linalg.norm(planes, axis=-1)
    return planes / np.where(distance > 0, distance, 1)[..., None], distance


def join_planes(normal: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """(n, d) → `n·d`; the same plane written as (−n, −d) gives the same.

    Args:
      normal: floats `[..., 3]`, of any length but 0, with `n·x = d` on the plane.
      distance: floats `[...]`, of any sign, in units of the normal's length.

    Returns:
      `[..., 3]`.
    """
    square = np.sum(np.square(normal), axis=-1)
    return normal * (distance / square)[..., None]


def plane_depth(planes: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Depth at which rays meet planes: `1 / (n/d · ray) = ‖p‖² / (p · ray)`.

    Args:
      planes: floats `[..., N, 3]`, `n·d`.
      rays: floats `[..., H, W, 3]`, see `pixel_rays`.

    Returns:
      `[..., N, H, W]`, m; inf where the plane is not in front of the camera, and for no plane.
    """
    product = np.einsum("...nc,...hwc->...nhw", planes, rays)
    square = np.sum(np.square(planes), axis=-1)[..., None, None]
    # Also safe from overflow: a ray almost along its plane meets it nowhere.
    meets = product > 1e-9 * square
    return np.where(meets, square / np.where(meets, product, 1), np.inf)


def segmented_depth(planes: np.ndarray, segmentation: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Depth of the plane that a segmentation names for each pixel.

    Args:
      planes: floats `[N, 3]`, `n·d`.
      segmentation: uint8 `[H, W]`: rows of `planes`, or anything from N on.
      rays: floats `[H, W, 3]`.

    Returns:
      float32 `[H, W]`, m; 0 off the planes, and where a plane is not in front of the camera.
    """
    depth = plane_depth(planes, rays)
    row = np.minimum(segmentation, len(planes) - 1).astype(int)
    chosen = np.take_along_axis(depth, row[None], axis=0)[0]
    on_plane = (segmentation < len(planes)) & np.isfinite(chosen)
    return np.where(on_plane, chosen, 0).astype(np.float32)


def points_of_depth(depth: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Points `depth·ray`, `[..., H, W, 3]`, of depths `[..., H, W]` and rays `[..., H, W, 3]`."""
    return depth[..., None] * rays


def fit_plane(points: np.ndarray) -> np.ndarray:
    """The plane with the smallest sum of squared distances to points.

    Args:
      points: floats `[P, 3]`, at least 3.

    Returns:
      float64 `[3]`, `n·d`: the normal is that direction in which the points scatter least.
    """
    center = points.mean(axis=0, dtype=np.float64)
    offset = points - center
    normal = np.linalg.eigh(offset.T @ offset)[1][:, 0]
    return join_planes(normal, normal @ center)


def transform_planes(planes: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Planes in another frame, whose coordinates are `x' = R·x + t`.

    `n' = R·n` and `d' = d + n'·t`.

    Args:
      planes: floats `[N, 3]`, `n·d`. A plane through the origin cannot be told from none.
      pose: floats `[3, 4]` or `[4, 4]`: R beside t, from the planes' frame to the other; of planes
        in world axes the inverse of the camera's pose.

    Returns:
      `[N, 3]`, with n turned so that d' ≥ 0; 0 for no plane.
    """
    normal, distance = split_planes(planes)
    turned = normal @ pose[:3, :3].T
    shifted = (distance + turned @ pose[:3, 3]) * (distance > 0)
    return turned * shifted[..., None]


def keep_largest(planes: np.ndarray, segmentation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Planes in the order of their pixels, `MAX_PLANES` at most; other pixels become non-planar.

    Args:
      planes: floats `[N, 3]`, `n·d`, any N.
      segmentation: integers `[H, W]`: rows of `planes`, −1 non-planar, −2 unknown.

    Returns:
      (float32 `[MAX_PLANES, 3]` with rows of 0 at the end, uint8 `[H, W]`).
    """
    count = np.bincount(segmentation[segmentation >= 0], minlength=len(planes))
    order = np.argsort(-count, kind="stable")[:MAX_PLANES]
    order = order[count[order] > 0]
    kept = np.zeros((MAX_PLANES, 3), np.float32)
    kept[: len(order)] = planes[order]
    # The last two entries are those of −2 and −1.
    table = np.full(len(planes) + 2, NON_PLANAR, np.uint8)
    table[order], table[-2] = np.arange(len(order)), 255
    return kept, table[segmentation]
