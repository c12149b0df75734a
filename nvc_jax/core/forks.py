"""A process that was forked after JAX had started lacks JAX's threads, and would wait for them without an end."""

import os

from jax._src import xla_bridge

from nvc_jax.core.errors import UserError

_lost = False


def _note() -> None:
    """Runs in the child of a fork."""
    global _lost
    _lost = _lost or xla_bridge.backends_are_initialized()


if hasattr(os, "register_at_fork"):  # where there are forks
    os.register_at_fork(after_in_child=_note)


def check_not_forked() -> None:
    """Is called before something is computed.

    Raises:
      UserError: in a process that was forked after JAX had started, in whatever way it was used there.

    Reference: JAX itself warns of such a fork, and Python of every fork of a process with threads.
    """
    if _lost:
        raise UserError(
            "This process was forked after JAX had started, so that it would wait for JAX without an end: use "
            "joblib's own processes (loky) or the start method 'spawn', or fork before the first fit or load."
        )
