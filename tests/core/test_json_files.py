"""The one reader of JSON: whatever a file holds, it is told in a sentence."""

import pytest

from nvc_jax.core.json_files import parse_json, read_json
from tests.refusals import refused

DAMAGED = {
    "nothing": b"",
    "cut short": b'{"a": [1, 2',
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 60 + b"1" + b"}" * 60,
    "invalid UTF-8": b'{"a": "\xff\xfe"}',
    "a huge integer": b'{"a": 1' + b"0" * 30 + b"}",
    "an endless integer": b'{"a": 1' + b"0" * 10_000 + b"}",
    "another kind": b"[1]",
    "a text": b'"a"',
    "null": b"null",
    "control codes": b'{"\x1b[2J": ',
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_anything_else_is_told_in_a_sentence(content, tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    for message in (
        refused("a.json .*: .*fetch it", read_json, path, dict, "a thing", "fetch it again"),
        refused("^here .*fetch it", parse_json, content, "here", dict, "a thing", "fetch it again"),
    ):
        assert message.isprintable() and len(message) < 600


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_values_and_encodings(encoding, tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"ü": [1, -9223372036854775808, 1e3, null, {"b": true}]}', encoding)
    expected = {"ü": [1, -(2**63), 1000.0, None, {"b": True}]}
    assert read_json(path, dict, "a thing", "") == expected
    assert parse_json('\ufeff{"a": 1}', "here", dict, "a thing", "") == {"a": 1}


def test_files_that_cannot_be_read_are_told(tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        refused("cannot be read", read_json, path, dict, "a thing", "restore it")
