"""Pictures for a page that holds everything itself: small, of few bytes, as `data:` addresses."""

import base64
import io
from collections.abc import Callable, Sequence
from html import escape

import numpy as np
from numpy.typing import ArrayLike, NDArray

SHEET_COLUMNS = SHEET_ROWS = 32
FORMATS = (
    (1.0, None),
    (1.0, 90),
    (1.0, 75),
    (0.75, 75),
    (0.75, 60),
    (0.5, 75),
    (0.35, 70),
    (0.25, 60),
)
"""Scale, and quality of JPEG (None: PNG, without loss), from the best to the smallest."""


def to_pixels(images: ArrayLike) -> NDArray[np.uint8]:
    """Colors or grays of a byte.

    Args:
      images: `[..., C]`, integers over their dtype's range, or floats from 0 to 1, clipped to that;
        C = 3 is RGB, any other C is averaged to gray.

    Returns:
      uint8 `[..., 3]`, or `[...]` where everything is gray; pixels that are not finite are magenta.
    """
    from nvc_jax.plots import drawing as draw  # matplotlib is slow to import

    pixels = np.round(255 * draw.colors(np.asarray(images))).astype(np.uint8)
    return pixels if pixels.shape[-1] == 3 else pixels[..., 0]


def shrink(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Pictures `[n, H, W]` or `[n, H, W, 3]` whose longer side is at most `side` pixels."""
    from PIL import Image

    height, width = pixels.shape[1:3]
    scale = side / max(height, width, 1)
    if scale >= 1.0 or not len(pixels):
        return pixels
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    filtered = Image.Resampling.LANCZOS
    return np.stack([np.asarray(Image.fromarray(one).resize(size, filtered)) for one in pixels])


def join(parts: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Pictures of several calls as one array, in color if any of them is."""
    if len({part.ndim for part in parts}) > 1:
        parts = [p if p.ndim == 4 else np.repeat(p[..., None], 3, axis=-1) for p in parts]
    return np.concatenate(parts)


def side_by_side(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures `[n, H, W, ...]` as one, in a row with white gaps."""
    gap = max(1, round(0.06 * pixels.shape[2]))
    margins = [(0, 0), (0, 0), (0, gap), *[(0, 0)] * (pixels.ndim - 3)]
    row = np.concatenate(list(np.pad(pixels, margins, constant_values=255)), axis=1)
    return row[:, :-gap]


def encode(
    pictures: Callable[[float], Sequence[NDArray[np.uint8]]], budget: int
) -> tuple[float, list[str]]:
    """Encodes pictures in the best of `FORMATS` with which they fit.

    Args:
      pictures: scale → pictures `[H, W]` or `[H, W, 3]` of that scale.
      budget: most characters in all.

    Returns:
      (scale, addresses `data:image/…`); of pictures that fit in no format, the first so many that
      do in the smallest.
    """
    for scale, quality in FORMATS:
        addresses: list[str] = []
        wanted, left = pictures(scale), budget
        for picture in wanted:
            address = _address(picture, quality)
            left -= len(address)
            if left < 0:
                break
            addresses.append(address)
        if len(addresses) == len(wanted):
            break
    return scale, addresses


def encode_all(pictures: Sequence[NDArray[np.uint8]], budget: int) -> list[str]:
    """`encode` of pictures of any sizes."""

    def scaled(scale: float) -> list[NDArray[np.uint8]]:
        return [shrink(one[None], max(round(scale * max(one.shape[:2])), 1))[0] for one in pictures]

    return encode(scaled, budget)[1]


def sheets(tiles: NDArray[np.uint8], budget: int) -> tuple[tuple[int, int], list[str]]:
    """Puts many small pictures into few.

    Args:
      tiles: `[n, H, W]` or `[n, H, W, 3]`.
      budget: most characters in all.

    Returns:
      ((height, width) of a tile, addresses of the sheets). A sheet has `SHEET_ROWS` rows of
      `SHEET_COLUMNS` tiles, each padded to a multiple of 8 pixels: blocks of JPEG hold one tile.
    """
    sizes: dict[float, tuple[int, int]] = {}

    def joined(scale: float) -> list[NDArray[np.uint8]]:
        small = shrink(tiles, max(round(scale * max(tiles.shape[1:3])), 1))
        sizes[scale] = small.shape[1], small.shape[2]
        number = SHEET_COLUMNS * SHEET_ROWS
        return [_sheet(small[start : start + number]) for start in range(0, len(small), number)]

    scale, addresses = encode(joined, budget)
    return sizes[scale], addresses


def _sheet(tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Tiles `[n, H, W, ...]` in rows, as one picture."""
    rest = [(0, 0)] * (tiles.ndim - 3)
    padding = [(0, -side % 8) for side in tiles.shape[1:3]]
    tiles = np.pad(tiles, [(0, 0), *padding, *rest], mode="edge")
    rows = -(-len(tiles) // SHEET_COLUMNS)
    tiles = np.pad(tiles, [(0, rows * SHEET_COLUMNS - len(tiles)), (0, 0), (0, 0), *rest])
    height, width = tiles.shape[1:3]
    grid = tiles.reshape(rows, SHEET_COLUMNS, height, width, *tiles.shape[3:]).swapaxes(1, 2)
    return grid.reshape(rows * height, SHEET_COLUMNS * width, *tiles.shape[3:])


def _address(picture: NDArray[np.uint8], quality: int | None) -> str:
    """One picture as `data:image/…;base64,…`."""
    from PIL import Image

    content = io.BytesIO()
    image = Image.fromarray(picture)
    if quality is None:
        image.save(content, "PNG")
    else:
        image.save(content, "JPEG", quality=quality, subsampling=0)
    kind = "png" if quality is None else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"


def figure(address: str, text: str, caption: str, attributes: str = "") -> str:
    """A picture as HTML.

    Args:
      address: from `encode`.
      text: what stands for it where it cannot be seen.
      caption: shown below it.
      attributes: more of the image's, as HTML.
    """
    return (
        f'<figure><img {attributes} decoding="async" src="{address}" alt="{escape(text)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
