"""Configs of tests."""

from collections.abc import Mapping
from typing import Any

import ml_collections

from nvc_jax.config import make_config


def config_with(
    settings: Mapping[str, Any], changes: Mapping[str, Any]
) -> ml_collections.ConfigDict:
    """A config of settings by dotted names, changed by others whose names have __ for the dot."""
    dotted = {name.replace("__", "."): value for name, value in changes.items()}
    return make_config({**settings, **dotted})


def model_options(task: str, **changes: Any) -> ml_collections.ConfigDict:
    """`config.model` of a task, of which some values are others."""
    return make_config({"task": task, "model": changes}).model
