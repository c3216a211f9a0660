"""Flow `generate`: a model becomes a dataset of as many rows as asked for."""

from __future__ import annotations

from prefect import flow, task

from flows.reporting import StageResult, stage
from flows.retries import RETRIED
from vae_core.config import GenerationConfig
from vae_core.references import published
from vae_core.store import Store


@task(name="generate", **RETRIED)
def generate_task(model: str, config: GenerationConfig, store: str) -> StageResult:
    """Write the dataset, unless it stands; a retry goes on with the shards that are finished."""
    from vae_core.generation import generate as run

    home = Store(store)
    source = home.open("models", model)
    with stage("generate", "rows") as report:
        return report.done(run(source, config, home, source.name, report.progress))


def generated(model: str, config: GenerationConfig, store: str) -> StageResult:
    """Write the dataset where the configuration says: in one task here, or in a flow of many on Dask."""
    if config.engine == "dask":
        from flows.dask import generate_on_dask  # an extra

        return generate_on_dask(model, config, store)
    return generate_task(model, config, store)


@flow(name="generate", flow_run_name="{model}", persist_result=False)
def generate(model: str, config: GenerationConfig = GenerationConfig(), store: str = "artifacts") -> StageResult:
    """Write more rows of a model that is there.

    Args:
        model: a name (its champion), name@version or path.
        config: how many rows, which seed, where to, and whether on this machine or on Dask.
        store: the artifact store's folder.
    """
    return generated(str(published(Store(store), model).folder), config, store)
