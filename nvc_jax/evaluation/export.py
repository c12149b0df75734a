"""A run as a folder for other programs."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nvc_jax.config import to_json
from nvc_jax.core.errors import UserError
from nvc_jax.core.json_files import parse_json
from nvc_jax.evaluation.trained import load
from nvc_jax.export import Card, export_folder
from nvc_jax.training import workdir


def export_run(
    directory: str | Path,
    folder: str | Path,
    format: str = "onnx",
    checkpoint: str | int = "latest",
    *,
    overrides: Iterable[tuple[str, str]] = (),
) -> list[Path]:
    """Writes a run's model for programs without this library; see `nvc_jax.export.export_folder`.

    Args:
      directory: work directory of a run.
      folder: is made if it is not there.
      format: `onnx`, `stablehlo` or `safetensors`; the last one is what `nvc_jax.evaluation.load` reads.
      checkpoint: `latest`, `best`, or a step.
      overrides: (dotted key, text) pairs for keys under `data.` and `eval.`.

    Returns:
      The files.

    Raises:
      UserError: if there is no run, or its model cannot be written so.
    """
    path, out = Path(directory).absolute(), Path(folder)
    model = load(path, checkpoint, overrides=overrides)
    results = results_of(path / workdir.RESULTS_FILE)
    if results.get("step") != model.step:  # of another checkpoint
        results = {}
    config = json.loads(to_json(model.config))
    card = Card(
        title=f"Nebula Variational Coding: {path.name}",
        facts={
            "task": model.config.task,
            "anchors": len(model.anchors),
            "dimensions of the code": model.anchors.shape[1],
            "training steps": model.step,
            "seed": model.config.seed,
            "data": model.config.data.source,
        },
        metrics=results.get("metrics", {}),
        notes=results.get("notes", {}),
        config=config,
        reads_back='from nvc_jax.evaluation import load\n\nmodel = load(".")',
    )
    files = export_folder(out, model.deployable(), card, format)
    if format == "safetensors":
        workdir.write_spec(out, model.task.batch_spec)
        workdir.write_learned(out, model.learned)
        files.append(out / workdir.SPEC_FILE)
    return files


def results_of(path: Path) -> dict[str, Any]:
    """What `results.json` holds; nothing where there is none, or another thing."""
    try:
        return parse_json(path.read_bytes(), path, dict, "results", "evaluate the run again")
    except (OSError, UserError):
        return {}
