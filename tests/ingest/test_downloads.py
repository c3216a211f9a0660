"""Files behind an address: the same table, its download shown, and never half of it."""

from __future__ import annotations

import gzip
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from snapshots import Ingest

from vae_core.config import SchemaConfig, SourceConfig
from vae_core.errors import SourceError
from vae_core.ingest import ingest
from vae_core.store import Store

TABLE = pa.table({"n": [i % 17 for i in range(200)], "s": [f"level {i % 5}" for i in range(200)]})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, list[str | None]]]:
    logins: list[str | None] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(tmp_path))

        def log_message(self, *_: Any) -> None:
            logins.append(self.headers.get("Authorization"))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{running.server_port}", logins
        running.shutdown()


def test_urls(server: tuple[str, list[str | None]], snapshot: Ingest, tmp_path: Path) -> None:
    address, logins = server
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(TABLE.to_pandas().to_csv(index=False).encode()))
    result = snapshot(f"http://user:hunter2@{address}/a.csv.gz?token=hunter2")
    assert result.table.equals(TABLE)
    assert logins[0] is not None
    assert logins[0].startswith("Basic ")
    assert "hunter2" not in (result.artifact.folder / "manifest.json").read_text()
    assert snapshot(path.as_uri()).artifact.folder == result.artifact.folder
    with pytest.raises(SourceError, match="answers 404") as caught:
        snapshot(f"http://user:hunter2@{address}/b.csv")
    assert "hunter2" not in str(caught.value)


def test_downloads_are_shown(server: tuple[str, list[str | None]], tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"a,b\n" + b"1,2\n3,4\n" * 500_000)
    notes: list[str] = []
    ingest(
        SourceConfig(path=f"http://{server[0]}/a.csv"),
        SchemaConfig(),
        Store(tmp_path / "store"),
        "data",
        lambda done, total=None, note="": notes.append(note) if note else None,
    )
    assert notes == [f"{megabytes} of 4 MB fetched" for megabytes in (1, 2, 3, 4)]


def test_a_download_that_ends_early_is_refused(tmp_path: Path, snapshot: Ingest) -> None:
    class Cut(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "4004")
            self.end_headers()
            self.wfile.write(b"a,b\n" + b"1,2\n" * 500)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cut) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        with pytest.raises(SourceError, match="ended after 2,004 of 4,004 bytes"):
            snapshot(f"http://127.0.0.1:{running.server_port}/a.csv")
        running.shutdown()
