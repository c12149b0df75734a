"""Options of a reader, and a source whose examples are told apart by their labels."""

import itertools

import numpy as np
import pytest

from nvc_jax.config import make_config
from nvc_jax.core.errors import UserError
from nvc_jax.data import SOURCES, ArraySource, open_source
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
def numbered():
    """Makes a source of n examples whose label and pixels are the example's number."""

    def make(n):
        number = np.arange(n)
        return ArraySource(np.tile(number[:, None, None, None], (1, 2, 3, 1)).astype("u1"), number)

    return make


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


@pytest.fixture
def damaged():
    """Yields all contents with one byte changed, and all that are cut short."""

    def contents(good):
        for i in range(len(good)):
            yield good[:i]
            for flip in (0x01, 0xFF):
                yield good[:i] + bytes([good[i] ^ flip]) + good[i + 1 :]

    return contents


@pytest.fixture
def messages(damaged):
    """Reads contents damaged in all ways, or every so manieth; returns what was refused, and why."""

    def collect(good, read, every=1):
        found = []
        for content in itertools.islice(damaged(good), 0, None, every):
            try:
                read(content)
            except UserError as error:
                found.append(str(error))
        assert all("\n" not in message for message in found)
        return found

    return collect
