"""JAX's persistent compilation cache: what one run compiled, the next ones load."""

import logging
import os
import tempfile
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

OFF = "off"

_ENABLED = "jax_enable_compilation_cache"
_DIRECTORY = "jax_compilation_cache_dir"
_LIMIT = "jax_persistent_cache_min_compile_time_secs"
_MIN_COMPILE_SECONDS = 0.1
"""What took less to compile is not kept; JAX's own limit is 1 s."""

logger = logging.getLogger("nvc_jax")


def use_compilation_cache(directory: str | None = None) -> str | None:
    """Turns the persistent compilation cache on or off. Touches no device and never fails.

    JAX's key of an entry holds the program, the versions, the flags and the device with the
    features of the processor, so unlike machines can share a directory. An entry that cannot be
    read, such as a half-written one, is compiled again with a warning. The directory grows without
    a bound and may be deleted at any time. Its entries are machine code: let nobody write there
    whom you do not trust.

    What the user sets in the environment variables of JAX, such as `JAX_COMPILATION_CACHE_DIR` and
    `JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS`, counts.

    Args:
      directory: a path, or a URL that JAX can write to; `off` for no cache. None: where JAX is set
        to keep it, else `nvc_jax/compiled` in `$XDG_CACHE_HOME` or `~/.cache`.

    Returns:
      The directory; None without a cache, as where the directory cannot be written to: a warning
      tells that.
    """
    opened = _open(directory or _default_directory())
    jax.config.update(_ENABLED, opened is not None)
    if opened is not None:
        jax.config.update(_DIRECTORY, opened)
        if _LIMIT.upper() not in os.environ:
            jax.config.update(_LIMIT, min(getattr(jax.config, _LIMIT), _MIN_COMPILE_SECONDS))
    compilation_cache.reset_cache()  # JAX looks at its settings only once
    return opened


def _default_directory() -> str:
    """Where to keep the cache when nobody says so: what JAX is set to, or the user's cache."""
    if not getattr(jax.config, _ENABLED):
        return OFF
    configured = getattr(jax.config, _DIRECTORY)
    if configured is not None:
        return configured or OFF
    base = os.environ.get("XDG_CACHE_HOME", "")
    return os.path.join(base if os.path.isabs(base) else "~/.cache", "nvc_jax", "compiled")


def _open(directory: str) -> str | None:
    """Makes the directory and returns its absolute path; None for `off` and where that fails."""
    if directory == OFF or "://" in directory:
        return None if directory == OFF else directory
    try:
        path = Path(directory).expanduser().absolute()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return str(path)
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home directory
        logger.warning(
            "Compiled functions are not kept for the next run, because the directory %s cannot be "
            "written to (%s): use another one.", directory, error,
        )  # fmt: skip
        return None
