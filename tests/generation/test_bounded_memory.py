"""Memory is bounded by the workers, whatever the number of rows."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.conftest import ROOT, environment
from vae_core.store import Artifact


def test_four_times_the_rows_take_the_same_memory(model: Artifact) -> None:
    # Measured by the benchmark, in processes that it starts: a process counts what the one that started it held then.
    # The fewer rows are more than one shard has at least: below, its size isn't measured, which takes memory too.
    rows = ["--rows", "1200000", "4800000", "--workers", "2"]
    command = [sys.executable, str(ROOT / "benchmarks/memory.py"), str(model.folder), *rows]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    measured = json.loads(done.stdout)
    assert measured["ratio"] <= 1.1 and all(run["peak_mib"] <= 1024 for run in measured["runs"])
