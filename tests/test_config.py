"""Config files, overrides from text, and JSON: a mistake is told, and nothing is run."""

from __future__ import annotations

import json
import re

import ml_collections
import pytest

from nvc_jax import config as config_lib
from nvc_jax.config import (
    default_config,
    differences,
    from_json,
    leaves,
    load_config,
    override,
    to_json,
)
from nvc_jax.core.errors import UserError

DEFAULTS = default_config().to_dict()


@pytest.fixture
def config():
    return default_config().lock()


def value_of(config, name):
    return dict(leaves(config))[name]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("seed", "7", 7),
        ("model.num_anchors", "-3", -3),
        ("optimizer.learning_rate", "3e-4", 3e-4),
        ("optimizer.learning_rate", "1", 1.0),
        ("model.batch_norm", "true", True),
        ("model.batch_norm", "False", False),
        ("anchors.train", "0", False),
        ("data.dir", "~/my data/5", "~/my data/5"),
        ("data.name", "7", "7"),
        ("data.name", "", ""),
        ("model.hidden", "32,16", (32, 16)),
        ("model.hidden", "(32, 16)", (32, 16)),
        ("model.hidden", "[32]", (32,)),
        ("model.hidden", "32", (32,)),
        ("model.hidden", "()", ()),
        ("loss.value_range", "-1,1", (-1.0, 1.0)),
        ("loss.kl.value", "2", 2.0),
    ],
)
def test_override_keeps_the_type(config, name, text, value):
    override(config, name, text)
    found = value_of(config, name)
    assert found == value and type(found) is type(value)
    if isinstance(value, tuple):
        assert [type(v) for v in found] == [type(v) for v in value]
    others = {k: v for k, v in leaves(config) if k != name}
    assert others == {k: v for k, v in leaves(default_config()) if k != name}


def test_overridden_tuple_can_be_overridden_again(config):
    for text, value in (("()", ()), ("3,4", (3, 4))):
        override(config, "model.hidden", text)
        assert config.model.hidden == value


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("train.num_steps", "abc", "int"),
        ("train.num_steps", "1.5", "int"),
        ("train.num_steps", "True", "int"),
        ("train.num_steps", "", "int"),
        ("train.num_steps", "3,4", "int"),
        ("train.num_steps", "__import__('os')", "int"),
        ("optimizer.learning_rate", "fast", "float"),
        ("optimizer.learning_rate", "None", "float"),
        ("model.batch_norm", "maybe", "bool"),
        ("model.batch_norm", "2", "bool"),
        ("model.hidden", "32,wide", "tuple"),
        ("model.hidden", "32,1.5", "tuple"),
        ("model.hidden", "32,True", "tuple"),
        ("model.hidden", "{1: 2}", "tuple"),
        ("loss.value_range", "0,'1'", "tuple"),
    ],
)
def test_value_of_another_type_is_told(config, name, text, kind):
    message = f"config.{name} takes a value of type {kind}, such as "
    with pytest.raises(UserError, match=re.escape(message)) as error:
        override(config, name, text)
    assert repr(text) in str(error.value)
    assert config.to_dict() == DEFAULTS


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("lerning_rate", "optimizer.learning_rate"),
        ("optimizer.lerning_rate", "optimizer.learning_rate"),
        ("optimiser.learning_rate", "optimizer.learning_rate"),
        ("anchors", None),
        ("loss.kl", None),
        ("num_anchors", "model.num_anchors"),
        ("train.batchsize", "train.batch_size"),
        ("anchors.warmup_step", "anchors.warmup_steps"),
        ("model.network.depth", "model.network"),
    ],
)
def test_unknown_key_is_named_with_the_nearest_one(config, name, nearest):
    with pytest.raises(UserError) as error:
        override(config, name, "1")
    message = str(error.value)
    if nearest is None:
        assert f"config.{name} is a group: set one of {name}." in message
    else:
        assert f"{name!r}: did you mean {nearest!r}?" in message
    assert config.to_dict() == DEFAULTS


def write(folder, *lines):
    path = folder / "mine.py"
    body = "\n".join(f"    {line}" for line in lines)
    start = "from nvc_jax.config import default_config, ramp\ndef get_config():\n"
    path.write_text(f"{start}    config = default_config()\n{body}\n    return config\n")
    return str(path)


def test_file_changes_defaults_and_is_locked(tmp_path):
    config = load_config(write(tmp_path, "config.loss.kl = ramp(2.0, begin=5, steps=10)"))
    assert config.is_locked and config.loss.kl.value == 2.0 and config.loss.kl.begin == 5
    assert config.train.to_dict() == DEFAULTS["train"]


def test_bare_name_is_a_file_of_the_project(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert load_config("digits") == load_config("digits")
    with pytest.raises(
        UserError, match=r"no config file .*digit\.py\. Files there: .*digits.*mnist"
    ):
        load_config("digit")


def test_unknown_key_in_a_file_is_told(tmp_path):
    path = write(tmp_path, "config.optimizer.lerning_rate = 1e-3")
    with pytest.raises(UserError, match=r"lerning_rate.*did you mean 'optimizer\.learning_rate'"):
        load_config(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = 1", r"does not define get_config\(\)"),
        ("def get_config(): return {}", "returns no ConfigDict, got dict"),
        (
            "import ml_collections\ndef get_config(): return ml_collections.ConfigDict({'seed': 1})",
            r"lacks the config key .* begin with default_config\(\)",
        ),
    ],
)
def test_file_without_a_config_is_told(tmp_path, content, message):
    path = tmp_path / "mine.py"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        load_config(str(path))


def test_missing_file_folder_and_other_files_are_told(tmp_path):
    (tmp_path / "notes.txt").touch()
    write(tmp_path)
    with pytest.raises(UserError, match=r"no config file .*your\.py\. Files there: mine\."):
        load_config(str(tmp_path / "your.py"))
    with pytest.raises(UserError, match="no config file"):
        load_config(str(tmp_path))
    with pytest.raises(UserError, match=r"notes\.txt is not a Python file"):
        load_config(str(tmp_path / "notes.txt"))


def test_json_gives_the_same_config_back(config):
    override(config, "model.hidden", "5,4")
    override(config, "optimizer.learning_rate", "1e-3")
    override(config, "data.dir", '/ü "quoted"')
    again = from_json(to_json(config), "config.json")
    assert again == config and again.is_locked
    assert [(k, type(v)) for k, v in leaves(again)] == [(k, type(v)) for k, v in leaves(config)]


def test_differences_name_what_was_set_and_nothing_else():
    assert differences(default_config()) == "none"
    changed = default_config()
    override(changed, "model.num_anchors", "7")
    override(changed, "model.hidden", "8,4")
    override(changed, "loss.kl.value", "0.5")
    words = differences(changed).replace(", ", ",").split()
    assert set(words) == {"model.num_anchors=7", "model.hidden=[8,4]", "loss.kl.value=0.5"}


def test_older_json_takes_new_keys_from_the_defaults():
    stored = default_config().to_dict()
    stored["seed"] = 3
    del stored["eval"], stored["model"]["temperature"]
    config = from_json(json.dumps(stored), "config.json")
    assert config.seed == 3 and config.eval.to_dict() == DEFAULTS["eval"]
    assert config.model.temperature == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"latent_dims": 3}}, "unknown key 'model.latent_dims'"),
        ({"color": 1}, "unknown key 'color'"),
        ({"model": 5}, "wrong value for model: expected an object"),
        ({"model": None}, "wrong value for model"),
        ({"seed": "5"}, "wrong value for seed: expected int, got '5'"),
        ({"seed": None}, "wrong value for seed"),
        ({"seed": True}, "wrong value for seed"),
        ({"model": {"hidden": "abc"}}, "wrong value for model.hidden: expected tuple"),
        ({"model": {"hidden": [1.5]}}, "wrong value for model.hidden: expected int, got 1.5"),
        ({"data": {"dir": 5}}, "wrong value for data.dir: expected str"),
        ({"model": {"batch_norm": 1}}, "wrong value for model.batch_norm: expected bool"),
        ([], "expected a JSON object"),
    ],
)
def test_edited_json_is_told_with_its_path(change, message):
    with pytest.raises(UserError, match=f"^here/config.json .*{re.escape(message)}"):
        from_json(json.dumps(change), "here/config.json")


@pytest.mark.parametrize(
    "text",
    ["", "{", "seed: !!python/object/apply:os.abort []", "__import__('os').abort()", "\0"],
)
def test_text_that_is_no_json_is_refused_and_not_run(text):
    with pytest.raises(UserError, match=r"^here is not JSON"):
        from_json(text, "here")


def test_weight_schedules_have_the_same_keys():
    constant, ramp = config_lib.weight_schedule(2.0), config_lib.ramp(2.0, begin=3, steps=4)
    assert isinstance(ramp, ml_collections.ConfigDict) and set(constant) == set(ramp)
    assert ramp.to_dict() == {
        "schedule": "linear",
        "start": 0.0,
        "value": 2.0,
        "begin": 3,
        "steps": 4,
    }
