"""encoder.onnx: codes in, the posterior's mean and log-variance out."""

from __future__ import annotations

import numpy as np
import onnx

from vae_core.export.builder import FLOAT, INT32, GraphBuilder
from vae_core.model import VAE


def build_encoder(model: VAE, metadata: dict[str, str]) -> onnx.ModelProto:
    """Write q(z|x) as a graph: codes int32 [n, variables] to mu and log_var, float32 [n, latent]."""
    encoder, layout = model.encoder, model.layout
    graph = GraphBuilder("encoder")
    codes = graph.input("codes", INT32, len(layout.variables))
    numbered = graph.add("Add", codes, graph.constant(layout.code_offsets.astype(np.int32)[None]))
    embedded = graph.add("Gather", graph.constant(encoder.embedding.detach().numpy()), numbered)
    summed = graph.add("ReduceSum", embedded, graph.constant(np.array([1], np.int64), "axis_1"), keepdims=0)
    h = graph.add("Relu", summed)
    for layer in (encoder.hidden, encoder.output):
        weight, bias = layer.weight.detach().numpy().T, layer.bias.detach().numpy()
        h = graph.add("Gemm", h, graph.constant(weight), graph.constant(bias))
        if layer is encoder.hidden:
            h = graph.add("Relu", h)
    mu, log_var = graph.split(h, [model.latent_dim, model.latent_dim])
    limits = graph.constant(np.float32(-10), "lowest_log_var"), graph.constant(np.float32(4), "highest_log_var")
    graph.output(mu, "mu", FLOAT, model.latent_dim)
    graph.output(graph.add("Clip", log_var, *limits), "log_var", FLOAT, model.latent_dim)
    return graph.build(metadata)
