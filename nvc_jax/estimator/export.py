"""`NebulaClustering` as a folder for other programs, and back from its weights."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.json_files import parse_json
from nvc_jax.data.base.source import FieldSpec
from nvc_jax.export import Card, Deployable, export_folder, read_arrays, state_of
from nvc_jax.export.folder import CONFIG
from nvc_jax.training.state import TrainState

OWN = "estimator/"
"""Before the names of the arrays that are no part of the state."""


def export_estimator(model: Any, path: Path, format: str) -> Path:
    """Writes a fitted `NebulaClustering`, see its `export`."""
    export_folder(path, deployable_of(model), _card(model, path), format)
    return path


def deployable_of(model: Any) -> Deployable:
    """A fitted `NebulaClustering` with its scaling."""
    compiled, shape, scaling = model._compiled(), model.input_shape_, model._scaling
    dtype = model._dtype if len(shape) == 1 else np.dtype(np.float32)
    stored = compiled.steps.experiment.task.batch_spec

    def before(x: Any) -> Any:
        return scaling.apply(x.reshape(x.shape[0], *stored[compiled.field].shape), jnp)

    def after(x: Any) -> Any:
        return scaling.undo(x, jnp).reshape(x.shape[0], *shape).astype(dtype)

    return Deployable(
        compiled.steps.experiment,
        model._state,
        stored,
        model._temperature,
        before,
        after,
        FieldSpec(shape, dtype),
        {f"{OWN}{name}": np.asarray(array) for name, array in model._arrays().items()},
    )


def read_exported(
    folder: Path, names: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Facts and arrays of a folder that `export` wrote with `format="safetensors"`.

    Raises:
      UserError: if it is none, or damaged.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise UserError(f"{folder} holds no exported model: there is no {CONFIG} in it.")
    remedy = "export the model again"
    facts = parse_json(path.read_bytes(), path, dict, "an exported model", remedy)
    arrays = read_arrays(folder)
    found = {name: arrays[f"{OWN}{name}"] for name in names if f"{OWN}{name}" in arrays}
    if len(found) < len(names):
        raise UserError(f"{folder} holds a model that is no NebulaClustering.")
    return facts, found


def exported_state(folder: Path, empty: TrainState) -> TrainState:
    """The state of such a folder; the optimizer starts afresh."""
    return state_of(read_arrays(folder), empty, folder)


def _card(model: Any, path: Path) -> Card:
    """What is told of an estimator."""
    return Card(
        title=f"NebulaClustering: {path.name}",
        facts={
            "clusters": len(model.cluster_centers_),
            "dimensions of the code": model.cluster_centers_.shape[1],
            "training steps": model.n_iter_,
            "shape of an example": list(model.input_shape_),
            "features": ", ".join(getattr(model, "feature_names_in_", ())) or "without names",
        },
        metrics={},
        notes={},
        config=model._facts(),
        reads_back='from nvc_jax import NebulaClustering\n\nmodel = NebulaClustering.load(".")',
    )
