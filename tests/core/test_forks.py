"""What is told in a process that was forked after JAX had started."""

import os
import warnings

import jax
import numpy as np
import pytest

from nvc_jax import NebulaClustering
from nvc_jax.config import make_config
from nvc_jax.core.errors import UserError
from nvc_jax.data import FieldSpec
from nvc_jax.training.encoding import encode_source
from nvc_jax.training.experiment import make_experiment
from tests.sources import numbered


def _told() -> list[str]:
    """What each way to compute says."""
    x = np.zeros((8, 2), np.float32)
    spec = {"image": FieldSpec((4, 4, 1), np.dtype(np.float32))}
    ways = (
        lambda: NebulaClustering(2).fit(x + np.arange(8)[:, None]),
        lambda: make_experiment(make_config(), spec, None),
        lambda: encode_source(lambda *_: {}, None, numbered(8), 4),
    )
    said = []
    for way in ways:
        with pytest.raises(UserError) as error:
            way()
        said.append(str(error.value))
    return said


def test_nothing_waits_for_threads_that_a_fork_left_behind(tmp_path):
    jax.numpy.zeros(3).block_until_ready()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # JAX and Python warn of such forks
        child = os.fork()
    if child == 0:  # no exception may bring it back into pytest
        try:
            (tmp_path / "said").write_text("\n".join(_told()))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    said = (tmp_path / "said").read_text().splitlines()
    assert len(said) == 3
    assert all("forked" in line and "spawn" in line for line in said), said
