"""The recipes of the project, by the names that programs take."""

import runpy

from nvc_jax.config import CONFIGS

RECIPES = sorted(
    f"{path.stem}:{variant}".rstrip(":")
    for path in CONFIGS.glob("[!_]*.py")
    for variant in runpy.run_path(str(path)).get("VARIANTS", ("",))
)
