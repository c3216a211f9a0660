"""A deployment of `prefect.yaml`, on a real server and a real worker: scheduled, run, its rows found."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
import yaml

from tests.conftest import ROOT, Finished, environment, tiny
from vae_core.config import PipelineConfig, load


def prefect(*args: str, env: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", *args],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Machine:
    """A worker and what it runs, which can be taken away all at once."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder, self.env = folder, env

    def start(self) -> None:
        with (self.folder / "worker.log").open("a") as log:
            self.worker = subprocess.Popen(
                [sys.executable, "-m", "prefect", "worker", "start", "--pool", "vaesynth"],
                cwd=self.folder,
                env=self.env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def lose_power(self) -> None:
        os.killpg(self.worker.pid, signal.SIGKILL)
        self.worker.wait()

    def stop(self) -> None:
        self.worker.terminate()
        try:
            self.worker.wait(20)
        except subprocess.TimeoutExpired:
            self.lose_power()


@pytest.fixture(scope="module")
def machine(prefect_api: str, prefect_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Runs the deployments of prefect.yaml."""
    folder = tmp_path_factory.mktemp("worker")
    env = environment(
        PREFECT_API_URL=prefect_api,
        PREFECT_HOME=str(prefect_home),
        PREFECT_WORKER_QUERY_SECONDS="1",
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY="30",  # the least
    )
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    for deployment in declared["deployments"]:
        deployment["schedules"] = []  # at 2 o'clock this test must not start the nightly run
    (folder / "prefect.yaml").write_text(yaml.safe_dump(declared))
    prefect("work-pool", "create", "vaesynth", "--type", "process", env=env)
    prefect("deploy", "--all", "--prefect-file", str(folder / "prefect.yaml"), env=env)
    machine = Machine(folder, env)
    machine.start()
    try:
        yield machine
    finally:
        machine.stop()


@pytest.fixture(scope="module")
def deployed(machine: Machine, prefect_api: str) -> Iterator[httpx.Client]:
    """Prefect's API, with the deployments of prefect.yaml and a worker that runs them."""
    with httpx.Client(base_url=prefect_api, timeout=30) as client:
        yield client


def scheduled(client: httpx.Client, name: str, parameters: dict[str, Any]) -> str:
    """Schedule a run two seconds ahead. Returns its id."""
    deployment = client.get(f"/deployments/name/{name}").raise_for_status().json()
    at = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    body = {"parameters": parameters, "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": at}}}
    deadline = time.monotonic() + 30
    while True:
        answer = client.post(f"/deployments/{deployment['id']}/create_flow_run", json=body)
        # The server's SQLite is busy at times; Prefect's own client tries again too.
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
            return str(answer.raise_for_status().json()["id"])
        time.sleep(0.5)


def reached(client: httpx.Client, run: str, seconds: float, *types: str) -> dict[str, Any]:
    """Wait until a run is in a state of one of these types. Returns the state."""
    deadline = time.monotonic() + seconds
    while True:
        state: dict[str, Any] = client.get(f"/flow_runs/{run}").raise_for_status().json()["state"]
        if state["type"] in types:
            return state
        assert time.monotonic() < deadline, state
        time.sleep(0.5)


def ended(client: httpx.Client, run: str, seconds: float) -> dict[str, Any]:
    """Wait for the end of a run. Returns its state."""
    return reached(client, run, seconds, "COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def alive(client: httpx.Client, run: str, seconds: float) -> None:
    """Wait until the server has a sign of life of the run."""
    wanted = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": {"id": [f"prefect.flow-run.{run}"]}}
    deadline = time.monotonic() + seconds
    while not client.post("/events/filter", json={"filter": wanted}).raise_for_status().json()["events"]:
        assert time.monotonic() < deadline, run
        time.sleep(0.5)


def name(client: httpx.Client, run: str) -> str:
    """What Prefect's pages call the run."""
    return str(client.get(f"/flow_runs/{run}").raise_for_status().json()["name"])


def logs(client: httpx.Client, run: str) -> list[str]:
    found = client.post("/logs/filter", json={"logs": {"flow_run_id": {"any_": [run]}}}).raise_for_status().json()
    return [entry["message"] for entry in found]


def test_a_scheduled_pipeline_writes_its_dataset(deployed: httpx.Client, tmp_path: Path) -> None:
    config = tiny("nightly") | {"store": str(tmp_path / "store")}
    run = scheduled(deployed, "pipeline/nightly", {"config": config})
    assert ended(deployed, run, 85)["type"] == "COMPLETED", logs(deployed, run)
    parts = list((tmp_path / "store/datasets/nightly").glob("*/*.parquet"))
    assert sum(pq.read_metadata(part).num_rows for part in parts) == 2000
    shown = deployed.post("/artifacts/filter", json={"artifacts": {"flow_run_id": {"any_": [run]}}}).json()
    assert {"nightly-dataset", "nightly-quality", "nightly-quality-figures"} <= {entry["key"] for entry in shown}
    assert name(deployed, run) == "nightly"


def test_more_rows_of_a_published_model_and_a_failure_in_one_line(
    deployed: httpx.Client, machine: Machine, finished: Finished, tmp_path: Path
) -> None:
    assert finished.ended.code == 0, finished.ended.err
    store = str(finished.folder / "artifacts")
    good = {"model": "planes", "store": store, "config": {"rows": 500, "seed": 9, "output": str(tmp_path / "rows")}}
    more = scheduled(deployed, "generate/more-rows", good)
    failing = scheduled(deployed, "generate/more-rows", good | {"model": "plane"})
    assert ended(deployed, more, 60)["type"] == "COMPLETED", logs(deployed, more)
    assert pq.read_metadata(tmp_path / "rows/part-00000.parquet").num_rows == 500
    assert name(deployed, more) == "planes"
    assert ended(deployed, failing, 60)["type"] == "FAILED"
    deadline = time.monotonic() + 20
    while not any("did you mean 'planes'" in line for line in logs(deployed, failing)):  # logs come in batches
        assert time.monotonic() < deadline, logs(deployed, failing)
        time.sleep(0.5)
    assert not any("Traceback" in line for line in logs(deployed, failing))
    assert "Traceback" not in (machine.folder / "worker.log").read_text()


def test_a_run_whose_machine_died_is_crashed_and_keeps_no_other_from_running(
    deployed: httpx.Client, machine: Machine, tmp_path: Path
) -> None:
    declared = yaml.safe_load((ROOT / "flows/automations.yaml").read_text())
    (automation,) = declared["automations"]
    automation["trigger"]["within"] = 40
    (tmp_path / "automations.yaml").write_text(yaml.safe_dump(declared))
    prefect("automation", "create", "--from-file", str(tmp_path / "automations.yaml"), env=machine.env)
    config = tiny("died") | {"store": str(tmp_path / "store")}
    died = scheduled(deployed, "pipeline/nightly", {"config": config})
    reached(deployed, died, 60, "RUNNING")
    alive(deployed, died, 20)  # before it, there's nothing that could stop coming
    machine.lose_power()
    machine.start()
    again = scheduled(deployed, "pipeline/nightly", {"config": config})
    reached(deployed, again, 30, "RUNNING")
    assert reached(deployed, died, 1, "RUNNING", "CRASHED")["type"] == "RUNNING"  # as far as Prefect knows
    crashed = ended(deployed, died, 60)
    assert (crashed["type"], crashed["message"]) == ("CRASHED", automation["actions"][0]["message"])
    assert ended(deployed, again, 85)["type"] == "COMPLETED", logs(deployed, again)
    prefect("automation", "delete", automation["name"], env=machine.env)


def test_the_form_of_a_deployment_is_the_configuration(deployed: httpx.Client) -> None:
    deployment = deployed.get("/deployments/name/pipeline/nightly").raise_for_status().json()
    form = deployment["parameter_openapi_schema"]["definitions"]
    assert set(form["PipelineConfig"]["properties"]) == {
        field.alias or name for name, field in PipelineConfig.model_fields.items()
    }
    assert "training stops here" in form["TrainingConfig"]["properties"]["max_minutes"]["description"]


def test_the_nightly_run_is_the_example() -> None:
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    nightly = next(deployment for deployment in declared if deployment["name"] == "nightly")
    assert PipelineConfig.model_validate(nightly["parameters"]["config"]) == load(ROOT / "examples/flights.yaml")
