"""What README.md shows must work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from nvc_jax.config import default_config, leaves

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def test_the_example_of_an_own_model_trains():
    code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
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


def test_files_and_keys_that_are_named_exist():
    known = dict(leaves(default_config()))
    groups = {name.rpartition(".")[0] for name in known}
    for name in re.findall(
        r"`(?:--config\.)?((?:data|model|loss|anchors|augment|train|eval)\.(?!(?:py|npz)\b)\w+)",
        README,
    ):
        assert name in known or name in groups, name
    for name in re.findall(r"--config=(\S+)", README) + re.findall(r"\]\(([\w./]+)\)", README):
        assert (ROOT / name).is_file(), name


@pytest.mark.parametrize("program", ["train.py", "eval.py"])
def test_options_that_are_named_exist(program):
    source = (ROOT / program).read_text()
    shown = {
        "train.py": re.findall(r"`--(resume|resume_step|overwrite|stop_after)\b", README),
        "eval.py": re.findall(r"`--(checkpoint)=", README),
    }
    assert shown[program]
    for option in shown[program]:
        assert f'"--{option}"' in source
