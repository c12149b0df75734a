"""Pickles of arrays: what Python and NumPy write is read, and nothing in a file is called."""

import contextlib
import pickle
from typing import Any

import numpy as np
import pytest

from nvc_jax.core.errors import UserError
from nvc_jax.data.base.pickled_arrays import read_pickled_arrays
from tests.refusals import refused
from tests.sources import Harmful, damaged, put

STORED: dict[int, dict[str, Any]] = {
    0: {"a": np.arange(6, dtype=np.float64).reshape(2, 3), "b": [np.array([True, False]), 3]},
    17: {"a": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "c": (np.float32([1.5]), "é", None)},
    2: {"big": np.arange(3, dtype=">i4"), "empty": np.zeros((0, 3))},
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_protocol(tmp_path, protocol):
    path = tmp_path / "a.pickle"
    path.write_bytes(pickle.dumps(STORED, protocol))
    got = read_pickled_arrays(path)
    assert list(got) == [0, 17, 2] and got[17]["c"][1:] == ("é", None) and got[0]["b"][1] == 3
    for number, name in ((0, "a"), (17, "a"), (2, "big"), (2, "empty")):
        expected = STORED[number][name]
        np.testing.assert_array_equal(got[number][name], expected)
        assert got[number][name].dtype == expected.dtype
    np.testing.assert_array_equal(got[0]["b"][0], [True, False])


def test_files_of_python_2_and_older_numpy(tmp_path):
    """Text in place of bytes, written by hand after the opcodes of protocol 2."""
    content = np.float64([2.0, -7.25]).tobytes()
    stream = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U"
        + bytes([len(content)])
        + content
        + b"tb."
    )
    np.testing.assert_array_equal(pickle.loads(stream, encoding="latin1"), [2.0, -7.25])
    path = tmp_path / "a.pickle"
    path.write_bytes(stream)
    np.testing.assert_array_equal(read_pickled_arrays(path), [2.0, -7.25])


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_in_a_file_is_called(tmp_path, protocol):
    path, made = tmp_path / "a.pickle", tmp_path / "made"
    path.write_bytes(pickle.dumps({0: Harmful(made)}, protocol))
    refused(r"a\.pickle asks for \w+\.mkdir: only arrays of numbers", read_pickled_arrays, path)
    assert not made.exists()
    pickle.loads(path.read_bytes())
    assert made.exists()  # the file does call something


def test_other_names_are_refused(tmp_path):
    for name in ("builtins\neval", "numpy\nload", "numpy.core.multiarray\nfrombuffer"):
        path = put(tmp_path / "a.pickle", f"c{name}\n.")
        refused("asks for", read_pickled_arrays, path)


def test_objects_in_arrays_are_refused(tmp_path):
    path = tmp_path / "a.pickle"
    path.write_bytes(pickle.dumps(np.array([{}, 1], object)))
    refused("cannot be read as a pickle of arrays", read_pickled_arrays, path)


def test_damaged_files_are_told(tmp_path):
    path = tmp_path / "a.pickle"
    refused(r"a\.pickle is missing", read_pickled_arrays, path)
    for content in damaged(pickle.dumps({0: {"K": np.eye(2, dtype=np.float32)}}, 2)):
        path.write_bytes(content)
        with contextlib.suppress(UserError):  # a changed number is not noticed
            read_pickled_arrays(path)


def nested(key: bool) -> bytes:
    """A tuple of the same tuple twice, fifty levels deep; as the key of a dict its hash takes 2⁵⁰ steps."""
    levels = b"(t" + b"".join(b"0" * 0 + b"2\x86" for _ in range(50))
    return b"\x80\x02" + (b"}" + levels + b"K\x01s" if key else levels) + b"."


@pytest.mark.parametrize("key", [False, True])
def test_nested_objects_take_no_time(tmp_path, key):
    path = put(tmp_path / "nested.pickle", nested(key))
    if key:
        refused("nested.pickle cannot be read as a pickle", read_pickled_arrays, path)
    else:
        value = read_pickled_arrays(path)
        for _ in range(50):
            assert value[0] is value[1]
            value = value[0]
        assert value == ()


def test_deep_and_repeated_content_is_refused(tmp_path):
    deep = b"\x80\x02" + b"(" * 5 + b"]" + b"\x85" * 100_000 + b"."
    text = b"X" + (10_000).to_bytes(4, "little") + b"a" * 10_000
    call = b"c_codecs\nencode\nq\x00" + text + b"q\x01X\x06\0\0\0latin1q\x02\x86R"
    again = b"h\x00h\x01h\x02\x86R" * 1000
    for content in (deep, b"\x80\x02](" + call + again + b"e.", b"\x80\x04\x8f(K\x01\x90."):
        refused("cannot be read as a pickle", read_pickled_arrays, put(tmp_path / "a", content))
