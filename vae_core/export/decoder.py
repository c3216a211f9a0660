"""decoder.onnx: latent and uniform noise in, codes out. The sampling is part of the graph; no node is random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import onnx
from torch import Tensor, nn

from vae_core.export.builder import FLOAT, INT32, GraphBuilder
from vae_core.model import VAE, Decoder, Variable
from vae_core.model.likelihoods import Bernoulli, Categorical, Gaussian
from vae_core.model.likelihoods.categorical import IMPOSSIBLE

Array = npt.NDArray[np.float32]
BELOW_ONE = np.float32(1 - 2**-24)
SHRUNK = np.float32(1 - 2**-20)  # keeps a cumulative probability below 1, however it is rounded


@dataclass
class Draw:
    """One variable drawn in the graph: the names of its values.

    `code` is int32 [n, 1]; `position` float32 [n, 1] where it is read; `logits` is kept for the parity check; `leaf` is
    the leaf id, int32 [n].
    """

    code: str
    logits: str
    position: str | None = None
    leaf: str = ""


@dataclass
class Context:
    """What a likelihood needs to draw variable `j` from the activations `active`, float32 [n, hidden]."""

    graph: GraphBuilder
    decoder: Decoder
    j: int
    active: str
    uniform: str
    normal: str | None
    drawn: list[Draw]
    position: bool

    @property
    def variable(self) -> Variable:
        """The variable being drawn."""
        return self.decoder.layout.variables[self.j]

    def bias(self, table: npt.NDArray[np.generic]) -> str:
        """The row of a table [rows, size] for the leaf that the variable's parent has drawn."""
        parent = self.variable.parent
        if parent is None:
            return self.graph.constant(table[0])
        return self.graph.add("Gather", self.graph.constant(table), self.drawn[parent].leaf)


def build_decoder(model: VAE, positions: list[bool], metadata: dict[str, str]) -> tuple[onnx.ModelProto, list[str]]:
    """Write the decoder's ancestral sampler as a graph.

    Inputs: z float32 [n, latent], u float32 [n, variables] in [0, 1), and eps float32 [n, gaussian variables] where
    there are such variables. Outputs: codes int32 [n, variables]; position float32 [n, p] in [0, 1) for the variables
    whose `positions` is set (the standardised value, for a Gaussian one).

    Returns:
        The model, and the names of the values inside it that hold each variable's logits (for the parity check).
    """
    decoder, layout = model.decoder, model.decoder.layout
    graph = GraphBuilder("decoder")
    z = graph.input("z", FLOAT, model.latent_dim)
    uniforms = graph.split(graph.input("u", FLOAT, len(layout.variables)), [1] * len(layout.variables))
    gaussians = layout.gaussians
    normals = graph.split(graph.input("eps", FLOAT, len(gaussians)), [1] * len(gaussians)) if gaussians else []

    shift, offsets = _numpy(decoder.shift), layout.offsets
    table = _numpy(decoder.embedding)
    first, second = cast(nn.Linear, decoder.trunk[0]), cast(nn.Linear, decoder.trunk[2])
    h = graph.add("Gemm", z, graph.constant(_numpy(first.weight).T), graph.constant(_numpy(first.bias)))
    h = graph.add("Relu", h)
    # Each variable's shift travels with what is added before it, so that it costs nothing here.
    h = graph.add("Gemm", h, graph.constant(_numpy(second.weight).T), graph.constant(_numpy(second.bias) + shift[0]))

    drawn: list[Draw] = []
    for j, variable in enumerate(layout.variables):
        normal = normals[gaussians.index(j)] if j in gaussians else None
        active = graph.add("Relu", h)
        context = Context(graph, decoder, j, active, uniforms[j], normal, drawn, positions[j])
        drawn.append(DRAWS[variable.likelihood](context))
        drawn[j].leaf = _leaf(graph, variable, drawn)
        if j + 1 < len(layout.variables):
            rows = table[offsets[j] : offsets[j] + layout.leaves[j]] + (shift[j + 1] - shift[j])
            h = graph.add("Add", h, graph.add("Gather", graph.constant(rows), drawn[j].leaf))

    graph.output(_joined(graph, [draw.code for draw in drawn]), "codes", INT32, len(drawn))
    where = [draw.position for draw in drawn if draw.position is not None]
    if where:
        graph.output(_joined(graph, where), "position", FLOAT, len(where))
    return graph.build(metadata), [draw.logits for draw in drawn]


def draw_categorical(context: Context) -> Draw:
    """Inverse CDF: the code is the number of cumulative probabilities at or below u."""
    graph, variable = context.graph, context.variable
    head, member = context.decoder.head(context.j)
    assert isinstance(head, Categorical)
    size = variable.size
    bias = _numpy(head.bias)[head.rows_of(member), :size]
    bias = np.where(variable.allowed, bias, np.float32(IMPOSSIBLE))
    weight = graph.constant(_numpy(head.weight)[member, :, :size])
    logits = graph.add("Gemm", context.active, weight, context.bias(bias))
    probability = graph.add("Softmax", logits, axis=1)
    last = np.array([np.flatnonzero(row)[-1] for row in variable.allowed])
    columns = size if context.position else int(last.max())
    if columns == 0:
        zero = graph.add("Mul", context.uniform, graph.constant(np.zeros((1, 1), np.float32), "nought"))
        return Draw(graph.add("Cast", zero, to=INT32), logits)
    # u - (cumulative probability), in one product; its floor is 0 where the cumulative probability is passed, else -1.
    triangle = graph.constant(-SHRUNK * np.triu(np.ones((size, columns), np.float32)), f"triangle_{size}_{columns}")
    ahead = graph.add("Gemm", probability, triangle, context.uniform)
    axis = graph.constant(np.array([1], np.int64), "axis_1")
    below = graph.add("ReduceSum", graph.add("Floor", ahead), axis, keepdims=1)
    count = graph.add("Add", below, graph.constant(np.full((1, 1), columns, np.float32), f"count_{columns}"))
    code = graph.add("Cast", count, to=INT32)
    if (last < columns).any():  # no draw falls past the last possible code
        code = graph.add("Min", code, context.bias(last.astype(np.int32)[:, None]))
    if not context.position:
        return Draw(code, logits)
    behind = graph.add("GatherElements", ahead, code, axis=1)
    mass = graph.add("GatherElements", probability, code, axis=1)
    inside = graph.add("Add", graph.add("Div", behind, mass), graph.constant(np.ones((1, 1), np.float32), "one"))
    bounds = graph.constant(np.float32(0), "zero"), graph.constant(BELOW_ONE, "below_one")
    return Draw(code, logits, graph.add("Clip", inside, *bounds))


def draw_bernoulli(context: Context) -> Draw:
    """The code is 1 where u is at or above the probability of 0."""
    graph = context.graph
    head, member = context.decoder.head(context.j)
    assert isinstance(head, Bernoulli)
    weight = graph.constant(-_numpy(head.weight)[member][:, None])
    bias = -_numpy(head.bias)[head.rows_of(member), None]
    logits = graph.add("Gemm", context.active, weight, context.bias(bias))
    zero = graph.add("Sigmoid", logits)
    return Draw(graph.add("Cast", graph.add("LessOrEqual", zero, context.uniform), to=INT32), logits)


def draw_gaussian(context: Context) -> Draw:
    """The value is mean + s·eps; its code, which later variables see, is the bin it falls in."""
    graph, variable = context.graph, context.variable
    head, member = context.decoder.head(context.j)
    assert isinstance(head, Gaussian) and variable.edges is not None and context.normal is not None
    weight = graph.constant(_numpy(head.weight)[member])
    moments = graph.add("Gemm", context.active, weight, graph.constant(_numpy(head.bias)[member]))
    mean, log_std = graph.split(moments, [1, 1])
    limits = graph.constant(np.float32(-7), "lowest_log_std"), graph.constant(np.float32(7), "highest_log_std")
    std = graph.add("Exp", graph.add("Clip", log_std, *limits))
    value = graph.add("Add", mean, graph.add("Mul", std, context.normal))
    passed = graph.add("Cast", graph.add("LessOrEqual", graph.constant(variable.edges[None]), value), to=FLOAT)
    axis = graph.constant(np.array([1], np.int64), "axis_1")
    code = graph.add("Cast", graph.add("ReduceSum", passed, axis, keepdims=1), to=INT32)
    if variable.parent is not None:
        missing = graph.add("Cast", context.drawn[variable.parent].code, to=9)
        code = graph.add("Where", missing, graph.constant(np.array([[variable.size - 1]], np.int32)), code)
    return Draw(code, moments, value)


DRAWS: dict[str, Callable[[Context], Draw]] = {
    "categorical": draw_categorical,
    "bernoulli": draw_bernoulli,
    "gaussian": draw_gaussian,
}


def _numpy(tensor: Tensor) -> Array:
    array: Array = tensor.detach().cpu().numpy()
    return array


def _leaf(graph: GraphBuilder, variable: Variable, drawn: list[Draw]) -> str:
    """The leaf id of the variable drawn last."""
    code = graph.add("Squeeze", drawn[-1].code, graph.constant(np.array([1], np.int64), "axis_1"))
    if variable.refines is None:
        return code
    size = graph.constant(np.array([variable.size], np.int32))
    return graph.add("Add", code, graph.add("Mul", drawn[variable.refines].leaf, size))


def _joined(graph: GraphBuilder, columns: list[str]) -> str:
    return graph.add("Concat", *columns, axis=1) if len(columns) > 1 else columns[0]
