"""Sources of files, and files that are missing, damaged or hold something else."""

import gzip
import pickle
import zipfile
import zlib

import h5py
import numpy as np
import pytest

from nvc_jax.data import Source
from nvc_jax.data.base.files import (
    FileSource,
    check_frames,
    open_hdf5,
    plain_or_packed,
    read_content,
    read_fields,
    read_hdf5,
    read_lines,
    read_unpacked,
)
from nvc_jax.data.base.source import class_names_of, is_in_memory, point_class_names_of
from tests.refusals import refused
from tests.sources import hdf5


def row(path, factor):
    """The numbers in a file, times a factor."""
    return {"row": factor * np.array(path.read_text().split(), np.float32)}


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{i}.txt" for i in range(4)]
    for i, path in enumerate(paths):
        path.write_text(f"{i} {10 * i}")
    return paths


@pytest.mark.parametrize("num_threads", [0, 1, 3])
def test_examples_come_in_the_order_asked_for(files, num_threads):
    items = [(path, 2) for path in files]
    names = {"class_names": ["a"], "point_class_names": ["b", "c"]}
    source = FileSource(items, row, label=[0, -1, 0, 0], num_threads=num_threads, **names)
    assert isinstance(source, Source) and len(source) == 4 and not is_in_memory(source)
    assert class_names_of(source) == ("a",) and point_class_names_of(source) == ("b", "c")
    assert source.spec == {"row": ((2,), np.float32), "label": ((), np.int32)}
    for copy in (source, pickle.loads(pickle.dumps(source))):
        batch = copy.gather(np.array([3, 1, 3]))
        np.testing.assert_array_equal(batch["row"], [[6, 60], [2, 20], [6, 60]])
        assert batch["label"].tolist() == [0, -1, 0] and batch["label"].dtype == np.int32


def test_example_of_another_shape_is_told(files):
    source = FileSource([(path, 1) for path in files], row, label=[0] * 4)
    files[2].write_text("1 2 3")
    message = rf"differ in size: {files[2]} has row of \(3,\), expected \(2,\)"
    refused(message, source.gather, np.arange(4))


def test_content_and_lines(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b" a b\r\n\n\xff\n  \nc")
    assert read_lines(path) == ["a b", "\ufffd", "c"]
    assert read_content(path, 3) == b" a " and len(read_content(path)) == 13
    message = f"The file {tmp_path / 'no.txt'} is missing: put it there"
    refused(message, read_content, tmp_path / "no.txt")
    message = r"x/no\.txt is missing \(its folder is missing\)"
    refused(message, read_lines, tmp_path / "x" / "no.txt")


def test_fields_of_an_npz_file(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.arange(3), objects=np.array([{}], object))
    assert list(read_fields(path, ("x", "z"))) == ["x"]
    message = r"a\.npz has no field 'z', got x, objects; fetch it again"
    refused(message, read_fields, path, ("x", "z"), required=("x", "z"))
    refused(r"a\.npz cannot be read", read_fields, path, ("objects",))


def test_wrong_hdf5_files_are_told(tmp_path):
    path = tmp_path / "a.h5"
    shapes = {"data": ("n", "p", 3), "label": ("n", 1), "pid": ("n", "p")}
    good = {"data": np.zeros((2, 4, 3)), "label": np.zeros((2, 1)), "pid": np.zeros((2, 4))}

    def write(**changes):
        fields = {name: v for name, v in {**good, **changes}.items() if v is not None}
        hdf5(path, **fields)

    write(label=np.array([3, 4], np.uint8))
    assert read_hdf5(path, shapes)["label"].tolist() == [[3], [4]]
    for changes, message in [
        ({"pid": None}, "has no array of numbers 'pid', got data, label"),
        ({"pid": b"text"}, "has no array of numbers 'pid'"),
        ({"data": None, "data/x": 1}, "has no array of numbers 'data'"),
        ({"data": np.zeros((2, 4, 2))}, r"'data' has shape \[2, 4, 2\], expected \[n, p, 3\]"),
        ({"label": np.zeros((3, 1))}, r"'label' has shape \[3, 1\], expected \[2, 1\]"),
        ({"pid": np.zeros((2, 5))}, r"'pid' has shape \[2, 5\], expected \[2, 4\]"),
        ({"pid": 1.0}, r"'pid' has shape \[\], expected \[2, 4\]"),
    ]:
        write(**changes)
        assert str(path) in refused(message, read_hdf5, path, shapes)
    write()
    content = path.read_bytes()
    for cut in (*range(0, len(content), 61), len(content) - 1):
        path.write_bytes(content[:cut])
        refused("cannot be read as HDF5", read_hdf5, path, shapes)
    path.unlink()
    refused(r"The file .*a\.h5 is missing", read_hdf5, path, shapes)


def test_damage_that_shows_while_reading_is_told(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=np.arange(4000.0).reshape(-1, 1), compression="gzip")
        offset = file["data"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[offset : offset + 8] = b"\xff" * 8
    path.write_bytes(content)
    with open_hdf5(path, {"data": ("n", 1)}) as data:
        assert data["data"].shape == (4000, 1)
    refused(r"a\.h5 cannot be read as HDF5", read_hdf5, path, {"data": ("n", 1)})


def elsewhere(path, kind):
    """A file whose `data` lies elsewhere."""
    other = path.with_name("other.h5")
    hdf5(other, data=np.ones((4, 3), "f4"))
    with h5py.File(path, "w") as file:
        if kind == "external storage":
            (path.parent / "secret").write_bytes(bytes(48))
            file.create_dataset(
                "data", (4, 3), "f4", external=[(str(path.parent / "secret"), 0, 48)]
            )
        elif kind == "virtual":
            layout = h5py.VirtualLayout((4, 3), "f4")
            layout[:] = h5py.VirtualSource(str(other), "data", (4, 3))
            file.create_virtual_dataset("data", layout)
        elif kind == "external link":
            file["data"] = h5py.ExternalLink(str(other), "data")
        else:
            file["real"] = np.ones((4, 3), "f4")
            file["data"] = h5py.SoftLink("/real")


@pytest.mark.parametrize("kind", ["external storage", "virtual", "external link", "soft link"])
def test_hdf5_data_that_lie_elsewhere_are_refused(tmp_path, kind):
    path = tmp_path / "a.h5"
    elsewhere(path, kind)
    refused("a.h5: 'data' (is a link|lies in other files)", read_hdf5, path, {"data": ("n", 3)})


def test_what_unpacks_to_far_more_than_any_data_is_told_before_it_is_read(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    inflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    path.write_bytes(b"".join(inflate.compress(bytes(2**24)) for _ in range(64)) + inflate.flush())
    refused(r"ubyte.gz takes \d+ bytes and unpacks to \d+ or more", read_unpacked, path)
    with h5py.File(tmp_path / "a.h5", "w") as file:  # nothing of it is stored
        file.create_dataset("data", (2**30, 3), "f4", chunks=(1024, 3), compression="gzip")
    refused("a.h5, 'data' takes 0 bytes", read_hdf5, tmp_path / "a.h5", {"data": ("n", 3)})
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("image.npy", "w", force_zip64=True) as entry,
    ):
        for _ in range(32):
            entry.write(bytes(2**24))
    refused("a.npz, image.npy takes", read_fields, tmp_path / "a.npz", ("image",))


def test_packed_text_of_several_parts_and_in_capitals(tmp_path):
    path = tmp_path / "a.GZ"
    path.write_bytes(gzip.compress(b"one ") + gzip.compress(b"") + gzip.compress(b"two") + bytes(7))
    assert read_unpacked(path) == b"one two"
    assert plain_or_packed(tmp_path / "a") == path
    whole = path.read_bytes()
    for end in (0, 1, 10, 20, 30):
        path.write_bytes(whole[:end])
        refused("damaged, or no gzip", read_unpacked, path)


def test_frames_are_looked_for_at_once(tmp_path):
    for name in ("a/1", "a/2", "b/1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    names = [tmp_path / name for name in ("a/1", "a/2", "b/1")]
    check_frames(names)
    refused(r"b/2 is missing", check_frames, [*names, tmp_path / "b" / "2"])
    refused(r"c/1 is missing \(its folder is missing\)", check_frames, [tmp_path / "c" / "1"])
    (tmp_path / "b" / "1").write_bytes(b"")
    refused("b/1 is no good, it is empty, as 1 of 3 files are", check_frames, names, "is no good")
