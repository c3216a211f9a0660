"""decoder.onnx: latent and uniform noise in, codes out. The sampling is part of the graph; no node is random."""

from __future__ import annotations

import numpy as np
import onnx

from vae_core.export.builder import FLOAT, INT32, GraphBuilder
from vae_core.export.gauge import gauges
from vae_core.export.likelihoods import DRAWS, Array, Context, Draw, numpy_of
from vae_core.model import VAE, Decoder, Variable

LOW_BITS = np.float32(2**12)  # u has 24 bits: the upper half chooses the code, the lower half the position inside


def build_decoder(model: VAE, positions: list[bool], metadata: dict[str, str]) -> tuple[onnx.ModelProto, list[str]]:
    """Write the decoder's ancestral sampler as a graph.

    Inputs: z float32 [n, latent], u float32 [n, variables] in [0, 1), and eps float32 [n, gaussian variables] where
    there are such variables. Outputs: codes int32 [n, variables]; position float32 [n, p] in [0, 1) for the variables
    whose `positions` is set (the standardised value, for a Gaussian one).

    Returns:
        The model, and the names of the values inside it that hold each variable's logits (for the parity check).
    """
    decoder, layout = model.decoder, model.decoder.layout
    graph = GraphBuilder("noise")
    z = graph.input("z", FLOAT, model.latent_dim)
    u = graph.input("u", FLOAT, len(layout.variables))
    uniforms = graph.split(u, [1] * len(layout.variables))
    gaussians = layout.gaussians
    normals = graph.split(graph.input("eps", FLOAT, len(gaussians)), [1] * len(gaussians)) if gaussians else []

    graph.section = "trunk"
    shift, offsets = numpy_of(decoder.shift), layout.offsets
    table = numpy_of(decoder.embedding)
    # Each variable's shift travels with what is added before it, so that it costs nothing here.
    weight, bias = numpy_of(decoder.trunk.weight).T, numpy_of(decoder.trunk.bias) + shift[0]
    h = graph.add("Gemm", z, graph.constant(weight), graph.constant(bias))

    gauge = gauges(model)
    predicted, readers = _predictions(graph, decoder)
    drawn: list[Draw] = []
    for j, variable in enumerate(layout.variables):
        normal = normals[gaussians.index(j)] if j in gaussians else None
        graph.section = "state"
        active = graph.add("Relu", h)
        context = Context(graph, decoder, j, active, uniforms[j], normal, drawn, predicted, gauge[j])
        drawn.append(DRAWS[variable.likelihood](context))
        drawn[j].leaf = _leaf(graph, variable, drawn)
        if j + 1 < len(layout.variables):
            graph.section = "state"
            rows = table[offsets[j] : offsets[j] + layout.embedded[j]] + (shift[j + 1] - shift[j])
            row = drawn[j].leaf
            if variable.within is not None:
                row = _pair(graph, drawn[variable.within].code, drawn[j], variable)
            h = graph.add("Add", h, graph.add("Gather", graph.constant(rows), row))
            if j in readers:
                graph.section = "prediction"
                outer, added = readers[j]
                row = drawn[j].code if outer is None else _pair(graph, drawn[outer].code, drawn[j], variable)
                predicted = graph.add("Add", predicted, graph.add("Gather", graph.constant(added), row))

    graph.section = "output"
    # One below the other, then turned: columns side by side take five times as long.
    below = graph.add("Concat", *(draw.code for draw in drawn), axis=0)
    below = graph.add("Reshape", below, graph.constant(np.array([len(drawn), -1], np.int64)))
    graph.output(graph.add("Transpose", below, perm=[1, 0]), "codes", INT32, len(drawn))
    wanted = [j for j, position in enumerate(positions) if position or drawn[j].value]
    if wanted:
        graph.output(_positions(graph, wanted, drawn, u), "position", FLOAT, len(wanted))
    return graph.build(metadata), [draw.logits for draw in drawn]


def _predictions(graph: GraphBuilder, decoder: Decoder) -> tuple[str, dict[int, tuple[int | None, Array]]]:
    """What predictions begin with, float32 [1, predictions]; and by variable what its codes add to them.

    Of a fine code it is the coarse variable, and what each pair adds.
    """
    predictions = decoder.predictions
    if predictions is None:
        return "", {}
    graph.section = "prediction"
    table, readers = numpy_of(predictions.table()), {}
    for k, term in predictions.terms.items():
        first = predictions.rows[k]
        readers[k] = term.within, table[first : first + len(term.features)]
    return graph.constant(numpy_of(predictions.shift)[None]), readers


def _positions(graph: GraphBuilder, wanted: list[int], drawn: list[Draw], u: str) -> str:
    """Where inside their codes the variables lie, float32 [n, wanted]: the lower bits of their uniform numbers.

    They say nothing of the code but at the ends of its range of u. The next 12 bits come from the number before.
    """
    values = [drawn[j].value for j in wanted]
    inside = [j for j, value in zip(wanted, values, strict=True) if value is None]
    if not inside:
        return _joined(graph, [value for value in values if value])
    scaled = graph.add("Mul", u, graph.constant(np.full((1, 1), LOW_BITS), "low_bits"))
    low = graph.add("Sub", scaled, graph.add("Floor", scaled))
    both = np.zeros((len(drawn), len(inside)), np.float32)
    for column, j in enumerate(inside):
        both[j, column] += 1
        both[j - 1, column] += 1 / LOW_BITS
    position = graph.add("MatMul", low, graph.constant(both))  # exact, as the bits don't overlap
    columns = iter(graph.split(position, [1] * len(inside)))
    return _joined(graph, [value or next(columns) for value in values]) if len(inside) < len(wanted) else position


def _leaf(graph: GraphBuilder, variable: Variable, drawn: list[Draw]) -> str:
    """The leaf id of the variable drawn last, int32 [n]."""
    last = drawn[-1]
    if variable.refines is not None:
        return _pair(graph, drawn[variable.refines].code, last, variable)
    return last.code if variable.crosses is None else _pair(graph, drawn[variable.crosses].leaf, last, variable)


def _pair(graph: GraphBuilder, earlier: str, last: Draw, variable: Variable) -> str:
    """The number of the pair of an earlier number and of the code drawn last, int32 [n]."""
    size = graph.constant(np.array([variable.size], np.int32))
    return graph.add("Add", last.code, graph.add("Mul", earlier, size))


def _joined(graph: GraphBuilder, columns: list[str]) -> str:
    return graph.add("Concat", *columns, axis=1) if len(columns) > 1 else columns[0]
