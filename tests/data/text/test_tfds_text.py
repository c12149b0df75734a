"""Translation data sets of TensorFlow Datasets on disk, read without TensorFlow."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.proto import tf_example_generated_pb2

from nvc_jax.core.errors import UserError
from nvc_jax.data.text.parallel_text import iterate_pairs
from nvc_jax.data.text.tfds_text import read_tfds_text

PAIRS = [("Grüße", "Greetings"), ("", "empty"), ("eins zwei drei", "one two three")]


def record(pair):
    example = tf_example_generated_pb2.Example()
    for language, text in zip(("de", "en"), pair):
        example.features.feature[language].bytes_list.value.append(text.encode())
    return example.SerializeToString()


@pytest.fixture
def folder(tmp_path):
    """Writes `tiny/de-en` with three splits, as `tfds build --file_format=array_record` does."""
    folder = tmp_path / "tiny" / "de-en" / "1.0.0"
    folder.mkdir(parents=True)
    package = "tensorflow_datasets.core.features"
    features: dict[str, Any] = {
        "pythonClassName": f"{package}.translation_feature.Translation",
        "translation": {"languages": ["de", "en"], "variableLanguagesPerExample": False},
    }
    (folder / "features.json").write_text(json.dumps(features))
    info: dict[str, Any] = {"name": "tiny", "version": "1.0.0", "fileFormat": "array_record"}
    info["configName"], info["splits"] = "de-en", []
    for number, split in enumerate(("train", "validation", "test")):
        path = folder / f"tiny-{split}.array_record-00000-of-00001"
        writer = ArrayRecordWriter(str(path), "group_size:1")
        rows = [record(pair) for pair in PAIRS[: 3 if number == 0 else number]]
        for row in rows:
            writer.write(row)
        writer.close()
        info["splits"].append(
            {
                "name": split,
                "numBytes": str(sum(map(len, rows))),
                "shardLengths": [str(len(rows))],
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            }
        )
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return tmp_path


@pytest.fixture
def read(folder, options):
    def run(split, **changes):
        data = options("tfds_text", **{"name": "tiny/de-en", "max_words": 2, **changes})
        return read_tfds_text(data, split)

    return run


def test_reads_pairs_of_all_splits(read):
    source = read("train", max_words=0)
    assert list(iterate_pairs(source)) == [PAIRS[0], PAIRS[2]]
    batch = source.gather(np.array([1, 0]))
    assert batch["target_text"].tolist() == ["one two three", "Greetings"]
    assert {k: (v.shape[1:], v.dtype) for k, v in batch.items()} == source.spec
    assert list(iterate_pairs(read("train"))) == [PAIRS[0]]
    turned = read("validation", source_language="en", target_language="de")
    assert list(iterate_pairs(turned)) == [PAIRS[0][::-1]]
    assert list(iterate_pairs(read("test", test_split="train"))) == [PAIRS[0], PAIRS[2]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "needs data.name"),
        ({"name": "absent/de-en"}, "expected .*absent/de-en/VERSION/dataset_info.json"),
        ({"train_split": "other"}, "split 'other' cannot be read"),
        ({"target_language": "fr"}, "no feature 'fr', got de, en; set data.source_language"),
    ],
)
def test_mistakes_are_told(read, changes, message):
    with pytest.raises(UserError, match=message) as error:
        read("train", **changes)
    assert "\n" not in str(error.value)
