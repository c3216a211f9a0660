"""Generation as Prefect tasks on Dask, a range of shards each: what flow `generate` does where the engine is dask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import cast

from prefect import flow, task
from prefect.context import FlowRunContext
from prefect.futures import as_completed
from prefect.runtime import flow_run

from flows.reporting import StageResult, stage
from flows.retries import RETRIED
from vae_core.config import GenerationConfig
from vae_core.errors import MissingDependencyError
from vae_core.generation import Shard, generate
from vae_core.generation.dask_engine import Job, connect, hands, local_cluster
from vae_core.generation.engine import Work
from vae_core.generation.generate import cores
from vae_core.store import Store

try:
    from prefect_dask import DaskTaskRunner
except ImportError:
    raise MissingDependencyError(
        "engine dask in a flow needs prefect-dask: pip install 'vaesynth[prefect-dask]'"
    ) from None

_RANGES = 4  # a worker: so many that none waits long for the last one, so few that Prefect has little to keep


@task(name="shards", task_run_name="shards {first}-{last}", **RETRIED)
def shards_task(job: Job, shards: Sequence[Shard], first: int, last: int) -> int:
    """Write those of `shards` that aren't there yet, in a worker of Dask. Returns their rows."""
    _, missing = job.folder.look(shards)
    for shard in missing:
        job.write(shard, lambda rows: None)
    return sum(shard.rows for shard in shards)


def _engine(work: Work) -> None:
    """Generate with tasks of the flow that is running."""
    context = FlowRunContext.get()
    assert context is not None
    runner = cast(DaskTaskRunner, context.task_runner)
    at_once = hands(connect(lambda: runner.client, work.scheduler), work)
    size = -(-len(work.shards) // (_RANGES * at_once)) or 1
    job = Job.of(work)
    ranges = [work.shards[start : start + size] for start in range(0, len(work.shards), size)]
    futures = [shards_task.submit(job, part, part[0].index, part[-1].index) for part in ranges]
    try:
        for future in as_completed(futures):
            work.done(future.result())
    finally:
        work.folder.place.sweep()


def _run_name() -> str:
    """The model's name, of `name@version` or of its folder."""
    model = PurePath(flow_run.parameters["model"])
    return model.parent.name or model.name.partition("@")[0]


@flow(name="generate-on-dask", flow_run_name=_run_name, persist_result=False)
def _flow(model: str, config: GenerationConfig, store: str) -> StageResult:
    home = Store(store)
    source = home.open("models", model)
    with stage("generate", "rows") as report:
        return report.done(generate(source, config, home, source.name, report.progress, engine=_engine))


def generate_on_dask(model: str, config: GenerationConfig, store: str) -> StageResult:
    """Write the dataset with tasks on the cluster at `config.scheduler`, or on a local one for the length of the flow.

    Args:
        model: a path.
        config: what to write; its engine is dask.
        store: the artifact store's folder.
    """
    if config.scheduler is None:
        runner = DaskTaskRunner(cluster_kwargs=local_cluster(cores(config.workers)))
    else:
        runner = DaskTaskRunner(address=config.scheduler)
    return _flow.with_options(task_runner=runner)(model, config, store)
