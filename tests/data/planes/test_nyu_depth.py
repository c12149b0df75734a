"""NYU's depth as `tfds build --file_format=array_record nyu_depth_v2` leaves it on disk."""

import pickle

import numpy as np
import pytest

from nvc_jax.data import open_source
from tests import tfrecords
from tests.refusals import refused
from tests.sources import everything, take

H, W = 480, 640


def record(number):
    """Frame i: gray i on the left and 200 on the right, i + 0.5 m deep but for a hole."""
    image = np.full((H, W, 3), 200, np.uint8)
    image[:, :320] = number
    depth = np.full((H, W), number + 0.5, np.float16)
    depth[:240, 320:] = 0
    depth[0, 0] = np.inf
    depths = tfrecords.float_list(depth.reshape(-1))
    return tfrecords.example({"image": tfrecords.png(image), "depth": depths})


def prepare(root, name="nyu_depth_v2", depth_name="depth", **splits):
    """Writes the data set with the frames of each split."""
    shapes = [{"dimensions": ["480", "640", *channels]} for channels in (["3"], [])]
    image = {"dtype": "uint8", "shape": shapes[0]}
    depth = {"dtype": "float16", "shape": shapes[1], "encoding": "none"}
    features = {
        "image": tfrecords.feature("image_feature.Image", image=image),
        depth_name: tfrecords.feature("tensor_feature.Tensor", tensor=depth),
    }
    content = tfrecords.features_dict(features)
    rows = {
        split: [record(number).replace(b"depth", depth_name.encode()) for number in numbers]
        for split, numbers in splits.items()
    }
    tfrecords.write_data_set(root, name, content, rows, version="0.0.1")


@pytest.mark.parametrize(("size", "factor"), [((0, 0), 1), ((48, 64), 10)])
def test_frames_have_depth_and_no_known_plane(tmp_path, read, size, factor):
    prepare(tmp_path, train=[1, 2, 3])
    source = read("nyu_depth", "train", image_size=size)
    for copy in (source, pickle.loads(pickle.dumps(source))):  # as reader processes get it
        batch = take(copy, 2, 0)
    height, width = H // factor, W // factor
    depth = np.empty((2, height, width), np.float32)
    depth[0], depth[1] = 3.5, 1.5
    depth[:, : height // 2, width // 2 :] = 0
    if factor == 1:
        depth[:, 0, 0] = 0
    np.testing.assert_array_equal(batch["depth"], depth, strict=True)
    assert batch["image"].shape == (2, height, width, 3) and batch["image"].dtype == np.uint8
    assert batch["image"][:, 5, 5].tolist() == [[3] * 3, [1] * 3]
    assert (batch["image"][:, :, -1] == 200).all()
    unknown = np.full((2, height, width), 255, np.uint8)
    np.testing.assert_array_equal(batch["segmentation"], unknown, strict=True)
    np.testing.assert_array_equal(batch["planes"], np.zeros((2, 20, 3), np.float32), strict=True)
    assert batch["label"].tolist() == [-1, -1]
    focal, center = np.array([518.8579, 519.4696]), np.array([325.5824, 253.7362])
    expected = [*focal / factor, *(center + 0.5) / factor - 0.5]
    np.testing.assert_allclose(batch["camera"], [expected] * 2, rtol=1e-6)


def test_the_validation_part_tests(tmp_path, options):
    prepare(tmp_path, train=[1, 2, 3, 4], validation=[9])
    data = options("nyu_depth", image_size=(3, 4), validation_fraction=0.25)
    train, validation, test = (
        everything(open_source(data, split))["image"][:, 0, 0, 0].tolist()
        for split in ("train", "validation", "test")
    )
    assert test == [9] and len(validation) == 1 and sorted(train + validation) == [1, 2, 3, 4]


def test_mistakes_are_told(tmp_path, read):
    refused(r"nyu_depth_v2/VERSION/dataset_info\.json.*tfds build", read, "nyu_depth", "train")
    prepare(tmp_path, "tiny", depth_name="other", train=[1])
    message = "has no feature 'depth', got image, other; use nyu_depth"
    refused(message, read, "nyu_depth", "train", name="tiny")
    refused("split 'validation' cannot be read", read, "nyu_depth", "test", name="tiny")
    refused(r"data\.image_size is \(3, 0\)", read, "nyu_depth", "train", image_size=(3, 0))
