"""Data sets of TensorFlow Datasets on disk, read without TensorFlow and without network."""

import pickle
import sys
from importlib.machinery import ModuleSpec
from types import SimpleNamespace

import numpy as np
import pytest

from nvc_jax.core.errors import UserError
from nvc_jax.data import open_source
from tests import tfrecords
from tests.refusals import refused
from tests.sources import take

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)
LABELS = [2, 0, 1, 1, 0, 2]


class NoTensorFlow:
    """Finds TensorFlow, installed or not, and fails to import it."""

    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self) if name == "tensorflow" else None

    def create_module(self, spec):
        raise ImportError("this test does without TensorFlow")

    def exec_module(self, module):
        raise AssertionError("there is no module")


@pytest.fixture(autouse=True)
def _no_tensorflow(monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setattr(sys, "meta_path", [NoTensorFlow(), *sys.meta_path])


def record(image, label):
    """A serialized `tf.train.Example`."""
    features = {"image": tfrecords.png(image)}
    if label is not None:
        features["label"] = tfrecords.int64_list([label])
    return tfrecords.example(features)


def prepare(root, *, size=("4", "5", "3"), with_label=True, **splits):
    """Writes the data set `tiny`."""
    shape = {"dimensions": size}
    image = tfrecords.feature("image_feature.Image", image={"dtype": "uint8", "shape": shape})
    features = {"image": image}
    if with_label:
        classes = {"numClasses": "3"}
        features["label"] = tfrecords.feature("class_label_feature.ClassLabel", classLabel=classes)
    rows = {
        split: [record(image, label if with_label else None) for image, label in zip(*examples)]
        for split, examples in splits.items()
    }
    return tfrecords.write_data_set(root, "tiny", tfrecords.features_dict(features), rows)


def test_reads_the_examples_asked_for(tmp_path, options):
    prepare(tmp_path, train=(IMAGES, LABELS), test=(IMAGES[:2], LABELS[:2]))
    data = options("tfds", name="tiny", validation_fraction=0.0)
    train, test = (open_source(data, split) for split in ("train", "test"))
    assert (len(train), len(test)) == (6, 2)
    batch = take(train, 4, 0, 5)
    np.testing.assert_array_equal(batch["image"], IMAGES[[4, 0, 5]])
    np.testing.assert_array_equal(batch["label"], [0, 2, 2])
    sent = pickle.loads(pickle.dumps(train))  # as reader processes get it
    np.testing.assert_array_equal(sent.gather(np.array([3]))["image"], IMAGES[[3]])


def test_splits_have_chosen_names_and_label_is_optional(tmp_path, read):
    prepare(tmp_path, with_label=False, unlabeled=(IMAGES, LABELS))
    source = read("tfds", "train", name="tiny", train_split="unlabeled")
    assert source.gather(np.array([0, 1]))["label"].tolist() == [-1, -1]


@pytest.mark.parametrize("name", ["tiny", "mnist"])
def test_missing_data_set_names_folder_files_and_command(tmp_path, read, name):
    with pytest.raises(UserError) as error:
        read("tfds", "train", name=name)
    message = str(error.value)
    assert "\n" not in message and f"{tmp_path}/{name}/VERSION/dataset_info.json" in message
    assert f"tfds build --file_format=array_record {name}" in message


def test_mistakes_are_told(tmp_path, read):
    prepare(tmp_path, train=(IMAGES, LABELS))
    for changes, message in [
        ({"name": ""}, "needs data.name"),
        ({"train_split": "training"}, "split 'training' cannot be read.*Unknown split"),
        ({"image_key": "picture"}, "no feature 'picture', got image, label; set data.image_key"),
    ]:
        refused(message, read, "tfds", "train", **{"name": "tiny", **changes})


@pytest.mark.parametrize("content", [b"<html>".ljust(2048), b""])
@pytest.mark.parametrize("name", ["tiny-train.array_record-00000-of-00001", "features.json"])
def test_other_file_in_its_place_is_one_line_with_the_folder(tmp_path, read, name, content):
    (prepare(tmp_path, train=(IMAGES, LABELS)) / name).write_bytes(content)
    assert str(tmp_path) in refused("cannot be read", read, "tfds", "train", name="tiny")


def test_unequal_sizes_are_told(tmp_path, read):
    images = [IMAGES[0], IMAGES[1][:3]]
    prepare(tmp_path, size=("-1", "-1", "3"), train=(images, [0, 1]))
    source = read("tfds", "train", name="tiny")
    message = r"differ in size, image has \(4, 5, 3\) and \(3, 5, 3\)"
    refused(message, source.gather, np.array([0, 1]))


def test_gpus_are_hidden_from_tensorflow(tmp_path, read, monkeypatch):
    prepare(tmp_path, train=(IMAGES, LABELS))
    hidden = []
    config = SimpleNamespace(set_visible_devices=lambda *devices: hidden.append(devices))
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace(config=config))
    read("tfds", "train", name="tiny")
    assert hidden == [([], "GPU")]
