"""Checkpoints: the newest few and the best one, written and read by orbax.

A checkpoint holds the unreplicated state as nested dicts of arrays, and a small JSON record. It
restores on any number of devices. Where a run has several processes, all of them take part in
saving, the first one reads and hands on, and the directory is the same for all. Nothing here runs
code found in a file.
"""

import contextlib
import functools
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import flax.serialization
import flax.traverse_util
import jax
import numpy as np
import orbax.checkpoint as ocp

from nvc_jax.core.errors import UserError
from nvc_jax.core.json_files import read_json
from nvc_jax.training import parallel

LATEST, BEST, DISCARDED = "checkpoints", "best", "discarded"
_STEP = re.compile("0|[1-9][0-9]*")
"""Names of checkpoints; orbax does not know them with zeros in front."""
_ADDED = ("shares", "scales")
"""Parts of the state that version 0.1.0 did not have: zeros in what it stored."""
T = TypeVar("T")
_logger = logging.getLogger("nvc_jax")


class Checkpoints:
    """The checkpoints of one work directory.

    Args:
      workdir: the work directory; made absolute.
      keep: how many of the newest checkpoints stay; the best one is kept apart from them, see `tidy`.
    """

    def __init__(self, workdir: Path, keep: int = 2):
        self.workdir = Path(workdir).absolute()
        self._keep = {LATEST: keep, BEST: None}
        self._managers: dict[str, ocp.CheckpointManager] = {}

    def steps(self, kind: str = LATEST) -> list[int]:
        """Steps of the checkpoints that look complete, ascending."""
        folder = self.workdir / kind
        return [step for step in self._present(kind) if _is_complete(folder / str(step))]

    def agreed_steps(self, kind: str = LATEST) -> list[int]:
        """`steps` as the first process sees them; all processes have to ask."""
        return parallel.gather_json(self.steps(kind))[0]

    def _present(self, kind: str) -> list[int]:
        """Steps of all checkpoints, whole or not, ascending."""
        folder = self.workdir / kind
        names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
        return sorted(int(name) for name in names if _STEP.fullmatch(name))

    def records(self, kind: str = LATEST) -> dict[int, dict[str, Any]]:
        """Record of every checkpoint that looks complete, by step; all processes have to ask."""

        def read(step: int) -> dict[str, Any]:
            try:
                return read_json(self._record_file(kind, step), dict, "a record", "")
            except UserError:
                return {}

        found = parallel.gather_json([[step, read(step)] for step in self.steps(kind)])[0]
        return {int(step): record for step, record in found}

    def _record_file(self, kind: str, step: int) -> Path:
        """The file of a checkpoint's record."""
        return self.workdir / kind / str(step) / "record" / "metadata"

    def save(self, step: int, state: Any, record: Mapping[str, Any], kind: str = LATEST) -> None:
        """Starts writing a checkpoint; waits for the one before it.

        A checkpoint of the same step, whole or not, is replaced.

        Args:
          step: global step.
          state: pytree of NumPy arrays, unreplicated.
          record: JSON values kept beside it.
          kind: `checkpoints` or `best`.

        Raises:
          UserError: if a parameter is not finite, or the directory cannot be written.
        """
        tree = flax.serialization.to_state_dict(state)
        bad = [
            name for name, leaf in _named(tree.get("params", {})).items() if not _is_finite(leaf)
        ]
        if bad:
            raise UserError(
                f"Step {step} is not saved: {', '.join(bad)} hold values that are not finite; "
                "lower optimizer.learning_rate or set optimizer.clip_norm."
            )

        if kind == BEST:
            self.tidy()
        # Of either kind: orbax tells the processes' meeting points of two writes not apart.
        self.wait()

        def write() -> None:
            manager = self._manager(kind)
            if parallel.gather_json(os.path.lexists(self.workdir / kind / str(step)))[0]:
                if parallel.process_index() == 0:
                    self._discard(kind, step)
                manager.reload()
            manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(tree), record=ocp.args.JsonSave(dict(record))
                ),
                force=True,
            )

        self._explain(write)

    def tidy(self) -> None:
        """Deletes best checkpoints that no start of the run would need.

        Left are the newest one, and the newest up to the latest checkpoint: a run that is killed goes
        on from there, and what is later is set aside. All processes have to call it.
        """
        self.wait()
        best, latest = self.agreed_steps(BEST), self.agreed_steps()
        lasting = [step for step in best if latest and step <= latest[-1]]
        for step in best:
            if step not in (best[-1], *lasting[-1:]):
                self._explain(functools.partial(self._manager(BEST).delete, step))

    def wait(self) -> None:
        """Waits for writes under way.

        Raises:
          UserError: if one failed.
        """
        for manager in self._managers.values():
            self._explain(manager.wait_until_finished)

    def close(self) -> None:
        """Waits for writes under way and releases the managers."""
        self.wait()
        for manager in self._managers.values():
            manager.close()
        self._managers.clear()

    def verify(self, step: int, state: Any) -> None:
        """Reads a checkpoint back and compares it with the state in memory, bit for bit.

        Raises:
          UserError: if it cannot be read or differs.
        """
        self.wait()

        def compare() -> None:
            stored, _ = self._read(state, step, LATEST)
            same = jax.tree.map(
                lambda a, b: np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True),
                stored,
                state,
            )
            if not all(jax.tree.leaves(same)):
                raise UserError(
                    f"The checkpoint of step {step} in {self.workdir} differs from the state in "
                    "memory: check the disk."
                )

        parallel.first_alone(compare)

    def restore(
        self, target: T, *, step: int | None = None, kind: str = LATEST
    ) -> tuple[T, dict[str, Any]] | None:
        """Reads the newest checkpoint that can be read, or the given one.

        Args:
          target: state with the wanted structure and shapes; its values are not used.
          step: the step to read; None for the newest. Checkpoints that cannot be read are named
            in a warning and passed over.
          kind: `checkpoints` or `best`.

        Returns:
          (state of NumPy arrays, JSON record), or None if there is no checkpoint.

        Raises:
          UserError: if the given step cannot be read, or a shape differs (names the leaf and both
            shapes).
        """
        found = parallel.first_alone(lambda: self._restore(target, step, kind))
        record = parallel.gather_json(None if found is None else found[1])[0]
        if record is None:
            return None
        state = jax.tree.map(_placeholder, target) if found is None else found[0]
        return parallel.from_first_process(state), record

    def _restore(self, target: T, step: int | None, kind: str) -> tuple[T, dict[str, Any]] | None:
        """`restore`, on this process alone."""
        if step is not None:
            return self._read(target, step, kind)
        for path in self._half_written(kind):
            _logger.warning("The checkpoint %s was not finished: it is left out.", path)
        for candidate in reversed(self._present(kind)):
            try:
                return self._read(target, candidate, kind)
            except _UnreadableError as error:
                _logger.warning("%s Trying the one before it.", error)
        if self.steps(kind):
            raise UserError(
                f"No checkpoint in {self.workdir / kind} can be read, though they look complete: "
                "check the disk, or begin again with --overwrite or another --workdir."
            )
        return None

    def _half_written(self, kind: str) -> list[Path]:
        """What killed writes left behind; the first save clears it away."""
        return sorted((self.workdir / kind).glob(f"*{ocp.utils.TMP_DIR_SUFFIX}*"))

    def read_leaves(self, kind: str = LATEST) -> dict[str, np.ndarray]:
        """All arrays of the newest checkpoint by name, such as `params/bottleneck/anchors`.

        For one process alone.

        Raises:
          UserError: if there is no checkpoint, or it cannot be read.
        """
        steps = self.steps(kind)
        if not steps:
            raise UserError(f"There is no checkpoint in {self.workdir / kind}.")
        folder = self.workdir / kind / str(steps[-1])
        with _explained_reading(folder):
            stored = ocp.StandardCheckpointHandler().metadata(folder / "state").tree
            with _reader() as reader:
                return _named(reader.restore(folder / "state", jax.tree.map(_placeholder, stored)))

    def discard_after(self, step: int) -> None:
        """Moves checkpoints later than `step`, damaged ones too, out of the way: `discarded/`."""
        if parallel.process_index() > 0:
            return

        def discard() -> None:
            for kind in (LATEST, BEST):
                for later in [s for s in self._present(kind) if s > step]:
                    self._discard(kind, later)

        self._explain(discard)

    def _discard(self, kind: str, step: int) -> None:
        """Moves one checkpoint into `discarded/`, replacing an earlier one of that name."""
        goal = self.workdir / DISCARDED / f"{kind}-{step}"
        goal.parent.mkdir(parents=True, exist_ok=True)
        if goal.is_dir() and not goal.is_symlink():
            shutil.rmtree(goal)
        else:
            goal.unlink(missing_ok=True)
        shutil.move(self.workdir / kind / str(step), goal)

    def _manager(self, kind: str) -> ocp.CheckpointManager:
        """The orbax manager of a kind; made at the first save, so that reading writes nothing."""
        if kind not in self._managers:
            # Folders made in the background, where that fails, are waited for during minutes.
            waiting = ocp.AsyncOptions(create_directories_asynchronously=False)
            options = ocp.CheckpointManagerOptions(
                max_to_keep=self._keep[kind],
                create=True,
                async_options=waiting,
                cleanup_tmp_directories=True,
            )
            self._managers[kind] = ocp.CheckpointManager(self.workdir / kind, options=options)
        return self._managers[kind]

    def _read(self, target: T, step: int, kind: str) -> tuple[T, dict[str, Any]]:
        """Reads one checkpoint strictly."""
        folder = self.workdir / kind / str(step)
        if not os.path.lexists(folder):
            known = ", ".join(map(str, self.steps(kind))) or "none"
            raise UserError(
                f"There is no checkpoint of step {step} in {folder.parent}; got {known}."
            )
        if not _is_complete(folder):
            raise _UnreadableError(f"The checkpoint {folder} is incomplete.")
        wanted = flax.serialization.to_state_dict(jax.tree.map(_placeholder, target))
        with _explained_reading(folder):
            # The handler, because the checkpointer warns that one item is no whole checkpoint.
            stored = ocp.StandardCheckpointHandler().metadata(folder / "state").tree
            missing = {
                name: wanted.pop(name) for name in _ADDED if name in wanted.keys() - stored.keys()
            }
            _compare_shapes(_named(stored), _named(wanted), folder)
            with _reader() as reader:
                tree = {**reader.restore(folder / "state", wanted), **missing}
            try:
                remedy = "use another checkpoint"
                record: dict[str, Any] = read_json(
                    self._record_file(kind, step), dict, "a record", remedy
                )
            except UserError as error:
                raise _UnreadableError(
                    f"The checkpoint {folder} cannot be read ({error})"
                ) from None
        return flax.serialization.from_state_dict(target, tree), record

    def _explain(self, action: Callable[[], None]) -> None:
        """Runs a write and tells a failing disk from a failing program."""
        try:
            action()
        except UserError:
            raise
        except Exception as error:  # background failures arrive wrapped in many kinds
            raise UserError(
                f"A checkpoint could not be written to {self.workdir} ({_reason(error)}): earlier "
                "checkpoints are untouched; check space and permissions."
            ) from error


def _reader() -> ocp.StandardCheckpointer:
    """A reader that waits for no other process."""
    alone = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0})
    return ocp.StandardCheckpointer(multiprocessing_options=alone)


class _UnreadableError(UserError):
    """A checkpoint that is there and cannot be read."""


def _reason(error: Exception) -> str:
    """The system's own word for what failed, which tensorstore wraps into a long text."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    number = re.search(r"os_error_code='(\d+)'", str(error))
    if number is not None:
        return os.strerror(int(number[1]))
    return next(iter(str(error).splitlines()), type(error).__name__)


@contextlib.contextmanager
def _explained_reading(folder: Path) -> Iterator[None]:
    """Tells a damaged checkpoint from other mistakes."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # orbax and tensorstore raise many kinds for damaged files
        raise _UnreadableError(
            f"The checkpoint {folder} cannot be read ({type(error).__name__}: {_reason(error)})."
        ) from error


def _is_complete(folder: Path) -> bool:
    """Whether orbax finished writing the step's folder."""
    return (folder / "_CHECKPOINT_METADATA").is_file() and (folder / "state").is_dir()


def _is_finite(leaf: Any) -> bool:
    """Whether every value is finite; integers always are."""
    leaf = np.asarray(leaf)
    return (
        bool(np.isfinite(leaf.astype(np.float32)).all()) if leaf.dtype.kind not in "iub" else True
    )


def _placeholder(leaf: Any) -> np.ndarray:
    """An array of the same shape and dtype, without a device."""
    return np.zeros(leaf.shape, leaf.dtype)


def _named(tree: Any) -> dict[str, Any]:
    """Leaves by name, as `params/encoder/Dense_0/kernel`; empty branches are left out."""
    return flax.traverse_util.flatten_dict(tree, sep="/") if tree else {}


def _compare_shapes(stored: Mapping[str, Any], wanted: Mapping[str, Any], folder: Path) -> None:
    """Raises unless both hold the same leaves with the same shapes."""
    problems = [f"{name} is missing from it" for name in sorted(wanted.keys() - stored.keys())]
    problems += [f"{name} is only in it" for name in sorted(stored.keys() - wanted.keys())]
    for name in sorted(wanted.keys() & stored.keys()):
        got, expected = tuple(stored[name].shape), tuple(wanted[name].shape)
        if got != expected:
            problems.append(f"{name} has shape {got} in it, {expected} in the model")
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise UserError(
            f"The checkpoint {folder} does not fit the config: {'; '.join(problems[:5])}{more}; "
            "use the config it was saved with, or another --workdir."
        )
