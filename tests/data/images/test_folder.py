"""Folders of image files: what is decoded, how, and which files are left out."""

import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nvc_jax.data import open_source, train_batches
from nvc_jax.data.base.files import read_pixels
from nvc_jax.data.images.folder import FolderSource
from tests.refusals import refused
from tests.sources import damage_told, everything

LOGGER = logging.getLogger("nvc_jax")


@pytest.fixture(autouse=True)
def _messages_reach_caplog(monkeypatch):
    monkeypatch.setattr(LOGGER, "propagate", True)


def save(path: Path, pixels, mode=None):
    """Writes an image whose pixels are one value, or given as an array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(pixels, np.ndarray):
        pixels = np.full((4, 6, *np.shape(pixels)), pixels, np.uint8)
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path)


@pytest.fixture
def mixed(tmp_path):
    """Three RGB files, one RGBA, one grey, one cut short, one that is no image; told by value."""
    for i in range(3):
        save(tmp_path / f"rgb{i}.png", (10 * i, 0, 200))
    save(tmp_path / "rgba.png", (100, 200, 50, 0x80))
    save(tmp_path / "grey.png", 77)
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    save(tmp_path / "broken.png", noise)
    content = (tmp_path / "broken.png").read_bytes()
    (tmp_path / "broken.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def test_bad_file_is_named_once_and_the_others_come_once_an_epoch(mixed, caplog):
    source = FolderSource(mixed)
    assert len(source) == 5 and source.skipped == [str(mixed / "broken.png")]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == f"Left out 1 unreadable: {mixed / 'broken.png'}."
    batches = train_batches(source, 5, seed=0)
    epochs = [sorted(next(batches)["image"][:, 0, 0].tolist()) for _ in range(3)]
    batches.close()
    # RGBA is laid on black: 100 · 128/255 and so on.
    expected = [[0, 0, 200], [10, 0, 200], [20, 0, 200], [50, 100, 25], [77, 77, 77]]
    assert epochs == [sorted(expected)] * 3
    assert source.spec["image"] == ((4, 6, 3), np.uint8)


def test_strict_stops_at_the_bad_file(mixed, options):
    told = refused(r"cannot be read.*broken", open_source, options("folder", strict=True), "train")
    assert "rgb" not in told and "notes" not in told


@pytest.mark.parametrize("name", ["x.png", "x.jpg"])
def test_damaged_file_is_left_out_and_never_a_traceback(tmp_path, name):
    path = tmp_path / "one" / name
    save(path, np.arange(4 * 3 * 3, dtype=np.uint8).reshape(4, 3, 3))
    good = path.read_bytes()

    def read(content):
        path.write_bytes(content)
        FolderSource(path.parent, num_threads=1)

    told = damage_told(good, read, every=7)  # some of each kind of damage
    assert len(told) > 3 * len(good) / 7 / 6
    assert all("no readable PNG or JPEG" in message for message in told)


def test_file_that_claims_a_huge_size_is_left_out(tmp_path):
    def chunk(name, content):
        checked = name + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IEND", b""))
    save(tmp_path / "good.png", 1)
    assert FolderSource(tmp_path).skipped == [str(tmp_path / "bomb.png")]


def test_channels(tmp_path):
    for pixels, mode, channels, expected in [
        (7, None, 0, [7]),
        (7, None, 3, [7, 7, 7]),
        ((255, 0, 0), None, 1, [76]),  # 0.299 red + 0.587 green + 0.114 blue
        ((255, 0, 0), "P", 0, [255, 0, 0]),
        ((90, 128), None, 0, [45]),  # grey with half transparency
        (255, "1", 0, [255]),
    ]:
        save(tmp_path / "a.png", pixels, mode)
        source = FolderSource(tmp_path, channels=channels)
        image = source.gather(np.array([0]))["image"]
        assert image.shape == (1, 4, 6, len(expected)) and image.dtype == np.uint8
        assert (image == expected).all()


def test_sixteen_bits_are_kept(tmp_path):
    deep = np.array([[0, 1, 300], [40_000, 65_534, 65_535]], np.uint16)
    save(tmp_path / "a.png", deep)
    save(tmp_path / "b.png", (deep // 257).astype(np.uint8))
    for source in (FolderSource(tmp_path), FolderSource(tmp_path, image_size=(2, 3))):
        image = source.gather(np.array([0, 1]))["image"][..., 0]
        assert source.spec["image"] == ((2, 3, 1), np.uint16) and image.dtype == np.uint16
        np.testing.assert_array_equal(image[0], deep)
        np.testing.assert_array_equal(image[1], deep // 257 * 257)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_resizing_keeps_the_mean(tmp_path, dtype):
    ramp = np.tile(np.linspace(0, np.iinfo(dtype).max, 8).astype(dtype), (6, 1))
    save(tmp_path / "a.png", ramp)
    image = FolderSource(tmp_path, image_size=(3, 4)).gather(np.array([0]))["image"]
    assert image.shape == (1, 3, 4, 1) and image.dtype == dtype
    assert abs(image.mean() / np.iinfo(dtype).max - 0.5) < 0.01
    assert (np.diff(image[0, 0, :, 0].astype(int)) > 0).all()


def test_sixteen_bits_in_color_become_eight(tmp_path):
    save(tmp_path / "a.png", np.full((4, 6), 65_535, np.uint16))
    save(tmp_path / "b.png", (1, 2, 3))
    image = FolderSource(tmp_path).gather(np.array([0, 1]))["image"]
    assert image.dtype == np.uint8 and image[:, 0, 0].tolist() == [[255] * 3, [1, 2, 3]]


def test_unequal_sizes_are_told_unless_resized(tmp_path):
    save(tmp_path / "a.png", 5)
    save(tmp_path / "b.png", np.full((9, 5), 6, np.uint8))
    refused(r"a\.png is \(4, 6\).*b\.png is \(9, 5\).*image_size", FolderSource, tmp_path)
    image = FolderSource(tmp_path, image_size=(3, 2)).gather(np.array([0, 1]))["image"]
    assert image.shape == (2, 3, 2, 1) and image[:, 0, 0, 0].tolist() == [5, 6]


def test_class_is_the_sub_folder_or_none(tmp_path):
    for value, name in enumerate(["dog/a.png", "cat/b.JPG", "cat/deep/c.png", "d.jpeg"]):
        save(tmp_path / name, value)
    source = FolderSource(tmp_path)
    batch = everything(source)
    assert source.class_names == ("cat", "dog") and batch["label"].dtype == np.int32
    found = dict(zip(batch["image"][:, 0, 0, 0].tolist(), batch["label"].tolist()))
    assert found == {0: 1, 1: 0, 2: 0, 3: -1}


def test_splits_number_their_classes_alike(tmp_path, read):
    for name in ("train/ant/1.png", "train/bee/2.png", "test/bee/3.png", "test/fly/4.png"):
        save(tmp_path / name, 1)
    train, test = (everything(read("folder", split))["label"] for split in ("train", "test"))
    assert train.tolist() == [0, 1] and test.tolist() == [1, 2]


def test_without_splits_a_fixed_fifth_is_for_the_test(tmp_path, read):
    for value in range(10):
        save(tmp_path / f"{value}.png", value)
    train, test, again = (
        everything(read("folder", split))["image"][:, 0, 0, 0].tolist()
        for split in ("train", "test", "test")
    )
    assert sorted(train + test) == list(range(10)) and len(test) == 2 and test == again


def test_mistakes_are_told(tmp_path, read):
    for changes, message in [
        ({"dir": "nowhere"}, "folder 'nowhere' is missing"),
        ({}, "no readable PNG or JPEG file in it, got 1 files"),
        ({"channels": 4}, "data.channels is 4: use 1, 3, or 0"),
        ({"image_size": (28,)}, r"data.image_size is \(28,\)"),
        ({"image_size": (28, 0)}, r"data.image_size is \(28, 0\)"),
    ]:
        (tmp_path / "notes.txt").touch()
        refused(message, read, "folder", "train", **changes)


def test_other_formats_are_read_and_the_rest_is_counted(tmp_path, caplog):
    for value, name in enumerate(
        ("a/x.png", "b/x.BMP", "c/x.webp", "d/x.tif", "e/x.pgm", "f/x.gif")
    ):
        save(tmp_path / name, 10 * value)
    for name in ("g/x.tga", "g/y.TGA", "h/x.heic", "x.psd", "notes.txt", "README"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    source = FolderSource(tmp_path)
    assert source.class_names == tuple("abcdef")
    assert [m.max() // 10 for m in everything(source)["image"]] == [0, 1, 2, 3, 4, 5]
    (record,) = caplog.records
    told = "2 of suffix .tga, 1 of suffix .heic, 1 of suffix .psd"
    assert record.levelno == logging.WARNING and told in record.getMessage()
    refused(f"data.strict.: {told}", FolderSource, tmp_path, strict=True)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_their_exif_says(tmp_path, orientation, caplog):
    caplog.set_level(logging.INFO, LOGGER.name)
    pixels = np.zeros((8, 16), np.uint8)
    pixels[:4, :4] = 200  # the corner that is at the top and left in the file
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    source = FolderSource(tmp_path)
    (image,) = everything(source)["image"][..., 0]
    # EXIF: where row 0 and column 0 of the file are on the picture as it is to be seen.
    top, left = orientation in (1, 2, 5, 6), orientation in (1, 4, 5, 8)
    assert (
        image.shape == ((8, 16) if orientation < 5 else (16, 8)) == source.spec["image"].shape[:2]
    )
    assert image[0 if top else -1, 0 if left else -1] == 200 and image.sum() == 16 * 200
    assert ("1 of 1 images are turned" in caplog.text) == (orientation > 1)


def test_what_only_looks_like_an_image_starts_no_program(tmp_path, monkeypatch):
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "photo.png").write_bytes(eps)
    save(tmp_path / "good.png", 1)
    monkeypatch.setattr(
        "subprocess.check_call", lambda *_, **__: pytest.fail("a program was started")
    )
    monkeypatch.setattr("PIL.EpsImagePlugin.has_ghostscript", lambda: True)
    assert FolderSource(tmp_path).skipped == [str(tmp_path / "photo.png")]
    refused("cannot be read as an image", read_pixels, tmp_path / "photo.png", "L")


def test_pixels_without_a_range_and_later_frames_are_told(tmp_path, caplog):
    Image.fromarray(np.full((4, 6), 0.5, np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(np.full((4, 6), 99999, np.int32)).save(tmp_path / "long.tif")
    frames = [Image.new("L", (6, 4), value) for value in (10, 200)]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    assert set(everything(FolderSource(tmp_path))["image"].flat) == {10}
    assert "Left out 2 unreadable" in caplog.text and "pixels of 32 bits" in caplog.text
    assert "Of 1 images with several frames the first one is read" in caplog.text
