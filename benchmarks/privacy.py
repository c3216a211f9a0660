"""Fidelity against epsilon: the same table learned privately with several budgets, and without.

    python benchmarks/privacy.py DATA [--table adult] [--epsilons 1,2,4,8,inf] [--delta 1e-5] [--seed 0]

DATA is a folder of tables (see tables.py). Training is ours with default settings, `inf` the ordinary one. Measured
with `vae_core.quality`, against the training rows: shape, trend, three-way error, the two-sample classifier, and how
well trees that are trained on synthetic rows predict the test rows. "independent" are columns drawn one by one from the
training rows: what is worse than that has learned nothing. Writes results/privacy.json and docs/privacy.svg.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1]))

import tables
from privacy_plot import draw

from vae_core.config import PrivacyConfig, SchemaConfig, TrainingConfig
from vae_core.export import export
from vae_core.generation import Sampler
from vae_core.ingest import ingest
from vae_core.quality import fidelity, frames, joint, two_sample
from vae_core.quality.utility import utility
from vae_core.schema import Schema
from vae_core.store import Artifact, Store
from vae_core.training import train

RESULTS = Path(__file__).parent / "results" / "privacy.json"
PLOT = Path(__file__).parents[1] / "docs" / "privacy.svg"


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--table", default="adult", help="name of the table (see tables.find)")
    parser.add_argument("--epsilons", type=lambda text: [float(e) for e in text.split(",")], default="1,2,4,8,inf")
    parser.add_argument("--delta", type=float, default=1e-5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=5.0, help="of training, at most")
    arguments = parser.parse_args()
    table = tables.read(arguments.table, arguments.data)
    standing = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        snapshot = ingest(table.train, SchemaConfig(), store, "benchmark")
        runs = standing.setdefault(table.name, {})
        alone = np.random.default_rng(arguments.seed)
        independent = pd.DataFrame({name: alone.permutation(table.train[name]) for name in table.train})
        runs["independent"] = measure(table, snapshot, pa.Table.from_pandas(independent, preserve_index=False))
        for epsilon in arguments.epsilons:
            privacy = PrivacyConfig(epsilon=epsilon, delta=arguments.delta) if math.isfinite(epsilon) else None
            config = TrainingConfig(seed=arguments.seed, max_minutes=arguments.minutes, privacy=privacy)
            began, used = time.monotonic(), time.process_time()
            model = train(snapshot, config, store, "benchmark")
            took = {"seconds": time.monotonic() - began, "processor_seconds": time.process_time() - used}
            model = export(model)
            synthetic = Sampler(model).sample(len(table.train), seed=arguments.seed + 1)
            found = measure(table, snapshot, synthetic)
            record = json.loads(model.file("training.json").read_text())
            runs[str(epsilon)] = {
                **found,
                **{key: round(value, 1) for key, value in took.items()},
                "kl": record["kl"],
                "steps": record["last_step"],
                "spent": model.manifest.get("privacy"),
            }
            RESULTS.write_text(json.dumps(standing, indent=1) + "\n")
            print(table.name, epsilon, json.dumps(runs[str(epsilon)]), flush=True)
    draw(standing.get("adult", runs), PLOT)


def measure(table: tables.Table, snapshot: Artifact, synthetic: pa.Table) -> dict[str, Any]:
    """Errors of `synthetic` against the training rows, and its use for predicting the test rows."""
    schema = Schema.from_dict(json.loads(snapshot.file("schema.json").read_text()))
    rows = {
        "train": pa.Table.from_pandas(table.train, schema=schema.arrow, preserve_index=False),
        "test": pa.Table.from_pandas(table.test, schema=schema.arrow, preserve_index=False),
        "synthetic": synthetic.cast(schema.arrow),
    }
    found = frames.prepare(rows, schema)
    real, test, made = found["train"], found["test"], found["synthetic"]
    use = utility(real, test, made, table.target)
    return {
        "shape_error": float(np.nanmean(list(fidelity.shape_errors(real, made).values()))),
        "trend_error": fidelity.trend_errors(real, made).mean,
        "three_way_error": joint.three_way_errors(real, made).mean,
        "two_sample_auc": two_sample.two_sample(real, made, importance=False).auc,
        "utility_metric": use.metric,
        "utility_synthetic": use.synthetic,
        "utility_real": use.real,
    }


if __name__ == "__main__":
    main()
