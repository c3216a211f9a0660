"""The peak of resident memory of `vaesynth generate`, which should not depend on the number of rows.

    python benchmarks/memory.py MODEL_FOLDER [--rows 1000000 100000000] [--workers 2] [--json RESULT.json]

Each run is the command line in a process of its own, and what it wrote is removed. Exit code 1 when the most rows take
more than 1.1 times the memory of the fewest, or any run more than 1 GiB.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RATIO, LIMIT = 1.1, 1 << 30


def measure(model: str, rows: int, workers: int, folder: str | None) -> dict[str, float]:
    """Generate `rows` rows and remove them: wall seconds, bytes written, and the peak of resident memory in bytes."""
    with tempfile.TemporaryDirectory(dir=folder) as output:
        options = ["--rows", str(rows), "--workers", str(workers), "--device", "cpu", "--output", f"{output}/out"]
        command = [sys.executable, "-m", "vae_core.cli", "generate", str(Path(model).resolve()), *options]
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
        seconds = time.perf_counter() - began
        size = sum(path.stat().st_size for path in Path(output).rglob("*.parquet"))
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"rows": rows, "seconds": round(seconds, 1), "bytes": size, "peak_bytes": peak}


def main() -> int:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of an exported model")
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 100_000_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", help="where the rows are written meanwhile")
    parser.add_argument("--json", type=Path, help="write the result here")
    arguments = parser.parse_args()
    runs = [measure(arguments.model, rows, arguments.workers, arguments.folder) for rows in sorted(arguments.rows)]
    ratio = runs[-1]["peak_bytes"] / runs[0]["peak_bytes"]
    peak = max(run["peak_bytes"] for run in runs)
    result = {
        "workers": arguments.workers,
        "runs": [run | {"peak_mib": round(run["peak_bytes"] / 2**20)} for run in runs],
        "ratio": round(ratio, 3),
        "asked": {"ratio": RATIO, "peak_mib": LIMIT >> 20},
    }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    return int(ratio > RATIO or peak > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
