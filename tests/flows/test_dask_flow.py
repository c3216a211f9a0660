"""The flow `generate` where the engine is dask: tasks of Prefect in processes of a cluster, on a real server."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path

import yaml

from tests.conftest import Finished, Program, free_port, run, write

ROWS, SHARD, SHARDS = 40_000, 8192, 5


def parts(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.parquet")}


def configured(finished: Finished, folder: Path, name: str, **generation: object) -> str:
    """A configuration whose stages stand, all but generation."""
    base = yaml.safe_load(Path(finished.config).read_text())
    shape = {"rows": ROWS, "rows_per_shard": SHARD, "workers": 2, "output": str(folder / name)}
    base |= {"store": str(finished.folder / "artifacts"), "generation": base["generation"] | shape | generation}
    return write(folder / f"{name}.yaml", base)


def test_ranges_of_shards_are_tasks_and_write_the_bytes_of_the_local_engine(
    finished: Finished, pipeline: Program, prefect_home: Path, tmp_path: Path
) -> None:
    config = configured(finished, tmp_path, "local")
    ended = run("generate", "planes", "--config", config, "--rows", str(ROWS), "--json", cwd=finished.folder)
    assert ended.code == 0, ended.err
    ended = pipeline("run", configured(finished, tmp_path, "dask", engine="dask"), "--json", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err and "distributed" not in ended.err, ended.err
    stages = {stage["stage"]: stage for stage in json.loads(ended.out)["stages"]}
    assert stages["evaluate"]["skipped"] and not stages["generate"]["skipped"]
    assert len(parts(tmp_path / "dask")) == SHARDS and parts(tmp_path / "dask") == parts(tmp_path / "local")
    with sqlite3.connect(prefect_home / "prefect.db") as database:
        tasks = database.execute("select name, state_type from task_run where name like 'shards %'").fetchall()
        on_dask = "select id from flow where name = 'generate-on-dask'"
        names = database.execute(f"select name from flow_run where flow_id = ({on_dask})").fetchall()
    assert names == [("planes",)]
    assert len(tasks) == SHARDS and {state for _, state in tasks} == {"COMPLETED"}
    assert ("shards 0-0", "COMPLETED") in tasks


def test_a_scheduler_that_is_not_there_is_one_line(finished: Finished, pipeline: Program, tmp_path: Path) -> None:
    nobody = f"tcp://127.0.0.1:{free_port()}"
    config = configured(finished, tmp_path, "dask", engine="dask", scheduler=nobody)
    # As long as Dask's own configuration says: half a minute, when it isn't told otherwise.
    ended = pipeline("run", config, cwd=tmp_path, DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT="2s")
    told = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert ended.code == 2 and len(told) == 1 and told[0].startswith(f"error: no Dask scheduler answers at {nobody}")
    assert "Traceback" not in ended.err
