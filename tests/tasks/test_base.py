"""What tasks share: fields of the data, histograms, options and examples of a task from outside."""

import re

import ml_collections
import numpy as np
import pytest

from nvc_jax.config import changed, from_json, help_text, load_config, make_config, to_json
from nvc_jax.core.errors import UserError
from nvc_jax.core.options import Option
from nvc_jax.data.base.source import FieldSpec
from nvc_jax.tasks import TASKS, Task, make_task, open_training
from nvc_jax.tasks.base import CELLS, check_fields, histograms

EXPECTED = {"points": ("[P, 3]", "float32"), "point_label": ("[P]", "uint8")}


def fields(**changes):
    found = {"points": ((5, 3), "float32"), "point_label": ((5,), "uint8"), "label": ((), "int32")}
    found |= changes
    return {name: FieldSpec(shape, np.dtype(dtype)) for name, (shape, dtype) in found.items()}


def check(spec):
    check_fields(ml_collections.ConfigDict({"task": "clouds"}), spec, EXPECTED)


def test_fields_that_fit_pass_whatever_there_is_beside_them():
    check(fields())
    check(fields(points=((0, 3), "float32")))


@pytest.mark.parametrize(
    "changes",
    [
        {"points": ((5, 3), "float64")},
        {"points": ((5, 4), "float32")},  # a number is fixed
        {"points": ((5,), "float32")},
        {"points": ((2, 5, 3), "float32")},
        {"point_label": ((), "uint8")},
        {"point_label": ((5,), "int8")},
    ],
)
def test_what_was_got_and_what_was_expected_is_listed(changes):
    spec = fields(**changes)
    got = ", ".join(f"{name} {list(field.shape)} {field.dtype}" for name, field in spec.items())
    message = (
        f"The task clouds needs the fields points [P, 3] float32, point_label [P] uint8; got {got}."
    )
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        check(spec)


def test_missing_fields_are_listed():
    spec = fields()
    del spec["points"]
    with pytest.raises(UserError, match=r"needs the fields points \[P, 3\].*got point_label \[5\]"):
        check(spec)
    with pytest.raises(UserError, match="got nothing"):
        check({})


class Signals(Task):
    """A task from outside: only what has to be there, and options."""

    options = (
        Option("model.kernel", 3, "width of the windows", at_least=1),
        Option("loss.shape", "square", "of the error", ("square", "absolute")),
    )

    def make_model(self, axis_name):
        return None

    def prepare(self, batch, keys=None):
        return {**batch, "target": batch["signal"]}

    def reconstruction(self, outputs, batch):
        return outputs

    def postprocess(self, output):
        return output


@pytest.fixture
def signals(monkeypatch, tmp_path):
    """A config file of the task."""
    monkeypatch.setitem(TASKS, "signals", Signals)
    path = tmp_path / "signals.py"
    path.write_text('def get_config():\n    return {"task": "signals", "model.kernel": 5}\n')
    return str(path)


def test_a_task_from_outside_has_options_in_config_and_on_the_command_line(signals):
    assert make_config({"task": "signals"}).model.kernel == 3
    config = load_config(signals, [("loss.shape", "absolute")])
    assert (config.model.kernel, config.loss.shape) == (5, "absolute")
    assert from_json(to_json(config), "config.json") == config
    task = make_task(config, {"signal": FieldSpec((4,), np.dtype("float32"))})
    assert isinstance(task, Signals) and task.config.model.kernel == 5
    (line,) = (line for line in help_text(config).splitlines() if "model.kernel" in line)
    assert "5" in line and "3" in line and "width of the windows" in line


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("model.kernl", "7", "'model.kernl'.*did you mean 'model.kernel'"),
        ("model.kernel", "0", "model.kernel is 0: it must be at least 1"),
        ("model.kernel", "wide", "takes a value of type int"),
        ("loss.shape", "round", "loss.shape is 'round': use one of square, absolute"),
        ("model.hidden", "8", "'model.hidden'"),  # of other tasks
    ],
)
def test_mistyped_options_of_a_task_from_outside_are_refused(signals, name, text, message):
    with pytest.raises(UserError, match=message):
        load_config(signals, [(name, text)])
    if name != "model.kernel":
        with pytest.raises(UserError, match=message):
            make_config({"task": "signals", name: text})


def test_examples_are_what_is_stored_and_one_array_tells_one_field(signals):
    config = make_config({"task": "signals", "eval.batch_size": 4})
    source, learned = open_training(changed(config, {"data.source": "digits"}))
    assert source.spec.keys() == {"image", "label"} and learned == {}
    spec = {
        "signal": FieldSpec((4,), np.dtype("float32")),
        "label": FieldSpec((), np.dtype("int32")),
    }
    given = Signals.examples.from_arrays(np.ones((3, 4)), spec)
    assert given.spec == spec and given.gather(np.arange(3))["label"].tolist() == [-1] * 3
    spec["other"] = spec["signal"]
    with pytest.raises(UserError, match="the fields signal, other, which no single array tells"):
        Signals.examples.from_arrays(np.ones((3, 4)), spec)


def clouds(count=3, points=6, channels=3, seed=0):
    return np.random.default_rng(seed).normal(size=(count, points, channels)).astype(np.float32)


def test_histogram_by_hand():
    # The cube is 8 wide, as the longest side is, and centered: y is from -3 to 5, z from -4 to 4.
    cloud = np.array([[0, 0, 0], [8, 2, 0], [2.5, 1.5, 0], [2.9, 1.9, 0]], np.float32)
    expected = np.zeros((CELLS, CELLS, CELLS))
    expected[0, 3, 4], expected[7, 5, 4], expected[2, 4, 4] = 0.25, 0.25, 0.5
    np.testing.assert_array_equal(histograms(cloud[None])[0], expected.ravel())


def test_histogram_is_that_of_the_cloud_alone():
    """Where it lies, how large it is and what is beside it do not count, and neither do colors."""
    given = clouds(points=30, channels=6)
    found = histograms(given)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_array_equal(histograms(given[1:]), found[1:])
    np.testing.assert_array_equal(histograms(given[..., :3]), found)
    moved = 4 * given[1:2, :, :3] + np.array([8, -16, 2], np.float32)
    assert np.abs(histograms(moved) - found[1:2]).sum() < 0.1  # a point may round to the next cell
    assert np.abs(found[0] - found[1]).sum() > 1


def test_histogram_of_one_place_has_one_cell():
    found = histograms(np.full((2, 5, 3), 7.0, np.float32))
    np.testing.assert_array_equal(np.sort(found, axis=1)[:, -2:], [[0, 1], [0, 1]])
