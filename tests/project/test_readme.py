"""What README.md and the guides in docs/ show must work."""

import re
from pathlib import Path
from typing import Any

import jax
import numpy as np

from nvc_jax.config import bundled_configs, load_config, options_of
from nvc_jax.data import SOURCES
from nvc_jax.tasks import TASKS
from tests.markdown import python_blocks

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_first_example_clusters(tmp_path, monkeypatch, capsys):
    code, _ = python_blocks(ROOT / "README.md")
    assert len(code.splitlines()) <= 8
    monkeypatch.chdir(tmp_path)
    shorter = {
        "random_state=0": "random_state=0, max_iter=60, hidden=(32,)",
        "return_X_y=True)": "return_X_y=True, n_class=3)",
        "n_clusters=10": "n_clusters=3",
    }
    for before, after in shorter.items():
        assert before in code
        code = code.replace(before, after)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        exec(code, {})
    assert float(capsys.readouterr().out) > 0.5  # 0.33 by chance
    assert (tmp_path / "digits.html").is_file()


def test_the_example_of_an_own_model_trains():
    _, code = python_blocks(ROOT / "README.md")
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


def everything_that_is_read() -> set[str]:
    """Every key that some run reads."""
    return {
        option.name
        for task, made in TASKS.items()
        for network in made.networks or ("",)
        for source in SOURCES
        for option in options_of(
            {"task": task, "data.source": source, **({"model.network": network} if network else {})}
        )
    }


def test_files_and_keys_that_are_named_exist():
    of_guides = {
        "augment.noise",
        "loss.center.value",
        "loss.center_power",
    }  # what docs/task.md adds
    known = everything_that_is_read() | of_guides
    groups = {name.rpartition(".")[0] for name in known}
    keys = r"(?:`|--config\.)((?:data|model|loss|anchors|augment|optimizer|train|eval)\.(?!(?:py|npz|png|txt|safetensors)\b)\w+)"
    for page in PAGES:
        text = page.read_text()
        for name in re.findall(keys, text):
            assert name in known or name in groups, f"{page.name}: {name}"
        for name in re.findall(r"\]\(([\w./]+)(?:#[\w-]+)?\)", text):
            assert (page.parent / name).exists(), f"{page.name}: {name}"


def test_commands_that_are_shown_are_accepted():
    """Config, variant and overrides of every `train.py` command in README, guides and heads of configs."""
    found = 0
    for page in [*PAGES, *(ROOT / "configs").glob("[!_]*.py")]:
        text = re.sub(r"\\\n\s*", "", page.read_text())
        for line in re.findall(r"train\.py (--config.*)|nvc-train (--config.*)", text):
            words = " ".join(line).split("#")[0].split()
            name = words[0].removeprefix("--config").lstrip("=") or words[1]
            if name.startswith(("mine", "configs/signals", "NAME", "…")):
                continue  # files that the guides write
            if name.endswith(":VARIANT"):
                name = next(
                    r for r in bundled_configs() if r.startswith(name.removesuffix("VARIANT"))
                )
            overrides = re.findall(r"--config\.([\w.]+)=(\S*?)`?(?=\s|$)", " ".join(words[1:]))
            load_config(name, overrides)
            found += 1
    assert found > 20


def test_options_that_are_named_exist():
    programs = [*(ROOT / "nvc_jax" / "programs").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
    source = "".join(path.read_text() for path in programs)
    for page in PAGES:
        for option in set(re.findall(r"`--(\w+)", page.read_text())) - {"config"}:
            assert f'"--{option}"' in source, f"{page.name}: {option}"
