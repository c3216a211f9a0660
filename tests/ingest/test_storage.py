"""Where writing fails, the error says so and nothing half-written stays."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from snapshots import leftovers

from vae_core.config import SchemaConfig, SourceConfig
from vae_core.errors import SourceError
from vae_core.ingest.readers import open_reader

FULL_DISK = """
import resource, sys
from vae_core.config import SchemaConfig, SourceConfig
from vae_core.errors import StorageError
from vae_core.ingest import ingest
from vae_core.store import Store
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    ingest(SourceConfig(path=sys.argv[1]), SchemaConfig(), Store(sys.argv[2]), "x")
except StorageError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="file sizes are limited in other ways elsewhere")
def test_a_full_disk(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write("a.csv", "x,k\n" + "".join(f"{i * 7919 % 99991 / 7},{i % 3}\n" for i in range(100_000)))
    command = [sys.executable, "-c", FULL_DISK, str(path), str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "no space left" in done.stdout, done.stderr
    assert leftovers(tmp_path / "store") == []


def test_a_source_that_changes_while_it_is_read(write: Callable[..., Path]) -> None:
    path = write("a.csv", "x,k\n1,2\n2,2\n")
    reader = open_reader(SourceConfig(path=str(path)), SchemaConfig(), Path)
    reader.digest()
    tables = reader.tables()
    next(tables)
    with path.open("a") as file:
        file.write("3,2\n")
    with pytest.raises(SourceError, match="was changed while it was read"):
        list(tables)
