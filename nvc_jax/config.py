"""The config of a run: the options that all runs have, and those of what it chose.

A file in `configs/` has `get_config()`, or `get_config(variant)`, which returns what differs from the defaults,
value by dotted name:

    def get_config():
        return {"data.source": "idx", "model.hidden": (256, 128), "loss.kl": ramp(1.0, over=0.2)}

`task`, `data.source` and `model.network` choose parts of the library, each of which declares its own options; a key
that nothing chosen reads is refused. Places and lengths in time are shares of the run, or numbers of steps above 1.
"""

import importlib.util
import inspect
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import ml_collections

from nvc_jax.core.errors import UserError
from nvc_jax.core.json_files import parse_json
from nvc_jax.core.options import (
    Option,
    build,
    flatten,
    leaves,
    option_group,
    to_json,
    unknown_key,
)
from nvc_jax.data import SOURCES
from nvc_jax.model.autoencoder import BOTTLENECK_OPTIONS
from nvc_jax.model.losses import TERMS
from nvc_jax.tasks import TASKS

__all__ = [
    "bundled_configs",
    "changed",
    "differences",
    "every_option",
    "from_json",
    "help_text",
    "load_config",
    "make_config",
    "options_of",
    "ramp",
    "settings_of",
    "to_json",
    "weight_schedule",
]

CORE = (
    Option("seed", 0, "the only seed: initialization, data order, noise, augmentation, k-means"),
    Option("data.num_threads", 2, "that read ahead from files", at_least=0),
    Option("data.num_workers", 0, "reader processes", at_least=0),
    *BOTTLENECK_OPTIONS,
    Option(
        "anchors.init",
        "kmeans",
        "kmeans, kmeans++, merge: on encoded data, after the warm-up; normal, spread: at once",
        ("kmeans", "kmeans++", "merge", "normal", "spread"),
    ),
    Option(
        "anchors.warmup", 0.0, "plain autoencoding before anchors are set", at_least=0, time=True
    ),
    Option("anchors.max_examples", 20_000, "examples encoded for it", at_least=1),
    Option("anchors.restarts", 10, "of k-means", at_least=1),
    Option("anchors.patience", 200, "an anchor unused for so many steps is dead", at_least=1),
    Option(
        "anchors.revive_every", 0, "steps between revivals of dead anchors; 0: never", at_least=0
    ),
    Option(
        "anchors.shares",
        "free",
        "of anchors in a training batch; free: every example takes its nearest",
        ("free", "equal", "learned", "given"),
    ),
    Option("anchors.given_shares", (), "for shares=given: a number for every anchor", item=float),
    Option(
        "anchors.share_rate", 0.01, "of the moving average of learned shares", above=0, at_most=1
    ),
    Option("anchors.share_floor", 0.1, "of learned shares, in units of 1/K", at_least=0, below=1),
    Option(
        "anchors.learn_from",
        0.2,
        "learned shares are the first ones before, counted from where anchors are set",
        at_least=0,
        time=True,
    ),
    Option(
        "anchors.neighbors",
        0,
        "an example's anchor is that of one of its so many nearest neighbors; 0: its own",
        at_least=0,
    ),
    Option(
        "anchors.recenter",
        True,
        "at the end of the run anchors move to the mean of their codes, whose spread is kept",
    ),
    Option(
        "anchors.hold",
        0.2,
        "for init=merge: examples keep the anchor of their cluster, counted from where anchors are set",
        at_least=0,
        time=True,
    ),
    Option(
        "anchors.merge_inputs",
        False,
        "for init=merge: clusters of the inputs are looked at beside those of the codes",
    ),
    Option("anchors.train", True, "anchors are parameters; otherwise they stay where they begin"),
    Option("optimizer.name", "adam", "direction of the steps", ("adam", "adamw", "sgd")),
    Option("optimizer.learning_rate", 1e-3, "its peak", above=0),
    Option(
        "optimizer.schedule",
        "constant",
        "decay from the peak",
        ("constant", "linear", "cosine", "inverse_sqrt"),
    ),
    Option("optimizer.restart", True, "the schedule starts anew where anchors are set from data"),
    Option("optimizer.warmup", 0.0, "linear rise to the peak", at_least=0, time=True),
    Option(
        "optimizer.end_factor",
        0.0,
        "last learning rate / peak, of linear and cosine",
        at_least=0,
        at_most=1,
    ),
    Option("optimizer.momentum", 0.0, "of sgd", at_least=0, below=1),
    Option("optimizer.weight_decay", 0.0, "never on anchors, biases and scales", at_least=0),
    Option("optimizer.anchor_learning_rate", 0.0, "0: as the rest", at_least=0),
    Option("optimizer.clip_norm", 0.0, "0: off", at_least=0),
    Option("optimizer.max_skipped", 10, "non-finite steps in a row that end the run", at_least=1),
    Option("train.num_steps", 1000, "length of the run", at_least=1),
    Option("train.batch_size", 256, "over all devices", at_least=1),
    Option("train.microbatches", 1, "parts of a step: the same update, less memory", at_least=1),
    Option("train.log_every", 100, "steps", at_least=1),
    Option("train.eval_every", 1000, "steps; 0: only after the last", at_least=0),
    Option("train.checkpoint_every", 1000, "steps; 0: only at the end", at_least=0),
    Option("train.keep", 2, "newest checkpoints kept", at_least=1),
    Option("train.best_metric", "reconstruction", "best on the validation split is kept too"),
    Option(
        "train.figures", True, "TensorBoard shows codes at every evaluation, examples at the end"
    ),
    Option(
        "train.loggers", ("tensorboard",), "beside metrics.jsonl: tensorboard, wandb, or your own"
    ),
    Option("train.best_mode", "min", "max: the largest value is the best", ("min", "max")),
    Option("eval.batch_size", 512, "examples", at_least=1),
    Option(
        "eval.max_train_examples", 20_000, "encoded for k-means and nearest neighbors", at_least=1
    ),
    Option("eval.tsne_examples", 2_000, "0: no t-SNE figure", at_least=0),
    Option("eval.num_neighbors", 5, "of the nearest-neighbor classifier", at_least=1),
    Option(
        "eval.average_checkpoints",
        1,
        "parameters are averaged over as many of the latest",
        at_least=1,
    ),
    Option("eval.shown_examples", 24, "in the figure of reconstructions", at_least=0),
    Option("eval.shown_samples", 8, "drawn around each anchor", at_least=0),
    Option("eval.kmeans_inputs", True, "k-means on the inputs too; slow where they are large"),
    Option(
        "eval.num_classes",
        0,
        "clusters of the k-means baseline; 0: as many as labels",
        at_least=0,
    ),
)
"""What every run can be told beside its choices and the terms of the loss."""

T = TypeVar("T")

CHOOSERS = ("task", "data.source", "model.network")

CONFIGS = next(
    folder
    for folder in (Path(__file__).parent / "configs", Path(__file__).parent.parent / "configs")
    if folder.is_dir()
)
"""The folder of the files that go by their bare name: of the installed package, or of the checkout."""


def weight_schedule(value: float) -> dict[str, Any]:
    """Settings of a loss weight that is `value` at every step; see `make_weight_schedule`."""
    return {"schedule": "constant", "value": value}


def ramp(value: float, over: float, begin: float = 0.0) -> dict[str, Any]:
    """Settings of a loss weight that rises linearly from 0.

    Args:
      value: the weight at the end of the rise.
      over: length of the rise, a share of the run, or steps above 1.
      begin: its begin, counted from where anchors are set.

    Example:
      >>> make_config({"loss.kl": ramp(2.0, over=0.1)}).loss.kl.duration
      0.1
    """
    return {"schedule": "linear", "value": value, "begin": begin, "duration": over}


def options_of(settings: Mapping[str, Any]) -> tuple[Option, ...]:
    """The options of a run that chooses as the settings do.

    Args:
      settings: value by dotted name; `CHOOSERS` are looked at.

    Raises:
      UserError: for a task, source or network that is not known, listing those that are.
    """
    options = [*CORE, *(option for term in TERMS.values() for option in term.all_options)]

    def choose(name: str, meaning: str, known: Mapping[str, T], default: str) -> T:
        """Adds the option that chooses among what is known; returns what is chosen."""
        option = Option(name, default, meaning, tuple(sorted(known)))
        options.append(option)
        choice = settings.get(name, default)
        option.check(choice)
        return known[choice]

    task = choose("task", "kind of data", TASKS, "image")
    options += (*task.options, *task.examples.options)
    options += choose("data.source", "where the data come from", SOURCES, "digits").all_options
    if task.networks:
        first = next(iter(task.networks))
        options += choose("model.network", "encoder and decoder", task.networks, first)
    return option_group(*options)


def every_option() -> list[Option]:
    """The options of all runs that there can be, by name, each as the first task that has it declares it."""
    choices = [{"data.source": source} for source in SOURCES]
    for name, task in TASKS.items():
        choices += [{"task": name, "model.network": n} for n in task.networks] or [{"task": name}]
    found: dict[str, Option] = {}
    for settings in choices:
        found = {option.name: option for option in options_of(settings)} | found
    return [found[name] for name in sorted(found)]


def make_config(
    settings: Mapping[str, Any] | None = None, where: str = ""
) -> ml_collections.ConfigDict:
    """The whole config of a run.

    Args:
      settings: what differs from the defaults, value by dotted name; groups may be nested.
      where: what the settings are called in messages.

    Returns:
      The locked config, with every key that the run reads and no other.

    Raises:
      UserError: for a key that nothing chosen reads (the nearest one is told), and for a value of a wrong
        type, out of bounds, or not among the choices.

    Example:
      >>> make_config({"model.num_anchors": 7}).model.num_anchors
      7
    """
    flat = dict(flatten(settings or {}))
    try:
        config = build(flat, options_of(flat))
    except UserError as error:
        raise UserError(f"{where}: {error}" if where else str(error)) from None
    if config.model.logvar_min >= config.model.logvar_max:
        raise UserError(
            f"model.logvar_min is {config.model.logvar_min}: it must be below model.logvar_max, "
            f"which is {config.model.logvar_max}."
        )
    return config


def changed(
    config: ml_collections.ConfigDict, settings: Mapping[str, Any]
) -> ml_collections.ConfigDict:
    """A config with other values; what another task, source or network does not read is left out.

    Args:
      config: a whole config.
      settings: value by dotted name.

    Returns:
      A new locked config.

    Raises:
      UserError: as `make_config`.
    """
    settings = dict(flatten(settings))
    values = {**leaves(config), **settings}
    known = {option.name for option in options_of(values)}
    return make_config({k: v for k, v in values.items() if k in known or k in settings})


def overridden(
    config: ml_collections.ConfigDict, overrides: Iterable[tuple[str, str]]
) -> ml_collections.ConfigDict:
    """`changed` by (dotted name, text) pairs, as on a command line.

    Raises:
      UserError: as `changed`, and for text that is no value.
    """
    texts = dict(overrides)
    choices = {name: text for name, text in texts.items() if name in CHOOSERS}
    options = {option.name: option for option in options_of({**leaves(config), **choices})}
    for name in texts.keys() - options.keys():
        raise unknown_key(name, options)
    return changed(config, {name: options[name].parse(text) for name, text in texts.items()})


def load_config(name: str, overrides: Iterable[tuple[str, str]] = ()) -> ml_collections.ConfigDict:
    """The config of a file in `configs/`, or of any Python file with `get_config`.

    Args:
      name: see `settings_of`.
      overrides: (dotted name, text) pairs.

    Returns:
      The locked config.

    Raises:
      UserError: as `settings_of` and `make_config`.
    """
    return overridden(make_config(settings_of(name), name), overrides)


def settings_of(name: str) -> dict[str, Any]:
    """What a config file sets, value by dotted name, to begin a file of one's own with.

    Args:
      name: path of a Python file with `get_config`, or the bare name of one in `configs/`; after a colon a
        variant, which `get_config` takes.

    Raises:
      UserError: if there is no such file or variant, or it does not define `get_config`.

    Example:
      >>> settings_of("digits")["model.hidden"]
      (256, 128)
    """
    name, _, variant = name.partition(":")
    path = Path(name)
    if not path.suffix and not path.exists():
        path = CONFIGS / f"{name}.py"
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("[!_]*.py")) if path.parent.is_dir() else []
        hint = f" Files there: {', '.join(known)}." if known else ""
        raise UserError(f"There is no config file {path}.{hint}")
    module = _import_file(path)
    variants, takes = _variants(module)
    if variant and not takes:
        raise UserError(f"{path} has no variants, got {variant!r}: leave out the colon.")
    if variants and (variant or takes) and variant not in variants:
        raise UserError(
            f"{path} has the variants {', '.join(variants)}, got {variant!r}: write "
            f"{path.stem}:{variants[0]}."
        )
    settings = module.get_config(variant) if takes else module.get_config()
    if not isinstance(settings, (Mapping, ml_collections.ConfigDict)):
        raise UserError(
            f"{path}: get_config() returns no settings by name, got {type(settings).__name__}."
        )
    return dict(flatten(settings))


def differences(config: ml_collections.ConfigDict) -> str:
    """One line of what differs from the defaults in a config: `name=value …`."""
    values = leaves(config)
    old = {option.name: option.default for option in options_of(values)}
    words = (f"{k}={json.dumps(v)}" for k, v in values.items() if v != old[k])
    return " ".join(words) or "none"


def from_json(text: str | bytes, where: str) -> ml_collections.ConfigDict:
    """Reads a config from JSON text over the defaults, so that older files still open.

    Args:
      text: what `to_json` wrote.
      where: the file's path, for messages.

    Returns:
      The locked config. No code is run.

    Raises:
      UserError: if the text is not JSON, or holds a key or value that the run cannot have.
    """
    stored: dict[str, Any] = parse_json(
        text, where, dict, "a config", "it was damaged after training, restore it"
    )
    return make_config(_renamed(stored), where)


def _renamed(stored: dict[str, Any]) -> dict[str, Any]:
    """A stored config with the names that its keys have now."""
    anchors = stored.get("anchors")
    if isinstance(anchors, dict) and "balanced" in anchors:  # up to 0.1.0
        shares = "equal" if anchors["balanced"] else "free"
        kept = {name: value for name, value in anchors.items() if name != "balanced"}
        stored = {**stored, "anchors": {**kept, "shares": shares}}
    return stored


def _import_file(path: Path) -> Any:
    """The module of a config file."""
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is not a Python file: a config file ends in .py.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise UserError(f"{path} does not define get_config(): see the files in configs/.")
    return module


def _variants(module: Any) -> tuple[tuple[str, ...], dict[str, inspect.Parameter]]:
    """(Names of the variants of a config, the parameters of its function)."""
    parameters = inspect.signature(module.get_config).parameters
    return tuple(getattr(module, "VARIANTS", ())), dict(parameters)


def bundled_configs() -> list[str]:
    """The configs that the package brings as `--config` takes them, each variant after a colon."""
    names = []
    for path in sorted(CONFIGS.glob("[!_]*.py")):
        variants, parameters = _variants(_import_file(path))
        if all(one.default != one.empty for one in parameters.values()):
            names.append(path.stem)
        names += [f"{path.stem}:{variant}" for variant in variants if variant]
    return names


def help_text(config: ml_collections.ConfigDict) -> str:
    """Every key that a run reads, a line each, by group: present value, default, meaning, choices."""
    values = leaves(config)
    lines = ["Keys that this run reads, each set by --config.KEY=VALUE:"]
    groups: dict[str, list[str]] = {}
    for option in options_of(values):
        value, meaning = values[option.name], [option.meaning]
        default = "" if value == option.default else f" (default {option.default!r})"
        meaning += ["a share of the run, or steps above 1"] * option.time
        meaning += [f"one of {', '.join(map(str, option.choices))}"] * bool(option.choices)
        group, _, name = option.name.partition(".")
        groups.setdefault(group if name else "", []).append(
            f"  {option.name} = {value!r}{default}: {'; '.join(meaning)}"
        )
    for group, keys in groups.items():
        lines += ["", group, *keys] if group else keys
    return "\n".join(lines)
