"""Only what may pass by itself is tried again."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.retries import passing
from tests.conftest import Program, free_port
from vae_core.config import SchemaConfig, SourceConfig
from vae_core.errors import BusyError, ConfigError, GateRefusedError, SourceError, StorageError, TrainingError
from vae_core.ingest import ingest
from vae_core.store import Store


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers every request with the number in its path."""

    def do_GET(self) -> None:
        self.send_error(int(self.path.strip("/").partition(".")[0]))

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def failure(source: SourceConfig, store: Path) -> SourceError:
    with pytest.raises(SourceError) as caught:
        ingest(source, SchemaConfig(), store=Store(store), name="x")
    return caught.value


def test_a_network_that_fails_is_tried_again_and_a_wrong_address_is_not(web: str, tmp_path: Path) -> None:
    assert passing(failure(SourceConfig(path=f"http://127.0.0.1:{free_port()}/x.csv"), tmp_path))
    assert passing(failure(SourceConfig(path=f"http://{web}/503.csv"), tmp_path))
    assert not passing(failure(SourceConfig(path=f"http://{web}/404.csv"), tmp_path))
    assert not passing(failure(SourceConfig(path=str(tmp_path / "none.csv")), tmp_path))


def test_a_bucket_that_does_not_answer_is_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "x")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    assert passing(failure(SourceConfig(path="s3://bucket/x.csv"), tmp_path))


def test_a_query_that_is_wrong_is_not_tried_again(tmp_path: Path) -> None:
    import sqlite3

    sqlite3.connect(tmp_path / "d.db").close()
    source = SourceConfig(query="select * from nothing", url=f"sqlite:///{tmp_path / 'd.db'}")
    assert not passing(failure(source, tmp_path))


def test_what_the_user_has_to_change_is_not_tried_again() -> None:
    for error in (ConfigError("x"), GateRefusedError("x"), TrainingError("x"), ValueError("x")):
        assert not passing(error)
    assert passing(BusyError("x"))
    full, interrupted = StorageError("x"), StorageError("x")
    full.__cause__, interrupted.__cause__ = OSError(28, "No space left"), OSError(5, "Input/output error")
    assert not passing(full)
    assert passing(interrupted)


def test_a_password_in_an_address_reaches_neither_prefect_nor_the_terminal(
    web: str, pipeline: Program, prefect_home: Path, tmp_path: Path
) -> None:
    ended = pipeline("run", f"http://me:s3cr3t@{web}/404.csv", cwd=tmp_path)
    assert ended.code == 2
    assert "404" in ended.err
    assert "s3cr3t" not in ended.err
    for file in prefect_home.glob("prefect.db*"):
        assert b"s3cr3t" not in file.read_bytes()
