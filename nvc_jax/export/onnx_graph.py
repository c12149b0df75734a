"""A function of JAX as an ONNX graph: one node or a few for each primitive.

Written here because the converters that there are neither take a batch of any size for these networks nor install
beside the versions of JAX and Orbax that the library runs on. What has no rule is named in the error.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core

from nvc_jax.core.errors import UserError
from nvc_jax.core.extras import require
from nvc_jax.export.programs import BATCH, Program

OPSET, IR_VERSION = 18, 9
LONGEST_LOOP = 256
"""Steps of a loop at most, which is written out."""

Rule = Callable[..., Any]
RULES: dict[str, Rule] = {}
"""By primitive: (graph, names of inputs, equation) → name of the output, or a list of names."""

UNARY = {
    "neg": "Neg", "exp": "Exp", "log": "Log", "tanh": "Tanh", "logistic": "Sigmoid", "sqrt": "Sqrt",
    "abs": "Abs", "sign": "Sign", "floor": "Floor", "ceil": "Ceil", "erf": "Erf", "sin": "Sin",
    "cos": "Cos", "not": "Not", "copy": "Identity", "copy_p": "Identity", "stop_gradient": "Identity",
    "reduce_precision": "Identity", "optimization_barrier": "Identity",
}  # fmt: skip
BINARY = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "max": "Max", "min": "Min", "pow": "Pow",
    "eq": "Equal", "lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual",
    "and": "And", "or": "Or", "xor": "Xor", "add_any": "Add",
}  # fmt: skip
REDUCE = {
    "reduce_sum": "ReduceSum", "reduce_max": "ReduceMax", "reduce_min": "ReduceMin",
    "reduce_prod": "ReduceProd",
}  # fmt: skip
CALLS = {
    "jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr", "remat": "jaxpr", "checkpoint": "jaxpr", "remat2": "jaxpr",
}  # fmt: skip


def to_onnx(program: Program, facts: dict[str, str]) -> Any:
    """An ONNX model of a program.

    Args:
      program: the program.
      facts: what the file tells of itself, by name.

    Returns:
      An `onnx.ModelProto`; its first axis of every input and output is the batch, of any size.

    Raises:
      UserError: if onnx is not installed, or a primitive has no rule.
    """
    graph = Graph(program)
    return graph.model(facts)


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Registers how primitives are written."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


class Graph:
    """The graph while it grows. Values are names of ONNX, or arrays where they are constants."""

    def __init__(self, program: Program):
        self.onnx = require("onnx", extra="export", what="An export to ONNX")
        self.program = program
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self._names: dict[int, str] = {}
        self._kept: list[np.ndarray] = []
        self._count = 0
        self._size = ""
        names = list(program.inputs)
        with jax.enable_x64(True):  # constants of 64 bits stay that
            found = self.run(program.jaxpr.jaxpr, program.jaxpr.consts, names)
        for name, value in zip(program.outputs, found, strict=True):
            self.nodes.append(self.onnx.helper.make_node("Identity", [self.name(value)], [name]))

    def run(self, jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
        """Writes a jaxpr; returns the values of its outputs."""
        values: dict[Any, Any] = dict(zip(jaxpr.constvars, map(np.asarray, consts), strict=True))
        values |= dict(zip(jaxpr.invars, inputs, strict=True))

        def read(atom: Any) -> Any:
            if not isinstance(atom, core.Literal):
                return values[atom]
            kind: Any = atom.aval
            return np.asarray(atom.val, kind.dtype)

        for equation in jaxpr.eqns:
            found = self.equation(equation, [read(atom) for atom in equation.invars])
            values |= dict(zip(equation.outvars, found, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def equation(self, equation: Any, inputs: list[Any]) -> list[Any]:
        """Writes one equation; what is made of constants alone is computed."""
        name = equation.primitive.name
        if name in CALLS:
            inner = equation.params[CALLS[name]]
            jaxpr, consts = (inner.jaxpr, inner.consts) if hasattr(inner, "consts") else (inner, ())
            return self.run(jaxpr, consts, inputs)
        fixed = all(isinstance(n, int) for v in equation.outvars for n in v.aval.shape)
        if fixed and name != "scan" and all(isinstance(value, np.ndarray) for value in inputs):
            out = equation.primitive.bind(*map(jax.numpy.asarray, inputs), **equation.params)
            return [np.asarray(x) for x in (out if equation.primitive.multiple_results else [out])]
        if name not in RULES:
            raise UserError(
                f"The {self.program.name} of this network has the operation {name}, which cannot be written as "
                "ONNX here: use the format stablehlo."
            )
        out = RULES[name](self, inputs, equation)
        return out if isinstance(out, list) else [out]

    def node(self, kind: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        """Adds a node; returns the name of its output, or their names."""
        names = [f"v{self._count + k}" for k in range(outputs)]
        self._count += outputs
        read = [self.name(value) for value in inputs]
        self.nodes.append(self.onnx.helper.make_node(kind, read, names, **attributes))
        return names[0] if outputs == 1 else names

    def name(self, value: Any) -> str:
        """The name of a value; an array becomes a constant of the graph, once."""
        if isinstance(value, str):
            return value
        array = np.asarray(value)
        if id(value) not in self._names:
            self._kept.append(value)  # so that its id stays its own
            self._names[id(value)] = f"c{len(self.constants)}"
            self.constants[self._names[id(value)]] = array
        return self._names[id(value)]

    def size(self) -> str:
        """The batch's size, int64 `[1]`."""
        if not self._size:
            first = next(iter(self.program.inputs))
            self._size = self.node("Shape", first, start=0, end=1)
        return self._size

    def shape(self, dims: Sequence[Any]) -> Any:
        """A shape as int64 `[rank]`, computed where it has the batch's size in it."""
        if all(isinstance(n, int) for n in dims):
            return np.array(dims, np.int64)
        parts = [self.size() if str(n) == BATCH else np.array([int(n)], np.int64) for n in dims]
        return self.node("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]

    def reshaped(self, value: Any, dims: Sequence[Any]) -> Any:
        """A value in another shape, of which one side may hang on the batch's size."""
        target = [n if isinstance(n, int) else -1 for n in dims]
        return self.node("Reshape", value, np.array(target, np.int64))

    def transposed(self, value: Any, order: Sequence[int]) -> Any:
        """A value with its axes in another order; a constant's at once."""
        if list(order) == list(range(len(order))):
            return value
        if isinstance(value, np.ndarray):
            return np.ascontiguousarray(value.transpose(order))
        return self.node("Transpose", value, perm=list(map(int, order)))

    def type_of(self, dtype: Any) -> int:
        """ONNX's number of a dtype."""
        return self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

    def cast(self, value: Any, dtype: Any) -> Any:
        """A value of another dtype."""
        return self.node("Cast", value, to=self.type_of(dtype))

    def model(self, facts: dict[str, str]) -> Any:
        """The finished model, checked."""
        helper, program = self.onnx.helper, self.program

        def info(name: str, shape: Sequence[Any], dtype: Any) -> Any:
            return helper.make_tensor_value_info(name, self.type_of(dtype), ["batch", *shape])

        inputs = [info(name, field.shape, field.dtype) for name, field in program.inputs.items()]
        avals = program.jaxpr.out_avals
        outputs = [
            info(name, aval.shape[1:], aval.dtype)
            for name, aval in zip(program.outputs, avals, strict=True)
        ]
        constants = [
            self.onnx.numpy_helper.from_array(np.asarray(array, order="C"), name)
            for name, array in self.constants.items()
        ]
        graph = helper.make_graph(self.nodes, program.name, inputs, outputs, constants)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="nvc_jax",
        )
        helper.set_model_props(model, facts)
        self.onnx.checker.check_model(model, full_check=True)
        return model


def _register_simple() -> None:
    """The primitives that are one node of the same meaning."""

    def plain(kind: str) -> Rule:
        return lambda graph, inputs, equation: graph.node(kind, *inputs)

    for names in (UNARY, BINARY):
        RULES.update({name: plain(kind) for name, kind in names.items()})

    def reduction(kind: str) -> Rule:
        return lambda graph, inputs, equation: graph.node(
            kind, inputs[0], np.array(equation.params["axes"], np.int64), keepdims=0
        )

    RULES.update({name: reduction(kind) for name, kind in REDUCE.items()})


_register_simple()


def _one(equation: Any) -> np.ndarray:
    """1 in the dtype of an equation's first input."""
    return np.ones((), equation.invars[0].aval.dtype)


@rule("rsqrt")
def _rsqrt(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    return graph.node("Reciprocal", graph.node("Sqrt", inputs[0]))


@rule("square")
def _square(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    return graph.node("Mul", inputs[0], inputs[0])


@rule("integer_pow")
def _integer_pow(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    power = np.asarray(equation.params["y"], equation.invars[0].aval.dtype)
    return graph.node("Pow", inputs[0], power)


@rule("expm1")
def _expm1(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    return graph.node("Sub", graph.node("Exp", inputs[0]), _one(equation))


@rule("log1p")
def _log1p(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    return graph.node("Log", graph.node("Add", inputs[0], _one(equation)))


@rule("ne")
def _ne(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    return graph.node("Not", graph.node("Equal", *inputs))


@rule("rem")
def _rem(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    return graph.node("Mod", *inputs, fmod=1)


@rule("is_finite")
def _is_finite(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    odd = graph.node("Or", graph.node("IsInf", inputs[0]), graph.node("IsNaN", inputs[0]))
    return graph.node("Not", odd)


@rule("clamp")
def _clamp(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    low, value, high = inputs
    return graph.node("Min", graph.node("Max", value, low), high)


@rule("select_n")
def _select_n(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    which, first, *others = inputs
    if equation.invars[0].aval.dtype != np.bool_ or len(others) != 1:
        raise UserError(
            "A choice among more than two cannot be written as ONNX here: use stablehlo."
        )
    return graph.node("Where", which, others[0], first)


@rule("convert_element_type")
def _convert(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    return graph.cast(inputs[0], equation.params["new_dtype"])


@rule("reshape", "squeeze", "expand_dims")
def _reshape(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    return graph.reshaped(inputs[0], equation.outvars[0].aval.shape)


@rule("transpose")
def _transpose(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    return graph.transposed(inputs[0], equation.params["permutation"])


@rule("broadcast_in_dim")
def _broadcast(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    shape, places = equation.outvars[0].aval.shape, equation.params["broadcast_dimensions"]
    sides = [1] * len(shape)
    for place, side in zip(places, equation.invars[0].aval.shape, strict=True):
        sides[place] = side
    value = inputs[0]
    if list(equation.invars[0].aval.shape) != sides:
        value = graph.reshaped(value, sides)
    wanted = [
        1 if str(side) == str(side_wanted) else side_wanted
        for side, side_wanted in zip(sides, shape, strict=True)
    ]
    return (
        value if all(n == 1 for n in wanted) else graph.node("Expand", value, graph.shape(wanted))
    )


@rule("iota")
def _iota(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    shape, axis = equation.outvars[0].aval.shape, equation.params["dimension"]
    if not isinstance(shape[axis], int):
        raise UserError("Numbers of a batch's examples cannot be written as ONNX: use stablehlo.")
    sides = [1] * len(shape)
    sides[axis] = shape[axis]
    numbers = np.arange(shape[axis], dtype=equation.params["dtype"]).reshape(sides)
    return graph.node("Expand", numbers, graph.shape(shape))


@rule("concatenate")
def _concatenate(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    return graph.node("Concat", *inputs, axis=equation.params["dimension"])


@rule("stack")
def _stack(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    axis = equation.params["axis"]
    parts = [graph.node("Unsqueeze", value, np.array([axis], np.int64)) for value in inputs]
    return graph.node("Concat", *parts, axis=axis)


@rule("slice")
def _slice(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    parameters, shape = equation.params, equation.invars[0].aval.shape
    steps = parameters["strides"] or (1,) * len(shape)
    parts = zip(parameters["start_indices"], parameters["limit_indices"], steps, shape, strict=True)
    rows = [
        (axis, start, end, step)
        for axis, (start, end, step, side) in enumerate(parts)
        if isinstance(side, int) and (start, end, step) != (0, side, 1)
    ]
    if not rows:
        return inputs[0]
    axes, starts, ends, strides = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    return graph.node("Slice", inputs[0], starts, ends, axes, strides)


@rule("rev")
def _rev(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    axes = np.array(equation.params["dimensions"], np.int64)
    first, step = np.full(len(axes), -1, np.int64), np.full(len(axes), -1, np.int64)
    end = np.full(len(axes), np.iinfo(np.int64).min, np.int64)
    return graph.node("Slice", inputs[0], first, end, axes, step)


@rule("split")
def _split(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    sizes = np.array(equation.params["sizes"], np.int64)
    out = graph.node("Split", inputs[0], sizes, outputs=len(sizes), axis=equation.params["axis"])
    return [out] if isinstance(out, str) else out


@rule("pad")
def _pad(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    low, high, inner = zip(*equation.params["padding_config"], strict=True)
    if any(inner) or min(*low, *high) < 0:
        raise UserError("A padding between values cannot be written as ONNX here: use stablehlo.")
    return graph.node("Pad", inputs[0], np.array([*low, *high], np.int64), inputs[1])


@rule("argmin", "argmax")
def _arg(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    kind = "ArgMin" if equation.primitive.name == "argmin" else "ArgMax"
    found = graph.node(kind, inputs[0], axis=int(equation.params["axes"][0]), keepdims=0)
    return graph.cast(found, equation.params["index_dtype"])


@rule("reduce_and", "reduce_or")
def _reduce_logical(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    kind = "ReduceMin" if equation.primitive.name == "reduce_and" else "ReduceMax"
    axes = np.array(equation.params["axes"], np.int64)
    found = graph.node(kind, graph.cast(inputs[0], np.int32), axes, keepdims=0)
    return graph.cast(found, np.bool_)


@rule("cumsum")
def _cumsum(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    axis = np.array(equation.params["axis"], np.int64)
    return graph.node("CumSum", inputs[0], axis, reverse=int(equation.params["reverse"]))


@rule("top_k")
def _top_k(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    count = np.array([equation.params["k"]], np.int64)
    values, places = graph.node("TopK", inputs[0], count, outputs=2, axis=-1)
    return [values, graph.cast(places, equation.outvars[1].aval.dtype)]


@rule("dot_general")
def _dot_general(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    (over_left, over_right), (with_left, with_right) = equation.params["dimension_numbers"]
    left, right = (atom.aval for atom in equation.invars)
    if (
        not with_left
        and right.ndim == 2
        and tuple(over_left) == (left.ndim - 1,)
        and len(over_right) == 1
    ):
        order = (0, 1) if tuple(over_right) == (0,) else (1, 0)
        return graph.node("MatMul", inputs[0], graph.transposed(inputs[1], order))
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    of_left = [next(letters) for _ in range(left.ndim)]
    of_right = [next(letters) for _ in range(right.ndim)]
    for one, other in (*zip(over_left, over_right), *zip(with_left, with_right)):  # noqa: B905
        of_right[other] = of_left[one]
    out = [of_left[k] for k in with_left]
    out += [of_left[k] for k in range(left.ndim) if k not in (*with_left, *over_left)]
    out += [of_right[k] for k in range(right.ndim) if k not in (*with_right, *over_right)]
    text = f"{''.join(of_left)},{''.join(of_right)}->{''.join(out)}"
    return graph.node("Einsum", *inputs, equation=text)


@rule("conv_general_dilated")
def _convolution(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    parameters = equation.params
    lhs, rhs, out = parameters["dimension_numbers"]
    value, kernel = graph.transposed(inputs[0], lhs), graph.transposed(inputs[1], rhs)
    pads, spread = parameters["padding"], parameters["lhs_dilation"]
    wide = parameters["rhs_dilation"]
    shared = {"dilations": list(wide), "group": parameters["feature_group_count"]}
    if all(n == 1 for n in spread):
        edges = [low for low, _ in pads] + [high for _, high in pads]
        if min(edges) < 0:
            raise UserError("A cropping convolution cannot be written as ONNX here: use stablehlo.")
        strides = list(parameters["window_strides"])
        found = graph.node("Conv", value, kernel, pads=edges, strides=strides, **shared)
    else:
        # Zeros between the values: what ONNX calls a transposed convolution, of the mirrored kernel.
        if not isinstance(kernel, np.ndarray) or shared["group"] != 1:
            raise UserError("This convolution cannot be written as ONNX here: use stablehlo.")
        mirrored = np.ascontiguousarray(
            np.flip(kernel, tuple(range(2, kernel.ndim))).swapaxes(0, 1)
        )
        reach = [step * (side - 1) for step, side in zip(wide, kernel.shape[2:], strict=True)]
        edges = [r - low for r, (low, _) in zip(reach, pads, strict=True)]
        ends = [r - high for r, (_, high) in zip(reach, pads, strict=True)]
        more = [max(-n, 0) for n in ends]
        edges += [max(n, 0) for n in ends]
        if min(edges) < 0 or any(n != 1 for n in parameters["window_strides"]):
            raise UserError("This convolution cannot be written as ONNX here: use stablehlo.")
        found = graph.node(
            "ConvTranspose",
            value,
            mirrored,
            pads=edges,
            strides=list(spread),
            output_padding=more,
            **shared,
        )
    return graph.transposed(found, np.argsort(out).tolist())


@rule("reduce_window_max")
def _max_pool(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    parameters = equation.params
    window, strides = parameters["window_dimensions"], parameters["window_strides"]
    pads, rank = parameters["padding"], len(window)
    spatial = [k for k in range(rank) if window[k] > 1 or strides[k] > 1]
    others = [k for k in range(rank) if k not in spatial]
    if len(others) < 2 or any(
        n != 1 for n in (*parameters["base_dilation"], *parameters["window_dilation"])
    ):
        raise UserError("This pooling cannot be written as ONNX here: use stablehlo.")
    order = [others[0], others[-1], *others[1:-1], *spatial]
    if len(others) > 2:
        raise UserError("This pooling cannot be written as ONNX here: use stablehlo.")
    found = graph.node(
        "MaxPool",
        graph.transposed(inputs[0], order),
        kernel_shape=[window[k] for k in spatial],
        strides=[strides[k] for k in spatial],
        pads=[pads[k][0] for k in spatial] + [pads[k][1] for k in spatial],
    )
    return graph.transposed(found, np.argsort(order).tolist())


@rule("gather")
def _gather(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    """Whole slices along one axis, the same for all examples or of each its own."""
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    operand, indices = (atom.aval for atom in equation.invars)
    batching, axes = tuple(numbers.operand_batching_dims), tuple(numbers.start_index_map)
    whole = all(
        k in (*axes, *batching) or str(sizes[k]) == str(operand.shape[k])
        for k in range(operand.ndim)
    )
    plain = axes == tuple(numbers.collapsed_slice_dims) and len(axes) == 1 and sizes[axes[0]] == 1
    leading = batching == tuple(range(len(batching))) == tuple(numbers.start_indices_batching_dims)
    if not (whole and plain and leading):
        raise UserError("A choice of values cannot be written as ONNX here: use stablehlo.")
    (axis,) = axes
    rest = [k for k in range(operand.ndim) if k not in (*batching, axis)]
    if not batching:
        places = graph.reshaped(inputs[1], indices.shape[:-1])
        found = graph.node("Gather", inputs[0], places, axis=axis)
        offsets = [k for k in rest if k < axis]
        positions = [("offset", k) for k in offsets]
        positions += [("index", k) for k in range(indices.ndim - 1)]
        positions += [("offset", k) for k in rest if k > axis]
    else:
        value = graph.transposed(inputs[0], [*batching, axis, *rest])
        found = graph.node(
            "GatherND", value, graph.cast(inputs[1], np.int64), batch_dims=len(batching)
        )
        positions = [("index", k) for k in range(indices.ndim - 1)] + [("offset", k) for k in rest]
    kinds = ["offset" if k in numbers.offset_dims else "index" for k in range(len(positions))]
    queues = {
        kind: iter([p for p in sorted(positions, key=lambda p: p[1]) if p[0] == kind])
        for kind in ("offset", "index")
    }
    return graph.transposed(found, [positions.index(next(queues[kind])) for kind in kinds])


@rule("dynamic_slice")
def _dynamic_slice(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    value, *starts = inputs
    shape, sizes = equation.invars[0].aval.shape, equation.params["slice_sizes"]
    for axis, (start, size, side) in enumerate(zip(starts, sizes, shape, strict=True)):
        if str(size) == str(side):
            continue
        first = graph.reshaped(graph.cast(start, np.int64), [1])
        end = graph.node("Add", first, np.array([size], np.int64))
        value = graph.node("Slice", value, first, end, np.array([axis], np.int64))
    return value


@rule("scan")
def _scan(graph: Graph, inputs: list[Any], equation: Any) -> Any:
    """A loop of so many steps, written out."""
    parameters = equation.params
    consts, carried = parameters["num_consts"], parameters["num_carry"]
    length, inner = parameters["length"], parameters["jaxpr"]
    if length > LONGEST_LOOP:
        raise UserError(f"A loop of {length} steps is too long for ONNX here: use stablehlo.")
    fixed, state, rows = (
        inputs[:consts],
        inputs[consts : consts + carried],
        inputs[consts + carried :],
    )
    made: list[list[Any]] = []
    steps = range(length)
    for step in reversed(steps) if parameters["reverse"] else steps:
        place = np.array(step, np.int64)
        now = [
            row[step] if isinstance(row, np.ndarray) else graph.node("Gather", row, place, axis=0)
            for row in rows
        ]
        out = graph.run(inner.jaxpr, inner.consts, [*fixed, *state, *now])
        state, made = out[:carried], [*made, out[carried:]]
    made = made[::-1] if parameters["reverse"] else made
    stacked = [
        graph.node(
            "Concat", *(graph.node("Unsqueeze", x, np.array([0], np.int64)) for x in column), axis=0
        )
        for column in zip(*made, strict=True)
    ]
    return [*state, *stacked]
