"""What README.md and the guides in docs/ show must work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from nvc_jax.config import default_config, leaves
from tests.markdown import python_blocks

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_example_of_an_own_model_trains():
    code = python_blocks(ROOT / "README.md")[0]
    assert len(code.splitlines()) <= 25
    names: dict[str, Any] = {}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        exec(code, names)
        params, state = names["params"], names["optimizer"].init(names["params"])
        found = []
        for i in range(30):
            params, state, terms = names["step"](params, state, jax.random.key(i))
            found.append(terms)
    assert all(np.isfinite(value) for terms in found for value in terms.values())
    assert found[-1]["reconstruction"] < found[0]["reconstruction"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_keys_that_are_named_exist(page):
    text = page.read_text()
    known = dict(leaves(default_config()))
    groups = {name.rpartition(".")[0] for name in known}
    for name in re.findall(
        r"(?:`|--config\.)((?:data|model|loss|anchors|augment|train|eval)\.(?!(?:py|npz|png|txt)\b)\w+)",
        text,
    ):
        assert name in known or name in groups, name
    for name in re.findall(r"--config=(\S+)", text):
        assert (ROOT / name).is_file(), name
    for name in re.findall(r"\]\(([\w./]+)(?:#[\w-]+)?\)", text):
        assert (page.parent / name).is_file(), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_that_are_named_exist(page):
    programs = [ROOT / name for name in ("train.py", "eval.py", "nvc_jax/programs/cli.py")]
    programs.append(ROOT / "nvc_jax" / "data" / "shapes" / "meshes.py")
    programs += sorted((ROOT / "benchmarks").glob("*.py"))
    source = "".join(path.read_text() for path in programs)
    options = set(re.findall(r"`--(\w+)", page.read_text())) - {"config"}
    for option in options:
        assert f'"--{option}"' in source, option
