"""The package as pip installs it: what is in it, and that it works away from the checkout."""

import importlib.metadata
import re
import shutil
import zipfile
from pathlib import Path

import pytest
import yaml

import nvc_jax
from tests.extras import EXTRAS, WITHOUT_EXTRAS
from tests.processes import ROOT, run_python

BUILT = ("nvc_jax", "configs", "pyproject.toml", "setup.py", "README.md", "LICENSE")
USE = """
import nvc_jax
from nvc_jax.config import load_config

for module in pkgutil.walk_packages(nvc_jax.__path__, "nvc_jax."):
    importlib.import_module(module.name)
for name in sys.argv[1:]:
    load_config(name)
print(nvc_jax.__file__)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with what the wheel holds."""
    source, target = (tmp_path_factory.mktemp(name) for name in ("source", "target"))
    for name in BUILT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    build = "from setuptools.build_meta import build_wheel; build_wheel('.')"
    run_python("-c", build, cwd=source, PYTHONWARNINGS="default")
    (wheel,) = source.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(target)
    return target


def test_every_file_is_installed(installed):
    def files(folder):
        return {
            str(path.relative_to(folder))
            for path in folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }

    expected = files(ROOT / "nvc_jax") | {f"configs/{name}" for name in files(ROOT / "configs")}
    assert files(installed / "nvc_jax") == expected


def test_the_core_works_from_any_folder_and_without_extras(installed, tmp_path):
    names = ["digits", "furniture:voxels", "translation:iwslt"]
    program = ("-c", WITHOUT_EXTRAS + USE, *names)
    told = run_python(*program, cwd=tmp_path, PYTHONPATH=str(installed)).stdout
    assert Path(told.strip()).parent == installed / "nvc_jax"


def test_commands_are_programs(installed):
    (found,) = importlib.metadata.distributions(name="nvc_jax", path=[str(installed)])
    assert found.version == nvc_jax.__version__
    commands = {command.name: command.load() for command in found.entry_points}
    assert sorted(commands) == ["nvc-eval", "nvc-export", "nvc-meshes", "nvc-report", "nvc-train"]
    assert all(callable(command) for command in commands.values())


def test_every_extra_that_is_named_exists():
    text = "".join(path.read_text() for path in (ROOT / "nvc_jax").rglob("*.py"))
    named = set(re.findall(r'extra="(\w+)"|nvc_jax\[(\w+)\]', text))
    found = {"".join(pair) for pair in named}
    assert found == {"cells", "data", "export", "report", "shapes", "text", "wandb"} <= set(EXTRAS)


def test_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == nvc_jax.__version__
    assert citation["title"].startswith("nvc_jax")
    assert citation["preferred-citation"]["authors"][0]["family-names"] == "Wang"
