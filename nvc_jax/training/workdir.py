"""The work directory: what lies where, and when it may be written to."""

import contextlib
import fcntl
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from nvc_jax import config as config_lib
from nvc_jax.core.errors import UserError
from nvc_jax.core.files import refuse_links, replace_arrays, replace_file
from nvc_jax.core.json_files import read_json
from nvc_jax.core.options import leaves
from nvc_jax.data import Hints
from nvc_jax.data.base.files import read_fields
from nvc_jax.data.base.source import FieldSpec
from nvc_jax.data.base.tree import files_matching
from nvc_jax.training import parallel
from nvc_jax.training.checkpoint import BEST, DISCARDED, LATEST, Checkpoints
from nvc_jax.training.logging import EVENTS_FOLDER, METRICS_FILE

CONFIG_FILE = "config.json"
SPEC_FILE = "spec.json"
RESULTS_FILE = "results.json"
EMBEDDINGS_FILE = "embeddings.npz"
FIGURES_FOLDER = "figures"
SHAPES_FOLDER = "shapes"
PREDICTIONS_FILE = "predictions.txt"
ANCHORS_FILE = "anchors.txt"
REPORT_FILE = "report.html"
LEARNED_FOLDER = "learned"
HINTS_FILE = "hints.npz"
RESUME = ("auto", "never", "must")
OWN_NAMES = (
    CONFIG_FILE,
    SPEC_FILE,
    METRICS_FILE,
    EVENTS_FOLDER,
    LATEST,
    BEST,
    DISCARDED,
    RESULTS_FILE,
    EMBEDDINGS_FILE,
    FIGURES_FOLDER,
    SHAPES_FOLDER,
    PREDICTIONS_FILE,
    ANCHORS_FILE,
    REPORT_FILE,
    LEARNED_FOLDER,
    HINTS_FILE,
)
_DTYPES = {np.dtype(code).name for code in "?bBhHiIlLefdO"}
"""Names of the types of fields; others are not asked of NumPy, which reads a language of its own there."""
_SHARED_SECONDS = 30
"""A network file system shows what another machine wrote with a delay."""
_logger = logging.getLogger("nvc_jax")


class Claim(NamedTuple):
    """A work directory that belongs to one run.

    Attributes:
      path: the directory.
      lock: descriptor of the directory, locked; the system undoes it when the process ends.
    """

    path: Path
    lock: int

    def check(self) -> None:
        """Checks that the directory is still the same, and not removed, renamed or replaced.

        Raises:
          UserError: if it is not.
        """
        try:
            there = os.path.samestat(os.fstat(self.lock), os.stat(self.path))
        except OSError:
            there = False
        if not there:
            raise UserError(
                f"The work directory {self.path} was removed or renamed while the run was writing "
                "to it: put it back and start the same command again."
            )


@contextlib.contextmanager
def prepare(
    workdir: Path, *, resume: str, resume_step: int | None, overwrite: bool
) -> Iterator[Claim]:
    """Checks that a run may start in the directory; creates it and keeps other runs out.

    Args:
      workdir: the directory.
      resume: `auto` goes on from a checkpoint if there is one; `never` wants a directory without a
        run; `must` wants a checkpoint.
      resume_step: the checkpoint to go on from; None for the newest.
      overwrite: delete an earlier run's files first. Nothing else in the directory is touched.

    Yields:
      The claim; it ends with the context.

    Raises:
      UserError: if the directory does not fit what was asked, cannot be written, or another run
        is under way in it.
    """
    if resume not in RESUME:
        raise UserError(f"--resume is {resume!r}: use one of {', '.join(RESUME)}.")
    if overwrite and resume == "must":
        raise UserError("--overwrite and --resume=must contradict each other: give one of them.")
    if resume_step is not None and (overwrite or resume == "never"):
        raise UserError(
            f"--resume_step={resume_step} contradicts {'--overwrite' if overwrite else '--resume=never'}"
            ": give one of them."
        )
    refuse_links(workdir, OWN_NAMES)
    present = [name for name in OWN_NAMES if (workdir / name).exists()]
    if present and resume == "never" and not overwrite:
        raise UserError(
            f"{workdir} holds a run already ({', '.join(present)}): use another --workdir, "
            "--resume=auto to go on with it, or --overwrite to delete it."
        )
    if resume == "must" and not Checkpoints(workdir).steps():
        raise UserError(f"--resume=must, but there is no checkpoint in {workdir / LATEST}.")
    with _explained(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        lock = _lock(workdir)
    try:
        with _explained(workdir):
            if not os.access(workdir, os.W_OK):
                raise PermissionError("it is read-only")
            for name in present if overwrite else ():
                path = workdir / name
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        yield Claim(workdir, lock)
    finally:
        os.close(lock)


@contextlib.contextmanager
def _explained(workdir: Path) -> Iterator[None]:
    """Tells what the system refuses."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"The work directory {workdir} cannot be used ({error}): choose another --workdir."
        ) from None


def _lock(workdir: Path) -> int:
    """Opens and locks the directory."""
    lock = os.open(workdir, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise UserError(
            f"Another process trains in {workdir} at this moment: wait for its end, or use another "
            "--workdir."
        ) from None
    except OSError:
        pass  # some network file systems know no locks
    return lock


def check_shared(workdir: Path) -> None:
    """Checks that all processes of the run see the same directory.

    Raises:
      UserError: if one of them does not see what the first one wrote.
    """
    if parallel.process_count() == 1:
        return
    token = parallel.gather_json(uuid.uuid4().hex)[0]
    proof = workdir / f".shared-{token}"
    first = parallel.process_index() == 0

    def look() -> None:
        deadline = time.monotonic() + _SHARED_SECONDS
        while not proof.exists():
            if time.monotonic() > deadline:
                raise UserError(
                    f"The work directory {workdir} is not shared, as this process does not see "
                    "there what the first one wrote: put it on a file system that all processes "
                    "mount."
                )
            time.sleep(0.1)

    parallel.first_alone(lambda: replace_file(proof, b""))
    try:
        parallel.all_or_none(look)
    finally:
        if first:
            proof.unlink(missing_ok=True)


def write_config(workdir: Path, config: ml_collections.ConfigDict) -> None:
    """Saves the resolved config; tells which keys changed since an earlier start of the run."""
    path = workdir / CONFIG_FILE
    if path.is_file():
        try:
            earlier = leaves(read_config(workdir))
        except UserError as error:
            _logger.warning("%s It is replaced by the present config.", error)
            earlier = leaves(config)
        changed = [
            f"{name}: {earlier.get(name)!r} → {value!r}"
            for name, value in leaves(config).items()
            if earlier.get(name) != value
        ]
        if changed:
            _logger.warning(
                "The config differs from this run's earlier one: %s.", "; ".join(changed)
            )
    replace_file(path, config_lib.to_json(config).encode())


def read_config(workdir: Path) -> ml_collections.ConfigDict:
    """Reads the config that a run saved beside its weights.

    Raises:
      UserError: if there is none.
    """
    path = workdir / CONFIG_FILE
    if not path.is_file():
        raise UserError(f"{workdir} holds no run: there is no {CONFIG_FILE} in it.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): make it readable.") from None
    return config_lib.from_json(content, str(path))


def write_spec(workdir: Path, spec: Mapping[str, FieldSpec]) -> None:
    """Saves name, shape and dtype of the data's fields, which the model is made for."""
    fields = {name: [list(field.shape), field.dtype.name] for name, field in spec.items()}
    replace_file(workdir / SPEC_FILE, (json.dumps(fields, sort_keys=True) + "\n").encode())


def read_spec(workdir: Path) -> dict[str, FieldSpec]:
    """Reads what `write_spec` wrote.

    Raises:
      UserError: if it is missing or damaged.
    """
    path = workdir / SPEC_FILE
    remedy = "it is written when a run starts, restore it"
    fields: dict[str, Any] = read_json(path, dict, "the fields of a run", remedy)
    try:
        return {name: _field(*stored) for name, stored in fields.items()}
    except (ValueError, TypeError):
        raise UserError(f"{path} is damaged: {remedy}.") from None


def _field(shape: list[int], dtype: str) -> FieldSpec:
    """A field of the spec; ValueError or TypeError where it is none."""
    if not all(type(size) is int and 0 <= size < 2**31 for size in shape) or dtype not in _DTYPES:
        raise ValueError
    return FieldSpec(tuple(shape), np.dtype(dtype))


def write_learned(workdir: Path, learned: Mapping[str, bytes]) -> None:
    """Saves what the task learned before the training, such as a vocabulary."""
    for name, content in learned.items():
        (workdir / LEARNED_FOLDER).mkdir(exist_ok=True)
        replace_file(workdir / LEARNED_FOLDER / name, content)


def read_learned(workdir: Path) -> dict[str, bytes]:
    """Reads what `write_learned` wrote; nothing where the task learned nothing.

    Raises:
      UserError: for a file that cannot be read.
    """
    try:
        return {
            path.name: path.read_bytes() for path in files_matching(workdir / LEARNED_FOLDER, "*")
        }
    except OSError as error:
        raise UserError(f"{workdir / LEARNED_FOLDER} cannot be read ({error}).") from None


def write_hints(workdir: Path, hints: Hints) -> None:
    """Saves which examples were given to which anchors when these were set."""
    replace_arrays(workdir / HINTS_FILE, hints._asdict())


def read_hints(workdir: Path, like: Hints) -> Hints:
    """Reads what `write_hints` wrote.

    Args:
      workdir: the directory.
      like: hints for the same examples.

    Raises:
      UserError: if it is missing, damaged, or of other training data.
    """
    path = workdir / HINTS_FILE
    fields = read_fields(
        path,
        Hints._fields,
        required=Hints._fields,
        remedy="start the run again",
        missing="start the run again, or set anchors.init=kmeans",
    )
    for name in ("known", "held"):
        found, wanted = fields[name], getattr(like, name)
        if found.shape != wanted.shape or found.dtype != wanted.dtype:
            raise UserError(
                f"{path} is of {len(np.atleast_1d(found))} training examples, and there are {len(wanted)}: go on with "
                "the data that the run began with."
            )
    return Hints(fields["known"], fields["held"], int(fields["until"]))
