"""Writes an ONNX graph node by node."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
DOMAINS = {"ai.onnx.ml": 5}

FLOAT, INT32 = TensorProto.FLOAT, TensorProto.INT32


class GraphBuilder:
    """Collects nodes and weights; values are referred to by name.

    Attributes:
        section: what the next nodes are for; their names begin with it, so that a profile can be read.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.section = name
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, dtype: int, columns: int) -> str:
        """Declare an input [n, columns]."""
        self.inputs.append(helper.make_tensor_value_info(name, dtype, ["n", columns]))
        return name

    def output(self, value: str, name: str, dtype: int, columns: int) -> None:
        """Declare `value` [n, columns] as the output `name`."""
        self.nodes.append(helper.make_node("Identity", [value], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, dtype, ["n", columns]))

    def constant(self, array: npt.ArrayLike, name: str | None = None) -> str:
        """Store an array with the graph; arrays are stored once by name."""
        name = name or f"constant_{len(self.weights)}"
        if all(weight.name != name for weight in self.weights):
            self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, op: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Append a node with one output and return the output's name."""
        output = name or f"{op.lower()}_{len(self.nodes)}"
        node = f"{self.section}/{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=node, **attributes))
        return output

    def split(self, value: str, widths: list[int]) -> list[str]:
        """Cut `value` [n, sum of widths] into parts [n, width]."""
        if len(widths) == 1:
            return [value]
        names = [f"{value}_{i}" for i in range(len(widths))]
        self.nodes.append(helper.make_node("Split", [value, self.constant(np.array(widths, np.int64))], names, axis=1))
        return names

    def build(self, metadata: dict[str, str]) -> onnx.ModelProto:
        """The checked model with `metadata` as its metadata_props."""
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, self.weights)
        used = {"": OPSET} | {node.domain: DOMAINS[node.domain] for node in self.nodes if node.domain}
        opsets = [helper.make_opsetid(domain, version) for domain, version in used.items()]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="vaesynth", ir_version=IR_VERSION)
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model, full_check=True)
        return model
