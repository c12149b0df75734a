"""Rules of the project as a whole: what an import costs, which file may know what."""

from __future__ import annotations

import ast
import graphlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import nvc_jax
from tests.processes import ROOT, run_python

FILES = sorted((ROOT / "nvc_jax").rglob("*.py"))

# A room imports itself and rooms of the layers above it in this list.
LAYERS = (
    {"core"},
    {"geometry"},
    {"data", "metrics", "model"},
    {"networks", "plots"},
    {"tasks"},
    {"config", "displays"},
    {"training"},
    {"export", "report"},
    {"estimator", "evaluation"},
    {"programs"},
)
REMOVED_FROM_JAX = {"device_put_replicated", "device_put_sharded", "PmapSharding"}
# What only training/parallel.py may call.
PARALLEL = {
    "jax.pmap",
    "jax.shard_map",
    "jax.devices",
    "jax.device_count",
    "jax.local_devices",
    "jax.local_device_count",
    "jax.process_count",
    "jax.process_index",
    "jax.distributed",
    "jax.experimental.multihost_utils",
    "jax.experimental.shard_map",
    "jax.lax.all_gather",
    "jax.lax.axis_index",
    "jax.lax.pmax",
    "jax.lax.pmean",
    "jax.lax.pmin",
    "jax.lax.psum",
}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in FILES}


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def run_time_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker sees."""
    for child in ast.iter_child_nodes(tree):
        if not is_type_checking(child):
            yield child
            yield from run_time_nodes(child)


def imported_names(path: Path) -> set[str]:
    """Dotted names of everything that a file imports at run time."""
    names = set()
    for node in run_time_nodes(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_modules(path: Path) -> set[str]:
    """Modules of nvc_jax that a file imports at run time."""
    ours = {name for name in imported_names(path) if name.split(".")[0] == "nvc_jax"}
    return {name if name in MODULES else name.rpartition(".")[0] for name in ours}


def room(module: str) -> str:
    return module.split(".")[1]


def layer(module: str) -> int:
    found = [i for i, names in enumerate(LAYERS) if room(module) in names]
    assert found, f"{module} has no place in LAYERS"
    return found[0]


def used_names(path: Path) -> set[str]:
    """Dotted names that a file imports or spells out in code; comments and strings do not count."""
    nodes = ast.walk(ast.parse(path.read_text()))
    spelled = {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute | ast.Name)}
    via_lax = {f"jax.{name}" for name in spelled if name.startswith("lax.")}
    return imported_names(path) | spelled | via_lax


NO_NETWORK = """
import socket, sys
def refuse(*_): raise AssertionError("an import opens a connection")
socket.socket.connect = socket.socket.connect_ex = refuse
"""
REPORT = """
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized(), "a device was touched"
print(*sorted({"tensorflow", "torch", "sklearn", "matplotlib"} & set(sys.modules)))
"""


def test_import_is_light(tmp_path):
    told = run_python("-c", f"{NO_NETWORK}import nvc_jax{REPORT}", cwd=tmp_path).stdout
    assert told.split() == []


def test_no_module_touches_a_device_or_needs_tensorflow(tmp_path):
    imports = "\n".join(f"import {name}" for name in MODULES)
    loaded = run_python("-c", f"{NO_NETWORK}{imports}{REPORT}", cwd=tmp_path).stdout.split()
    assert not {"tensorflow", "torch"} & set(loaded)


def test_public_names_exist():
    for name in nvc_jax.__all__:
        assert getattr(nvc_jax, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = nvc_jax.no_such_name


def test_imports_point_one_way():
    for module, path in MODULES.items():
        for other in imported_modules(path) - {"nvc_jax"}:
            if module != "nvc_jax" and room(other) != room(module):
                assert layer(other) < layer(module), f"{module} imports {other}"


def test_imports_have_no_cycle():
    graph = {name: imported_modules(path) - {name} for name, path in MODULES.items()}
    del graph["nvc_jax"]
    graphlib.TopologicalSorter(graph).prepare()


def test_one_file_knows_devices_and_one_knows_orbax():
    for module, path in MODULES.items():
        names = used_names(path)
        if module != "nvc_jax.training.parallel":
            found = {n for n in names if any(f"{n}.".startswith(f"{p}.") for p in PARALLEL)}
            assert not found, f"{module}: belongs into training/parallel.py"
        if module != "nvc_jax.training.checkpoint":
            assert not {name for name in names if name.split(".")[0] == "orbax"}, module
        assert not {name.rpartition(".")[2] for name in names} & REMOVED_FROM_JAX, module


def test_requirements_pin_every_dependency_once_per_python():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    del (
        extras["all"],
        extras["tfds-prepare"],
        extras["wandb"],
    )  # of the others; no part of a run here
    wanted = sum(extras.values(), project["dependencies"])
    text = "".join(path.read_text() for path in sorted(ROOT.glob("requirements*.txt")))
    lines = [line for line in text.splitlines() if line and line[0] not in "#-"]
    assert all("==" in line for line in lines)

    def name(requirement: str) -> str:
        return re.split(r"[=<>;\s]", requirement)[0].lower().replace("_", "-")

    assert {name(requirement) for requirement in wanted} <= {name(line) for line in lines}
    for old in [line for line in lines if 'python_version < "3.12"' in line]:
        new = [other for other in lines if name(other) == name(old) and other != old]
        assert [line.partition("; ")[2] for line in new] == ['python_version >= "3.12"']
