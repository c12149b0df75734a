"""Every notebook runs, with fewer steps than what it shows, and has the outputs that GitHub shows."""

import json
from pathlib import Path

import jax
import pytest

from tests.notebooks import run_notebook

FOLDER = Path(__file__).resolve().parents[2] / "examples"
SHORTER = {
    "cluster_an_array": {
        "random_state=0)": "random_state=0, max_iter=60, hidden=(16,))",
        "load_digits().images": "load_digits().images[:300]",
        "load_digits().target": "load_digits().target[:300]",
    },
    "your_own_encoder": {
        "128, 250, 600": "64, 20, 100",
        "load_digits().images": "load_digits().images[:200]",
        "load_digits().target": "load_digits().target[:200]",
    },
    "complete_a_shape": {
        '"400")': '"4"), ("data.num_models", "40"), ("model.channels", "(2, 4)")',
    },
}


def test_all_are_run():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(SHORTER)


@pytest.mark.parametrize("name", SHORTER)
def test_notebook(name, tmp_path):
    text = (FOLDER / f"{name}.ipynb").read_text()
    kept = json.loads(text)
    for before, after in SHORTER[name].items():
        before, after = (json.dumps(part)[1:-1] for part in (before, after))
        assert before in text
        text = text.replace(before, after)
    (tmp_path / "shorter.ipynb").write_text(text)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        found = run_notebook(tmp_path / "shorter.ipynb")
    for made, shown in zip(found["cells"], kept["cells"], strict=True):
        kinds = [
            [
                (output["output_type"], sorted(output.get("data", ())))
                for output in cell.get("outputs", ())
            ]
            for cell in (made, shown)
        ]
        assert kinds[0] == kinds[1], "run python -m tests.notebooks again"
    assert any(
        "image/png" in output.get("data", ())
        for cell in kept["cells"]
        for output in cell.get("outputs", ())
    )
