"""Generation on Dask: the bytes of the local engine, whoever is killed, stopped or mistaken on the way."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import distributed
import psutil
import pytest
from generation_runs import SEED, Running, arguments, assert_stopped_clean, ended, parts, start, tree, until

from tests.conftest import environment, free_port
from vae_core.config import GenerationConfig, parse
from vae_core.errors import ConfigError
from vae_core.generation import BLOCK, dask_engine, generate
from vae_core.store import Artifact, Store

SHARDS = 12
ROWS = (SHARDS - 1) * BLOCK + 100
DASK = ("--engine", "dask")
PATIENCE = 240.0  # seconds: three processes that import everything take long on a machine that is busy


@pytest.fixture(scope="module")
def whole(model: Artifact, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the local engine writes."""
    folder = tmp_path_factory.mktemp("local") / "out"
    assert ended(start(arguments(model, folder, ROWS))) == (0, "")
    return tree(folder)


# Processes of this machine


def processes(program: Running) -> list[psutil.Process]:
    """The workers of a local cluster."""
    children = psutil.Process(program.pid).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def at_work(program: Running) -> psutil.Process | None:
    """A worker that is writing a shard right now."""
    time.sleep(0.02)
    for worker in processes(program):
        with suppress(psutil.Error):
            if any(".tmp-" in file.path for file in worker.open_files()):
                return worker
    return None


@pytest.mark.parametrize("given_up", [False, True])
def test_a_killed_workers_shards_are_redone_and_nothing_of_it_stays(
    model: Artifact, whole: dict[str, str], tmp_path: Path, given_up: bool
) -> None:
    folder, killed = tmp_path / "out", set[int]()
    impatient = (  # Dask doesn't wait for its restart; it may end that one, too, with the shard it was just given
        "env",
        "DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT=50ms",
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=20",
    )
    process = start(arguments(model, folder, ROWS, *DASK), *(impatient if given_up else ()))

    def kill_one(written: int) -> bool:
        worker = at_work(process) if len(parts(folder)) >= written else None
        if worker is not None:
            worker.kill()
            killed.add(worker.pid)
        return worker is not None

    assert until(process, lambda: kill_one(1), PATIENCE) and until(process, lambda: kill_one(4), PATIENCE)
    code, told = ended(process, PATIENCE)
    assert (code, told) == (0, ""), told
    assert len(killed) == 2 and tree(folder) == whole


def test_killed_itself_it_takes_its_workers_along_and_goes_on_later(
    model: Artifact, whole: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    process = start(arguments(model, folder, ROWS, *DASK))
    assert until(process, lambda: len(parts(folder)) >= 1 and at_work(process) is not None, PATIENCE)
    workers = processes(process)
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert len(workers) == 2 and not alive
    assert ended(start(arguments(model, folder, ROWS, *DASK, "--resume", workers=1))) == (0, "")
    assert tree(folder) == whole


@pytest.mark.parametrize("threshold", [None, "131072"])
def test_its_workers_keep_free_memory_unless_the_user_says_how_much(
    model: Artifact, tmp_path: Path, threshold: str | None
) -> None:
    given = () if threshold is None else ("env", f"MALLOC_TRIM_THRESHOLD_={threshold}")
    process = start(arguments(model, tmp_path / "out", ROWS, *DASK, workers=1), *given)
    found: list[dict[str, str]] = []

    def look() -> bool:
        with suppress(psutil.Error):
            found.extend(worker.environ() for worker in [at_work(process)] if worker is not None)
        return bool(found)

    assert until(process, look, PATIENCE)
    assert found[0].get("MALLOC_TRIM_THRESHOLD_") == threshold
    assert ended(process, PATIENCE)[0] == 0


def test_its_processes_dont_watch_themselves_many_times_a_second() -> None:
    with (
        distributed.LocalCluster(**dask_engine.local_cluster(1)) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        found = client.run(lambda dask_worker: {k: v.callback_time for k, v in dask_worker.periodic_callbacks.items()})
        assert cluster.scheduler.periodic_callbacks["tick"].callback_time >= 1000
    (every,) = found.values()
    assert min(every.values()) >= 500 and every["tick"] >= 1000 and not any("profile" in name for name in every)


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, 1), (signal.SIGINT, 130)])
def test_a_signal_to_all_processes_lets_them_finish_their_files(
    model: Artifact, whole: dict[str, str], tmp_path: Path, number: int, expected: int
) -> None:
    folder = tmp_path / "out"
    process = start(arguments(model, folder, ROWS, *DASK), "setsid")
    assert until(process, lambda: len(parts(folder)) >= 2, PATIENCE)
    os.killpg(process.pid, number)
    code, told = ended(process)
    finished = assert_stopped_clean(folder, whole)
    assert code == expected and len(told.splitlines()) == 1, told
    assert f"with {finished} of {SHARDS} files finished" in told


def test_a_full_disk_is_one_line_and_nothing_half_written_stays(model: Artifact, tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs Linux user namespaces to mount a small disk")
    mount = f'mount -t tmpfs -o size=300k tmpfs "{tmp_path}" && "$@"; code=$?; '
    mount += f'find "{tmp_path}" -name "*.tmp-*" | sed s/^/LEFT:/ >&2; exit $code'
    process = start(arguments(model, tmp_path / "out", ROWS, *DASK), "unshare", "-Urm", "sh", "-c", mount, "sh")
    code, told = ended(process)
    assert code == 2 and told.startswith("error: no space left to write ") and len(told.splitlines()) == 1, told


# A cluster that is there


@contextmanager
def dask(*command: str, wrap: tuple[str, ...] = (), cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command of Dask in a process of its own, in another folder than ours."""
    started = [*wrap, sys.executable, "-m", *command]
    log = (cwd / f"{command[0]}-{time.monotonic_ns()}.log").open("w")
    process = subprocess.Popen(started, cwd=cwd, env=environment(), stdout=log, stderr=log, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def worker(address: str, *more: str) -> list[str]:
    return ["distributed.cli.dask_worker", address, "--no-dashboard", *more]


@contextmanager
def scheduler(cwd: Path) -> Iterator[str]:
    port = str(free_port())
    options = ("--host", "127.0.0.1", "--port", port, "--no-dashboard", "--dashboard-address", "127.0.0.1:0")
    with dask("distributed.cli.dask_scheduler", *options, cwd=cwd) as process:
        while True:
            with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", int(port))):
                break
            assert process.poll() is None
            time.sleep(0.1)
        yield f"tcp://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A scheduler, a worker with one thread, and one with two; its address."""
    folder = tmp_path_factory.mktemp("cluster")
    with scheduler(folder) as address, ExitStack() as workers:
        for threads in ("1", "2"):
            workers.enter_context(dask(*worker(address, "--nthreads", threads), cwd=folder))
        yield address


def config(output: Path, **changes: object) -> GenerationConfig:
    settings = {"rows": ROWS, "seed": SEED, "rows_per_shard": BLOCK, "device": "cpu", "engine": "dask"}
    return GenerationConfig.model_validate(settings | {"output": str(output)} | changes)


def test_a_cluster_that_stands_in_other_folders_writes_the_same_bytes_and_tells_how_far_it_is(
    model: Artifact, whole: dict[str, str], cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[float] = []

    def progress(done: float, total: float | None = None, note: str = "") -> None:
        told.append(done)

    monkeypatch.chdir(tmp_path)
    near = Artifact.load(Path(os.path.relpath(model.folder)))
    generate(near, config(Path("out"), scheduler=cluster), Store("store"), progress=progress)
    assert {name: digest for name, digest in tree(tmp_path / "out").items() if name != ".lock"} == {
        name: digest for name, digest in whole.items() if name != ".lock"
    }
    assert told == sorted(told) and len(told) >= SHARDS and told[-1] == ROWS


def test_workers_limit_what_runs_at_once(model: Artifact, cluster: str, tmp_path: Path) -> None:
    seen: list[int] = []

    def progress(done: float, total: float | None = None, note: str = "") -> None:
        seen.append(len(list((tmp_path / "out").glob(".*.tmp-*"))))

    generate(model, config(tmp_path / "out", scheduler=cluster, workers=1), Store(tmp_path), progress=progress)
    assert max(seen) <= 1


def test_an_interrupt_ends_the_shards_of_a_cluster_and_leaves_whole_ones(
    model: Artifact, whole: dict[str, str], cluster: str, tmp_path: Path
) -> None:
    def progress(done: float, total: float | None = None, note: str = "") -> None:
        if done > 0:
            raise KeyboardInterrupt

    settings = config(tmp_path / "out", scheduler=cluster)
    with pytest.raises(KeyboardInterrupt, match="--resume"):
        generate(model, settings, Store(tmp_path), progress=progress)
    assert_stopped_clean(tmp_path / "out", whole)
    assert generate(model, settings, Store(tmp_path)).verify() == []


def test_other_library_versions_are_refused(
    model: Artifact, cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = dask_engine._libraries() | {"pyarrow": "1.0"}
    monkeypatch.setattr(dask_engine, "_libraries", lambda: here)
    with pytest.raises(ConfigError, match=r"tcp://.*made with 1\.0, so the bytes could differ"):
        generate(model, config(tmp_path / "out", scheduler=cluster), Store(tmp_path))


def test_a_worker_that_does_not_see_the_folder_is_told(model: Artifact, tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs Linux user namespaces to hide a folder")
    (tmp_path / "mine").mkdir()
    hide = ("unshare", "-Urm", "sh", "-c", f'mount -t tmpfs tmpfs "{tmp_path}/mine" && exec "$@"', "sh")
    refused = pytest.raises(ConfigError, match=r"doesn't see .*mine/out; give a folder that all machines share")
    with scheduler(tmp_path) as address, dask(*worker(address), wrap=hide, cwd=tmp_path), refused:
        generate(model, config(tmp_path / "mine/out", scheduler=address), Store(tmp_path))


def test_no_scheduler_no_workers_and_a_lost_scheduler_are_told(
    model: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_engine, "_PATIENCE", 2.0)
    nobody = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(ConfigError, match=f"no Dask scheduler answers at {nobody}"):
        generate(model, config(tmp_path / "out", scheduler=nobody), Store(tmp_path))
    with pytest.raises(ConfigError, match="no Dask scheduler answers at nonsense"):
        generate(model, config(tmp_path / "out", scheduler="nonsense"), Store(tmp_path))
    with scheduler(tmp_path) as address, pytest.raises(ConfigError, match="has no workers; start some: dask worker"):
        generate(model, config(tmp_path / "out", scheduler=address), Store(tmp_path))
    with pytest.raises(ConfigError, match="`scheduler` needs `engine: dask`"):
        parse(GenerationConfig, {"scheduler": nobody})


def test_without_the_extra_it_is_one_line_and_no_folder_is_made(model: Artifact, tmp_path: Path) -> None:
    without = "import sys; sys.modules['distributed'] = None; from vae_core.cli import main; main()"
    started = [sys.executable, "-c", without, *arguments(model, tmp_path / "out", ROWS, *DASK)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(started, env=environment(), stdout=pipe, stderr=pipe, text=True)
    assert ended(process) == (2, "error: engine dask needs Dask: pip install 'vaesynth[dask]'")
    assert not (tmp_path / "out").exists()
