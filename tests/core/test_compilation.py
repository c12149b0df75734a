"""The persistent compilation cache: where it is, that runs share it, and that it stops no run."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from nvc_jax.core.compilation import use_compilation_cache
from tests.processes import PATIENCE, ROOT

ENABLED, DIRECTORY, LIMIT = (
    "jax_enable_compilation_cache",
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
)


def settings():
    return tuple(getattr(jax.config, name) for name in (ENABLED, DIRECTORY, LIMIT))


@pytest.fixture(autouse=True)
def fresh_settings(monkeypatch, tmp_path):
    """JAX as it starts without environment variables; afterwards as it was."""
    before = settings()
    monkeypatch.delenv(LIMIT.upper(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for name, value in zip((ENABLED, DIRECTORY, LIMIT), (True, None, 1.0)):
        jax.config.update(name, value)
    yield
    for name, value in zip((ENABLED, DIRECTORY, LIMIT), before):
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.mark.parametrize(
    ("base", "where"),
    [
        (None, "home/.cache/nvc_jax/compiled"),
        ("", "home/.cache/nvc_jax/compiled"),
        ("not/absolute", "home/.cache/nvc_jax/compiled"),  # to be ignored, says its specification
        ("{}/caches", "caches/nvc_jax/compiled"),
    ],
)
def test_default_is_the_users_cache_directory(base, where, tmp_path, monkeypatch):
    if base is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", base.format(tmp_path))
    expected = tmp_path / where
    assert use_compilation_cache() == str(expected)
    assert settings() == (True, str(expected), 0.1)
    assert expected.is_dir() and expected.stat().st_mode & 0o077 == 0  # nobody else's code


@pytest.mark.parametrize(
    ("given", "where"), [("own", "work/own"), ("~/own", "home/own"), ("", "work/of jax")]
)
def test_given_directory_and_the_one_that_jax_is_set_to(given, where, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    jax.config.update(DIRECTORY, "of jax")
    jax.config.update(LIMIT, 0.01)
    assert use_compilation_cache(given) == str(tmp_path / where)
    assert settings() == (True, str(tmp_path / where), 0.01)
    assert (tmp_path / where).is_dir()
    assert list((tmp_path / where).iterdir()) == []  # trying it out left nothing


def test_a_url_is_left_to_jax():
    assert use_compilation_cache("gs://bucket/compiled") == "gs://bucket/compiled"
    assert settings()[:2] == (True, "gs://bucket/compiled")


@pytest.mark.parametrize(
    ("enabled", "directory", "given"), [(True, None, "off"), (False, None, None), (True, "", None)]
)
def test_off_by_flag_or_by_jax(enabled, directory, given, tmp_path):
    jax.config.update(ENABLED, enabled)
    jax.config.update(DIRECTORY, directory)
    assert use_compilation_cache(given) is None
    assert settings() == (False, directory, 1.0)
    assert not (tmp_path / "home").exists()
    assert use_compilation_cache(str(tmp_path / "now on")) == str(tmp_path / "now on")
    assert settings()[0] is True


def test_limit_of_the_environment_counts(tmp_path, monkeypatch):
    monkeypatch.setenv(LIMIT.upper(), "1.0")
    use_compilation_cache(str(tmp_path))
    assert settings()[2] == 1.0


@pytest.mark.parametrize("name", ["file", "file/below", "long" * 100])
def test_unusable_directory_is_told_in_one_sentence_and_nothing_is_kept(name, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    jax.config.update(DIRECTORY, str(tmp_path))
    with caplog.at_level("WARNING", "nvc_jax"):
        assert use_compilation_cache(str(tmp_path / name)) is None
    (message,) = [record.getMessage() for record in caplog.records]
    assert str(tmp_path / name) in message and "cannot be written to" in message
    assert settings()[0] is False


def test_user_without_a_home_directory_goes_without(monkeypatch, caplog):
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as it does for such a user
    with caplog.at_level("WARNING", "nvc_jax"):
        assert use_compilation_cache() is None
    assert len(caplog.records) == 1


PROGRAM = """
import sys
from nvc_jax.core.compilation import use_compilation_cache
from tests.processes import PATIENCE, ROOT
use_compilation_cache(sys.argv[1])
import jax
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized(), "a device was touched"
events = []
jax.monitoring.register_event_listener(lambda name, **_: events.append(name.rpartition("/")[2]))
print(sum(float(jax.jit(f)(0.25)) for f in (jax.numpy.sin, jax.numpy.cos, jax.numpy.tanh)))
print(events.count("cache_hits"), events.count("cache_misses"))
"""


def start(directory: Path) -> subprocess.Popen[str]:
    """A program that compiles; it keeps everything, however fast."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(directory)],
        env={**os.environ, "PYTHONPATH": str(ROOT), LIMIT.upper(): "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result(program: subprocess.Popen[str]) -> tuple[str, int, int, str]:
    """(what it computed, functions loaded, functions compiled, what it warned of)."""
    out, err = program.communicate(timeout=PATIENCE)
    assert program.returncode == 0, err
    value, counts = out.splitlines()
    hits, misses = map(int, counts.split())
    return value, hits, misses, err


def test_runs_share_the_cache_and_survive_damaged_entries(tmp_path):
    both = [start(tmp_path), start(tmp_path)]  # writing the same entries at the same time
    (value, *counts, _), other = map(result, both)
    assert sum(counts) == 3 and other[0] == value
    assert result(start(tmp_path)) == (value, 3, 0, "")
    entries = list(tmp_path.glob("*-cache"))
    content = entries[0].read_bytes()
    # What a full disk and a machine without power leave.
    for entry, damaged in zip(entries, (content[: len(content) // 2], b"", b"nonsense")):
        entry.write_bytes(damaged)
    again, loaded, _, warnings = result(start(tmp_path))
    assert (again, loaded) == (value, 0)
    assert warnings.count("Error reading persistent compilation cache entry") == 3
