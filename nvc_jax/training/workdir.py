"""The work directory: what lies where, and when it may be written to."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import ml_collections

from nvc_jax import config as config_lib
from nvc_jax.errors import UserError
from nvc_jax.training.checkpoint import BEST, DISCARDED, LATEST, Checkpoints
from nvc_jax.training.logging import EVENTS_FOLDER, METRICS_FILE

CONFIG_FILE = "config.json"
RESUME = ("auto", "never", "must")
OWN_NAMES = (CONFIG_FILE, METRICS_FILE, EVENTS_FOLDER, LATEST, BEST, DISCARDED)
_logger = logging.getLogger("nvc_jax")


def prepare(workdir: Path, *, resume: str, overwrite: bool) -> None:
    """Checks that a run may start in the directory; creates it.

    Args:
      workdir: the directory.
      resume: `auto` goes on from a checkpoint if there is one; `never` wants a directory without a
        run; `must` wants a checkpoint.
      overwrite: delete an earlier run's files first. Nothing else in the directory is touched.

    Raises:
      UserError: if the directory does not fit what was asked, or cannot be written.
    """
    if resume not in RESUME:
        raise UserError(f"--resume is {resume!r}: use one of {', '.join(RESUME)}.")
    if overwrite and resume == "must":
        raise UserError("--overwrite and --resume=must contradict each other: give one of them.")
    present = [name for name in OWN_NAMES if (workdir / name).exists()]
    if present and resume == "never" and not overwrite:
        raise UserError(
            f"{workdir} holds a run already ({', '.join(present)}): use another --workdir, "
            "--resume=auto to go on with it, or --overwrite to delete it."
        )
    if resume == "must" and not Checkpoints(workdir).steps():
        raise UserError(f"--resume=must, but there is no checkpoint in {workdir / LATEST}.")
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if overwrite:
            for name in present:
                path = workdir / name
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError as error:
        raise UserError(f"The work directory {workdir} cannot be used: {error}.") from None
    if not os.access(workdir, os.W_OK):
        raise UserError(f"The work directory {workdir} is read-only: choose another --workdir.")


def write_config(workdir: Path, config: ml_collections.ConfigDict) -> None:
    """Saves the resolved config; tells which keys changed since an earlier start of the run."""
    path = workdir / CONFIG_FILE
    if path.is_file():
        earlier = dict(config_lib.leaves(read_config(workdir)))
        changed = [
            f"{name}: {earlier.get(name)!r} → {value!r}"
            for name, value in config_lib.leaves(config)
            if earlier.get(name) != value
        ]
        if changed:
            _logger.warning(
                "The config differs from this run's earlier one: %s.", "; ".join(changed)
            )
    partial = path.with_suffix(".partial")
    partial.write_text(config_lib.to_json(config))
    os.replace(partial, path)


def read_config(workdir: Path) -> ml_collections.ConfigDict:
    """Reads the config that a run saved beside its weights.

    Raises:
      UserError: if there is none.
    """
    path = workdir / CONFIG_FILE
    if not path.is_file():
        raise UserError(f"{workdir} holds no run: there is no {CONFIG_FILE} in it.")
    return config_lib.from_json(path.read_text(), str(path))
