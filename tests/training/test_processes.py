"""Two processes with two devices each: the same run as one process with four, and how it ends."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import chex
import numpy as np
import pytest

from nvc_jax.config import changed
from nvc_jax.evaluation.results import evaluate
from nvc_jax.training.checkpoint import Checkpoints
from nvc_jax.training.logging import read_metrics
from nvc_jax.training.loop import train
from tests.processes import PATIENCE, ROOT, environment, write_config

LAUNCH = ROOT / "scripts" / "launch_local.sh"
RATES = {"steps_per_second", "examples_per_second"}


def start(*command, devices=2, extra=None, **options):
    return subprocess.Popen(
        [*map(str, command)],
        env=environment(devices, **{"PYTHON": sys.executable, **(extra or {})}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finish(process):
    """Exit code, standard output and error."""
    try:
        output, error = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    return process.returncode, output, error


def start_both(*command, second=(), join="flags", failure_timeout=300):
    """Two processes of a run without the script, the second with other arguments at its end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    processes = []
    for rank in range(2):
        flags, extra = ["--distributed", f"--failure_timeout={failure_timeout}"], {}
        if join == "flags":
            flags += [f"--coordinator={address}", "--num_processes=2", f"--process_id={rank}"]
        elif join == "environment":
            extra = {"COORDINATOR_ADDRESS": address, "NUM_PROCESSES": 2, "PROCESS_ID": rank}
            extra = {f"JAX_{name}": str(value) for name, value in extra.items()}
        else:
            names = {"JOB_ID": 1, "STEP_NODELIST": "127.0.0.1", "STEP_NUM_NODES": 1}
            names |= {"NTASKS": 2, "PROCID": rank, "LOCALID": rank}
            extra = {f"SLURM_{name}": str(value) for name, value in names.items()}
            extra["JAX_COORDINATOR_PORT"] = str(port)
        arguments = [*command, *flags, *(second if rank else ())]
        processes.append(start(sys.executable, *arguments, extra=extra))
    return processes


def wait_for_step(directory, step, *processes):
    """Waits until a step is logged."""
    deadline = time.monotonic() + PATIENCE
    while max((r["step"] for r in read_metrics(directory / "metrics.jsonl")), default=0) < step:
        assert time.monotonic() < deadline
        for process in processes:
            assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.fixture(scope="module")
def given(make_config, make_images, tmp_path_factory):
    """A config of eight steps with every loss term, and the folder of its data."""
    folder = tmp_path_factory.mktemp("data")
    for split in ("train", "test"):
        labels = np.arange(50, dtype=np.int32) % 3
        np.savez(folder / f"{split}.npz", image=make_images(50), label=labels)
    config = changed(make_config(), {"data.source": "npz", "data.dir": str(folder)})
    config.anchors.init = "spread"
    config.loss.kl.schedule = "constant"
    config.optimizer.name, config.optimizer.learning_rate = "sgd", 2e-3
    config.train.num_steps, config.train.eval_every = 8, 4
    config.eval.tsne_examples = 0
    return config, folder


@pytest.fixture(scope="module")
def program(given):
    """Arguments of `train.py`."""
    return [ROOT / "train.py", f"--config={write_config(*given)}"]


@pytest.fixture(scope="module")
def one(given, tmp_path_factory):
    """The work directory of one process, this one."""
    directory = tmp_path_factory.mktemp("one") / "run"
    train(given[0], directory)
    return directory


@pytest.fixture(scope="module")
def two(program, tmp_path_factory):
    """The work directory of two processes with two devices each, and what they wrote."""
    directory = tmp_path_factory.mktemp("two") / "run"
    code, _, error = finish(start(LAUNCH, 2, *program, f"--workdir={directory}"))
    assert code == 0, error
    return directory, error


def assert_close(directory, other, atol):
    """The same newest checkpoint."""
    found, expected = (Checkpoints(path).read_leaves() for path in (directory, other))
    assert found["step"] == expected["step"]
    chex.assert_trees_all_close(found, expected, rtol=0, atol=atol)


def test_two_processes_train_as_one_does(one, two):
    directory, error = two
    assert_close(directory, one, 1e-6)
    assert Checkpoints(directory).steps() == Checkpoints(one).steps() == [4, 8]
    assert Checkpoints(directory).steps("best") == Checkpoints(one).steps("best")
    found, expected = (read_metrics(path / "metrics.jsonl") for path in (directory, one))
    assert len(found) == len(expected) == 5  # steps 1, 4 and 8, and two evaluations
    for record, other in zip(found, expected):
        assert record.keys() == other.keys()
        for name in record.keys() - RATES:
            assert record[name] == pytest.approx(other[name], rel=1e-5, abs=1e-6), name
    assert len(list((directory / "tensorboard").iterdir())) == 1  # one writer
    assert {p.name for p in directory.iterdir()} == {p.name for p in one.iterdir()}
    lines = error.splitlines()
    assert f"[0] Fresh run in {directory} on 4 devices." in lines
    (said,) = [line for line in lines if line.startswith("[1]") and "Gloo" not in line]
    assert said == "[1] Waiting for the other processes of the run, at most 5 minutes."


def test_one_process_goes_on_where_two_were(given, one, two, tmp_path):
    copy = shutil.copytree(two[0], tmp_path / "copy")
    train(given[0], copy, resume_step=4)
    assert_close(copy, one, 1e-5)


def test_two_processes_evaluate_as_one_does(two):
    directory = two[0]
    code, output, error = finish(
        start(LAUNCH, 2, ROOT / "eval.py", f"--workdir={directory}", "--nofigures")
    )
    assert code == 0, error
    results = json.loads((directory / "results.json").read_text())
    assert results["counts"]["test_examples"] == 50
    assert f"[0] Report: {directory}/results.json" in output and "[1] Report" not in output
    alone = evaluate(directory, figures=False)["metrics"]
    for name, value in results["metrics"].items():
        assert value == pytest.approx(alone[name], rel=1e-5), name


def test_sigterm_to_one_stops_both_at_one_step_and_one_process_goes_on(given, program, tmp_path):
    directory = tmp_path / "run"
    long = {"num_steps": 10_000_000, "eval_every": 0, "checkpoint_every": 0}
    settings = [f"--config.train.{name}={value}" for name, value in long.items()]
    both = start_both(*program, f"--workdir={directory}", *settings)
    wait_for_step(directory, 12, *both)
    both[1].send_signal(signal.SIGTERM)
    ends = [finish(process) for process in both]
    assert [code for code, _, _ in ends] == [0, 0], ends
    step = Checkpoints(directory).steps()[-1]
    assert step >= max(r["step"] for r in read_metrics(directory / "metrics.jsonl"))
    assert f"Stopped at step {step} by SIGTERM; saved." in ends[0][2]
    train(changed(given[0], {"train.num_steps": step + 3}), directory, resume="must")
    assert Checkpoints(directory).steps()[-1] == step + 3


def compiling(directory):
    return (directory / "spec.json").exists()


def stepping(directory):
    return any(record["step"] >= 12 for record in read_metrics(directory / "metrics.jsonl"))


def saving(directory):
    return any((directory / "checkpoints").glob("*tmp*"))


def is_there(group):
    """Whether a process of the group is left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, 0)
        return True
    return False


@pytest.mark.parametrize(
    ("moment", "heard"), [(compiling, False), (stepping, True), (saving, False)]
)
def test_sigterm_to_the_group_stops_all_even_if_nobody_listens(moment, heard, program, tmp_path):
    """As systemd, Slurm and `timeout` send it: also to what reads the processes' messages."""
    directory = tmp_path / "run"
    long = ("--config.train.num_steps=10000000", "--config.train.checkpoint_every=7")
    command = [LAUNCH, 2, *program, f"--workdir={directory}", *long]
    group = start(*command, start_new_session=True)
    deadline = time.monotonic() + PATIENCE
    while not moment(directory):
        assert time.monotonic() < deadline and group.poll() is None
        time.sleep(0.001)
    if not heard:
        group.stdout.close()
        group.stderr.close()
        group.stdout = group.stderr = None
    os.killpg(group.pid, signal.SIGTERM)
    code, _, error = finish(group)
    assert code == 0, error
    step = Checkpoints(directory).steps()[-1]
    assert not heard or f"Stopped at step {step} by SIGTERM; saved." in error
    while is_there(group.pid):  # nothing is left of the group
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("join", "second", "told"),
    [
        ("environment", "--config.data.dir=/nowhere", "error: Process 1: .*/nowhere"),
        ("slurm", "--config.seed=1", "seed is 0 for process 0 and 1 for process 1"),
    ],
)  # fmt: skip
def test_a_mistake_of_one_ends_both_with_its_message(program, tmp_path, join, second, told):
    both = start_both(*program, f"--workdir={tmp_path / 'run'}", second=[second], join=join)
    (code, _, error), (other_code, _, other_error) = [finish(process) for process in both]
    assert code == other_code == 1
    assert len([line for line in error.splitlines() if "error: " in line]) == 1
    assert "Traceback" not in error + other_error
    assert re.search(told, error), error


FAILING = """
import sys
import numpy as np
from nvc_jax.programs import cli
from nvc_jax.config import load_config
from nvc_jax.data import ArraySource
def main(arguments):
    parser = cli.make_parser("")
    parser.add_argument("--config")
    parser.add_argument("--workdir")
    flags, config = cli.parse(parser, arguments)
    cli.start(flags, stop_at_sigterm=True)
    from nvc_jax.training import parallel
    from nvc_jax.training.loop import train
    class Failing(ArraySource):
        calls = 0
        def gather(self, ids):
            self.calls += 1
            if self.calls == 6 and parallel.process_index() == 1:
                raise OSError("the disk of machine 1 is gone")
            return super().gather(ids)
    train(config, flags.workdir, train_data=Failing(np.zeros((50, 6, 6, 1), np.float32)))
    return 0
sys.exit(cli.run(main))
"""


def test_an_error_in_one_process_is_shown_and_ends_the_other(program, tmp_path):
    (tmp_path / "failing.py").write_text(FAILING)
    directory = tmp_path / "run"
    command = [tmp_path / "failing.py", *program[1:], f"--workdir={directory}"]
    both = start_both(*command, failure_timeout=10)
    code, _, error = finish(both[1])
    assert code == 1 and "OSError: the disk of machine 1 is gone" in error
    assert finish(both[0])[0] != 0
    assert Checkpoints(directory).steps() == [4]


def test_the_script_tells_its_usage():
    code, _, error = finish(start(LAUNCH, "two", "train.py"))
    assert code == 2 and "usage" in error
