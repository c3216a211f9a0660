"""What the decoder costs: onnxruntime's profile of its nodes, and a bare run of its matrix products alone."""

from __future__ import annotations

import json
import re
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper, shape_inference

PRODUCTS = {"Gemm", "MatMul", "MatMulInteger", "QLinearMatMul", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"}
SECTION = re.compile(r"(?:fused )?([A-Za-z_]+)/")


def products(decoder: Path, batch: int, *, triangular: bool) -> tuple[bytes, list[list[int]]]:
    """A graph with nothing but the decoder's matrix products, float32 [batch, k] × [k, n], and their (k, n).

    The triangular ones, which turn probabilities into cumulative ones, are part of it where `triangular` is set. Biases
    are not; weights are the decoder's own where it holds them as float32.
    """
    model = shape_inference.infer_shapes(onnx.load(decoder))
    weights = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
    inferred = {value.name: value for value in model.graph.value_info}
    nodes, constants, outputs, shapes = [], [], [], []
    for node in model.graph.node:
        if node.op_type not in PRODUCTS:
            continue
        second = node.input[3] if node.op_type == "QLinearMatMul" else node.input[1]
        weight = weights.get(second)
        if weight is None:
            dimensions = [d.dim_value for d in inferred[second].type.tensor_type.shape.dim]
            weight = np.random.default_rng(0).normal(size=dimensions)
        if any(attribute.name == "transB" and attribute.i for attribute in node.attribute):
            weight = weight.T
        if not triangular and _triangular(weight):
            continue
        k, n = weight.shape
        name = f"product_{len(nodes)}"
        constants.append(numpy_helper.from_array(np.ascontiguousarray(weight, np.float32), f"weight_{len(nodes)}"))
        nodes.append(helper.make_node("MatMul", [f"x_{k}", constants[-1].name], [name]))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, n]))
        shapes.append([k, n])
    inputs = [
        helper.make_tensor_value_info(f"x_{k}", TensorProto.FLOAT, [batch, k]) for k in sorted({k for k, _ in shapes})
    ]
    graph = helper.make_graph(nodes, "products", inputs, outputs, constants)
    bare = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bare.SerializeToString(), shapes


def _triangular(weight: npt.NDArray[Any]) -> bool:
    """Whether the weight sums up: one value on and above the diagonal, nought below and in rows that don't count."""
    if weight.ndim != 2 or weight.size < 2:
        return False
    counts = weight[:, -1:]
    return len(np.unique(counts[counts != 0])) == 1 and bool(
        (weight == np.triu(counts.repeat(weight.shape[1], 1))).all()
    )


def bare_rate(graph: bytes, batch: int, workers: int, rows: int) -> float:
    """Rows per second of `workers` threads, each with a session of one thread and a buffer that all products write to.

    One buffer, since in the decoder, too, a product's result is used up before the next one is made.
    """
    runs = max(1, rows // workers // batch)
    sessions = [_bound(graph, batch) for _ in range(workers)]
    barrier = threading.Barrier(workers + 1)

    def work(session: ort.InferenceSession, binding: ort.IOBinding) -> None:
        for _ in range(5):
            session.run_with_iobinding(binding)
        barrier.wait()
        for _ in range(runs):
            session.run_with_iobinding(binding)
        barrier.wait()

    threads = [threading.Thread(target=work, args=(session, binding)) for session, binding, _ in sessions]
    for thread in threads:
        thread.start()
    barrier.wait()
    began = time.perf_counter()
    barrier.wait()
    seconds = time.perf_counter() - began
    for thread in threads:
        thread.join()
    return runs * batch * workers / seconds


def _bound(graph: bytes, batch: int) -> tuple[ort.InferenceSession, ort.IOBinding, list[Any]]:
    session = ort.InferenceSession(graph, _options(), providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    binding = session.io_binding()
    widest = max(value.shape[1] for value in session.get_outputs())
    kept: list[Any] = [np.empty((batch, widest), np.float32)]
    for value in session.get_inputs():
        kept.append(ort.OrtValue.ortvalue_from_numpy(generator.random(value.shape, dtype=np.float32)))
        binding.bind_ortvalue_input(value.name, kept[-1])
    for value in session.get_outputs():
        binding.bind_output(value.name, "cpu", 0, np.float32, value.shape, kept[0].ctypes.data)
    return session, binding, kept


def profile(
    decoder: Path, feeds: dict[str, npt.NDArray[Any]], runs: int = 40
) -> tuple[dict[str, float], dict[str, float]]:
    """Shares of the decoder's time, by section and by kind of node.

    A node's section is its name up to the first "/"; a node without one, such as those that onnxruntime adds, counts as
    the section of its kind.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = _options()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "decoder")
        session = ort.InferenceSession(decoder, options, providers=["CPUExecutionProvider"])
        for _ in range(runs):
            session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_text())
    sections: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            kind = event["args"]["op_name"]
            found = SECTION.match(event["name"])
            sections[found.group(1) if found else kind] += event["dur"]
            kinds[kind] += event["dur"]
    return tuple({name: value / sum(c.values()) for name, value in c.most_common()} for c in (sections, kinds))  # type: ignore[return-value]


def _options() -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    return options
