"""Train one of SDV's synthesizers on a table and draw rows. Runs in the peers' environment, without the project.

    python synthesize.py METHOD DATA OUTPUT [--seed 0] [--epochs N] [--rows N]

DATA has train.parquet and metadata.json; OUTPUT gets synthetic.parquet and how.json. Everything is SDV's default except
what is given here.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sdv.metadata import Metadata
from sdv.single_table import CTGANSynthesizer, GaussianCopulaSynthesizer, TVAESynthesizer

METHODS: dict[str, Any] = {
    "tvae": TVAESynthesizer,
    "ctgan": CTGANSynthesizer,
    "gaussian_copula": GaussianCopulaSynthesizer,
}


def fit(method: str, data: Path, seed: int, epochs: int | None = None) -> tuple[Any, dict[str, Any]]:
    """Train `method` on DATA/train.parquet. Returns the synthesizer, and how training went."""
    warnings.simplefilter("ignore")
    train = pd.read_parquet(data / "train.parquet")
    columns = json.loads((data / "metadata.json").read_text())["columns"]
    metadata = Metadata.load_from_dict({"tables": {"table": {"columns": columns}}})
    np.random.seed(seed)
    torch.manual_seed(seed)
    options = {} if epochs is None or method == "gaussian_copula" else {"epochs": epochs}
    synthesizer = METHODS[method](metadata, **options)
    began, used = time.monotonic(), time.process_time()
    synthesizer.fit(train)
    how = {
        "train_seconds": round(time.monotonic() - began, 1),
        "train_processor_seconds": round(time.process_time() - used, 1),
        "epochs": synthesizer.get_parameters().get("epochs"),
        "threads": torch.get_num_threads(),
    }
    return synthesizer, how


def main() -> None:
    """Train, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=list(METHODS))
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="SDV's default when not given")
    parser.add_argument("--rows", type=int, help="as many as in the training table when not given")
    arguments = parser.parse_args()
    synthesizer, how = fit(arguments.method, arguments.data, arguments.seed, arguments.epochs)
    rows = arguments.rows or len(pd.read_parquet(arguments.data / "train.parquet"))
    began = time.monotonic()
    synthesizer.sample(rows).to_parquet(arguments.output / "synthetic.parquet", index=False)
    how["sample_seconds"] = round(time.monotonic() - began, 2)
    (arguments.output / "how.json").write_text(json.dumps(how) + "\n")


if __name__ == "__main__":
    main()
