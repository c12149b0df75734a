"""Options of a reader, and a source whose examples are told apart by their labels."""

import itertools

import numpy as np
import pytest

from nvc_jax.config import make_config
from nvc_jax.core.errors import UserError
from nvc_jax.data import SOURCES, ArraySource
from nvc_jax.data.base import options as shared


@pytest.fixture
def options(tmp_path):
    """Makes `config.data` of a source, for files in `tmp_path`."""

    def make(source, **changes):
        dirs = {"dir": str(tmp_path)} if shared.DIR in SOURCES[source].options else {}
        return make_config({"data": {"source": source, **dirs, **changes}}).data

    return make


@pytest.fixture
def numbered():
    """Makes a source of n examples whose label and pixels are the example's number."""

    def make(n):
        number = np.arange(n)
        return ArraySource(np.tile(number[:, None, None, None], (1, 2, 3, 1)).astype("u1"), number)

    return make


@pytest.fixture
def refuses():
    """Checks that a reader tells of each wrong file: (name, content, message); None is no file."""

    def check(read, root, wrong):
        for name, content, message in wrong:
            path = root / name
            good = path.read_bytes()
            path.unlink()
            if content is not None:
                path.write_bytes(content)
            with pytest.raises(UserError) as error:
                read()
            told = str(error.value)
            assert message in told and str(root) in told and "\n" not in told, (name, content)
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
