"""binvox files: axis order, versions, splits, and wrong files."""

import io
import pickle

import numpy as np
import pytest

from nvc_jax.data.base.source import class_names_of
from nvc_jax.data.shapes.binvox import parse_binvox
from tests.refusals import refused
from tests.sources import damage_told, everything, put, take


def runs(values):
    """(value, count) pairs of at most 255."""
    pairs: list[list[int]] = []
    for value in values:
        if pairs and pairs[-1][0] == value and pairs[-1][1] < 255:
            pairs[-1][1] += 1
        else:
            pairs.append([value, 1])
    return bytes(number for pair in pairs for number in pair)


def encoded(volume, version=1, transform=True):
    """A file of a volume indexed [x, y, z]: y fastest, then z, then x."""
    size_x, size_y, size_z = volume.shape
    values = [
        int(volume[x, y, z]) for x in range(size_x) for z in range(size_z) for y in range(size_y)
    ]
    header = f"#binvox {version}\ndim {size_x} {size_y} {size_z}\n"
    header += "translate -0.5 0 1e-3\nscale 7.24632\n" if transform else ""
    return header.encode() + b"data\n" + runs(values)


def write(path, volume):
    put(path, encoded(volume))


def numbered(count, size=2):
    """Volumes told apart by the place of their one voxel."""
    volumes = np.zeros((count, size**3), np.uint8)
    volumes[np.arange(count), np.arange(count)] = 1
    return volumes.reshape(count, size, size, size)


@pytest.mark.parametrize("transform", [True, False])
def test_axes_are_x_y_z(transform):
    volume = np.random.default_rng(0).integers(0, 2, (2, 3, 5), dtype=np.uint8)
    decoded = parse_binvox(encoded(volume, transform=transform), "file")
    np.testing.assert_array_equal(decoded, volume)
    assert decoded.dtype == np.uint8 and decoded.flags.c_contiguous


def test_one_voxel_by_hand():
    # Position of (x, y, z) = (1, 2, 3) in a cube of 4: (1 · 4 + 3) · 4 + 2 = 30.
    data = b"#binvox 1\ndim 4 4 4\ndata\n" + bytes([0, 30, 1, 1, 0, 33])
    assert np.argwhere(parse_binvox(data, "file")).tolist() == [[1, 2, 3]]


def test_agrees_with_trimesh():
    trimesh = pytest.importorskip("trimesh")
    volume = np.random.default_rng(1).integers(0, 2, (4, 4, 4), dtype=np.uint8)
    theirs = trimesh.exchange.binvox.load_binvox(io.BytesIO(encoded(volume)))
    np.testing.assert_array_equal(parse_binvox(encoded(volume), "file"), theirs.matrix)


def test_long_runs_and_values_of_version_2():
    volume = np.zeros((8, 8, 8), np.uint8)
    volume[4:, :, :7] = 200  # runs longer than 255 of either kind
    assert np.array_equal(parse_binvox(encoded(volume, version=2), "file"), volume > 0)
    # A count of 0 adds nothing, and "data" in the pairs is no header.
    data = b"#binvox 2\ndim 1 1 1\ndata\n" + bytes([9, 0, 0, 0, 3, 1])
    assert parse_binvox(data, "file").tolist() == [[[1]]]


GOOD = encoded(numbered(1)[0])


def test_wrong_content_is_told():
    for data, message in [
        (b"", "not a binvox file"),
        (b"#binvox 3" + GOOD[9:], "not a binvox file"),
        (b"\x93NUMPY" + GOOD, "not a binvox file"),
        (GOOD.replace(b"\ndata\n", b"\n"), "damaged header"),
        (GOOD.replace(b"dim 2 2 2\n", b""), "damaged header"),
        (GOOD.replace(b"dim 2 2 2", b"dim 2 2"), "damaged header"),
        (GOOD.replace(b"dim 2 2 2", b"dim 2 0 2"), "damaged header"),
        (GOOD.replace(b"dim 2 2 2", b"dim 2 -2 2"), "damaged header"),
        (GOOD.replace(b"dim 2 2 2", b"dim 2 2 3"), "expected 12 voxels .* got 8"),
        (GOOD[:-1], "cut short"),
        (GOOD[:-2], "expected 8 voxels .* got 1"),
        (GOOD + bytes([1, 2]), "expected 8 voxels .* got 10"),
    ]:
        assert "file.binvox" in refused(message, parse_binvox, data, "file.binvox")


def test_damaged_files_never_give_a_traceback():
    told = damage_told(GOOD, lambda content: parse_binvox(content, "file.binvox"))
    assert len(told) > len(GOOD) and all("file.binvox" in text for text in told)


def test_classes_are_cut_at_four_fifths_of_their_sorted_ids(tmp_path, read):
    order = [3, 0, 4, 1, 2]
    for i in order:
        write(tmp_path / "02" / f"id{i}" / "model.binvox", numbered(8)[i])
    for i in range(2):
        write(tmp_path / "01" / f"id{i}" / "model.binvox", numbered(8)[5 + i])
    train, test = (read("binvox", split) for split in ("train", "test"))
    assert class_names_of(train) == class_names_of(test) == ("01", "02")
    assert everything(test)["label"].tolist() == [0, 1]
    seen = everything(train)
    assert seen["label"].tolist() == [0, 1, 1, 1, 1]
    np.testing.assert_array_equal(seen["voxels"], numbered(8)[[5, 0, 1, 2, 3]])
    fields = take(test, 1, 0, 1)
    np.testing.assert_array_equal(fields["voxels"], numbered(8)[[4, 6, 4]])
    assert fields["label"].tolist() == [1, 0, 1] and fields["label"].dtype == np.int32


def test_files_without_a_folder_have_no_class(tmp_path, read):
    for i in range(5):
        write(tmp_path / f"{i}.binvox", numbered(5)[i])
    source = read("binvox", "train")
    assert everything(source)["label"].tolist() == [-1] * 4 and class_names_of(source) == ()


def test_reader_process_gets_paths(tmp_path, read):
    for i in range(5):
        write(tmp_path / "a" / f"{i}.binvox", numbered(5, 16)[i])
    source = read("binvox", "train")
    sent = pickle.dumps(source)
    assert len(sent) < 3000
    (volume,) = pickle.loads(sent).gather(np.array([2]))["voxels"]
    np.testing.assert_array_equal(volume, numbered(5, 16)[2])


def test_wrong_folders_and_sizes_are_told(tmp_path, read):
    refused("is missing", read, "binvox", "train", dir=str(tmp_path / "none"))
    refused(r"0 \.binvox files", read, "binvox", "train")
    write(tmp_path / "a" / "0.binvox", numbered(1)[0])
    refused(r"1 \.binvox files .*train split", read, "binvox", "train")
    for i in range(1, 4):
        write(tmp_path / "a" / f"{i}.binvox", numbered(1)[0])
    write(tmp_path / "a" / "3.binvox", numbered(1, 3)[0])
    write(tmp_path / "a" / "4.binvox", numbered(1)[0])
    refused(r"differ in size: .*0\.binvox .*3\.binvox is \(3, 3, 3\)", read, "binvox", "train")


def test_file_that_changes_later_is_named(tmp_path, read):
    for i in range(5):
        write(tmp_path / f"{i}.binvox", numbered(5)[i])
    source = read("binvox", "train")
    write(tmp_path / "1.binvox", numbered(1, 3)[0])
    (tmp_path / "2.binvox").write_bytes(encoded(numbered(5)[2])[:-1])
    (tmp_path / "3.binvox").unlink()
    for i, message in ((1, "differ in size"), (2, "cut short"), (3, "is missing")):
        assert f"{i}.binvox" in refused(message, source.gather, np.array([0, i]))
