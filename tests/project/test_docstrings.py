"""What the examples in docstrings show must be so."""

import ast
import doctest
import importlib
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef


def examples(node: ast.AST, name: str = "") -> Iterator[str]:
    """Dotted names of what has an example in its docstring, "" for the module itself."""
    if isinstance(node, DOCUMENTED) and ">>> " in (ast.get_docstring(node) or ""):
        yield name
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef):
            yield from examples(child, f"{name}.{child.name}".lstrip("."))


# Found in the text: nothing is imported before its example runs.
EXAMPLES = [
    (".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), name)
    for path in sorted((ROOT / "nvc_jax").rglob("*.py"))
    for name in examples(ast.parse(path.read_text()))
]


def test_there_are_examples():
    assert ("nvc_jax.metrics.clustering", "cluster_accuracy") in EXAMPLES


@pytest.mark.parametrize(
    ("module_name", "name"), EXAMPLES, ids=[".".join(example).rstrip(".") for example in EXAMPLES]
)
def test_example(module_name, name):
    module = importlib.import_module(module_name)
    documented = attrgetter(name)(module) if name else module
    test = doctest.DocTestParser().get_doctest(
        documented.__doc__, vars(module), f"{module_name}.{name}", module.__file__, 0
    )
    report: list[str] = []
    results = doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    assert not results.failed, "".join(report)
    assert results.attempted
