"""Tables that are small, wide, long, or of many levels: is training bounded in time and memory?

    python benchmarks/extremes.py [--minutes 0.5] [--only wide] [--json RESULT.json] [--markdown RESULT.md]

Each table is made up, written to Parquet, and learned by a process of its own with `max_minutes` of training. `fit` is
what that bounds; beside it, training reads the rows, fits the codec, and calibrates. Memory is the peak of a process
since its start, libraries with it (some 300 MiB). Checkpoints are those that training writes on the way.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

PART = 500_000  # rows made at once


def mixed(random: np.random.Generator, rows: int, columns: int) -> pd.DataFrame:
    """Numbers, whole numbers, levels and flags in turn, all of which depend on three hidden numbers."""
    hidden = random.normal(size=(rows, 3))
    made: dict[str, Any] = {}
    for j in range(columns):
        weights = np.random.default_rng(j).normal(size=3)
        x = hidden @ weights + random.normal(size=rows)
        levels = 2 + j % 19
        made[f"c{j}"] = (
            x.round(3),
            np.exp(x).round().astype(np.int64),
            np.char.add("level ", np.clip(levels * (x + 4) / 8, 0, levels - 1).astype(int).astype(str)),
            x > 0,
        )[j % 4]
    return pd.DataFrame(made)


def with_levels(random: np.random.Generator, rows: int, columns: int) -> pd.DataFrame:
    """As `mixed`, with a column of 50,000 levels."""
    table = mixed(random, rows, columns - 1)
    return table.assign(shop=np.char.add("shop ", random.integers(0, 50_000, rows).astype(str)))


TABLES: dict[str, tuple[int, int, Callable[[np.random.Generator, int, int], pd.DataFrame]]] = {
    "small": (50, 8, mixed),
    "wide": (2_000, 500, mixed),
    "levels": (500_000, 5, with_levels),
    "long": (5_000_000, 10, mixed),
}


def write(name: str, path: Path) -> None:
    """Make a table up, a file for each part of its rows."""
    rows, columns, make = TABLES[name]
    path.mkdir()
    for start in range(0, rows, PART):
        part = make(np.random.default_rng(start), min(PART, rows - start), columns)
        part.to_parquet(path / f"{start:09}.parquet")


def learn(source: Path, store: Path, minutes: float) -> dict[str, Any]:
    """Ingest, train, export: seconds of each, and the peak of memory after each in MiB."""
    from vae_core.config import SchemaConfig, SourceConfig, TrainingConfig
    from vae_core.export import export
    from vae_core.ingest import ingest
    from vae_core.store import Store
    from vae_core.training import train
    from vae_core.training.checkpoint import Checkpoint

    found: dict[str, Any] = {"checkpoints": 0, "checkpoint_seconds": 0.0, "checkpoint_mb": 0.0}
    save = Checkpoint.save

    def timed(self: Checkpoint, *what: Any) -> None:
        began = time.perf_counter()
        save(self, *what)
        found["checkpoints"] += 1
        found["checkpoint_seconds"] += time.perf_counter() - began
        found["checkpoint_mb"] = self.path.stat().st_size / 1e6

    Checkpoint.save = timed  # type: ignore[method-assign]

    def measure(stage: str, work: Callable[[], Any]) -> Any:
        began, used = time.perf_counter(), time.process_time()
        result = work()
        found[f"{stage}_seconds"] = time.perf_counter() - began
        found[f"{stage}_processor"] = time.process_time() - used
        found[f"{stage}_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return result

    home = Store(store)
    config = TrainingConfig(max_minutes=minutes, device="cpu")
    snapshot = measure("ingest", lambda: ingest(SourceConfig(path=str(source)), SchemaConfig(), home, "x"))
    model = measure("train", lambda: train(snapshot, config, home, "x"))
    measure("export", lambda: export(model))
    record = json.loads(model.file("training.json").read_text())
    found |= {"fit_seconds": record["total_seconds"], "steps": record["last_step"], "stopped": record["stopped"]}
    found |= {"parameters": record["parameters"], "variables": len(record["nats"])}
    return {key: round(value, 2) if isinstance(value, float) else value for key, value in found.items()}


def markdown(results: dict[str, dict[str, Any]]) -> str:
    """The table of the documentation."""
    lines = [
        "| rows × columns | ingest s | train s | of it fit | steps | export s | peak MiB | a checkpoint |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for name, r in results.items():
        rows, columns, _ = TABLES[name]
        levels = ", one of 50,000 levels" if name == "levels" else ""
        count, share = r["checkpoints"], r["checkpoint_seconds"] / max(r["fit_seconds"], 1e-9)
        kept = f"{r['checkpoint_mb']:.1f} MB, {share:.1%} of the time" if count else "none was due"
        seconds = [f"{r[key]:.1f}" for key in ("ingest_seconds", "train_seconds", "fit_seconds")]
        cells = [f"{rows:,} × {columns}{levels}", *seconds, f"{r['steps']:,}", f"{r['export_seconds']:.1f}"]
        lines.append("| " + " | ".join([*cells, f"{r['export_mib']:,.0f}", kept]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=0.5)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--learn", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.learn:
        print(json.dumps(learn(*arguments.learn, arguments.minutes)))
        return
    results = {}
    for name in arguments.only:
        with tempfile.TemporaryDirectory() as folder:
            source, store = Path(folder) / "table", Path(folder) / "store"
            write(name, source)
            script = [sys.executable, __file__, "--minutes", str(arguments.minutes), "--learn", str(source), str(store)]
            done = subprocess.run(script, stdout=subprocess.PIPE, check=True, env=os.environ)
            results[name] = json.loads(done.stdout)
        print(name, json.dumps(results[name], indent=1), flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps(results, indent=1) + "\n")
        if arguments.markdown:
            arguments.markdown.write_text(markdown(results))
    print(markdown(results))


if __name__ == "__main__":
    main()
