"""Score two tables with sdmetrics' QualityReport and coverage. Runs in the peers' environment, without the project.

python score.py FOLDER   # real.csv, synthetic.csv, metadata.json → JSON on stdout
"""

from __future__ import annotations

import json
import math
import sys
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
from sdmetrics.reports.single_table import QualityReport
from sdmetrics.single_column import CategoryCoverage, RangeCoverage


def read(path: Path, metadata: dict[str, Any]) -> pd.DataFrame:
    """The table with the types that the metadata names; an empty field is missing."""
    kinds = {name: column["sdtype"] for name, column in metadata["columns"].items()}
    text = {name: str for name, kind in kinds.items() if kind in ("categorical", "boolean")}
    frame = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""], float_precision="round_trip")
    for name, kind in kinds.items():
        if kind == "datetime":
            frame[name] = pd.to_datetime(frame[name])
    return frame


def main(folder: Path) -> None:
    """Print shape and trend errors, the means and each column's and pair's; and what each column covers."""
    metadata = json.loads((folder / "metadata.json").read_text())
    report = QualityReport()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        real, synthetic = (read(folder / f"{name}.csv", metadata) for name in ("real", "synthetic"))
        report.generate(real, synthetic, metadata, verbose=False)
    means = dict(report.get_properties().itertuples(index=False))
    shapes = report.get_details("Column Shapes")
    trends = report.get_details("Column Pair Trends")

    def covered(name: str, kind: str) -> float | None:
        metric = RangeCoverage if kind in ("numerical", "datetime") else CategoryCoverage
        share = float(metric.compute(real[name], synthetic[name]))
        return None if math.isnan(share) else share

    def error(score: float) -> float | None:
        return None if math.isnan(score) else 1 - score

    print(
        json.dumps(
            {
                "shape": error(means["Column Shapes"]),
                "trend": error(means["Column Pair Trends"]),
                "columns": {row.Column: error(row.Score) for row in shapes.itertuples()},
                "coverage": {name: covered(name, c["sdtype"]) for name, c in metadata["columns"].items()},
                "pairs": [[row[1], row[2], error(row[4])] for row in trends.itertuples()],
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
