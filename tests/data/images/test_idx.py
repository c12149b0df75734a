"""MNIST's files: what is read, and one sentence for every way in which they can be wrong."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from nvc_jax.core.errors import UserError
from nvc_jax.data.images.idx import read_idx, read_idx_file

IMAGES = np.arange(3 * 2 * 4, dtype=np.uint8).reshape(3, 2, 4) * 10
LABELS = np.array([7, 0, 9], np.uint8)
HTML = b"<html><body>Not found</body></html>".ljust(2048)


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write(folder, images=IMAGES, labels=LABELS, prefix="train", suffix=""):
    pack = gzip.compress if suffix else bytes
    for name, array in (("images-idx3", images), ("labels-idx1", labels)):
        (folder / f"{prefix}-{name}-ubyte{suffix}").write_bytes(pack(idx(array)))


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(("split", "prefix"), [("train", "train"), ("test", "t10k")])
def test_reads_images_and_labels(tmp_path, options, suffix, split, prefix):
    write(tmp_path, prefix=prefix, suffix=suffix)
    source = read_idx(options("idx"), split)
    batch = source.gather(np.array([2, 0]))
    np.testing.assert_array_equal(batch["image"], IMAGES[[2, 0], :, :, None])
    np.testing.assert_array_equal(batch["label"], [9, 7])
    assert len(source) == 3
    assert {k: (v.shape[1:], v.dtype) for k, v in batch.items()} == source.spec


@pytest.mark.parametrize("folder_exists", [True, False])
def test_missing_file_names_folder_files_and_remedy(tmp_path, options, folder_exists):
    folder = tmp_path if folder_exists else tmp_path / "missing"
    with pytest.raises(UserError) as error:
        read_idx(options("idx", dir=str(folder)), "test")
    expected = [str(folder), "t10k-images-idx3-ubyte.gz", "labels-idx1", "data.dir"]
    assert all(part in str(error.value) for part in expected)
    assert ("folder is missing" in str(error.value)) != folder_exists


def test_page_in_place_of_an_archive_is_one_line_with_the_path(tmp_path, options):
    write(tmp_path, suffix=".gz")
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(HTML)
    with pytest.raises(UserError, match="not a gzip archive") as error:
        read_idx(options("idx"), "train")
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (HTML, "not an IDX file.*3c68746d"),
        (idx(LABELS), "3 axes"),
        (b"\0\0\x0d\3" + idx(IMAGES)[4:], "not an IDX file of bytes"),
        (idx(IMAGES)[:10], "header is incomplete"),
        (idx(IMAGES)[:-1], "expected 24 bytes.*got 23"),
        (idx(IMAGES) + b"\0", "got 25"),
        (b"\0\0\x08\3" + struct.pack(">3I", 2**31, 2**31, 4), "got 0"),
    ],
)
def test_wrong_content_is_told(tmp_path, content, message):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_idx_file(path, 3)
    assert str(path) in str(error.value)


def test_damaged_archive_never_yields_wrong_images(tmp_path, damaged):
    path = tmp_path / "images.gz"
    good = gzip.compress(idx(IMAGES), mtime=0)
    refused = 0
    for content in damaged(good):
        path.write_bytes(content)
        try:
            np.testing.assert_array_equal(read_idx_file(path, 3), IMAGES)
        except UserError:
            refused += 1
    assert refused > len(good)


def test_numbers_of_images_and_labels_must_agree(tmp_path, options):
    write(tmp_path, labels=LABELS[:2])
    with pytest.raises(UserError, match=r"labels are integers \[3\].*\(2,\)"):
        read_idx(options("idx"), "train")
