"""Programs that tests start: their environment and their config file."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import ml_collections

from nvc_jax.config import to_json

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 1800.0
"""Seconds after which a test gives up: a program that hangs, and not one on a busy machine."""


def environment(devices: int | None = None, **changes: str) -> dict[str, str]:
    """Of a program that shares the tests' cache of compiled functions.

    It has as many fake devices as the tests have, or `devices`.
    """
    flags = os.environ["XLA_FLAGS"]
    if devices is not None:  # the last one of a flag counts
        flags = f"{flags} --xla_force_host_platform_device_count={devices}"
    return {
        **os.environ,
        "XLA_FLAGS": flags,
        "JAX_COMPILATION_CACHE_DIR": jax.config.values["jax_compilation_cache_dir"],
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "PYTHONPATH": str(ROOT),
        **changes,
    }


def run_python(
    *arguments: str | Path, cwd: Path | None = None, code: int = 0, **changes: str
) -> subprocess.CompletedProcess[str]:
    """A Python program that has ended, with that exit code, and what it told."""
    result = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **changes},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert result.returncode == code, result.stderr
    return result


def write_config(config: ml_collections.ConfigDict, folder: Path) -> Path:
    """Writes a file with `get_config()` that returns this config; returns its path."""
    (folder / "config.json").write_text(to_json(config))
    path = folder / "given.py"
    path.write_text(
        "import json\nfrom pathlib import Path\n"
        "def get_config():\n"
        "    return json.loads(Path(__file__).with_name('config.json').read_text())\n"
    )
    return path
