"""The discriminator as ONNX: features of a row → the probability that it is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper

from vae_core.codec.features import SET
from vae_core.export.builder import FLOAT, GraphBuilder

STEPS = 4096  # weights are multiples of 1 / STEPS: sums of them are exact, in whatever order threads add them up
_LEQ, _MEMBER = 0, 6


def build_discriminator(
    trees: Any, ceiling: float, factors: tuple[npt.NDArray[np.float64], ...], metadata: dict[str, str]
) -> onnx.ModelProto:
    """Write exp(min(0, min(f(x), ceiling) + Σ_j factors_j[x_j])), f being the trees' log odds.

    Args:
        trees: scikit-learn's HistGradientBoostingClassifier; its categorical features are the sets of `Features`.
        ceiling: see above.
        factors: float64 [size] for each of the first features, which are 0..size-1.
        metadata: of the model.

    Returns:
        A graph with the input `features` float32 [n, features] and the output `kept` float32 [n, 1].
    """
    graph = GraphBuilder("discriminator")
    features = int(trees.n_features_in_)
    x = graph.input("features", FLOAT, features)
    odds = graph.add("TreeEnsemble", x, domain="ai.onnx.ml", **_ensemble(trees))
    odds = graph.add("Min", odds, graph.constant(np.array([[_rounded(ceiling - _baseline(trees))]], np.float32)))
    starts = np.cumsum([0, *(len(table) for table in factors)])[:-1]
    known = graph.add("Slice", x, *(graph.constant(np.array([value], np.int64)) for value in (0, len(factors), 1)))
    place = graph.add(
        "Add", graph.add("Cast", known, to=TensorProto.INT64), graph.constant(starts[None].astype(np.int64))
    )
    table = np.concatenate([_rounded(table) for table in factors]).astype(np.float32)
    mended = graph.add("Gather", graph.constant(table), place)
    total = graph.add("ReduceSum", mended, graph.constant(np.array([1], np.int64)), keepdims=1)
    total = graph.add(
        "Add", graph.add("Add", odds, total), graph.constant(np.array([[_rounded(_baseline(trees))]], np.float32))
    )
    kept = graph.add("Exp", graph.add("Min", total, graph.constant(np.zeros((1, 1), np.float32))))
    graph.output(kept, "kept", FLOAT, 1)
    return graph.build(metadata)


def _rounded(values: Any) -> Any:
    return np.round(np.asarray(values) * STEPS) / STEPS


def _baseline(trees: Any) -> float:
    """The log odds to which the trees add theirs."""
    return float(trees._baseline_prediction.ravel()[0])


def _ensemble(trees: Any) -> dict[str, Any]:
    """The attributes of ONNX's TreeEnsemble."""
    known = _categories(trees)
    attributes: dict[str, list[Any]] = {
        name: [] for name in ("roots", "features", "modes", "splits", "members", "weights")
    }
    for side in ("true", "false"):
        attributes |= {f"{side}ids": [], f"{side}leafs": []}
    a = attributes
    # Leaves are numbered after all inner nodes: onnxruntime 1.22 took a leaf and a node of one number for the same.
    count = sum(int((predictor.nodes["is_leaf"] == 0).sum()) for (predictor,) in trees._predictors)
    a["weights"] += [0.0] * count
    for (predictor,) in trees._predictors:
        nodes = predictor.nodes
        inner = np.flatnonzero(nodes["is_leaf"] == 0)
        if not len(inner):  # a tree that says the same of all rows, which nothing was left to learn
            continue
        number = {int(k): len(a["features"]) + i for i, k in enumerate(inner)}
        a["roots"].append(len(a["features"]))
        for node in nodes[inner]:
            feature = int(node["feature_idx"])
            a["features"].append(feature)
            a["modes"].append(_MEMBER if node["is_categorical"] else _LEQ)
            a["splits"].append(0.0 if node["is_categorical"] else _below(node["num_threshold"]))
            if node["is_categorical"]:
                bits = predictor.raw_left_cat_bitsets[node["bitset_idx"]]
                a["members"] += [*_members(bits, known[feature], bool(node["missing_go_to_left"])), np.nan]
            for side, child in (("true", int(node["left"])), ("false", int(node["right"]))):
                leaf = bool(nodes[child]["is_leaf"])
                a[f"{side}leafs"].append(int(leaf))
                a[f"{side}ids"].append(len(a["weights"]) if leaf else number[child])
                if leaf:
                    a["weights"].append(_rounded(nodes[child]["value"]))
    sets = {"membership_values": _tensor(a["members"], np.float32)} if a["members"] else {}
    return sets | {
        "tree_roots": a["roots"],
        "nodes_featureids": a["features"],
        "nodes_modes": _tensor(a["modes"], np.uint8),
        "nodes_splits": _tensor(a["splits"], np.float32),
        "nodes_truenodeids": a["trueids"],
        "nodes_trueleafs": a["trueleafs"],
        "nodes_falsenodeids": a["falseids"],
        "nodes_falseleafs": a["falseleafs"],
        "leaf_weights": _tensor(a["weights"], np.float32),
        "leaf_targetids": [0] * len(a["weights"]),
        "n_targets": 1,
    }


def _categories(trees: Any) -> list[npt.NDArray[np.float64]]:
    """The values of each categorical feature, in the order in which scikit-learn numbers them."""
    if trees._preprocessor is None:
        return []
    return list(trees._preprocessor.named_transformers_["encoder"].categories_)


def _members(bits: npt.NDArray[np.uint32], known: npt.NDArray[np.float64], others: bool) -> list[float]:
    """The values of a set: `bits` uint32 [8] has those known by number; those that aren't all are, or none."""
    number = {float(value): k for k, value in enumerate(known)}
    values = map(float, range(SET + 2))
    return [v for v in values if (int(bits[number[v] // 32]) >> number[v] % 32 & 1 if v in number else others)]


def _below(threshold: float) -> np.float32:
    """The largest float32 that is at most `threshold`: the same float32 numbers are at most either."""
    nearest = np.float32(threshold)
    return nearest if nearest <= threshold else np.nextafter(nearest, np.float32(-np.inf))


def _tensor(values: list[Any], dtype: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, dtype))
