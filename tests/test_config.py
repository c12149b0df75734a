"""Configs of runs: a key that nothing chosen reads is told, a value of another kind, and nothing is run."""

import json
import re

import pytest

from nvc_jax.config import (
    bundled_configs,
    changed,
    differences,
    from_json,
    load_config,
    make_config,
    options_of,
    overridden,
    ramp,
    to_json,
)
from nvc_jax.core.options import leaves
from nvc_jax.data import SOURCES
from nvc_jax.tasks import TASKS
from tests.refusals import refused

DEFAULTS = make_config()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("seed", "7", 7),
        ("model.num_anchors", "3", 3),
        ("optimizer.learning_rate", "3e-4", 3e-4),
        ("optimizer.learning_rate", "1", 1.0),
        ("model.batch_norm", "true", True),
        ("model.batch_norm", "False", False),
        ("anchors.train", "0", False),
        ("train.best_metric", "a b/5", "a b/5"),
        ("train.best_metric", "7", "7"),
        ("train.best_metric", "", ""),
        ("model.hidden", "32,16", (32, 16)),
        ("model.hidden", "(32, 16)", (32, 16)),
        ("model.hidden", "[32]", (32,)),
        ("model.hidden", "32", (32,)),
        ("model.hidden", "()", ()),
        ("loss.value_range", "-1,1", (-1.0, 1.0)),
        ("loss.kl.value", "2", 2.0),
        ("anchors.warmup", "0.4", 0.4),
        ("anchors.warmup", "600", 600.0),
    ],
)
def test_override_keeps_the_type_and_everything_else(name, text, value):
    config = overridden(DEFAULTS, [(name, text)])
    found = leaves(config)[name]
    assert found == value and type(found) is type(value) and config.is_locked
    if isinstance(value, tuple):
        assert [type(v) for v in found] == [type(v) for v in value]
    assert {**leaves(config), name: 0} == {**leaves(DEFAULTS), name: 0}


def test_overridden_tuple_can_be_overridden_again():
    config = DEFAULTS
    for text, value in (("()", ()), ("3,4", (3, 4))):
        config = overridden(config, [("model.hidden", text)])
        assert config.model.hidden == value
    dgcnn = {"task": "point_segmentation", "model.network": "dgcnn", "data.source": "furniture"}
    config = overridden(make_config(dgcnn), [("model.dilations", "2,4")])
    assert config.model.dilations == (2, 4)  # whole numbers, though the default is empty


def test_value_of_another_type_is_told():
    for name, text, kind in [
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
    ]:
        message = f"config.{name} takes a value of type {kind}, such as "
        assert repr(text) in refused(re.escape(message), overridden, DEFAULTS, [(name, text)])


def test_value_out_of_bounds_is_told():
    for name, value, message in [
        ("loss.triplet_alpha", 0.0, "greater than 0"),
        ("loss.anchor_scale", -1.0, "greater than 0"),
        ("model.temperature", 0.0, "greater than 0"),
        ("model.logvar_min", 10.0, "below model.logvar_max"),
        ("model.hidden", (8, 0), "at least 1"),
        ("train.num_steps", 0, "at least 1"),
        ("anchors.warmup", 1.5, "a share of the run up to 1"),
        ("anchors.warmup", -0.1, "a share of the run up to 1"),
        ("optimizer.learning_rate", float("nan"), "greater than 0"),
        ("optimizer.momentum", 1.0, "at least 0 and less than 1"),
        ("optimizer.name", "adm", "use one of adam, adamw, sgd"),
        ("optimizer.schedule", "slow", "use one of constant, linear, cosine, inverse_sqrt"),
        ("anchors.init", "random", "use one of kmeans"),
        ("augment.target", "dirty", "use one of clean, augmented"),
        ("loss.triplet_form", "square", "use one of ratio, hinge, anchor"),
        ("loss.kl.schedule", "fast", "use one of constant, linear, cosine, cyclic"),
        ("train.best_mode", "most", "use one of min, max"),
        ("task", "imag", "use one of counts, hand_pose, image"),
        ("data.source", "digit", "use one of binvox, "),
        ("model.network", "cnn", "use one of conv, fire, mlp"),
    ]:
        refused(f"^{re.escape(name)} is .*{re.escape(message)}", make_config, {name: value})


def test_unknown_key_is_named_with_the_nearest_one():
    for name, nearest in [
        ("lerning_rate", "optimizer.learning_rate"),
        ("optimizer.lerning_rate", "optimizer.learning_rate"),
        ("optimiser.learning_rate", "optimizer.learning_rate"),
        ("anchors", None),
        ("loss.kl", None),
        ("num_anchors", "model.num_anchors"),
        ("train.batchsize", "train.batch_size"),
        ("anchors.warmup_step", "anchors.warmup"),
        ("model.network.depth", "model.network"),
    ]:
        group = f"config.{name} is a group: set one of {name}."
        other = f"{name!r}: nothing that this run chose reads it; did you mean {nearest!r}?"
        told = refused(None, overridden, DEFAULTS, [(name, "1")])
        assert (other if nearest else group) in told


def test_keys_of_other_tasks_sources_and_networks_are_refused():
    """Every key that some choice reads, but digits with a dense network does not."""
    everything = {
        option.name: option.default
        for task, made in TASKS.items()
        for network in made.networks or ("",)
        for source in SOURCES
        for option in options_of(
            {"task": task, "data.source": source, **({"model.network": network} if network else {})}
        )
    }
    others = everything.keys() - leaves(DEFAULTS).keys()
    expected = {"loss.chamfer", "model.num_heads", "data.max_words", "eval.beam_size", "data.dir"}
    assert expected < others and len(others) > 50
    for name in others:
        refused(
            f"{name}.*nothing that this run chose reads it", make_config, {name: everything[name]}
        )


def test_a_change_of_task_or_source_leaves_out_what_the_new_one_does_not_read():
    config = make_config({"data.source": "folder", "data.strict": True, "data.dir": "here"})
    other = changed(config, {"data.source": "npz", "data.label_key": "y"})
    assert "strict" not in other.data and other.data.dir == "here" and other.data.label_key == "y"
    assert changed(config, {}) == config
    refused(r"data\.strict", changed, config, {"data.source": "npz", "data.strict": True})


def write(folder, body, start="def get_config():\n"):
    path = folder / "mine.py"
    path.write_text(f"from nvc_jax.config import ramp\n{start}    {body}\n")
    return str(path)


def test_file_says_what_differs_from_the_defaults(tmp_path):
    path = write(tmp_path, "return {'loss.kl': ramp(2.0, over=0.1), 'model': {'hidden': [8]}}")
    config = load_config(path, [("loss.kl.begin", "5")])
    assert config.is_locked and config.model.hidden == (8,)
    schedule = {"schedule": "linear", "start": 0.0, "value": 2.0, "begin": 5.0, "duration": 0.1}
    assert config.loss.kl.to_dict() == schedule
    assert config.train == DEFAULTS.train
    nested = "import ml_collections; return ml_collections.ConfigDict({'seed': 3})"
    assert load_config(write(tmp_path, nested)).seed == 3


def test_file_with_variants(tmp_path):
    start = "VARIANTS = ('one', 'two')\ndef get_config(variant):\n"
    path = write(tmp_path, "return {'seed': len(variant)}", start)
    assert load_config(f"{path}:two").seed == 3
    for name in (path, f"{path}:three"):
        refused(r"has the variants one, two, got .*: write mine:one", load_config, name)
    path = write(tmp_path, "return {}")
    refused("has no variants, got 'two'", load_config, f"{path}:two")


def test_bare_name_is_a_file_of_the_project(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert load_config("digits") == load_config("digits")
    refused(r"no config file .*digit\.py\. Files there: .*digits.*mnist", load_config, "digit")


def test_mistake_in_a_file_is_told(tmp_path):
    for body, message in [
        ("return {'optimizer.lerning_rate': 1e-3}", r"mine\.py.*did you mean 'optimizer\.learning"),
        ("return {'data.dir': 'x'}", r"mine\.py: Unknown config key 'data\.dir'"),
        ("return {'seed': '1'}", r"mine\.py: wrong value for seed: expected int, got '1'"),
        ("return {'model': 5}", r"mine\.py: config\.model is a group"),
        ("return 3", "returns no settings by name, got int"),
    ]:
        refused(message, load_config, write(tmp_path, body))


def test_missing_file_folder_and_other_files_are_told(tmp_path):
    (tmp_path / "notes.txt").touch()
    (tmp_path / "empty.py").touch()
    write(tmp_path, "return {}")
    refused(
        r"no config file .*your\.py\. Files there: empty, mine\.",
        load_config,
        str(tmp_path / "your.py"),
    )
    refused("no config file", load_config, str(tmp_path))
    refused(r"notes\.txt is not a Python file", load_config, str(tmp_path / "notes.txt"))
    refused(r"does not define get_config\(\)", load_config, str(tmp_path / "empty.py"))


def test_every_config_of_the_project_survives_json():
    assert {"digits", "mnist", "furniture:voxels", "hands", "hands:small"} <= set(bundled_configs())
    for name in bundled_configs():
        config = load_config(name)
        assert from_json(to_json(config), "config.json") == config


def test_json_gives_the_same_config_back():
    data = {"source": "npz", "dir": '/ü "quoted"'}
    config = make_config({"data": data, "model.hidden": (5, 4), "optimizer.learning_rate": 1e-3})
    again = from_json(to_json(config), "config.json")
    assert again == config and again.is_locked
    before, after = ([(k, type(v)) for k, v in leaves(c).items()] for c in (config, again))
    assert after == before


def test_differences_name_what_was_set_and_nothing_else():
    assert differences(DEFAULTS) == "none"
    config = make_config({"model.num_anchors": 7, "model.hidden": (8, 4), "loss.kl.value": 0.5})
    words = differences(config).replace(", ", ",").split()
    assert set(words) == {"model.num_anchors=7", "model.hidden=[8,4]", "loss.kl.value=0.5"}


def test_older_json_takes_new_keys_from_the_defaults():
    stored = DEFAULTS.to_dict()
    stored["seed"] = 3
    del stored["eval"], stored["model"]["temperature"]
    config = from_json(json.dumps(stored), "config.json")
    assert config == make_config({"seed": 3})


def test_edited_json_is_told_with_its_path():
    for change, message in [
        ({"model": {"latent_dims": 3}}, "Unknown config key 'model.latent_dims'"),
        ({"color": 1}, "Unknown config key 'color'"),
        ({"model": 5}, "config.model is a group"),
        ({"model": None}, "config.model is a group"),
        ({"seed": "5"}, "wrong value for seed: expected int, got '5'"),
        ({"seed": None}, "wrong value for seed"),
        ({"seed": True}, "wrong value for seed"),
        ({"model": {"hidden": "abc"}}, "wrong value for model.hidden: expected tuple"),
        ({"model": {"hidden": [1.5]}}, "wrong value for model.hidden: expected int, got 1.5"),
        ({"data": {"num_threads": "5"}}, "wrong value for data.num_threads: expected int"),
        ({"model": {"batch_norm": 1}}, "wrong value for model.batch_norm: expected bool"),
        ({"task": 5}, "task is 5: use one of"),
        ({"task": ["image"]}, "task is ['image']: use one of"),
        ([], "does not hold a config: expected a JSON object"),
    ]:
        refused(
            f"^here/config.json.*{re.escape(message)}",
            from_json,
            json.dumps(change),
            "here/config.json",
        )


@pytest.mark.parametrize(
    "text",
    ["", "{", "seed: !!python/object/apply:os.abort []", "__import__('os').abort()", "\0"],
)
def test_text_that_is_no_json_is_refused_and_not_run(text):
    refused(r"^here is not JSON", from_json, text, "here")


def test_ramp_counts_from_where_anchors_are_set():
    expected = {"schedule": "linear", "value": 2.0, "begin": 0.1, "duration": 0.2}
    assert ramp(2.0, over=0.2, begin=0.1) == expected
