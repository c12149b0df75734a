"""Options of a reader, what it reads, and what it refuses."""

import pytest

from nvc_jax.config import make_config
from nvc_jax.data import SOURCES, open_source
from nvc_jax.data.base import options as shared
from tests.refusals import refused


@pytest.fixture
def options(tmp_path):
    """Makes `config.data` of a source, for files in `tmp_path`."""

    def make(source, **changes):
        dirs = {"dir": str(tmp_path)} if shared.DIR in SOURCES[source].options else {}
        return make_config({"data": {"source": source, **dirs, **changes}}).data

    return make


@pytest.fixture
def read(options):
    """Reads a split of a source, of which nothing is cut off for validation."""
    return lambda source, split, **changes: SOURCES[source].read(options(source, **changes), split)


@pytest.fixture
def sizes(options):
    """Tells how many examples each split of a source has."""

    def count(source, **changes):
        data = options(source, **changes)
        return [len(open_source(data, split)) for split in ("train", "validation", "test")]

    return count


@pytest.fixture
def refuses(tmp_path, read):
    """Checks that a reader tells of each wrong file: (name, content, message).

    The content is bytes, None for no file, or a function that writes it to a path.
    """

    def check(wrong, source, split, **changes):
        for name, content, message in wrong:
            path = tmp_path / name
            good = path.read_bytes() if path.exists() else None
            path.unlink(missing_ok=True)
            if callable(content):
                content(path)
            elif content is not None:
                path.write_bytes(content)
            told = refused(message, read, source, split, **changes)
            assert str(tmp_path) in told, (name, content)
            path.unlink(missing_ok=True)
            if good is not None:
                path.write_bytes(good)

    return check
