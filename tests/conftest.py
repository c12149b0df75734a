"""Settings of every test: eight fake devices, strict promotion, no network, no display.

Deprecation warnings are errors: within the tests by `filterwarnings` in pyproject.toml, in the
programs that tests start by the environment set here.
"""

import gc
import os
import socket
import sys
from typing import Any

import jaxlib.version

# Compilation is most of the time of the tests, and is twice as fast without optimizations.
_FLAGS = [
    "--xla_force_host_platform_device_count=8",
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_parallel_codegen_split_count=1",  # modules are small, and the workers are many
]
if jaxlib.version.__version_info__ < (0, 11):  # XLA does not start with a flag that it lacks
    _FLAGS.append("--xla_cpu_use_fusion_emitters=false")
_USERS = os.environ.get("XLA_FLAGS", "").split()
os.environ["XLA_FLAGS"] = " ".join(_USERS + [flag for flag in _FLAGS if flag not in _USERS])
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"  # lowering writes less, and so is faster
os.environ["MPLBACKEND"] = "agg"
os.environ["PYTHONWARNINGS"] = ",".join(
    f"error::{name}"
    for name in ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning")
)

from collections.abc import Iterator

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

_connect = socket.socket.connect


def _connect_to_this_machine(self: socket.socket, address: Any) -> None:
    """Refuses to leave this machine, so that a test that needs the network fails everywhere."""
    internet = self.family in (socket.AF_INET, socket.AF_INET6)
    if internet and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"Tests run without network, and this one connects to {address!r}.")
    _connect(self, address)


socket.socket.connect = _connect_to_this_machine  # type: ignore[assignment]


@pytest.fixture(scope="session", autouse=True)
def compile_once(tmp_path_factory) -> Iterator[None]:
    """Every run makes its own step functions: equal ones are taken from a cache on disk.

    The processes of pytest-xdist share it: their folders lie in one.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    settings = {
        "jax_compilation_cache_dir": str(shared / "compiled"),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def pytest_collection_finish() -> None:
    """Leaves what is imported out of garbage collection, and collects less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


@pytest.fixture(scope="session", autouse=True)
def trace_once() -> Iterator[None]:
    """Runs of equal configs share their steps: to trace one takes longer than a short run."""
    if "nvc_jax.training.parallel" not in sys.modules:  # no test of this process trains
        yield
        return
    from tests.sharing import shared_steps

    with shared_steps():
        yield
