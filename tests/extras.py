"""A Python in which the packages of the extras are not installed."""

import re
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
MODULES = [
    re.split("[<=>]", requirement)[0].replace("-", "_")
    for extra in ("cells", "data", "export", "report", "shapes", "text")
    for requirement in EXTRAS[extra]
]
WITHOUT_EXTRAS = f"""
import importlib, pkgutil, sys

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {MODULES}:
            raise ModuleNotFoundError(f"no {{name}}", name=name)

sys.meta_path.insert(0, Refused())
"""
"""The beginning of a program."""
