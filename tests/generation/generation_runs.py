"""Generation by the real command line in processes of its own, and what may be found on the disk at any moment."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import yaml

from tests.conftest import command, environment
from vae_core.generation import BLOCK
from vae_core.generation.verify import verify
from vae_core.store import Artifact

SEED = 7
Running = subprocess.Popen[str]


def arguments(model: Artifact, output: Path | str, rows: int, *more: str, **settings: Any) -> list[str]:
    """`vaesynth generate` of small shards, one noise block each, by two workers."""
    generation = {"rows_per_shard": BLOCK, "device": "cpu", "workers": 2, "seed": SEED} | settings
    config = model.folder.parent / f"{hashlib.sha256(str(generation).encode()).hexdigest()[:8]}.yaml"
    config.write_text(yaml.safe_dump({"source": {"path": "unused"}, "generation": generation}))
    return ["generate", str(model.folder), "--config", str(config), "--rows", str(rows), "--output", str(output), *more]


def start(arguments: list[str], *wrap: str, stderr: IO[str] | int = subprocess.PIPE) -> Running:
    """Start the command line, inside the command `wrap` when given."""
    started = [*wrap, *command(*arguments)]
    return subprocess.Popen(started, env=environment(), stdout=subprocess.PIPE, stderr=stderr, text=True)


def ended(process: Running, timeout: float = 120) -> tuple[int, str]:
    """Exit code, and what it told on stderr apart from the progress bar."""
    _, errors = process.communicate(timeout=timeout)
    lines = [line for line in re.split(r"[\r\n]+", errors) if line.strip() and not line.startswith("generate:")]
    return process.returncode, "\n".join(lines)


def until(process: Running, happened: Callable[[], bool], seconds: float = 60) -> bool:
    """Wait for something that the process does; whether it happened before the process ended."""
    deadline = time.monotonic() + seconds
    while not happened():
        if process.poll() is not None:
            return happened()
        assert time.monotonic() < deadline
        time.sleep(0.0005)
    return True


def paused(arguments: list[str], folder: Path, shards: int) -> Running:
    """Start a run and let it stand still in its midst: some files are recorded, and as many are still to come."""
    for _ in range(20):
        process = start(arguments)
        if until(process, lambda: len(list(folder.glob(".records/part-*"))) >= 2) and process.poll() is None:
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            if len(parts(folder)) <= shards // 2:
                return process
        process.kill()  # it was faster
        process.communicate()
        shutil.rmtree(folder)
    raise AssertionError("every run was too fast")


def parts(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.parquet"))


def manifest(folder: Path) -> Path:
    """What a finished dataset has."""
    return folder / "_manifest.json"


def tree(folder: Path) -> dict[str, str]:
    """All that a dataset's folder holds, hidden files too: path → content. The manifest tells when it was written."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            if path == manifest(folder):
                data = json.dumps(json.loads(data) | {"created": None}).encode()
            found[str(path.relative_to(folder))] = hashlib.sha256(data).hexdigest()
    return found


def assert_nothing_half_written(folder: Path, whole: dict[str, str]) -> None:
    """Whatever can be read as whole is whole: files with a final name, what a record says, what a manifest says."""
    there = {str(part.relative_to(folder)): part for part in parts(folder)}
    for name, part in there.items():
        assert hashlib.sha256(part.read_bytes()).hexdigest() == whole[name], f"{name} is not whole"
    for record in folder.glob(".records/part-*.json"):
        for name, entry in json.loads(record.read_text())["files"].items():
            assert (entry["sha256"], entry["bytes"]) == (whole[name], there[name].stat().st_size)
    if manifest(folder).exists():
        assert verify(Artifact.load(folder)) == []
        assert set(there) == {name for name in whole if name.endswith(".parquet")}


def assert_stopped_clean(folder: Path, whole: dict[str, str]) -> int:
    """What a run leaves that failed or was stopped, but not killed: whole files only. Returns how many are recorded."""
    assert_nothing_half_written(folder, whole)
    assert not manifest(folder).exists()
    assert not [path for path in folder.rglob("*") if ".tmp-" in path.name]
    return len(list(folder.glob(".records/part-*.json")))
