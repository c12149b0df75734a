"""Where a run's numbers go: `metrics.jsonl`, TensorBoard event files, a progress bar."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from nvc_jax.core.errors import UserError
from nvc_jax.core.files import explained, open_new, open_to_append, replace_file
from nvc_jax.core.json_files import parse_json
from nvc_jax.core.logs import logger

try:
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.histogram_pb2 import HistogramProto
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    HAS_TENSORBOARD = True
except ModuleNotFoundError:  # of the extra `report`; metrics.jsonl has all numbers without it
    HAS_TENSORBOARD = False

METRICS_FILE = "metrics.jsonl"
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

    Raises:
      UserError: if the system refuses, here and in all methods.
    """

    def __init__(self, workdir: Path):
        folder = workdir / EVENTS_FOLDER
        nanoseconds = time.time_ns()  # a run resumed within a second has a file of its own
        name = f"events.out.tfevents.{nanoseconds // 10**9}.{socket.gethostname()}.{nanoseconds}"
        self._workdir = workdir
        with explained(workdir):
            self._lines = open_to_append(workdir / METRICS_FILE)
            if HAS_TENSORBOARD:
                folder.mkdir(exist_ok=True)
                self._events = open_new(folder / name)
        if HAS_TENSORBOARD:
            self._write(Event(file_version="brain.Event:2"))
        else:
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
        if not HAS_TENSORBOARD:
            return
        self._write_values(
            step,
            [Summary.Value(tag=f"{prefix}/{k}", simple_value=v) for k, v in values.items()],
        )

    def histogram(self, step: int, name: str, values: np.ndarray) -> None:
        """Writes a histogram of the finite values, in 64 buckets."""
        values = np.asarray(values, np.float64).ravel()
        values = values[np.isfinite(values)]
        if not values.size or not HAS_TENSORBOARD:
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
        for name, figure in figures.items() if HAS_TENSORBOARD else ():
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
            if HAS_TENSORBOARD:
                self._events.close()


class Progress:
    """A progress bar with loss, anchors used, steps a second and the time left.

    Args:
      total: last step.
      start: step to begin at.
      enabled: False shows nothing.
    """

    def __init__(self, total: int, start: int, *, enabled: bool):
        self._bar = tqdm(
            total=total,
            initial=start,
            unit="step",
            disable=not enabled,
            dynamic_ncols=True,
            mininterval=0.5,
        )

    def advance(self) -> None:
        """Moves on by one step."""
        self._bar.update(1)

    def show(self, values: Mapping[str, float], names: Iterable[str]) -> None:
        """Shows some of the logged values beside the bar."""
        self._bar.set_postfix({name: f"{values[name]:.4g}" for name in names}, refresh=False)

    def close(self) -> None:
        """Ends the bar."""
        self._bar.close()
