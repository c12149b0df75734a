"""The fuzzer: what it counts, and that it is seeded."""

import random

import pytest

from benchmarks import fuzz
from nvc_jax.core.errors import UserError


def test_changes_are_seeded_and_change_something():
    content = b"#binvox 1\ndim 2 2 2\ndata\n\1\4\0\4" * 3
    first, again = ([fuzz.mutated(content, random.Random(i)) for i in range(200)] for _ in range(2))
    assert first == again and len(set(first)) > 150
    assert sum(changed != content for changed in first) > 180
    assert fuzz.mutated(b"", random.Random(0)) is not None


def test_what_becomes_of_a_read_is_counted(tmp_path, monkeypatch):
    def slow(folder):
        while True:
            pass

    def read(folder):
        content = (folder / "a").read_bytes()
        if content == b"good":
            return
        raise [UserError("bad"), ValueError("worse"), MemoryError()][len(content) % 3]

    made = {
        "a": lambda: fuzz.Reader(lambda folder: (folder / "a").write_bytes(b"good"), read),
        "hang": lambda: fuzz.Reader(lambda folder: None, slow),
    }
    monkeypatch.setattr(fuzz, "readers", lambda: made)
    found = fuzz.fuzz("a", 60, 0, tmp_path)
    assert found["told"] > 5 < found["tracebacks"]
    assert found["read"] + found["told"] + found["tracebacks"] == found["mutations"] == 60
    assert len(found["problems"]) == found["tracebacks"]
    assert any("ValueError: worse" in problem for problem in found["problems"])
    assert (tmp_path / "a").read_bytes() == b"good"
    monkeypatch.setattr(fuzz, "SECONDS", 1)
    fuzz.signal.signal(fuzz.signal.SIGALRM, fuzz._raise_hang)
    fuzz.signal.alarm(1)
    assert fuzz._read_once(made["hang"](), tmp_path).startswith("hangs ")


@pytest.mark.parametrize("name", ["binvox", "config.json"])
def test_readers_pass(name, tmp_path):
    found = fuzz.fuzz(name, 30, 0, tmp_path)
    assert found["problems"] == [] and found["told"] > 0
