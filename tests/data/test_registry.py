"""From config.data to one of the splits."""

import ast
import inspect
import sys
import textwrap
from types import SimpleNamespace

import numpy as np

from nvc_jax.data import SOURCES, open_source
from tests.refusals import refused
from tests.sources import everything


def write(folder, count):
    for split, size in (("train", count), ("test", 3)):
        image = np.zeros((size, 2, 2), np.uint8)
        np.savez(folder / f"{split}.npz", image=image, label=np.arange(size))


def labels(data, split):
    return everything(open_source(data, split))["label"].tolist()


def test_validation_is_cut_from_the_training_split(tmp_path, options):
    write(tmp_path, 20)
    data = options("npz", validation_fraction=0.25)
    train, validation, again = (labels(data, s) for s in ("train", "validation", "validation"))
    assert sorted(train + validation) == list(range(20)) and len(validation) == 5
    assert validation == again and labels(data, "test") == [0, 1, 2]


def test_without_validation_all_examples_are_for_training(tmp_path, options):
    write(tmp_path, 7)
    data = options("npz", validation_fraction=0.0)
    assert labels(data, "train") == list(range(7))
    refused(r"data\.validation_fraction = 0\.0 leaves", open_source, data, "validation")


def test_unknown_source_and_split_are_told(options):
    names = ", ".join(sorted(SOURCES))
    refused(f"'mnist': use one of {names}", open_source, SimpleNamespace(source="mnist"), "train")
    refused("'val': use 'train', 'validation' or 'test'", open_source, options("digits"), "val")


def test_data_with_a_validation_split_of_their_own_are_not_cut(tmp_path, options):
    path = tmp_path / "shapes.npz"
    np.savez(path, voxels=np.zeros((11, 2, 2, 2), np.uint8), label=np.arange(11))
    data = options("shapes", dir=str(path), holdout_every=5)
    assert labels(data, "train") == [2, 3, 4, 7, 8, 9]
    assert labels(data, "validation") == [1, 6] and labels(data, "test") == [0, 5, 10]


def test_data_that_come_without_files_need_no_folder():
    made = {"python", "digits", "furniture", "phrases", "rooms", "hands"}
    of_tfds = {"tfds", "tfds_text", "nyu_depth"}
    assert {name for name, reader in SOURCES.items() if not reader.needs_dir} == made | of_tfds


def test_readers_of_files_need_a_folder(options):
    for name in (name for name, reader in SOURCES.items() if reader.needs_dir):
        refused(f"'{name}' needs data.dir", open_source, options(name, dir=""), "train")


def keys_read(function, seen):
    """The attributes of `options` that a function, or what it hands them to, reads."""
    seen.add(function)
    module = vars(sys.modules[function.__module__])
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "options":
            yield node.attr
        if isinstance(node, ast.Call) and "options" in map(ast.unparse, node.args):
            called = module.get(ast.unparse(node.func))
            if inspect.isfunction(called) and called not in seen:
                yield from keys_read(called, seen)


def test_every_source_declares_what_it_reads():
    everywhere = {"source", "num_threads", "num_workers"}
    for name, reader in SOURCES.items():
        declared = {option.name.removeprefix("data.") for option in reader.all_options}
        read = {*keys_read(reader.read, set())} | ({"dir"} if reader.needs_dir else set())
        if "validation" not in reader.splits:
            read.add("validation_fraction")
        assert read - everywhere == declared, name


LEAST = {
    "validation_fraction": 0,
    "holdout_every": 3,
    "image_size": 0,
    "num_points": 1,
    "num_scenes": 1,
    "num_heldout_scenes": 1,
    "num_models": 1,
    "resolution": 1,
    "max_words": 0,
    "max_length_ratio": 0,
}


def test_numbers_below_their_bounds_are_refused_at_the_start(options):
    seen = set()
    for name, reader in SOURCES.items():
        declared = {option.name.removeprefix("data.") for option in reader.all_options}
        for key in LEAST.keys() & declared:
            below = LEAST[key] - 1
            changes = {key: (below, below) if key == "image_size" else below}
            refused(rf"data\.{key} is .*at least {LEAST[key]}", options, name, **changes)
            seen.add(key)
    assert seen == LEAST.keys()
