"""Generation end to end to Parquet, where the time goes, and how much memory it takes.

    python benchmarks/generation.py MODEL_FOLDER [--rows 1000000 20000000] [--workers N] [--json RESULT.json]

Each run end to end is a process of its own, so that its peak of resident memory is that run's; the median of the
repeats is reported. The steps are timed on one thread, a row group at a time, in processor time, which other programs
on the machine disturb less than they do wall time. "busy" is the share of the workers' cores that an end-to-end run
used: where it is well below 1, either workers waited for each other or other programs took the cores.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vae_core.config import GenerationConfig
from vae_core.generation import BLOCK, Run, Sampler, Shard, generate
from vae_core.generation.generate import cores
from vae_core.generation.shards import Folder
from vae_core.generation.writer import ROW_GROUP, ShardWriter
from vae_core.store import Artifact, Store


def end_to_end(model: str, rows: int, workers: int, batch: int) -> dict[str, float]:
    """Generate a dataset and remove it; `seconds` counts from the loaded libraries to the manifest on disk."""
    with tempfile.TemporaryDirectory() as folder:
        config = GenerationConfig(rows=rows, workers=workers, batch_size=batch, device="cpu")
        artifact = Artifact.load(Path(model))
        began, used = time.perf_counter(), time.process_time()
        dataset = generate(artifact, config, Store(folder))
        seconds, processor = time.perf_counter() - began, time.process_time() - used
        size = sum(entry["bytes"] for entry in dataset.manifest["files"].values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"seconds": seconds, "processor": processor, "peak_bytes": peak, "bytes": size}


def steps(model: str, batch: int, groups: int) -> dict[str, float]:
    """Nanoseconds a row and core of each step."""
    sampler = Sampler(model, device="cpu", batch_size=batch)
    spent: dict[str, list[float]] = {}

    def timed(step: str, work: Callable[..., Any], *arguments: Any) -> Any:
        began = time.thread_time()
        result = work(*arguments)
        spent.setdefault(step, []).append((time.thread_time() - began) / ROW_GROUP * 1e9)
        return result

    with tempfile.TemporaryDirectory() as name:
        folder = Folder(Path(name), Run("", "", 0, groups * ROW_GROUP, groups * ROW_GROUP, "zstd"))
        (folder.path / ".records").mkdir()
        writer = ShardWriter(folder, Shard(0, 0, groups * ROW_GROUP), sampler.schema)
        for group in range(groups):
            first = group * ROW_GROUP
            noise = timed("noise", sampler.noise, ROW_GROUP, 0, first)
            codes = timed("decoder", sampler.decoder.decode, *noise)
            table = timed("values", sampler.columns, *codes, first, 0)
            timed("parquet", writer.write, table)
        writer.finish()
    return {step: statistics.median(times) for step, times in spent.items()}


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of an exported model")
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--workers", type=int, help="as many as cores when not given")
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the result here")
    arguments = parser.parse_args()
    workers = cores(arguments.workers)
    runs = []
    for rows in arguments.rows:
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            job = (arguments.model, rows, workers, arguments.batch_size)
            measured = [pool.apply(end_to_end, job) for _ in range(arguments.repeats)]
        seconds, processor = (statistics.median(run[key] for run in measured) for key in ("seconds", "processor"))
        runs.append(
            {
                "rows": rows,
                "seconds": round(seconds, 3),
                "rows_per_second": round(rows / seconds),
                "busy": round(processor / seconds / workers, 3),
                "processor_ns_per_row": round(processor / rows * 1e9),
                "bytes_per_row": round(measured[0]["bytes"] / rows, 2),
                "peak_mib": round(max(run["peak_bytes"] for run in measured) / 2**20),
            }
        )
    spent = steps(arguments.model, arguments.batch_size, 4)
    total = sum(spent.values())
    result = {
        "cpus": os.cpu_count(),
        "workers": workers,
        "batch_size": arguments.batch_size,
        "block": BLOCK,
        "runs": runs,
        "goal_rows_per_second": 400_000,
        "processor_ns_per_row": {step: round(value) for step, value in spent.items()},
        "share": {step: round(value / total, 3) for step, value in spent.items()},
        "sum_of_steps_ns": round(total),
    }
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
