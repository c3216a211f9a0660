"""Fidelity of synthetic tables, by sdmetrics 0.24.0's definitions.

    python benchmarks/fidelity.py --data FOLDER --peers PEERS/bin/python [--tables adult] [--minutes 5] [--seeds 1]

FOLDER holds one folder a table (see tables.py); PEERS is a virtual environment with peers/requirements.txt. Trains on
the training rows, draws as many synthetic rows, and prints shape and trend error (%), the classifier two-sample score
(XGBoost), the AUC of train-on-synthetic beside train-on-real, exact copies beside those of the test rows, and the KL.
With --bootstrap the synthetic rows are a bootstrap of the training rows: the noise floor of every figure.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
from tables import TABLES, Table, read

from vae_core.config import SchemaConfig, TrainingConfig
from vae_core.export import export
from vae_core.generation import Sampler
from vae_core.ingest import ingest
from vae_core.progress import bar
from vae_core.store import Store
from vae_core.training import train


def synthesize(table: Table, config: TrainingConfig, store: Store, name: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Train on the table and draw as many rows. Returns them, and how training went."""
    snapshot = ingest(table.train, SchemaConfig(), store, name)
    started = time.monotonic()
    with bar(f"{name}: train", "steps") as progress:
        model = train(snapshot, config, store, name, progress)
    seconds = time.monotonic() - started
    model = export(model)
    record = json.loads(model.file("training.json").read_text())
    rows = Sampler(model.folder).sample(len(table.train), seed=config.seed + 1).to_pandas()
    return rows, {"train_seconds": round(seconds, 1), "kl": record["kl"], "stopped": record["stopped"]}


def score(peers: str, table: Table, synthetic: pd.DataFrame, folder: Path) -> dict[str, Any]:
    """Have the peers' environment score `synthetic`."""
    for name, frame in (("train", table.train), ("test", table.test), ("synthetic", synthetic[table.train.columns])):
        frame.to_csv(folder / f"{name}.csv", index=False)
    script = Path(__file__).parent / "peers" / "fidelity.py"
    done = subprocess.run([peers, script, folder, table.target], stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peers", required=True)
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--bootstrap", action="store_true")
    parser.add_argument("--store", type=Path, help="keep the models here; a temporary folder when not given")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    results = []
    for name in arguments.tables:
        table = read(name, arguments.data)
        for seed in range(arguments.seeds):
            with tempfile.TemporaryDirectory() as scratch:
                if arguments.bootstrap:
                    synthetic = table.train.sample(frac=1.0, replace=True, random_state=seed)
                    how: dict[str, Any] = {"bootstrap": True}
                else:
                    config = TrainingConfig(seed=seed, max_minutes=arguments.minutes)
                    synthetic, how = synthesize(table, config, Store(arguments.store or scratch), name)
                figures = {
                    "table": name,
                    "seed": seed,
                    **how,
                    **score(arguments.peers, table, synthetic, Path(scratch)),
                }
            results.append(figures)
            print(json.dumps(figures), flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
