"""Do synthetic taxi rides add up, and end after they began? With relations between columns, and without.

    python benchmarks/relations.py --data FOLDER --peers PEERS/bin/python [--jobs 2] [--json RESULT.json]

FOLDER has `nyc_green_taxi/green_tripdata_2024-01.parquet`. Trainings and scores are kept as fidelity.py
keeps them.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
from fidelity import OURS, Job, place, run, variant
from tables import CACHE, prepare, read

PARTS = [
    "fare_amount",
    "extra",
    "mta_tax",
    "tip_amount",
    "tolls_amount",
    "improvement_surcharge",
    "congestion_surcharge",
]
APART = variant({"training": {"codec": {"relations": False}}})
SCORES = ("shape_error", "trend_error", "two_sample_score", "utility_synthetic", "utility_real", "train_seconds")


def sense(rides: pd.DataFrame) -> dict[str, float]:
    """Shares of rides in per cent, and a rank correlation."""
    rest = rides["total_amount"] - rides[PARTS].fillna(0.0).sum(axis=1)
    minutes = (rides["lpep_dropoff_datetime"] - rides["lpep_pickup_datetime"]).dt.total_seconds() / 60
    return {
        "total_is_sum_of_seven_amounts": round(100 * float((rest.abs() < 0.005).mean()), 2),
        "dropoff_before_pickup": round(100 * float((minutes < 0).mean()), 2),
        "duration_with_distance": round(float(minutes.rank().corr(rides["trip_distance"].rank())), 3),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peers", required=True, help="python of the peers' environment")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    table = read("taxi", arguments.data)
    data, _ = prepare(table, CACHE)
    jobs = {
        "relations": Job(table, data, "ours", 0, False, OURS["ours"]),
        "each column by itself": Job(table, data, "apart", 0, False, APART),
        "bootstrap": Job(table, data, "bootstrap", 0, False),
    }
    places = {name: place(job, None) for name, job in jobs.items()}
    with ThreadPoolExecutor(arguments.jobs) as pool:
        scores = dict(zip(jobs, pool.map(lambda job: run(job, arguments.peers, 1, None), jobs.values()), strict=True))
    result: dict[str, Any] = {"real": sense(pd.read_parquet(data / "train.parquet"))}
    for name, figures in scores.items():
        rows = pd.read_parquet(places[name] / "synthetic.parquet")
        result[name] = sense(rows) | {score: figures[score] for score in SCORES if score in figures}
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
