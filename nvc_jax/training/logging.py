"""Where a run's numbers go: `metrics.jsonl`, TensorBoard event files, a progress bar."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from tqdm import tqdm

from nvc_jax.core.errors import UserError
from nvc_jax.core.files import explained, open_new, open_to_append, replace_file
from nvc_jax.core.json_files import parse_json
from nvc_jax.core.logs import logger
from nvc_jax.training.loggers import TENSORBOARD, make_loggers

try:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.histogram_pb2 import HistogramProto
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    HAS_TENSORBOARD = True
except ModuleNotFoundError:  # of the extra `report`; metrics.jsonl has all numbers without it
    HAS_TENSORBOARD = False

METRICS_FILE = "metrics.jsonl"
SECONDS_A_LINE = 5.0
"""Between lines of progress where no terminal is."""
EVENTS_FOLDER = "tensorboard"


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Reads `metrics.jsonl`; damaged lines, such as a last one that was cut off, are left out."""
    records: list[dict[str, Any]] = []
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        with contextlib.suppress(UserError):
            records.append(parse_json(line, path, dict, "numbers", ""))
    return [
        {name: value for name, value in record.items() if _is_number(value)}
        for record in records
        if type(record.get("step")) is int
    ]


def _is_number(value: object) -> bool:
    """Whether it is what `MetricWriter.scalars` writes: a number, or None for one that is not finite."""
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def purge_after(workdir: Path, step: int) -> None:
    """Removes lines and events later than `step`, so that a resumed run's curves do not zig-zag.

    Args:
      workdir: the run's directory.
      step: the restored step; what belongs to it stays.
    """
    path = workdir / METRICS_FILE
    if path.is_file():
        kept = [record for record in read_metrics(path) if record["step"] <= step]
        replace_file(path, "".join(json.dumps(record) + "\n" for record in kept).encode())
    if not HAS_TENSORBOARD:
        return
    # Slow to import, and needed by resumed runs alone.
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    # The legacy loader gives events as they were written; the other turns scalars into tensors.
    for events in sorted((workdir / EVENTS_FOLDER).glob("events.out.tfevents.*")):
        with explained(events):
            loaded = list(LegacyEventFileLoader(str(events)).Load())
        if all(event.step <= step for event in loaded):
            continue
        content = io.BytesIO()
        writer = RecordWriter(content)
        for event in loaded:
            if event.step <= step:
                writer.write(event.SerializeToString())
        replace_file(events, content.getvalue())


class MetricWriter:
    """Writes scalars, histograms and figures of one run. Only one process of a run has one.

    Everything is handed to the system at once, so that a killed run has all of it. Without TensorBoard
    its event files are left out.

    Args:
      workdir: the run's directory.
      loggers: names of `train.loggers`.
      config: the run's config, for loggers.

    Raises:
      UserError: if the system refuses, here and in all methods.
    """

    def __init__(
        self,
        workdir: Path,
        loggers: Sequence[str] = (TENSORBOARD,),
        config: Mapping[str, Any] = MappingProxyType({}),
    ):
        self._tensorboard = HAS_TENSORBOARD and TENSORBOARD in loggers
        self._loggers = make_loggers(tuple(loggers), workdir, config)
        folder = workdir / EVENTS_FOLDER
        nanoseconds = time.time_ns()  # a run resumed within a second has a file of its own
        name = f"events.out.tfevents.{nanoseconds // 10**9}.{socket.gethostname()}.{nanoseconds}"
        self._workdir = workdir
        with explained(workdir):
            self._lines = open_to_append(workdir / METRICS_FILE)
            if self._tensorboard:
                folder.mkdir(exist_ok=True)
                self._events = open_new(folder / name)
        if self._tensorboard:
            self._write(Event(file_version="brain.Event:2"))
        elif TENSORBOARD in loggers:
            logger.info(
                "TensorBoard's files are left out, because it is not installed: pip install "
                "'nvc_jax[report]'; %s has every number.", METRICS_FILE,
            )  # fmt: skip

    def _write(self, event: Event) -> None:
        """Writes one TensorBoard event."""
        event.wall_time = time.time()
        with explained(self._workdir):
            RecordWriter(self._events).write(event.SerializeToString())
            self._events.flush()

    def _write_values(self, step: int, values: Iterable[Summary.Value]) -> None:
        """Writes TensorBoard values of a step."""
        self._write(Event(step=step, summary=Summary(value=values)))

    def scalars(self, step: int, values: Mapping[str, float], prefix: str = "train") -> None:
        """Writes one line of JSON and one TensorBoard scalar a value.

        Args:
          step: global step.
          values: name → value; a value that is not finite becomes null in the JSON.
          prefix: group in TensorBoard; names in the JSON have it unless it is `train`.
        """
        values = {name: float(value) for name, value in values.items()}
        named = values if prefix == "train" else {f"{prefix}/{k}": v for k, v in values.items()}
        line = {"step": step, **{k: v if np.isfinite(v) else None for k, v in named.items()}}
        with explained(self._workdir):
            self._lines.write(json.dumps(line) + "\n")
            self._lines.flush()
        for one in self._loggers:
            one.scalars(step, named)
        if not self._tensorboard:
            return
        self._write_values(
            step,
            [Summary.Value(tag=f"{prefix}/{k}", simple_value=v) for k, v in values.items()],
        )

    def histogram(self, step: int, name: str, values: np.ndarray) -> None:
        """Writes a histogram of the finite values, in 64 buckets."""
        values = np.asarray(values, np.float64).ravel()
        values = values[np.isfinite(values)]
        if not values.size or not self._tensorboard:
            return
        counts, edges = np.histogram(values, bins=64)
        histogram = HistogramProto(
            min=values.min(),
            max=values.max(),
            num=values.size,
            sum=values.sum(),
            sum_squares=np.square(values).sum(),
            bucket_limit=edges[1:],
            bucket=counts,
        )
        self._write_values(step, [Summary.Value(tag=name, histo=histogram)])

    def figures(self, step: int, figures: Mapping[str, Any]) -> None:
        """Writes matplotlib figures as images."""
        for one in self._loggers:
            one.figures(step, figures)
        for name, figure in figures.items() if self._tensorboard else ():
            content = io.BytesIO()
            figure.savefig(content, format="png", dpi=figure.dpi)
            width, height = (figure.get_size_inches() * figure.dpi).astype(int)
            image = Summary.Image(
                width=width, height=height, colorspace=4, encoded_image_string=content.getvalue()
            )
            self._write_values(step, [Summary.Value(tag=name, image=image)])

    def close(self) -> None:
        """Closes the files."""
        with explained(self._workdir):
            self._lines.close()
            if self._tensorboard:
                self._events.close()
        for one in self._loggers:
            one.close()


class Progress:
    """Where a run is: steps, loss, anchors used, examples a second and the time left.

    In a terminal it is a bar; elsewhere a line from time to time, without control codes. Until the first step
    is done it says that it compiles.

    Args:
      total: last step.
      start: step to begin at.
      batch_size: examples of a step.
      enabled: False shows nothing.
    """

    def __init__(self, total: int, start: int, batch_size: int = 1, *, enabled: bool):
        self._terminal = enabled and sys.stderr.isatty()
        self._enabled, self._batch_size = enabled, batch_size
        self._told = 0.0
        self._compiling = True
        self._bar = tqdm(
            total=total,
            initial=start,
            unit="step",
            desc="compiling" if self._terminal else None,
            disable=not self._terminal,
            dynamic_ncols=True,
            mininterval=0.5,
        )
        self._step, self._total, self._start, self._clock = start, total, start, time.monotonic()
        if enabled and not self._terminal and start < total:
            with contextlib.suppress(OSError, ValueError):  # nobody listens any more
                print("compiling", file=sys.stderr, flush=True)

    def advance(self) -> None:
        """Moves on by one step."""
        self._step += 1
        if self._compiling:  # calls return while the device works, but for the first one
            self._compiling = False
            self._start, self._clock = self._step, time.monotonic()
            self._bar.set_description("training", refresh=False)
        self._bar.update(1)

    def show(self, values: Mapping[str, float], names: Iterable[str]) -> None:
        """Shows some of the logged values beside the bar, or in a line."""
        now = time.monotonic()
        rate = (self._step - self._start) / max(now - self._clock, 1e-9)
        shown = {name: f"{values[name]:.4g}" for name in names}
        if rate > 0:
            shown["examples/s"] = f"{rate * self._batch_size:,.0f}"
        self._bar.set_postfix(shown, refresh=False)
        last = self._step >= self._total
        if not self._enabled or self._terminal or (now < self._told + SECONDS_A_LINE and not last):
            return
        self._told = now
        left = f", {(self._total - self._step) / rate:,.0f} s left" if rate > 0 and not last else ""
        text = ", ".join(f"{name} {value}" for name, value in shown.items())
        with contextlib.suppress(OSError, ValueError):  # nobody listens any more
            print(f"step {self._step:,}/{self._total:,}: {text}{left}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Ends the bar."""
        self._bar.close()
