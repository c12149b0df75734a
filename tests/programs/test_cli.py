"""The programs' command lines: what a mistake prints, its exit code, and what it leaves alone."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import nvc_jax
from nvc_jax.config import bundled_configs, every_option, load_config
from nvc_jax.core.errors import UserError
from nvc_jax.core.options import leaves
from nvc_jax.programs import cli, eval, meshes, train
from nvc_jax.training import parallel
from tests.processes import ROOT, run_python
from tests.refusals import refused


@pytest.fixture
def keep_cache(monkeypatch):
    """Leaves the tests' cache of compiled functions as it is."""
    monkeypatch.setattr("nvc_jax.core.compilation.use_compilation_cache", lambda directory: None)


@pytest.fixture
def run_train(monkeypatch, capsys, tmp_path):
    """Runs train.py's main in this process; gives its sentence about a mistake.

    That is one line; the exit code is as expected, and no work directory was made.
    """
    monkeypatch.setattr("nvc_jax.core.logs.setup_logging", lambda: None)

    def run(*arguments, code=2):
        workdir = tmp_path / "run"
        program = ["train.py", "--config=digits", f"--workdir={workdir}", *arguments]
        monkeypatch.setattr(sys, "argv", program)
        assert cli.run(train.main) == code
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
        assert not workdir.exists()
        return error

    return run


def parse(*arguments):
    parser = cli.make_parser(None)
    parser.add_argument("--config", required=True)
    parser.add_argument("--workdir")
    return cli.parse(parser, list(arguments))


def test_overrides_in_both_spellings_and_the_last_one_counts():
    given = ["--config=mnist", "--config.seed=3", "--config.model.logvar_min", "-4", "--workdir=w"]
    flags, config = parse(*given, "--config.data.dir=a=b c", "--config.seed=5")
    assert (config.seed, config.model.logvar_min, config.data.dir) == (5, -4.0, "a=b c")
    assert (flags.workdir, flags.config) == ("w", "mnist")


def test_wrong_flags_exit_with_2(capsys):
    for arguments, message in [
        (["--workdir=w"], "--config"),
        (["--config=digits", "--config.seed"], "--config.seed needs a value"),
        (["--config=digits", "--work=w"], "--work"),
        (["--config=digits", "--confg.seed=1"], "--confg.seed"),
        (["--config=digits", "--config.=1"], "--config.=1"),
        (["--config=digits", "seed=1"], "seed=1"),
    ]:
        with pytest.raises(SystemExit) as exit_:
            parse(*arguments)
        assert exit_.value.code == 2 and message in capsys.readouterr().err


def test_wrong_config_is_one_sentence_and_exit_code_2(run_train):
    for argument, parts in [
        ("--config.optimizer.lerning_rate=1e-3", ["lerning_rate", "'optimizer.learning_rate'"]),
        ("--config.optimiser.learning_rate=1e-3", ["optimiser", "'optimizer.learning_rate'"]),
        ("--config.train.num_steps=abc", ["train.num_steps", "int", "'abc'"]),
        ("--config.model.batch_norm=maybe", ["model.batch_norm", "bool", "'maybe'"]),
        ("--config=nowhere.py", ["nowhere.py"]),
    ]:
        error = run_train(argument)
        assert all(part in error for part in parts)


OF_OTHERS = {
    "loss.chamfer": "sum",
    "loss.soft_iou": "1",
    "loss.class_weights": "1",
    "model.num_heads": "7",
    "model.channels": "8",
    "model.num_coarse": "64",
    "model.know_category": "true",
    "data.max_words": "3",
    "data.num_points": "64",
    "augment.mirror": "true",
}


def test_keys_of_other_tasks_are_refused_with_the_nearest_that_is_read(run_train):
    known = leaves(load_config("digits"))
    for key, value in OF_OTHERS.items():
        error = run_train(f"--config.{key}={value}")
        found = re.search(r"key '(.*)': nothing .* reads it; did you mean '(.*)'\?", error)
        assert found and found[1] == key and found[2] in known


def test_invalid_values_are_refused_before_anything_is_written(run_train):
    for settings, reason in [
        (["loss.triplet_alpha=0"], "loss.triplet_alpha is 0.0: it must be greater than 0"),
        (["loss.anchor_scale=-1"], "loss.anchor_scale is -1.0: it must be greater than 0"),
        (["model.temperature=nan"], "config.model.temperature takes a value of type float"),
        (["model.temperature=0"], "model.temperature is 0.0: it must be greater than 0"),
        (["model.logvar_min=2", "model.logvar_max=2"], "it must be below model.logvar_max"),
        (["optimizer.name=adm"], "optimizer.name is 'adm': use one of adam"),
        (["data.source=mnist"], "data.source is 'mnist': use one of binvox"),
        (["task=imge"], "task is 'imge': use one of counts, hand_pose"),
    ]:
        assert reason in run_train(*(f"--config.{setting}" for setting in settings))


def test_help_lists_the_keys_that_a_run_reads_and_no_others(capsys):
    arguments = ["--config=furniture:points", "--help_config", "--config.model.num_coarse=128"]
    assert train.main(arguments) == 0  # without a work directory
    told = capsys.readouterr().out
    keys = [line.split()[0] for line in told.splitlines() if line.startswith("  ")]
    assert sorted(keys) == sorted(leaves(load_config("furniture:points")))
    lines = {line.split()[0]: line for line in told.splitlines() if line}
    assert lines["model.num_coarse"].startswith("  model.num_coarse = 128 (default 512): ")
    assert "one of adam, adamw, sgd" in lines["optimizer.name"]
    assert "share of the run" in lines["anchors.warmup"]


@pytest.mark.parametrize("program", [train, eval, meshes], ids=lambda program: program.__name__)
def test_version(program, capsys):
    with pytest.raises(SystemExit) as exit_:
        program.main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"nvc_jax {nvc_jax.__version__}\n"


TAB = """source "$1"
for word in digi --config.train.num_st --overw; do
  COMP_WORDS=(nvc-train --config "$word"); COMP_CWORD=2
  [ $word = digi ] || { COMP_WORDS=(nvc-train "$word"); COMP_CWORD=1; }
  _shtab_nvc_train; echo "${COMPREPLY[@]}"
done
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_a_shell_completes_flags_configs_and_keys(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["nvc-train"])
    for shell in ("zsh", "tcsh", "bash"):
        with pytest.raises(SystemExit) as exit_:
            train.main([f"--print_completion={shell}"])
        assert exit_.value.code == 0
        script = capsys.readouterr().out
        assert "config.anchors.shares" in script, shell
    (tmp_path / "script").write_text(script)
    told = subprocess.run(
        ["bash", "-c", TAB, "bash", str(tmp_path / "script")], capture_output=True, text=True, check=True
    )  # fmt: skip
    assert told.stdout.split() == ["digits", "--config.train.num_steps", "--overwrite"], told


def test_every_bundled_config_is_proposed_and_loads():
    names = bundled_configs()
    assert {"digits", "cad:voxels", "hands", "hands:small"} <= set(names)
    assert "cad" not in names, "it has no default variant"
    known = {option.name for option in every_option()}
    assert all(set(leaves(load_config(name))) <= known for name in names)


def page_as_archive(folder):
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"<html>".ljust(2048))
    (folder / "train-labels-idx1-ubyte").write_bytes(b"")


def flat_images(folder):
    np.savez(folder / "train.npz", image=np.zeros((5, 64)))


def no_images(folder):
    np.savez(folder / "train.npz", image=np.zeros((0, 8, 8)))


def broken_image(folder):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / "good.png")
    (folder / "bad.png").write_bytes((folder / "good.png").read_bytes()[:40])


@pytest.mark.parametrize(
    ("source", "write", "parts"),
    [
        ("folder", Path.rmdir, ["data", "is missing"]),
        ("folder", broken_image, ["bad.png", "data.strict"]),
        ("idx", Path.touch, ["train-images-idx3-ubyte"]),
        ("idx", page_as_archive, ["no gzip file", "train-images-idx3-ubyte.gz"]),
        ("npz", flat_images, ["train.npz", "(5, 64)"]),
        ("npz", no_images, ["train.npz", "no example"]),
        ("npy", Path.touch, ["train_image.npy"]),
        ("tfds", Path.touch, ["data.name"]),
    ],
)
def test_wrong_data_is_one_sentence_and_exit_code_1(run_train, tmp_path, source, write, parts):
    folder = tmp_path / "data"
    folder.mkdir()
    write(folder)
    options = {"source": source, "dir": folder} | ({"strict": True} if source == "folder" else {})
    error = run_train(*(f"--config.data.{k}={v}" for k, v in options.items()), code=1)
    assert all(part in error for part in parts)


def test_interrupt_and_error_codes(monkeypatch, capsys):
    monkeypatch.setattr("nvc_jax.core.logs.setup_logging", lambda: None)

    def fail(error):
        def main(arguments):
            raise error

        return cli.run(main)

    errors = (cli.UsageError("a"), UserError("b"), KeyboardInterrupt())
    assert [fail(error) for error in errors] == [2, 1, 130]
    assert capsys.readouterr().err == "error: a\nerror: b\nInterrupted.\n"
    with pytest.raises(ZeroDivisionError):  # a mistake of ours keeps its traceback
        fail(ZeroDivisionError())


def test_program_tells_without_traceback_or_work_directory(tmp_path):
    for argument, code, part in [
        ("--config.lerning_rate=1e-3", 2, "did you mean 'optimizer.learning_rate'?"),
        ("--config.data.source=folder", 1, "needs data.dir"),
    ]:
        config = f"--config={ROOT / 'configs' / 'digits.py'}"
        program = (ROOT / "train.py", config, "--workdir=run", argument)
        result = run_python(*program, cwd=tmp_path, code=code, JAX_ENABLE_COMPILATION_CACHE="false")
        assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
        assert part in result.stderr and result.stdout == ""
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag", ["--coordinator=a:1", "--num_processes=2", "--process_id=0"])
def test_flags_of_several_processes_need_distributed(flag, keep_cache):
    flags, _ = parse("--config=digits", flag)
    with pytest.raises(cli.UsageError, match=rf"{flag.partition('=')[0]} needs --distributed"):
        cli.start(flags)


def test_the_time_after_which_a_process_counts_as_gone_can_be_set(monkeypatch, keep_cache):
    joined = {}
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_, **given: joined.update(given))
    monkeypatch.setattr("nvc_jax.core.logs.setup_logging", lambda *_: None)
    before = jax.config.values["jax_enable_preemption_service"]
    for flag, seconds in [([], 60), (["--failure_timeout=5"], 5)]:
        cli.start(parse("--config=digits", "--distributed", *flag)[0])
        assert joined["heartbeat_timeout_seconds"] == seconds
    jax.config.update("jax_enable_preemption_service", before)


def test_processes_that_cannot_find_each_other_tell_what_to_give(monkeypatch):
    for name in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
        monkeypatch.delenv(name, raising=False)
    before = jax.config.values["jax_enable_preemption_service"]
    refused(r"did not find each other .* give --coordinator=", parallel.initialize)
    monkeypatch.setenv("JAX_NUM_PROCESSES", "two")
    refused("JAX_NUM_PROCESSES is 'two': set it to a number", parallel.initialize)
    jax.config.update("jax_enable_preemption_service", before)
    assert not parallel.is_distributed()


def test_modules_that_register_something_are_imported_first(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    (tmp_path / "my_registration.py").write_text("print('registered')")
    (tmp_path / "my_broken.py").write_text("import no_such_library")
    parser, before = cli.make_parser(""), sys.path.copy()
    cli.parse_overrides(parser, [])
    assert sys.path == before  # a file in the present folder shadows nothing unless asked for
    cli.parse_overrides(parser, ["--import=my_registration"])
    assert capsys.readouterr().out == "registered\n"
    with pytest.raises(cli.UsageError, match=r"--import=absent: there is no such module in .*\.py"):
        cli.parse_overrides(parser, ["--import=absent"])
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        cli.parse_overrides(parser, ["--import=my_broken"])
