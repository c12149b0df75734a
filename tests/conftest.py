"""Settings of every test: eight fake devices, strict promotion, no network, no display.

Deprecation warnings are errors: within the tests by `filterwarnings` in pyproject.toml, in the
programs that tests start by the environment set here.
"""

from __future__ import annotations

import os
import socket
from typing import Any

_DEVICES = "--xla_force_host_platform_device_count=8"
if _DEVICES not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_DEVICES}".strip()
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["MPLBACKEND"] = "agg"
os.environ["PYTHONWARNINGS"] = ",".join(
    f"error::{name}"
    for name in ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning")
)

import jax

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
