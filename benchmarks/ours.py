"""Train ours on a table and draw rows: what benchmarks/peers/synthesize.py is for the peers.

    python ours.py DATA OUTPUT [--seed 0] [--settings JSON]

DATA has train.parquet and metadata.json; OUTPUT gets synthetic.parquet, how.json and the model. Settings are the
defaults, except what JSON says: {"training": {…}, "declared": true}, where `declared` tells the schema which columns
are categories, as the peers are told; without it all is inferred from the rows.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

from vae_core.config import ColumnConfig, SchemaConfig, TrainingConfig, parse
from vae_core.export import export
from vae_core.generation import Sampler
from vae_core.ingest import ingest
from vae_core.progress import bar
from vae_core.schema import Kind
from vae_core.store import Store
from vae_core.training import train


def main() -> None:
    """Train, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--settings", type=json.loads, default={})
    arguments = parser.parse_args()
    settings: dict[str, Any] = arguments.settings
    frame = pd.read_parquet(arguments.data / "train.parquet")
    kinds = json.loads((arguments.data / "metadata.json").read_text())["columns"]
    categorical = [name for name, column in kinds.items() if column["sdtype"] == "categorical"]
    declared = categorical if settings.get("declared") else []
    schema = SchemaConfig(columns={name: ColumnConfig(kind=Kind.CATEGORICAL) for name in declared})
    config = parse(TrainingConfig, {"seed": arguments.seed} | settings.get("training", {}), "settings")

    store = Store(arguments.output / "store")
    began = time.monotonic()
    snapshot = ingest(frame, schema, store, "benchmark")
    ingested, used = time.monotonic(), time.process_time()
    with bar("train", "steps") as progress:
        model = train(snapshot, config, store, "benchmark", progress)
    trained, processor = time.monotonic(), time.process_time() - used
    model = export(model)
    exported = time.monotonic()
    Sampler(model.folder).sample(len(frame), seed=arguments.seed + 1).to_pandas().to_parquet(
        arguments.output / "synthetic.parquet", index=False
    )
    record = json.loads(model.file("training.json").read_text())
    how = {
        "train_seconds": round(trained - ingested, 1),
        "train_processor_seconds": round(processor, 1),
        "sample_seconds": round(time.monotonic() - exported, 2),
        "kl": record["kl"],
        "stopped": record["stopped"],
        "threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)),
        "other_seconds": round(ingested - began + exported - trained, 1),
    }
    (arguments.output / "how.json").write_text(json.dumps(how) + "\n")


if __name__ == "__main__":
    main()
