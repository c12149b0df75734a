"""Folders of image files; the class is the name of the sub-folder."""

import logging
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option
from nvc_jax.data.base import options as shared
from nvc_jax.data.base.files import (
    IMAGE_FORMATS,
    FileSource,
    check_image_size,
    existing_folder,
    orientation_of,
)
from nvc_jax.data.base.source import Source, split_off
from nvc_jax.data.base.tree import files_below, folders_in

OPTIONS = (
    shared.DIR,
    shared.IMAGE_SIZE,
    shared.CHANNELS,
    Option("data.strict", False, "stop at the first unreadable file"),
)

SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".bmp",
    ".webp",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".pbm",
    ".gif",
)
"""Of files that are decoded; others in the folder are counted in a warning, but for those of `_BESIDE`."""
_BESIDE = (
    ".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".ini", ".md", ".rst", ".html",
    ".pdf", ".db", ".log", ".py", ".ipynb",
)  # fmt: skip
_MOST_PIXELS = 2**26
_logger = logging.getLogger("nvc_jax")


class FolderSource(FileSource):
    """Images decoded as they are asked for.

    Every file is decoded once at the start, so that a damaged one is named before training. Images are turned as
    their EXIF orientation says, and of several frames the first one is read: a message counts both.

    Args:
      folder: the folder; files lie in it or in one sub-folder a class.
      image_size: (height, width) to resize to; (0, 0): all images must have one size.
      channels: 1 or 3; 0: 1 if every image is grey, else 3. Transparency is laid on black.
      class_names: the classes in the order of their labels; None: the sub-folders, sorted.
      strict: stop at the first file that cannot be read.
      num_threads: decoding threads.

    Attributes:
      class_names: the label is the position in it; −1 for a file in no sub-folder.
      skipped: names of the files left out.
    """

    def __init__(
        self,
        folder: Path,
        *,
        image_size: tuple[int, int] = (0, 0),
        channels: int = 0,
        class_names: Sequence[str] | None = None,
        strict: bool = False,
        num_threads: int = 2,
    ):
        existing_folder(folder)
        if channels not in (0, 1, 3):
            raise UserError(f"data.channels is {channels}: use 1, 3, or 0 for what is stored.")
        files = files_below(folder)
        images = [path for path in files if path.suffix.lower() in SUFFIXES]
        self._tell_others(files, strict)
        self._size = check_image_size(image_size)
        with ThreadPoolExecutor(num_threads) as pool:
            looks = list(pool.map(_look, images))
        bad = {str(p): why for p, why in zip(images, looks, strict=True) if isinstance(why, str)}
        self.skipped = list(bad)
        if bad:
            listing = ", ".join(f"{name} ({why})" if why else name for name, why in bad.items())
            if strict:
                raise UserError(f"Files that cannot be read (data.strict): {listing}.")
            _logger.warning("Left out %d unreadable: %s.", len(bad), listing)
        good = [(p, look) for p, look in zip(images, looks, strict=True) if isinstance(look, _Look)]
        if not good:
            raise UserError(
                f"data.dir = {str(folder)!r}: there is no readable PNG or JPEG file in it, got {len(files)} "
                f"files; of other formats {', '.join(SUFFIXES[3:])} are read."
            )
        _tell_changes([look for _, look in good])
        self._check_sizes(good)
        self.files = [path for path, _ in good]
        channels = channels or (3 if any(look[1] for _, look in good) else 1)
        deep = any(look[2] for _, look in good) and channels == 1
        names = [p.relative_to(folder).parts[0] if p.parent != folder else "" for p in self.files]
        class_names = sorted(set(names) - {""}) if class_names is None else class_names
        ids = {name: i for i, name in enumerate(class_names)}
        super().__init__(
            [(path,) for path in self.files],
            partial(_decode, size=self._size, channels=channels, dtype="u2" if deep else "u1"),
            label=[ids.get(name, -1) for name in names],
            class_names=class_names,
            num_threads=num_threads,
        )

    def _check_sizes(self, good: list[Any]) -> None:
        """All images of one size, unless they are resized."""
        first, size = good[0][0], good[0][1].size
        for path, look in good:
            if self._size == (0, 0) and look.size != size:
                raise UserError(
                    f"Images differ in size: {first} is {size}, {path} is {look.size} (height, "
                    "width); set data.image_size."
                )

    @staticmethod
    def _tell_others(files: Sequence[Path], strict: bool) -> None:
        """Counts the files that are not looked at, by their suffixes."""
        others = Counter(
            path.suffix.lower() or "none"
            for path in files
            if path.suffix.lower() not in (*SUFFIXES, *_BESIDE) and not path.name.isupper()
        )
        if not others:
            return
        listing = ", ".join(
            f"{count} of suffix {suffix}" for suffix, count in others.most_common(20)
        )
        if strict:
            raise UserError(
                f"Files that are no images which are read (data.strict): {listing}; take them away or "
                f"convert them, for example to PNG."
            )
        _logger.warning("Left out files that are no images which are read: %s.", listing)


class _Look(NamedTuple):
    """What was seen of an image that decodes: (height, width) as it is shown, and what else matters."""

    size: tuple[int, int]
    has_color: bool
    has_16_bits: bool
    is_turned: bool
    num_frames: int


def _tell_changes(looks: Sequence[_Look]) -> None:
    """Says what of the images is not as it is stored."""
    if turned := sum(look.is_turned for look in looks):
        _logger.info(
            "%d of %d images are turned as their EXIF orientation says.", turned, len(looks)
        )
    if several := sum(look.num_frames > 1 for look in looks):
        _logger.warning("Of %d images with several frames the first one is read.", several)


def _decode(path: Path, size: tuple[int, int], channels: int, dtype: str) -> dict[str, np.ndarray]:
    """One image `[H, W, C]`, uint8, or uint16 where dtype is u2."""
    with Image.open(path, formats=IMAGE_FORMATS) as file:
        image = _turned(file)
        deep = image.mode.startswith("I")
        if image.mode in ("RGBA", "LA", "PA", "P"):
            image = image.convert("RGBA")
            black = Image.new("RGBA", image.size, (0, 0, 0, 255))
            image = Image.alpha_composite(black, image).convert("RGB")
        if deep:
            values = np.asarray(image).clip(0, 65535)
            if dtype == "u2":
                values = np.rint(_resized(Image.fromarray(values.astype(np.float32)), size))
                return {"image": values[..., None].astype(dtype)}
            image = Image.fromarray((values // 257).astype(np.uint8))
        pixels = _resized(image.convert("L" if channels == 1 else "RGB"), size).astype(dtype)
    if dtype == "u2":
        pixels = pixels * np.uint16(257)
    return {"image": pixels if pixels.ndim == 3 else pixels[..., None]}


def _resized(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """The pixels in the wanted size."""
    if size not in ((0, 0), (image.height, image.width)):
        image = image.resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(image)


def _turned(image: Image.Image) -> Image.Image:
    """The image as its EXIF orientation says."""
    return image if orientation_of(image) == 1 else ImageOps.exif_transpose(image)


def _look(path: Path) -> _Look | str:
    """What is seen of a file that decodes; else why it is left out, "" for one that is damaged."""
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            if image.width * image.height > _MOST_PIXELS:
                return f"{image.width} x {image.height} pixels are too many"
            frames = getattr(image, "n_frames", 1)
            deep = image.mode.startswith("I")
            image.load()
            if image.mode == "F" or (deep and image.format == "TIFF" and image.mode == "I"):
                return "pixels of 32 bits, whose range nothing tells"
            color = image.mode not in ("1", "L", "LA") and not deep
            turned = _turned(image)
            size = turned.height, turned.width
            return _Look(size, color, deep, turned is not image, frames)
    except Exception:  # Pillow's decoders raise many kinds
        return ""


def read_folder(options: Any, split: str) -> Source:
    """Reads `dir/train` and `dir/test`; without them, a fixed fifth of `dir` is the test split.

    Args:
      options: `config.data`.
      split: `train` or `test`.

    Returns:
      uint8 images (uint16 if grey and stored with 16 bits).

    Raises:
      UserError: for a missing folder, unequal sizes, or no readable file.
    """
    folder = Path(options.dir)
    parts = [folder / name for name in ("train", "test")]
    has_splits = all(part.is_dir() for part in parts)
    # A class that one of the parts lacks must not shift the labels of the others.
    classes = {p.name for part in parts for p in folders_in(part)} if has_splits else ()
    source = FolderSource(
        folder / split if has_splits else folder,
        image_size=tuple(options.image_size),
        channels=options.channels,
        class_names=sorted(classes) if has_splits else None,
        strict=options.strict,
        num_threads=options.num_threads,
    )
    if has_splits:
        return source
    return split_off(source, 0.2, held_out=split == "test", name="the share of test images")
