"""Translation data sets of TensorFlow Datasets on disk, read without TensorFlow."""

import pytest

from nvc_jax.data.text.parallel_text import iterate_pairs, read_tfds_text
from tests import tfrecords
from tests.refusals import refused
from tests.sources import take

PAIRS = [("Grüße", "Greetings"), ("", "empty"), ("eins zwei drei", "one two three")]


def record(pair):
    texts = {name: text.encode() for name, text in zip(("de", "en"), pair)}
    return tfrecords.example({name: tfrecords.bytes_list(text) for name, text in texts.items()})


@pytest.fixture
def folder(tmp_path):
    """Writes `tiny/de-en` with three splits."""
    languages = {"languages": ["de", "en"], "variableLanguagesPerExample": False}
    features = tfrecords.feature("translation_feature.Translation", translation=languages)
    rows = [record(pair) for pair in PAIRS]
    splits = {"train": rows, "validation": rows[:1], "test": rows[:2]}
    tfrecords.write_data_set(tmp_path, "tiny", features, splits, config="de-en")
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
    batch = take(source, 1, 0)
    assert batch["target_text"].tolist() == ["one two three", "Greetings"]
    assert list(iterate_pairs(read("train"))) == [PAIRS[0]]
    turned = read("validation", source_language="en", target_language="de")
    assert list(iterate_pairs(turned)) == [PAIRS[0][::-1]]
    assert list(iterate_pairs(read("test", test_split="train"))) == [PAIRS[0], PAIRS[2]]


def test_mistakes_are_told(read):
    for changes, message in [
        ({"name": ""}, "needs data.name"),
        ({"name": "absent/de-en"}, "expected .*absent/de-en/VERSION/dataset_info.json"),
        ({"train_split": "other"}, "split 'other' cannot be read"),
        ({"target_language": "fr"}, "no feature 'fr', got de, en; set data.source_language"),
    ]:
        refused(message, read, "train", **changes)
