"""When a run may start in a directory, and the config it leaves there."""

import json

import numpy as np
import pytest

from nvc_jax.config import make_config
from nvc_jax.core.errors import UserError
from nvc_jax.training import workdir
from nvc_jax.training.checkpoint import Checkpoints

FILES = ("config.json", "spec.json", "metrics.jsonl", "results.json", "embeddings.npz")
FOLDERS = ("tensorboard", "checkpoints", "best", "discarded", "figures", "shapes")


def prepare(path, resume="auto", resume_step=None, overwrite=False):
    with workdir.prepare(path, resume=resume, resume_step=resume_step, overwrite=overwrite):
        pass


@pytest.fixture
def used(tmp_path):
    """A directory with a run's files and two of somebody else's."""
    path = tmp_path / "run"
    for name in FOLDERS:
        (path / name / "sub").mkdir(parents=True)
        (path / name / "sub" / "file").write_text("run")
    for name in (*FILES, "notes.txt", "checkpoints.tar"):
        (path / name).write_text("{}")
    return path


def names(path):
    return {file.name for file in path.iterdir()}


def test_a_new_directory_is_made_with_its_parents(tmp_path):
    prepare(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_overwrite_deletes_only_the_runs_own_files(used):
    prepare(used, overwrite=True)
    assert names(used) == {"notes.txt", "checkpoints.tar"}


def test_auto_deletes_nothing(used):
    before = sorted(used.rglob("*"))
    prepare(used)
    assert sorted(used.rglob("*")) == before


def test_never_refuses_a_used_directory_and_tells_the_ways_out(used):
    before = sorted(used.rglob("*"))
    with pytest.raises(UserError, match=r"holds a run already.*--resume=auto.*--overwrite"):
        prepare(used, resume="never")
    assert sorted(used.rglob("*")) == before


def test_never_takes_a_directory_with_other_peoples_files(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    prepare(tmp_path, resume="never")
    assert names(tmp_path) == {"notes.txt"}


def test_must_wants_a_checkpoint(tmp_path):
    path = tmp_path / "run"
    with pytest.raises(UserError, match=r"no checkpoint in .*run/checkpoints"):
        prepare(path, resume="must")
    assert not path.exists()
    checkpoints = Checkpoints(path)
    checkpoints.save(1, {"params": {"a": np.zeros(2)}}, {})
    checkpoints.close()
    prepare(path, resume="must")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"resume": "maybe"}, "'maybe'.*auto, never, must"),
        ({"resume": "must", "overwrite": True}, "--overwrite and --resume=must"),
        ({"resume_step": 3, "overwrite": True}, "--resume_step=3 contradicts --overwrite"),
        ({"resume_step": 3, "resume": "never"}, "--resume_step=3 contradicts --resume=never"),
    ],
)
def test_contradictions_delete_nothing(used, options, text):
    before = sorted(used.rglob("*"))
    with pytest.raises(UserError, match=text):
        prepare(used, **options)
    assert sorted(used.rglob("*")) == before


def test_a_path_that_cannot_be_a_directory_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match=f"work directory {path} cannot be used"):
            prepare(path)


def test_config_comes_back(tmp_path, messages):
    config = make_config()
    workdir.write_config(tmp_path, config)
    workdir.write_config(tmp_path, config)
    assert workdir.read_config(tmp_path) == config
    assert names(tmp_path) == {"config.json"} and messages == []
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 0


def test_a_changed_config_is_told_key_by_key(tmp_path, messages):
    config = make_config()
    workdir.write_config(tmp_path, config)
    config.seed = 3
    config.model.hidden = (4, 5)
    workdir.write_config(tmp_path, config)
    assert len(messages) == 1 and messages[0].startswith("WARNING")
    assert "seed: 0 → 3" in messages[0] and "model.hidden: (512, 256, 128) → (4, 5)" in messages[0]
    assert workdir.read_config(tmp_path).seed == 3


def test_a_directory_without_a_run_has_no_config(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path} holds no run"):
        workdir.read_config(tmp_path)


def test_one_run_at_a_time(used):
    before = sorted(used.rglob("*"))
    with workdir.prepare(used, resume="auto", resume_step=None, overwrite=False):
        with pytest.raises(UserError, match=r"Another process trains in .*run at this moment"):
            prepare(used, overwrite=True)
        assert sorted(used.rglob("*")) == before
    prepare(used, overwrite=True)
