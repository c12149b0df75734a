"""A folder with a trained model for other programs, and a card that says what it is."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import export

from nvc_jax import __version__
from nvc_jax.core.errors import UserError
from nvc_jax.core.extras import require
from nvc_jax.core.files import explained, replace_file
from nvc_jax.export.onnx_graph import to_onnx
from nvc_jax.export.programs import Deployable, Program, programs_of

CONFIG, WEIGHTS, README = "config.json", "model.safetensors", "README.md"
PLATFORMS = ("cpu", "cuda", "tpu")


class Card(NamedTuple):
    """What is told of a model.

    Attributes:
      title: a line.
      facts: what the model is, by name.
      metrics: name → value, None where it is undefined.
      notes: the convention behind a metric, by name.
      config: nested names → values, as JSON can hold them.
      reads_back: how the library opens the folder again, a line of Python; empty: it does not.
    """

    title: str
    facts: Mapping[str, Any]
    metrics: Mapping[str, float | None]
    notes: Mapping[str, str]
    config: Mapping[str, Any]
    reads_back: str = ""


def export_folder(
    folder: str | Path, model: Deployable, card: Card, format: str = "onnx"
) -> list[Path]:
    """Writes a model and its card into a folder, which is made if it is not there.

    Args:
      folder: files in it of the same names are replaced, others stay.
      model: the model.
      card: what `README.md` and `config.json` tell.
      format: `onnx`, `stablehlo` or `safetensors`.

    Returns:
      The files, the card last.

    Raises:
      UserError: for another format, a missing package, or a model that the format cannot hold.
    """
    if format not in FORMATS:
        raise UserError(f"The format is {format!r}: use one of {', '.join(FORMATS)}.")
    path = Path(folder)
    contents, usage = FORMATS[format](model, card)
    contents[CONFIG] = (json.dumps(card.config, indent=2) + "\n").encode()
    contents[README] = _readme(card, format, usage).encode()
    with explained(path):
        path.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        replace_file(path / name, content)
    return [path / name for name in contents]


def weights_of(state: Any) -> dict[str, np.ndarray]:
    """The arrays that a trained model is made of, by their paths: everything but the optimizer's."""
    kept = state.replace(opt_state=())
    leaves = jax.tree_util.tree_leaves_with_path(kept)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def read_arrays(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of a folder's `model.safetensors`, by name; nothing in it is executed.

    Raises:
      UserError: if safetensors is not installed, or the file is missing or damaged.
    """
    numpy = require("safetensors.numpy", extra="export", what=f"Reading {WEIGHTS}")
    path = folder / WEIGHTS
    if not path.is_file():
        raise UserError(
            f"There is no {WEIGHTS} in {folder}: export the model as safetensors first."
        )
    try:
        return numpy.load(path.read_bytes())
    except Exception as error:  # of Rust
        raise UserError(f"{path} is damaged ({error}): export the model again.") from None


def state_of(stored: Mapping[str, np.ndarray], empty: Any, folder: Path) -> Any:
    """A state with arrays that were read; the optimizer starts afresh.

    Args:
      stored: see `read_arrays`.
      empty: a state of the right shapes.
      folder: where they were read, for the message.

    Raises:
      UserError: if they are of another model.
    """
    wanted = weights_of(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), empty))
    for name, leaf in wanted.items():
        found = stored.get(name)
        if found is None or found.shape != leaf.shape or found.dtype != leaf.dtype:
            raise UserError(
                f"The {WEIGHTS} of {folder} is of another model than its {CONFIG}: export the model again."
            )
    kept = empty.replace(opt_state=())
    leaves = [stored[name] for name in wanted]
    found = jax.tree.unflatten(jax.tree.structure(kept), leaves)
    blank = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), empty.opt_state)
    return found.replace(opt_state=blank)


def _onnx(model: Deployable, card: Card) -> tuple[dict[str, bytes], str]:
    """Graphs of ONNX, and how they are run."""
    programs = programs_of(model)
    facts = {"title": card.title, "producer": f"nvc_jax {__version__}"}
    contents = {f"{p.name}.onnx": to_onnx(p, facts).SerializeToString() for p in programs}
    feed = ", ".join(f'"{name}": {name}' for name in programs[0].inputs)
    usage = (
        "```python\nimport onnxruntime\n\n"
        f'encoder = onnxruntime.InferenceSession("encoder.onnx")\n'
        f"code, cluster, probability = encoder.run(None, {{{feed}}})\n"
    )
    if len(programs) > 1:
        usage += (
            'decoder = onnxruntime.InferenceSession("decoder.onnx")\n'
            '(output,) = decoder.run(None, {"code": code})\n'
        )
    return contents, usage + "```\n\n" + _signature(programs)


def _stablehlo(model: Deployable, card: Card) -> tuple[dict[str, bytes], str]:
    """Functions serialized by `jax.export`, and how they are called."""
    require("flatbuffers", extra="export", what="An export to StableHLO")
    programs, contents = programs_of(model), {}
    for program in programs:
        arguments = [
            jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in program.jaxpr.in_avals
        ]
        with jax.enable_x64(True):
            function = jax.jit(jax.extend.core.jaxpr_as_fun(program.jaxpr))
            exported = export.export(function, platforms=PLATFORMS)(*arguments)
            contents[f"{program.name}.stablehlo"] = bytes(exported.serialize())
    names = ", ".join(programs[0].inputs)
    wide = any(field.dtype.itemsize == 8 for field in programs[0].inputs.values())
    usage = (
        "```python\nimport pathlib\nimport jax\n\n"
        + ('jax.config.update("jax_enable_x64", True)\n' if wide else "")
        + 'encoder = jax.export.deserialize(pathlib.Path("encoder.stablehlo").read_bytes())\n'
        f"code, cluster, probability = encoder.call({names})\n```\n\n"
    )
    return contents, usage + _signature(programs)


def _safetensors(model: Deployable, card: Card) -> tuple[dict[str, bytes], str]:
    """The weights, and how they are read."""
    numpy = require("safetensors.numpy", extra="export", what="An export to safetensors")
    everything = {**weights_of(model.state), **model.arrays}
    arrays = {name: np.asarray(leaf, order="C") for name, leaf in everything.items()}
    usage = (
        "`model.safetensors` holds the arrays by their paths, `config.json` what the networks are made by. "
        "Opening them executes nothing.\n\n"
    )
    if card.reads_back:
        usage += f"```python\n{card.reads_back}\n```\n"
    return {WEIGHTS: numpy.save(arrays, metadata={"format": "np"})}, usage


FORMATS: dict[str, Callable[[Deployable, Card], tuple[dict[str, bytes], str]]] = {
    "onnx": _onnx,
    "stablehlo": _stablehlo,
    "safetensors": _safetensors,
}
"""By name: (model, card) → contents of files by name, and Markdown that says how they are used."""


def _signature(programs: Sequence[Program]) -> str:
    """Inputs and outputs in a table; the batch is of any size B."""
    rows = ["| file | name | shape | dtype |", "|---|---|---|---|"]
    for program in programs:
        inputs = [(name, field.shape, field.dtype) for name, field in program.inputs.items()]
        avals = program.jaxpr.out_avals
        outputs = [
            (name, aval.shape[1:], aval.dtype)
            for name, aval in zip(program.outputs, avals, strict=True)
        ]
        for kind, values in (("input", inputs), ("output", outputs)):
            for name, shape, dtype in values:
                sides = ", ".join(["B", *map(str, shape)])
                rows.append(
                    f"| {program.name}, {kind} | `{name}` | `[{sides}]` | {np.dtype(dtype)} |"
                )
    return "\n".join(rows) + "\n"


def _readme(card: Card, format: str, usage: str) -> str:
    """The card, laid out as model hubs read it: facts in YAML, then Markdown."""
    facts = "\n".join(f"- {name}: {value}" for name, value in card.facts.items())
    rows = [
        f"| {name} | {'none' if value is None else f'{value:.5g}'} | {card.notes.get(name, '')} |"
        for name, value in card.metrics.items()
    ]
    table = "\n".join(["| metric | value | convention |", "|---|---|---|", *rows])
    measured = f"## Metrics\n\n{table}\n" if rows else ""
    return f"""---
library_name: nvc_jax
tags: [clustering, representation-learning, nebula-variational-coding, {format}]
---

# {card.title}

An autoencoder whose latent space holds trained anchors (Nebula Variational Coding). The encoder gives the code of
an example, its nearest anchor (`cluster`) and a probability of every anchor; the decoder makes examples of codes.

{facts}

## Use

{usage}
{measured}
Made by nvc_jax {__version__}. The method: Wang, Tan, Navab, Tombari, "Self-supervised Latent Space Optimization with Nebula
Variational Coding", TPAMI 2022, arXiv 2506.01414.
"""
