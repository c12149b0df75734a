"""PlaneNet's TFRecord files, written byte by byte."""

import pickle
import struct

import numpy as np
import pytest

from tests import tfrecords
from tests.refusals import refused
from tests.sources import everything, take

H, W = 192, 256
FX, FY, CX, CY = 577.9, 570.0, 319.5, 245.0  # of 480 x 640
# In PlaneNet's axes, x right, y forward, z up: a floor 1.5 m below, a wall 3 m ahead, one behind.
PLANES = [[0, 0, -1.5], [0, 3.0, 0], [0.5, -2.0, 0]]


def info():
    values = [0.0] * 20
    values[0], values[5], values[2], values[6] = FX, FY, CX, CY
    values[10], values[15], values[16:19] = 1.0, 1.0, [640.0, 480.0, 1000.0]
    return values


def features(**changes):
    """A frame: wall on the left, floor below right, then a part behind, one unknown, one not planar."""
    image = np.zeros((H, W, 3), np.uint8)
    image[..., 0], image[..., 1] = 200, np.arange(W)  # blue, green
    segmentation = np.full((H, W), 20, np.uint8)
    segmentation[:, :128] = 1
    segmentation[150:, 128:] = 0
    segmentation[:20, 128:] = 2
    segmentation[20:30, 128:] = 7  # there are 3 planes
    depth = np.full((H, W), 4.0)
    depth[20, 200], depth[21, 200] = np.nan, -1.0
    planes = np.zeros(60)
    planes[:9] = np.ravel(PLANES)
    values = {
        "image_path": tfrecords.bytes_list(b"scene0000_00/frame-000001.color.jpg"),
        "image_raw": tfrecords.bytes_list(image.tobytes()),
        "plane": tfrecords.float_list(planes),
        "num_planes": tfrecords.int64_list([3]),
        "segmentation_raw": tfrecords.bytes_list(segmentation.tobytes()),
        "depth": tfrecords.field(2, tfrecords.field(1, struct.pack(f"<{H * W}f", *depth.flat))),
        "info": tfrecords.float_list(info()),
    }
    return {**values, **changes}


def record(**changes):
    return tfrecords.record(tfrecords.example(features(**changes)))


@pytest.fixture
def write(tmp_path):
    def write(split, *records):
        path = tmp_path / f"planes_scannet_{split}.tfrecords"
        path.write_bytes(b"".join(records))
        return path

    return write


def source_row(v, height):
    """Where row v of an image of a height lies in one of 480 rows."""
    return (v + 0.5) * 480 / height - 0.5


@pytest.mark.parametrize(("size", "factor"), [((0, 0), 1), ((48, 64), 4)])
def test_frame_in_our_axes(write, read, size, factor):
    write("train", record(), record(num_planes=tfrecords.int64_list([1])))
    source = read("planenet", "train", image_size=size)
    batch = take(source, 0)
    height, width = H // factor, W // factor
    assert batch["image"].shape == (1, height, width, 3) and batch["image"].dtype == np.uint8
    assert batch["label"].tolist() == [-1]
    frame = {name: values[0] for name, values in batch.items()}
    # Planes by their area: wall, floor, the one behind.
    np.testing.assert_array_equal(frame["planes"][:3], [[0, 0, 3], [0, 1.5, 0], [0.5, 0, -2]])
    assert frame["planes"].shape == (20, 3) and not frame["planes"][3:].any()
    segmentation = np.full((height, width), 20, np.uint8)
    segmentation[:, : width // 2] = 0
    # Row v of the smaller image shows row 4v + 2 of the stored one.
    rows = np.arange(height) * factor + factor // 2
    segmentation[rows >= 150, width // 2 :] = 1
    segmentation[rows < 20, width // 2 :] = 2
    np.testing.assert_array_equal(frame["segmentation"], segmentation, strict=True)
    red, green, blue = np.moveaxis(frame["image"], -1, 0)
    assert not red.any() and (blue == 200).all()
    assert green[0, 0] < 4 and green[0, -1] > 250
    scale = 256 / 640 / factor
    expected = [FX * scale, FY * scale, (CX + 0.5) * scale - 0.5, (CY + 0.5) * scale - 0.5]
    np.testing.assert_allclose(frame["camera"], expected, rtol=1e-6)
    depth = np.full((height, width), 4.0, np.float32)
    depth[:, : width // 2] = 3
    floor = 1.5 * FY / (source_row(np.arange(height), height) - CY)
    depth[rows >= 150, width // 2 :] = floor[rows >= 150, None]
    if factor == 1:
        depth[20, 200] = depth[21, 200] = 0
    np.testing.assert_allclose(frame["depth"], depth, rtol=1e-5)


def test_planes_beyond_the_number_do_not_count(write, read):
    write("train", record(num_planes=tfrecords.int64_list([1])))
    frame = read("planenet", "train", image_size=(6, 8)).gather(np.array([0]))
    np.testing.assert_array_equal(frame["planes"][0, 0], [0, 1.5, 0])
    assert not frame["planes"][0, 1:].any() and set(np.unique(frame["segmentation"])) == {0, 20}
    none = {"plane": tfrecords.float_list([0.0] * 60), "num_planes": tfrecords.int64_list([0])}
    write("train", record(**none))
    frame = read("planenet", "train", image_size=(6, 8)).gather(np.array([0]))
    assert (frame["segmentation"] == 20).all() and not frame["planes"].any()
    assert (frame["depth"] == 4).all()


def test_plane_far_away_keeps_the_measured_depth(write, read):
    planes = np.zeros(60)
    planes[:6] = 0, 0, -1.5, 0, 11.0, 0
    write("train", record(plane=tfrecords.float_list(planes)))
    frame = read("planenet", "train", image_size=(6, 8)).gather(np.array([0]))
    assert (frame["depth"][0, :, :4] == 4).all()
    np.testing.assert_array_equal(frame["planes"][0, 0], [0, 0, 11])


def test_published_validation_part_tests(write, sizes, read):
    blank = tfrecords.bytes_list(bytes(H * W * 3))
    write("train", *(record() for _ in range(3)), record(image_raw=blank))
    write("val", record(image_raw=blank))
    assert sizes("planenet", image_size=(3, 4), validation_fraction=0.25) == [3, 1, 1]
    test = pickle.loads(pickle.dumps(read("planenet", "test")))  # as reader processes get it
    assert not everything(test)["image"].any()


def test_damaged_record_is_told_when_it_is_reached(write, read):
    content = record()
    broken = bytearray(content)
    broken[len(broken) // 2] ^= 1
    path = write("train", content, bytes(broken), content)
    source = read("planenet", "train", image_size=(3, 4))
    source.gather(np.array([0, 2]))
    message = rf"{path}: record 1 \(from 0\) is damaged or cut short"
    refused(message, source.gather, np.array([0, 1]))
    write("train", content, content[:-1])
    refused(rf"{path}: record 1 \(from 0\) is damaged or cut short", read, "planenet", "train")


def test_records_of_another_kind_are_told(write, read):
    for changes, message in [
        ({"plane": tfrecords.float_list([1.0] * 57)}, "'plane' has 57 values, expected 60"),
        ({"image_raw": tfrecords.bytes_list(b"abc")}, "'image_raw' has 3 values, expected 147456"),
        ({"num_planes": b""}, "'num_planes' has 0 values, expected 1"),
        ({"info": tfrecords.float_list([0.0] * 20)}, "'info' holds no camera"),
        ({"info": tfrecords.float_list([float("nan")] * 20)}, "'info' holds no camera"),
        ({"depth": b"\xff"}, r"is no tf\.train\.Example message"),
    ]:
        write("train", record(**changes))
        refused(rf"train\.tfrecords, record 0 \(from 0\).*{message}", read, "planenet", "train")


def test_missing_files_features_and_wrong_sizes_are_told(write, read):
    refused(r"planes_scannet_val\.tfrecords is missing, expected", read, "planenet", "test")
    path = write("val", tfrecords.record(tfrecords.example({"image": b""})))
    refused(r"record 0 \(from 0\) has no feature 'image_raw'", read, "planenet", "test")
    path.write_text("<html>" * 20)
    refused("or this is no TFRecord file", read, "planenet", "test")
    refused(r"data\.image_size is \(0, 4\)", read, "planenet", "test", image_size=(0, 4))
