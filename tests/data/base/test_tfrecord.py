"""TFRecord files and tf.train.Example messages that another writer wrote."""

import contextlib

import numpy as np
import pytest
from tensorflow_datasets.proto import tf_example_generated_pb2

from nvc_jax.core.errors import UserError
from nvc_jax.data.base.tfrecord import crc32c, parse_example, read_record, record_offsets
from tests import tfrecords
from tests.refusals import refused
from tests.sources import damaged


def test_checksums_of_rfc_3720():
    for content, expected in [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ]:
        assert crc32c(content) == expected


def test_checksum_of_any_length():
    content = np.random.default_rng(0).bytes(5000)
    for length in (*range(1, 70), 1023, 1024, 1025, 5000):
        assert crc32c(content[:length]) == tfrecords.crc32c(content[:length])


def test_records_are_read_in_any_order(tmp_path):
    contents = [b"first", b"", b"x" * 1000]
    path = tmp_path / "a.tfrecords"
    path.write_bytes(b"".join(map(tfrecords.record, contents)))
    offsets = record_offsets(path)
    assert offsets == [0, 21, 37]
    for number in (2, 0, 1):
        assert read_record(path, number, offsets[number]) == contents[number]


def read_all(path):
    return [read_record(path, i, offset) for i, offset in enumerate(record_offsets(path))]


def test_damaged_files_name_the_record(tmp_path):
    path = tmp_path / "a.tfrecords"
    records = [tfrecords.record(content) for content in (b"ab", b"cdefg")]
    good, whole = b"".join(records), len(records[0])
    for content in damaged(good):
        path.write_bytes(content)
        if len(content) == whole:  # a file that ends here is a good one
            assert read_all(path) == [b"ab"]
            continue
        with pytest.raises(UserError) as error:
            read_all(path)
        first = next((i for i, b in enumerate(content) if b != good[i]), len(content))
        expected = f"record {int(first >= whole)} (from 0) is damaged" if content else "is empty"
        assert expected in str(error.value) and str(path) in str(error.value)


def test_file_that_changed_since_it_was_opened_is_told(tmp_path):
    path = tmp_path / "a.tfrecords"
    path.write_bytes(tfrecords.record(b"abc") * 2)
    offset = record_offsets(path)[1]
    path.write_bytes(tfrecords.record(b"abcdef"))
    refused(r"a\.tfrecords: record 1 \(from 0\) is damaged", read_record, path, 1, offset)
    path.unlink()
    refused(r"a\.tfrecords is missing", read_record, path, 1, offset)
    refused(r"a\.tfrecords is missing", record_offsets, path)


FLOATS = [1.5, -2.0, float("inf")]
INTEGERS = [3, -1, 2**63 - 1, -(2**63), 300]


@pytest.mark.parametrize("packed", [True, False])
def test_features_of_all_kinds(packed):
    content = tfrecords.example(
        {
            "names": tfrecords.bytes_list(b"a", b"", b"\xff\x00"),
            "floats": tfrecords.float_list(FLOATS, packed),
            "integers": tfrecords.int64_list(INTEGERS, packed),
            "none": b"",
            "no_floats": tfrecords.float_list([], packed),
            "other": b"\xff\xff",  # is not asked for, so it is not looked at
        }
    )
    unknown = b"\x11" + bytes(8) + b"\x1d" + bytes(4) + b"\x20\x05" + tfrecords.field(9, b"?")
    names = ("integers", "names", "floats", "none", "no_floats")
    values = parse_example(unknown + content, names, "it")
    assert values["names"] == [b"a", b"", b"\xff\x00"]
    np.testing.assert_array_equal(values["floats"], np.array(FLOATS, np.float32), strict=True)
    np.testing.assert_array_equal(values["integers"], np.array(INTEGERS, np.int64), strict=True)
    assert values["none"] == [] and list(values["no_floats"]) == []


def test_message_of_the_protobuf_library():
    message = tf_example_generated_pb2.Example()
    feature = message.features.feature
    feature["floats"].float_list.value.extend(FLOATS)
    feature["integers"].int64_list.value.extend(INTEGERS)
    feature["names"].bytes_list.value.extend([b"x" * 200, b"y"])
    values = parse_example(message.SerializeToString(), list(feature), "it")
    assert values["names"] == [b"x" * 200, b"y"]
    np.testing.assert_array_equal(values["floats"], np.array(FLOATS, np.float32))
    np.testing.assert_array_equal(values["integers"], INTEGERS)


def test_missing_feature_and_other_messages_are_told():
    good = tfrecords.example({"b": tfrecords.int64_list([300]), "a": tfrecords.float_list([1.0])})
    message = r"^it has no feature 'c', got a, b: it belongs to another"
    refused(message, parse_example, good, ["c"], "it")
    refused("got none", parse_example, b"", ["c"], "it")
    refused(r"^it is no tf\.train\.Example message", parse_example, b"<html>", ["c"], "it")
    for content in damaged(good):  # as no checksum would let pass
        with contextlib.suppress(UserError):
            parse_example(content, ["a", "b"], "it")
