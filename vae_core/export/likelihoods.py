"""How each likelihood is drawn from in the decoder's graph: the inverse of its cumulative distribution at u."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from vae_core.export.builder import FLOAT, INT32, GraphBuilder
from vae_core.export.gauge import Gauge
from vae_core.model import Decoder, Variable
from vae_core.model.likelihoods import Bernoulli, Categorical, Gaussian, Located
from vae_core.model.likelihoods.categorical import IMPOSSIBLE
from vae_core.model.likelihoods.located import FARTHEST, FLATTEST, PARAMETERS, SHARPEST

Array = npt.NDArray[np.float32]
LOG_TOTAL = 8.0  # logarithm of the sum of a variable's unnormalised probabilities, about: 79 more or 50 less is exact
LOG_2 = math.log(2)
LOWEST = -70.0  # exponents, at least: what is below the normal numbers of float32 takes ten times as long
STEEP = 1e38  # slope of the step that tells which cumulative probabilities are passed


@dataclass
class Draw:
    """One variable drawn in the graph: the names of its values.

    `code` is int32 [n]; `logits` (of a located variable their exponentials) is kept for the parity check; `value` is
    what a Gaussian variable drew, float32 [n, 1]; `leaf` is the leaf id, int32 [n].
    """

    code: str
    logits: str
    value: str | None = None
    leaf: str = ""


@dataclass
class Context:
    """What a likelihood needs to draw variable `j` from the activations `active`, float32 [n, hidden].

    `predicted` are the predictions as far as they go, float32 [n, predictions]; `gauge` is taken off its logits.
    """

    graph: GraphBuilder
    decoder: Decoder
    j: int
    active: str
    uniform: str
    normal: str | None
    drawn: list[Draw]
    predicted: str
    gauge: Gauge

    def product(self, weight: Array, added: str) -> str:
        """What a linear map [hidden + inner, size] makes of the head's units, plus `added` [n, size] or [size]."""
        graph, hidden = self.graph, self.decoder.hidden
        summed = graph.add("Gemm", self.active, graph.constant(weight[:hidden]), added)
        if len(weight) == hidden:
            return summed
        head, member = self.decoder.head(self.j)
        inner, shift = (graph.constant(numpy_of(part)[member]) for part in (head.inner, head.inner_shift))
        inner = graph.add("Relu", graph.add("Gemm", self.active, inner, shift))
        return graph.add("Gemm", inner, graph.constant(weight[hidden:]), summed)

    @property
    def variable(self) -> Variable:
        """The variable being drawn."""
        return self.decoder.layout.variables[self.j]

    def bias(self, table: npt.NDArray[np.generic]) -> str:
        """The row of a table [rows, size] for what the variable's parent has drawn."""
        parent = self.variable.parent
        if parent is None:
            return self.graph.constant(table[0])
        drawn = self.drawn[parent]
        return self.graph.add("Gather", self.graph.constant(table), drawn.code if self.variable.tied else drawn.leaf)


def draw_categorical(context: Context) -> Draw:
    """Inverse CDF over the exponentials of the logits."""
    graph, variable = context.graph, context.variable
    head, member = context.decoder.head(context.j)
    assert isinstance(head, Categorical)
    size = variable.size
    weight = numpy_of(head.weight)[member, :, :size]
    if context.gauge.slope is not None:
        weight = weight - context.gauge.slope[:, None]
    bias = numpy_of(head.bias)[head.rows_of(member), :size] + np.float32(LOG_TOTAL - context.gauge.level)
    known = variable.allowed.any(axis=0)  # the others don't count at all
    bias = np.where(variable.allowed | ~known, bias, np.float32(IMPOSSIBLE))
    graph.section = "head"
    logits = context.product(weight, context.bias(bias))
    graph.section = "draw"
    allowed, exponents = variable.allowed[:, known], logits
    # A trace of mass behind the last allowed code is never drawn, as u < 1; before it would be where u is 0.
    if not allowed.all() and (allowed[:, :-1] >= allowed[:, 1:]).all():
        exponents = graph.add("Clip", logits, graph.constant(np.float32(LOWEST), "lowest"))
    return Draw(_inverse_cdf(context, graph.add("Exp", exponents)), logits)


def draw_located(context: Context) -> Draw:
    """Inverse CDF over the masses of the mixture."""
    graph, variable = context.graph, context.variable
    head, member = context.decoder.head(context.j)
    assert isinstance(head, Located) and variable.prediction is not None and context.decoder.predictions is not None
    size = variable.size
    graph.section = "head"
    peaks, shift = numpy_of(head.peaks)[member], numpy_of(head.peaks_shift)[member]
    count = len(shift) // PARAMETERS
    # Of each peak: what is added to its prediction, log √(q/2), and 2·log w + log 2.
    factors, added = np.repeat(np.array([[1, 0.5, 2], [0, -LOG_2 / 2, LOG_2]], np.float32), count, axis=1)
    weight = np.concatenate([numpy_of(head.weight)[member, :, :size], peaks * factors], axis=1)
    shift = np.concatenate([np.zeros(size, np.float32), shift * factors + added])
    said = context.product(weight, graph.constant(shift))
    free, moved, log_root, log_weight = graph.split(said, [size, count, count, count])
    graph.section = "peaks"
    own = np.zeros((len(context.decoder.predictions.shift), count), np.float32)
    own[variable.prediction] = 1
    middle = graph.add("Gemm", context.predicted, graph.constant(own), moved)  # a column, which Gather takes longer for
    middle = graph.add("Clip", middle, *_limits(graph, -FARTHEST, FARTHEST))
    limits = _limits(graph, (FLATTEST - LOG_2) / 2, (SHARPEST - LOG_2) / 2)
    root = graph.add("Exp", graph.add("Clip", log_root, *limits))
    scaled = graph.add("Mul", root, middle)
    # Twice the height of a peak: 2·log w + log(1 + q) + q·m²/(1 + q).
    half = graph.constant(np.full((1, 1), 0.5, np.float32), "half")
    more = graph.add("Add", graph.add("Mul", root, root), half)
    share = graph.add("Div", graph.add("Mul", scaled, scaled), more)
    height = graph.add("Add", graph.add("Add", graph.add("Log", more), share), log_weight)
    # All peaks side by side, as products: elementwise operators with a number a row take three times as long.
    blocks = np.repeat(np.eye(count, dtype=np.float32), size, axis=1)
    each = graph.constant(blocks, f"blocks_{count}_{size}")
    scores = np.tile(numpy_of(head.scores_of(member)), count)
    if len(scores) == 1:
        both = graph.add("Concat", root, scaled, axis=1)
        off = graph.add("MatMul", both, graph.constant(np.concatenate([blocks * scores, -blocks])))
    else:
        place = graph.add("Mul", context.bias(scores), graph.add("MatMul", root, each))
        off = graph.add("Gemm", scaled, each, place, alpha=-1.0)
    height = graph.add("Gemm", height, each, graph.add("Mul", off, off), alpha=0.5, beta=-1.0)
    peaks = graph.add("Exp", graph.add("Clip", height, graph.constant(np.float32(LOWEST), "lowest")))
    summed = graph.constant(np.tile(np.eye(size, dtype=np.float32), (count, 1)), f"summed_{count}_{size}")
    mixed = graph.add("Gemm", peaks, summed, graph.add("Exp", free))
    bias = numpy_of(head.bias)[head.rows_of(member), :size] + np.float32(LOG_TOTAL - context.gauge.level)
    base = np.exp(np.where(variable.allowed, bias, np.float32(IMPOSSIBLE)))
    mass = graph.add("Mul", mixed, context.bias(base))
    graph.section = "draw"
    return Draw(_inverse_cdf(context, mass), mass)


def _inverse_cdf(context: Context, mass: str) -> str:
    """The number of cumulative masses at or below u times their total, int32 [n], of masses float32 [n, size].

    They are left unnormalised: u is multiplied by their total instead. Codes that are never allowed don't count.
    """
    graph, size = context.graph, context.variable.size
    columns = max(int(np.flatnonzero(row)[-1]) for row in context.variable.allowed)
    if columns == 0:
        zero = graph.add("Mul", context.uniform, graph.constant(np.zeros((1, 1), np.float32), "nought"))
        return _flat(graph, graph.add("Cast", zero, to=INT32))
    # A product rather than ReduceSum, whose rounding depends on where in the batch a row stands.
    counts = np.any(context.variable.allowed, axis=0, keepdims=True).T.astype(np.float32)
    name = "" if counts.all() else f"_{context.j}"
    ones = graph.constant(counts, f"ones_{size}{name}")
    threshold = graph.add("Mul", context.uniform, graph.add("MatMul", mass, ones))
    # However the sums are rounded, the last cumulative probability stays above u < 1.
    above = (-1 - (size + 4) * 2**-23) * counts.repeat(columns, axis=1)
    triangle = graph.constant(np.triu(above), f"triangle_{size}_{columns}{name}")
    ahead = graph.add("Gemm", mass, triangle, threshold)
    passed = graph.add("HardSigmoid", ahead, alpha=STEEP, beta=1.0)  # 1 at or above 0, else 0
    code = graph.add("Cast", _sums(graph, passed), to=INT32)
    if context.gauge.bounded:
        allowed = context.variable.allowed
        first, last = allowed.argmax(axis=1), size - 1 - allowed[:, ::-1].argmax(axis=1)
        code = graph.add("Min", code, context.bias(last.astype(np.int32)))
        return graph.add("Max", code, context.bias(first.astype(np.int32)))
    # Should a total overflow after all, the row is drawn anyhow rather than the run ended.
    bounds = (graph.constant(np.int32(bound), f"code_{bound}") for bound in (0, columns))
    return graph.add("Clip", code, *bounds)


def draw_bernoulli(context: Context) -> Draw:
    """The code is 1 where u is at or above the probability of 0."""
    graph = context.graph
    head, member = context.decoder.head(context.j)
    assert isinstance(head, Bernoulli)
    graph.section = "head"
    bias = -numpy_of(head.bias)[head.rows_of(member), None]
    logits = context.product(-numpy_of(head.weight)[member][:, None], context.bias(bias))
    graph.section = "draw"
    zero = graph.add("Sigmoid", logits)
    return Draw(_flat(graph, graph.add("Cast", graph.add("LessOrEqual", zero, context.uniform), to=INT32)), logits)


def draw_gaussian(context: Context) -> Draw:
    """The value is mean + s·eps; its code, which later variables see, is the bin it falls in."""
    graph, variable = context.graph, context.variable
    head, member = context.decoder.head(context.j)
    assert isinstance(head, Gaussian) and variable.edges is not None and context.normal is not None
    graph.section = "head"
    moments = context.product(numpy_of(head.weight)[member], graph.constant(numpy_of(head.bias)[member]))
    graph.section = "draw"
    mean, log_std = graph.split(moments, [1, 1])
    limits = graph.constant(np.float32(-7), "lowest_log_std"), graph.constant(np.float32(7), "highest_log_std")
    std = graph.add("Exp", graph.add("Clip", log_std, *limits))
    value = graph.add("Add", mean, graph.add("Mul", std, context.normal))
    passed = graph.add("Cast", graph.add("LessOrEqual", graph.constant(variable.edges[None]), value), to=FLOAT)
    code = graph.add("Cast", _sums(graph, passed), to=INT32)
    if variable.parent is not None:
        missing = graph.add("Cast", context.drawn[variable.parent].code, to=9)
        code = graph.add("Where", missing, graph.constant(np.array([variable.size - 1], np.int32)), code)
    return Draw(code, moments, value)


DRAWS: dict[str, Callable[[Context], Draw]] = {
    "categorical": draw_categorical,
    "bernoulli": draw_bernoulli,
    "gaussian": draw_gaussian,
    "located": draw_located,
}


def _limits(graph: GraphBuilder, lowest: float, highest: float) -> tuple[str, str]:
    return tuple(graph.constant(np.float32(x), f"limit_{x}") for x in (lowest, highest))  # type: ignore[return-value]


def numpy_of(tensor: Tensor) -> Array:
    """A weight as it is stored in a graph."""
    array: Array = tensor.detach().cpu().numpy()
    return array


def _flat(graph: GraphBuilder, column: str) -> str:
    """[n, 1] as [n]."""
    return graph.add("Squeeze", column, graph.constant(np.array([1], np.int64), "axis_1"))


def _sums(graph: GraphBuilder, values: str) -> str:
    """Of each row: float32 [n] of [n, size]."""
    return graph.add("ReduceSum", values, graph.constant(np.array([1], np.int64), "axis_1"), keepdims=0)
