"""The file of a fitted estimator: one npz archive of arrays, and JSON for the rest."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.core.files import replace_arrays
from nvc_jax.core.json_files import parse_json
from nvc_jax.data.base.files import read_fields
from nvc_jax.training.state import TrainState

FACTS = "facts"


def write_estimator(
    path: Path, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray], state: TrainState
) -> None:
    """Writes a file so that it is whole or as before.

    Args:
      path: the file.
      facts: what JSON can hold, and scalars of NumPy.
      arrays: by name.
      state: on the host.

    Raises:
      UserError: if the system refuses.
    """
    text = json.dumps(facts, default=lambda value: value.item())
    own = {FACTS: np.frombuffer(text.encode(), np.uint8), **arrays}
    replace_arrays(path, own | {name: np.asarray(leaf) for name, leaf in _named(state).items()})


def read_estimator(path: Path, names: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads facts and arrays of a file; the state comes later, when its shapes are known.

    Args:
      path: the file.
      names: of the arrays.

    Raises:
      UserError: if the file is missing, damaged, or holds something else.
    """
    remedy = "give a file that NebulaClustering.save wrote"
    wanted = (FACTS, *names)
    fields = read_fields(path, wanted, required=wanted, remedy=remedy, missing=remedy)
    facts: dict[str, Any] = parse_json(
        fields.pop(FACTS).tobytes(), path, dict, "an estimator", remedy
    )
    return facts, fields


def read_state(path: Path, empty: TrainState) -> TrainState:
    """Reads the state.

    Args:
      path: the file.
      empty: its shapes and dtypes.

    Raises:
      UserError: if the file holds another state.
    """
    wanted = _named(empty)
    stored = read_fields(path, list(wanted))
    for name, leaf in wanted.items():
        found = stored.get(name)
        if found is None or found.shape != leaf.shape or found.dtype != leaf.dtype:
            raise damaged(path)
    return jax.tree.unflatten(jax.tree.structure(empty), [stored[name] for name in wanted])


def damaged(path: Path) -> UserError:
    """The error for a file whose parts do not fit together."""
    return UserError(f"{path} is damaged, its parts do not fit together: save the estimator again.")


def _named(state: TrainState) -> dict[str, Any]:
    """The leaves of a state by their paths."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
