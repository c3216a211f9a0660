"""From one worker to two: the local engine, Dask, and what the machine itself allows.

    python benchmarks/scaling.py MODEL_FOLDER [--rows 8000000] [--workers 2] [--repeats 5] [--json RESULT.json]

Measured in turn, round by round, each generating the same number of rows a worker in shards of a million, end to end to
Parquet, in processes that have the libraries loaded:

- local, dask: the engine with one worker, and with several. Dask's clusters of processes stand already; how long one
  takes to start is told apart, as a dataset of billions of rows pays it once;
- side by side: as many processes as workers, each a run of its own with one worker, that share nothing but the machine.
  Its ratio to one of them alone is the limit of what any engine can reach here: two virtual cores that are one
  physical core, memory and cache give less than twice.

The ratio within a round to one worker's rate in it is taken, and the median over the rounds. "processor" is processor
time a row: where it rises with the workers, they slow each other down; where it doesn't, and the ratio is poor, they
wait. "load" is the load of the machine before the first round: figures of a machine that isn't idle mean little.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import distributed
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from vae_core.config import GenerationConfig
from vae_core.generation import generate
from vae_core.generation.dask_engine import local_cluster
from vae_core.store import Artifact, Store

SHARD = 1_048_576
Measured = tuple[float, float]  # seconds, seconds of processor time


def one(model: str, rows: int, workers: int, scheduler: str | None = None) -> Measured:
    """Generate a dataset and remove it, from loaded libraries to the manifest on disk."""
    with tempfile.TemporaryDirectory() as folder:
        config = GenerationConfig(
            rows=rows,
            rows_per_shard=SHARD,
            workers=workers,
            device="cpu",
            engine="local" if scheduler is None else "dask",
            scheduler=scheduler,
        )
        artifact = Artifact.load(Path(model))
        began, used = time.perf_counter(), time.process_time()
        generate(artifact, config, Store(folder))
        return time.perf_counter() - began, time.process_time() - used


def side_by_side(pool: ProcessPoolExecutor, model: str, rows: int, count: int) -> Measured:
    """As many runs as workers, each in a process of its own; the time until the last one is done."""
    began = time.perf_counter()
    runs = [run.result() for run in [pool.submit(one, model, rows // count, 1) for _ in range(count)]]
    return time.perf_counter() - began, sum(processor for _, processor in runs)


def on_cluster(cluster: distributed.LocalCluster, model: str, rows: int, workers: int) -> Measured:
    """A run on a cluster that stands; processor time is that of its workers and of the client."""
    processes = [psutil.Process(pid) for pid in worker_pids(cluster)]

    def used() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in processes)

    before = used()
    seconds, processor = one(model, rows, workers, cluster.scheduler_address)
    return seconds, processor + used() - before


def worker_pids(cluster: distributed.LocalCluster) -> list[int]:
    """The processes of a cluster's workers."""
    return [nanny.pid for nanny in cluster.workers.values()]


def measure(model: str, rows: int, workers: int, repeats: int) -> dict[str, Any]:
    """All variants, in turn; the order turns with the rounds."""
    load = round(os.getloadavg()[0], 2)
    began = time.perf_counter()
    with (
        distributed.LocalCluster(**local_cluster(workers)) as several,
        ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool,
    ):
        started = time.perf_counter() - began
        single = distributed.LocalCluster(**local_cluster(1))
        variants: dict[str, tuple[int, Callable[[], Measured]]] = {
            "local 1": (rows, lambda: pool.submit(one, model, rows, 1).result()),
            f"local {workers}": (rows * workers, lambda: pool.submit(one, model, rows * workers, workers).result()),
            "dask 1": (rows, lambda: on_cluster(single, model, rows, 1)),
            f"dask {workers}": (rows * workers, lambda: on_cluster(several, model, rows * workers, workers)),
            f"side by side {workers}": (
                rows * workers,
                lambda: side_by_side(pool, model, rows * workers, workers),
            ),
        }
        with single:
            side_by_side(pool, model, SHARD * workers, workers)  # imports, and the first touch of everything
            for cluster, count in ((single, 1), (several, workers)):
                on_cluster(cluster, model, SHARD * count, count)
            rates: dict[str, list[float]] = {name: [] for name in variants}
            processor: dict[str, list[float]] = {name: [] for name in variants}
            for turn in range(repeats):
                names = list(variants)
                for name in names[turn % len(names) :] + names[: turn % len(names)]:
                    made, run = variants[name]
                    seconds, used = run()
                    rates[name].append(made / seconds)
                    processor[name].append(used / made * 1e9)
                    print(f"round {turn + 1}  {name:15} {made / seconds:12,.0f} rows/s", file=sys.stderr, flush=True)

    def ratio(name: str, base: str) -> float:
        return round(statistics.median(a / b for a, b in zip(rates[name], rates[base], strict=True)), 3)

    limit = ratio(f"side by side {workers}", "local 1")
    return {
        "cpus": os.cpu_count(),
        "load": load,
        "workers": workers,
        "rows_per_worker": rows,
        "rows_per_shard": SHARD,
        "rounds": repeats,
        "rows_per_second": {name: round(statistics.median(values)) for name, values in rates.items()},
        "processor_ns_per_row": {name: round(statistics.median(values)) for name, values in processor.items()},
        "ratio": {
            f"local {workers} / local 1": ratio(f"local {workers}", "local 1"),
            f"dask {workers} / dask 1": ratio(f"dask {workers}", "dask 1"),
            "dask 1 / local 1": ratio("dask 1", "local 1"),
            f"dask {workers} / local {workers}": ratio(f"dask {workers}", f"local {workers}"),
            f"limit: side by side {workers} / local 1": limit,
            "dask, of the limit": round(ratio(f"dask {workers}", "dask 1") / limit, 3),
        },
        "goal_ratio": 0.9 * workers,
        "cluster_start_seconds": round(started, 2),
    }


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of an exported model")
    parser.add_argument("--rows", type=int, default=8 * SHARD, help="a worker, rounded to whole shards")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the result here")
    arguments = parser.parse_args()
    rows = max(1, round(arguments.rows / SHARD)) * SHARD
    result = measure(arguments.model, rows, arguments.workers, arguments.repeats)
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
