"""Flow `ingest`: a source becomes a snapshot."""

from __future__ import annotations

import os

from prefect import flow, task
from prefect.runtime import flow_run

from flows.reporting import StageResult, stage
from flows.retries import RETRIED
from vae_core.config import SchemaConfig, SourceConfig
from vae_core.references import default_name
from vae_core.store import Store


@task(name="ingest", **RETRIED)
def ingest_task(source: SourceConfig, overrides: SchemaConfig, store: str, name: str) -> StageResult:
    """Read the source into a snapshot, unless it stands."""
    from vae_core.ingest import ingest as run

    if source.path == "${VAESYNTH_SOURCE_PATH}":  # it has a password, which Prefect must not keep
        source = source.model_copy(update={"path": os.environ["VAESYNTH_SOURCE_PATH"]})
    with stage("ingest", "rows") as report:
        return report.done(run(source, overrides, store=Store(store), name=name, progress=report.progress))


def _run_name() -> str:
    given = flow_run.parameters
    return given["name"] or default_name(given["source"])


@flow(name="ingest", flow_run_name=_run_name, persist_result=False)
def ingest(
    source: SourceConfig,
    overrides: SchemaConfig = SchemaConfig(),
    name: str | None = None,
    store: str = "artifacts",
) -> StageResult:
    """Read a source into a snapshot.

    Args:
        source: where the rows come from.
        overrides: of the inferred schema.
        name: of the snapshot; taken from the source when not given.
        store: the artifact store's folder.
    """
    return ingest_task(source, overrides, store, name or default_name(source))
