"""Whatever ends a generation, and when: nothing half-written can be read as whole, and its end has the same bytes."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from generation_runs import (
    Running,
    arguments,
    assert_nothing_half_written,
    assert_stopped_clean,
    ended,
    manifest,
    parts,
    paused,
    start,
    tree,
    until,
)

from tests.conftest import environment
from vae_core.generation import BLOCK
from vae_core.store import Artifact

SHARDS = 24
ROWS = (SHARDS - 1) * BLOCK + 100
KILLS = 50


@pytest.fixture(scope="session")
def whole(model: Artifact, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What an uninterrupted run leaves."""
    folder = tmp_path_factory.mktemp("uninterrupted") / "out"
    assert ended(start(arguments(model, folder, ROWS))) == (0, "")
    found = tree(folder)
    assert len(parts(folder)) == SHARDS and not [name for name in found if ".tmp-" in name]
    return found


class Killer:
    """Kills a run again and again, at random moments of its life, until it gets through."""

    def __init__(self, seed: int, arguments: list[str], folder: Path, whole: dict[str, str]) -> None:
        self._random = random.Random(seed)
        self._arguments, self._folder, self._whole = arguments, folder, whole
        self.kills = 0
        self.states: set[str] = set()

    def kill(self, process: Running) -> bool:
        """Wait for a random moment and kill the process; False when it was faster."""
        there = len(parts(self._folder))
        if self._random.random() < 0.2:
            moment = 0.0, 1.5  # any time from its start: imports, the model, the folder, the check of what is there
        else:
            next_ = min(there + 1, SHARDS)
            written = self._random.randint(next_, min(there + 6, SHARDS))  # the last one: the commit
            until(process, lambda: len(parts(self._folder)) >= written or self._finished())
            moment = 0.0, 0.05
        time.sleep(self._random.uniform(*moment))
        process.kill()
        return process.wait() == -signal.SIGKILL

    def _finished(self) -> bool:
        return manifest(self._folder).exists()

    def look(self) -> None:
        """Check what the killed process left, and keep in mind what kind of moment it was."""
        assert_nothing_half_written(self._folder, self._whole)
        names = [path.name for path in self._folder.rglob("*")] if self._folder.exists() else []
        unrecorded = len(parts(self._folder)) > len([n for n in names if n.startswith("part-") and n.endswith("json")])
        seen = {
            "before the first file": not parts(self._folder),
            "while a file was written": any(".parquet.tmp-" in name for name in names),
            "between a file and its record": unrecorded,
            "between two files": 0 < len(parts(self._folder)) < SHARDS,
            "at the end": len(parts(self._folder)) == SHARDS,
        }
        self.states |= {state for state, held in seen.items() if held}

    def run(self, kills: int) -> None:
        while self.kills < kills:
            process = start(self._arguments)
            killed = self.kill(process)
            process.communicate()
            self.look()
            if killed:
                self.kills += 1
            if self._finished():
                assert tree(self._folder) == self._whole
                shutil.rmtree(self._folder)
        assert ended(start(self._arguments)) == (0, "")
        assert tree(self._folder) == self._whole


def test_killed_at_fifty_random_moments_it_ends_with_the_same_bytes(
    model: Artifact, whole: dict[str, str], tmp_path: Path
) -> None:
    killers = [
        Killer(seed, arguments(model, tmp_path / str(seed), ROWS, "--resume"), tmp_path / str(seed), whole)
        for seed in range(2)
    ]
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(killer.run, KILLS // 2) for killer in killers]:
            done.result()
    states = set().union(*(killer.states for killer in killers))
    assert len(states) >= 3, states  # which ones depends on the machine; every single change of the disk is below


# Forks a process that has imported everything, so that a run takes a tenth of a second, and kills it right before its
# k-th change of the disk, for every k. The runs themselves know nothing of it: Python's audit events tell.
EVERY_CHANGE = """
import os, shutil, signal, sys
import multiprocessing.synchronize, numpy.random, pandas, tqdm, yaml
import onnxruntime, pyarrow.pandas_compat, pyarrow.parquet
import vae_core.cli, vae_core.codec, vae_core.generation, vae_core.references, vae_core.summary

output, arguments = sys.argv[1], sys.argv[2:]

def run(kill_at):
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        changes = 0
        def watch(event, what):
            nonlocal changes
            opened = event == "open" and isinstance(what[2], int) and what[2] & (os.O_WRONLY | os.O_RDWR)
            if opened or event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link"):
                if any(isinstance(each, str) and output in each for each in what):
                    changes += 1
                    if changes == kill_at:
                        os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(watch)
        os._exit(vae_core.cli.call(arguments))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

k = 0
code = -signal.SIGKILL
while code == -signal.SIGKILL:
    k += 1
    shutil.rmtree(output, ignore_errors=True)
    code = run(k)
    if code == -signal.SIGKILL:
        shutil.copytree(output, f"{output}-killed-{k:03}") if os.path.exists(output) else None
        assert run(None) == 0
    shutil.copytree(output, f"{output}-resumed-{k:03}")
sys.exit(code)
"""


@pytest.mark.parametrize(("partition_by", "rows", "last"), [([], BLOCK + 100, 1), (["origin"], 1000, 0)])
def test_killed_before_every_single_change_of_the_disk(
    model: Artifact, tmp_path: Path, partition_by: list[str], rows: int, last: int
) -> None:
    output = tmp_path / "out"
    asked = arguments(model, output, rows, workers=1, partition_by=partition_by)
    script = [sys.executable, "-c", EVERY_CHANGE, str(output), *asked]
    done = subprocess.run(script, env=environment(), capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    killed, resumed = sorted(tmp_path.glob("out-killed-*")), sorted(tmp_path.glob("out-resumed-*"))
    whole = tree(resumed[-1])  # the last run did not live to see a k-th change: it was not interrupted
    assert len(parts(resumed[-1])) >= 2 and manifest(resumed[-1]).exists()
    for folder in killed:
        assert_nothing_half_written(folder, whole)
    for folder in resumed:
        assert tree(folder) == whole, folder.name
    left = {folder: {path.name for path in folder.rglob("*")} for folder in killed}
    assert any(f"part-0000{last}.parquet" in names and f"part-0000{last}.json" not in names for names in left.values())
    assert any(f"part-0000{last}.json" in names and not manifest(folder).exists() for folder, names in left.items())
    assert any(".tmp-" in name for names in left.values() for name in names)


def stopped(model: Artifact, folder: Path, number: int, whole: dict[str, str]) -> tuple[int, str]:
    """Send a run in its midst a signal, and look at what it leaves."""
    process = paused(arguments(model, folder, ROWS), folder, SHARDS)
    process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    code, told = ended(process)
    finished = assert_stopped_clean(folder, whole)
    assert f"stopped on request with {finished} of {SHARDS} files finished" in told
    assert 2 <= finished == len(parts(folder)) < SHARDS
    return code, told


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, 1), (signal.SIGINT, 130)])
def test_a_signal_lets_it_finish_its_files_and_say_how_to_go_on(
    model: Artifact, whole: dict[str, str], tmp_path: Path, number: int, expected: int
) -> None:
    folder = tmp_path / "out"
    code, told = stopped(model, folder, number, whole)
    assert code == expected and "--resume" in told and len(told.splitlines()) == 1, told
    assert ended(start(arguments(model, folder, ROWS, "--resume"))) == (0, "")
    assert tree(folder) == whole


def test_one_writes_and_the_others_wait_even_for_one_that_is_killed(
    model: Artifact, whole: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    asked = arguments(model, folder, ROWS)
    first = paused(asked, folder, SHARDS)
    waiting = f"waiting for another run that writes {folder} …"
    with (tmp_path / "told").open("w+") as told:
        second = start(asked, stderr=told)
        assert until(second, lambda: waiting in (tmp_path / "told").read_text())
        stranger = start([*asked, "--seed", "8"])
        assert len(parts(folder)) < SHARDS
        first.kill()
        first.communicate()
        second.communicate(timeout=120)
    assert second.returncode == 0
    code, errors = ended(stranger)
    assert code == 2 and "another model, seed or configuration" in errors.splitlines()[-1]
    assert tree(folder) == whole
