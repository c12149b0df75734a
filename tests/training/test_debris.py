"""What crashes, other programs, full disks and moved directories leave: told, and got over."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import chex
import numpy as np
import pytest

from nvc_jax.config import changed, make_config
from nvc_jax.core.errors import UserError
from nvc_jax.data import ArraySource
from nvc_jax.training import workdir
from nvc_jax.training.checkpoint import BEST, LATEST, Checkpoints
from nvc_jax.training.logging import MetricWriter, purge_after, read_metrics
from nvc_jax.training.loop import train
from tests.processes import PATIENCE, ROOT, environment, write_config

LAST = 3
"""Step of the debris; the newest whole checkpoint is of the step before it."""


def state(step):
    return {"params": {"a": np.full(4, step, np.float32)}}


def save(path, steps, kind=LATEST):
    checkpoints = Checkpoints(path)
    for step in steps:
        checkpoints.save(step, state(step), {"best": step}, kind)
    checkpoints.close()


def restored(path, kind=LATEST):
    """(state, record) of the newest checkpoint."""
    found = Checkpoints(path).restore(state(0), kind=kind)
    assert found is not None
    return found


def warnings(messages):
    return [message for message in messages if message.startswith("WARNING")]


def half_written(folder):
    shutil.copytree(folder / "2", folder / f"{LAST}.orbax-checkpoint-tmp")


def empty(folder):
    (folder / str(LAST)).mkdir()


def foreign(folder):
    (folder / str(LAST) / "state").mkdir(parents=True)
    (folder / str(LAST) / "model.bin").write_bytes(b"\x80\x04")


def foreign_in_orbax_clothes(folder):
    foreign(folder)
    (folder / str(LAST) / "_CHECKPOINT_METADATA").write_text("{}")


def a_file(folder):
    (folder / str(LAST)).write_text("notes")


def a_link_to_nowhere(folder):
    (folder / str(LAST)).symlink_to(folder / "gone")


def truncated(folder):
    shutil.copytree(folder / "2", folder / str(LAST))
    for file in (folder / str(LAST)).rglob("*"):
        if file.is_file():
            os.truncate(file, file.stat().st_size // 2)


DEBRIS = [
    half_written, empty, foreign, foreign_in_orbax_clothes, a_file, a_link_to_nowhere, truncated,
]  # fmt: skip


@pytest.mark.parametrize("kind", [LATEST, BEST])
@pytest.mark.parametrize("leave", DEBRIS)
def test_debris_is_named_passed_over_and_its_step_saved_again(tmp_path, messages, leave, kind):
    save(tmp_path, [1, 2], kind)
    leave(tmp_path / kind)
    found, record = restored(tmp_path, kind)
    chex.assert_trees_all_equal(found, state(2))
    assert record == {"best": 2}
    assert len(warnings(messages)) == 1 and f"{kind}/{LAST}" in warnings(messages)[0]
    Checkpoints(tmp_path).discard_after(2)
    save(tmp_path, [LAST], kind)
    chex.assert_trees_all_equal(restored(tmp_path, kind)[0], state(LAST))
    assert {path.name for path in (tmp_path / kind).iterdir()} <= {"1", "2", str(LAST)}
    assert len(warnings(messages)) == 1


@pytest.mark.parametrize("leave", [a_file, a_link_to_nowhere, foreign])
def test_debris_in_the_way_of_a_save_is_set_aside(tmp_path, leave):
    save(tmp_path, [1, 2])
    leave(tmp_path / LATEST)
    (tmp_path / "discarded").mkdir()
    a_file(tmp_path / "discarded")
    (tmp_path / "discarded" / str(LAST)).rename(tmp_path / "discarded" / f"{LATEST}-{LAST}")
    save(tmp_path, [LAST])
    assert Checkpoints(tmp_path).steps()[-1] == LAST
    assert os.path.lexists(tmp_path / "discarded" / f"{LATEST}-{LAST}")


@pytest.mark.parametrize("name", ["03", "²", "notes", "3.old", "-3"])
def test_names_that_are_no_steps_do_not_count(tmp_path, messages, name):
    save(tmp_path, [1, 2])
    (tmp_path / LATEST / name).mkdir()
    chex.assert_trees_all_equal(restored(tmp_path)[0], state(2))
    Checkpoints(tmp_path).discard_after(0)
    assert [path.name for path in (tmp_path / LATEST).iterdir()] == [name]
    assert warnings(messages) == []


def test_a_run_of_which_nothing_can_be_read_is_not_begun_anew(tmp_path):
    save(tmp_path, [1, 2])
    for file in (tmp_path / LATEST).glob("*/state/**/*"):
        if file.is_file():
            file.write_bytes(b"")
    with pytest.raises(UserError, match=r"No checkpoint in .* can be read.*--overwrite"):
        Checkpoints(tmp_path).restore(state(0))
    assert Checkpoints(tmp_path).steps() == [1, 2]


def test_lines_that_are_no_records_are_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(
        b'{"step": 1}\n7\n[1]\n{"loss": 1}\n{"step": "x"}\n\0\0\n\xff\n{"step": 2}\n{"s'
    )
    purge_after(tmp_path, 9)
    assert read_metrics(path) == [{"step": 1}, {"step": 2}]
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


@pytest.mark.parametrize("content", ["", '{"seed": 1', '{"sead": 1}', "[]"])
def test_a_damaged_config_is_replaced_with_a_warning(tmp_path, messages, content):
    config = make_config()
    (tmp_path / "config.json").write_text(content)
    workdir.write_config(tmp_path, config)
    assert workdir.read_config(tmp_path) == config
    assert len(warnings(messages)) == 1 and "config.json" in warnings(messages)[0]


def test_a_write_that_fails_is_told_and_leaves_the_file(tmp_path, monkeypatch):
    workdir.write_config(tmp_path, make_config())
    before = (tmp_path / "config.json").read_bytes()

    def fail(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nvc_jax.core.files.open_new", fail)
    with pytest.raises(UserError, match=r"config.json could not be written \(No space left"):
        workdir.write_config(tmp_path, make_config())
    assert (tmp_path / "config.json").read_bytes() == before


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc")
def test_a_directory_that_takes_no_files_is_told():
    """For everybody: permissions do not bind an administrator."""
    path = Path("/proc/self")
    with (
        pytest.raises(UserError, match="/proc/self"),
        workdir.prepare(path, resume="auto", resume_step=None, overwrite=False),
    ):
        workdir.write_config(path, make_config())


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind an administrator")
def test_a_read_only_directory_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with (
        pytest.raises(UserError, match=f"{tmp_path} cannot be used .*read-only"),
        workdir.prepare(tmp_path, resume="auto", resume_step=None, overwrite=False),
    ):
        raise AssertionError("it may not start")


def rename(path):
    path.rename(path.with_name("renamed"))


def replace(path):
    rename(path)
    path.mkdir()


class Acting(ArraySource):
    """Does something to the run's directory before giving the batch of the 14th step."""

    def __init__(self, images, path, action):
        super().__init__(images)
        self.count, self.path, self.action = 0, path, action

    def gather(self, ids):
        self.count += 1
        if self.count == 14 + 4:  # four batches are encoded for k-means
            deadline = time.monotonic() + PATIENCE
            while Checkpoints(self.path).steps() != [4, 8, 12] and time.monotonic() < deadline:
                time.sleep(0.01)
            self.action(self.path)
        return super().gather(ids)


@pytest.mark.parametrize("action", [shutil.rmtree, rename, replace])
def test_a_directory_that_goes_away_ends_the_run(
    config, data, make_images, whole, tmp_path, action
):
    path = tmp_path / "run"
    source = Acting(make_images(50), path, action)
    with pytest.raises(UserError, match=f"{path} was removed or renamed"):
        train(config, path, **{**data, "train_data": source})
    assert not path.exists() or list(path.iterdir()) == []
    if action is not shutil.rmtree:
        assert Checkpoints(tmp_path / "renamed").steps() == [4, 8, 12]
        result = train(config, tmp_path / "renamed", **data)
        chex.assert_trees_all_equal(result.state, whole.result.state)


def test_events_are_on_disk_at_once(tmp_path):
    writer = MetricWriter(tmp_path)
    (file,) = (tmp_path / "tensorboard").iterdir()
    sizes = [file.stat().st_size]
    writer.scalars(1, {"loss": 1.0})
    sizes.append(file.stat().st_size)
    writer.histogram(1, "mean", np.arange(5.0))
    sizes.append(file.stat().st_size)
    assert sizes[0] < sizes[1] < sizes[2]
    writer.close()
    assert file.stat().st_size == sizes[2]


LIMITED = """
import os, resource, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


@pytest.mark.parametrize(
    ("limit", "log_every", "message"),
    [(10_000, 1000, "A checkpoint could not be written to"), (60_000, 1, "could not be written")],
)
def test_a_full_disk_ends_the_program_with_one_sentence(
    config, make_images, tmp_path, limit, log_every, message
):
    """Once in a checkpoint; once in the logs, which grow, while checkpoints fit."""
    for split in ("train", "test"):
        np.savez(tmp_path / f"{split}.npz", image=make_images(50))
    config = changed(config, {"data.source": "npz", "data.dir": str(tmp_path)})
    config.train.log_every, config.train.eval_every, config.train.keep = log_every, 0, 2
    config.train.num_steps, config.train.checkpoint_every = 10_000, 20
    run = tmp_path / "run"
    program = [ROOT / "train.py", f"--config={write_config(config, tmp_path)}", f"--workdir={run}"]
    result = subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit), *map(str, program)],
        # The limit holds for the cache too, which is only read.
        env=environment(JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="1000"),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert result.returncode == 1, result.stderr
    *_, last = result.stderr.splitlines()
    assert last.startswith("error: ") and message in last and "(File too large)" in last
    assert len(last) < 400 and result.stderr.count("error: ") == 1
    assert "Traceback" not in result.stderr and "Errno" not in result.stderr
    checkpoints = Checkpoints(run)
    if log_every == 1:
        assert checkpoints.read_leaves()["params/bottleneck/anchors"].shape == (4, 2)
    else:
        assert checkpoints.steps() == []
    assert (run / "config.json").is_file()
