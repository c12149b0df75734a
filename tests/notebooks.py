"""Notebooks, run without Jupyter: cells of code one after the other, with what they print and draw.

`python -m tests.notebooks examples/NAME.ipynb` runs one and keeps its outputs in the file.
"""

import ast
import base64
import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def run_notebook(path: Path) -> dict[str, Any]:
    """Runs a notebook's cells in an empty folder; returns it with their outputs."""
    notebook = json.loads(path.read_text())
    names: dict[str, Any] = {"__name__": "__main__"}
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            number = 0
            for cell in notebook["cells"]:
                if cell["cell_type"] == "code":
                    number += 1
                    cell["execution_count"] = number
                    cell["outputs"] = _outputs("".join(cell["source"]), names, number)
        finally:
            os.chdir(before)
    return notebook


def _outputs(code: str, names: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """Runs a cell; what it printed, and the value of its last expression."""
    tree, value = ast.parse(code), None
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.Expr):
        tree.body.pop()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, f"<cell {number}>", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"<cell {number}>", "eval"), names)
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        text = printed.getvalue().splitlines(keepends=True)
        outputs.append({"output_type": "stream", "name": "stdout", "text": text})
    if value is not None:
        data: dict[str, Any] = {"text/plain": [repr(value)]}
        if isinstance(value, Figure):
            content = io.BytesIO()
            value.savefig(content, format="png", dpi=70)
            data["image/png"] = base64.b64encode(content.getvalue()).decode()
            data["text/plain"] = ["<Figure>"]
        outputs.append({
            "output_type": "execute_result", "execution_count": number, "data": data, "metadata": {},
        })  # fmt: skip
    return outputs


if __name__ == "__main__":
    for name in sys.argv[1:]:
        made = run_notebook(Path(name).absolute())
        Path(name).write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")
