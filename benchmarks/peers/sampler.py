"""A resident SDV synthesizer whose `sample` + `to_parquet` is timed. Runs in the peers' environment.

    python sampler.py METHOD DATA CACHE [--epochs 1]

Reads lines `ROWS FILE` from stdin; for each it writes ROWS rows to FILE and answers with the seconds that took, of wall
and of processor time. The first line of stdout is JSON about the synthesizer. A fitted one is kept in CACHE, so that
training happens once.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

import sdv
import torch
from synthesize import METHODS, fit


def main() -> None:
    """Load or train, then serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=list(METHODS))
    parser.add_argument("data", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--epochs", type=int, default=1, help="sampling takes no longer after many")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    kept = arguments.cache / f"{arguments.method}-{arguments.epochs}-{sdv.__version__}.pkl"
    if not kept.exists():
        synthesizer, _ = fit(arguments.method, arguments.data, 0, arguments.epochs)
        arguments.cache.mkdir(parents=True, exist_ok=True)
        synthesizer.save(kept)
    synthesizer = METHODS[arguments.method].load(kept)
    epochs = synthesizer.get_parameters().get("epochs")
    print(json.dumps({"sdv": sdv.__version__, "epochs": epochs, "threads": torch.get_num_threads()}), flush=True)
    for line in sys.stdin:
        rows, file = line.rstrip("\n").split(" ", 1)
        began, used = time.perf_counter(), time.process_time()
        synthesizer.sample(int(rows)).to_parquet(file, index=False)
        print(time.perf_counter() - began, time.process_time() - used, flush=True)


if __name__ == "__main__":
    main()
