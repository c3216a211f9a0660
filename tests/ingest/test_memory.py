"""A source larger than memory ingests: what is held doesn't grow with the source."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import resource, sys
import pyarrow.parquet  # the libraries' own memory is the baseline
from vae_core.config import SchemaConfig, SourceConfig
from vae_core.ingest import ingest
from vae_core.store import Store
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
ingest(SourceConfig(path=sys.argv[1]), SchemaConfig(), Store(sys.argv[2]), "x")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units elsewhere")
def test_memory_does_not_grow_with_the_source(tmp_path: Path) -> None:
    part = "".join(f"{i},{i % 97},{i / 7:.6f},level {i % 50},some words that are long {i}\n" for i in range(100_000))
    peaks = []
    for times in (4, 20):
        path = tmp_path / "a.csv"
        with path.open("w") as file:
            file.write("id,n,r,level,note\n")
            for _ in range(times):
                file.write(part)
        command = [sys.executable, "-c", SCRIPT, str(path), str(tmp_path / f"store{times}")]
        peaks.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    small, large = path.stat().st_size * 4 / 20 / 2**20, path.stat().st_size / 2**20
    assert large - small > 70
    assert peaks[1] < 250, peaks
    assert peaks[1] - peaks[0] < 60, peaks
