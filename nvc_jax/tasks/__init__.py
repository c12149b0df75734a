"""Tasks by name: the plug point for kinds of data."""

from __future__ import annotations

from collections.abc import Mapping

import ml_collections

from nvc_jax.data.source import FieldSpec
from nvc_jax.errors import UserError
from nvc_jax.tasks.base import Outputs, Task
from nvc_jax.tasks.image import ImageTask

__all__ = ["TASKS", "Outputs", "Task", "make_task"]

TASKS: dict[str, type[Task]] = {"image": ImageTask}


def make_task(config: ml_collections.ConfigDict, spec: Mapping[str, FieldSpec]) -> Task:
    """Makes the task that `config.task` names, for data with the given fields.

    Raises:
      UserError: for an unknown name, listing the known ones, or data that does not fit.
    """
    if config.task not in TASKS:
        raise UserError(f"task is {config.task!r}: use one of {', '.join(sorted(TASKS))}.")
    return TASKS[config.task](config, spec)
