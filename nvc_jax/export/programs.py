"""What of a trained model goes to other programs, as two functions of arrays with a batch of any size.

`encoder`: examples → `code`, `cluster`, `probability`; `decoder`: `code` → examples. Scaling is in them, and
nothing else of the library.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.extend import core
from jax.interpreters import partial_eval

from nvc_jax.core.errors import UserError
from nvc_jax.data.base.source import FieldSpec
from nvc_jax.tasks.base import Task
from nvc_jax.training.experiment import Experiment
from nvc_jax.training.state import TrainState, find_anchors

BATCH = "b"
"""Name of the batch's size in shapes."""


class Deployable(NamedTuple):
    """A trained model, with what stands around its networks.

    Attributes:
      experiment: task and model, made for one device.
      state: on the host.
      fields: what an example is stored as.
      temperature: T of `softmax_k(−d²(z, A_k) / T)`, greater than 0.
      before: a user's examples `[b, ...]` as they are stored, for a model of one field; None: they are that.
      after: decoded examples as a user has them; None: likewise.
      given: shape and dtype of a user's example; None: as stored.
      arrays: what else belongs to the model, by name, for the weights.
    """

    experiment: Experiment
    state: TrainState
    fields: Mapping[str, FieldSpec]
    temperature: float
    before: Callable[[jax.Array], jax.Array] | None = None
    after: Callable[[jax.Array], jax.Array] | None = None
    given: FieldSpec | None = None
    arrays: Mapping[str, np.ndarray] = MappingProxyType({})


class Program(NamedTuple):
    """A function of arrays.

    Attributes:
      name: `encoder` or `decoder`.
      jaxpr: the function, its parameters among its constants.
      inputs: name → shape of one example and dtype.
      outputs: names.
    """

    name: str
    jaxpr: core.ClosedJaxpr
    inputs: dict[str, FieldSpec]
    outputs: tuple[str, ...]


def programs_of(model: Deployable) -> list[Program]:
    """The encoder and, where the task makes an array of a code, the decoder.

    Raises:
      UserError: for a model with several codes an example, or whose encoder needs what is no array of numbers.
    """
    (size,) = export.symbolic_shape(BATCH)
    programs = [_encoder(model, size)]
    task = model.experiment.task
    if task.decodes_codes and type(task).finish is not Task.finish:
        programs.append(_decoder(model, size))
    return programs


def _encoder(model: Deployable, size: Any) -> Program:
    """Examples → code, cluster, probability."""
    task, anchors = model.experiment.task, jnp.asarray(find_anchors(model.state.params))
    names = list(model.fields)

    def one(*values: jax.Array) -> tuple[jax.Array, ...]:
        batch = {name: value[None] for name, value in zip(names, values, strict=True)}
        latent = model.experiment.apply(model.state, task.prepare(batch), method="encode")
        code = latent.mean
        if code.ndim != 2 or code.shape[0] != 1:
            raise UserError(
                f"This model has codes {list(code.shape[1:-1])} for an example: only models with one code "
                "for an example can be exported."
            )
        if latent.prior is not None:  # the most probable answer's anchor, and all probabilities
            return code[0], latent.assignment[0], latent.soft_assignment[0]
        squared = jnp.sum(jnp.square(code - anchors), axis=1)
        probability = jax.nn.softmax(-squared / jnp.float32(model.temperature))
        return code[0], jnp.argmin(squared).astype(jnp.int32), probability

    stored = [model.fields[name] for name in names]
    traced = jax.make_jaxpr(jax.vmap(one))(*(_abstract(field, size) for field in stored))
    found, used = partial_eval.dce_jaxpr(traced.jaxpr, [True] * 3)
    traced = core.ClosedJaxpr(found, traced.consts)
    inputs = {
        name: field for name, field, is_used in zip(names, stored, used, strict=True) if is_used
    }
    if model.before is not None:
        ((name, field),) = inputs.items()
        given = model.given or field
        traced, inputs = _after(model.before, traced, given, size), {name: given}
    return Program("encoder", traced, inputs, ("code", "cluster", "probability"))


def _decoder(model: Deployable, size: Any) -> Program:
    """Code → examples as a user has them."""
    task = model.experiment.task
    field = FieldSpec((find_anchors(model.state.params).shape[1],), np.dtype(np.float32))

    def one(code: jax.Array) -> jax.Array:
        output = model.experiment.apply(model.state, code[None], method="decode")
        return task.finish(output)[0]

    traced = jax.make_jaxpr(jax.vmap(one))(_abstract(field, size))
    if model.after is not None:
        traced = _before(traced, model.after, field, size)
    return Program("decoder", traced, {"code": field}, ("output",))


def _abstract(field: FieldSpec, size: Any) -> jax.ShapeDtypeStruct:
    """A batch of a field."""
    return jax.ShapeDtypeStruct((size, *field.shape), field.dtype)


def _after(
    first: Callable[..., Any], second: core.ClosedJaxpr, field: FieldSpec, size: Any
) -> core.ClosedJaxpr:
    """`second(first(x))`, with first in float64 if it likes, as the scaling of far-off numbers needs."""
    with jax.enable_x64(True):
        return jax.make_jaxpr(lambda x: core.jaxpr_as_fun(second)(first(x)))(_abstract(field, size))


def _before(
    first: core.ClosedJaxpr, second: Callable[..., Any], field: FieldSpec, size: Any
) -> core.ClosedJaxpr:
    """`second(first(x))`, with second in float64 if it likes."""
    with jax.enable_x64(True):
        return jax.make_jaxpr(lambda x: (second(core.jaxpr_as_fun(first)(x)[0]),))(
            _abstract(field, size)
        )
