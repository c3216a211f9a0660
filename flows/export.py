"""Flow `export`: a model gets its ONNX graphs."""

from __future__ import annotations

from prefect import flow, task

from flows.reporting import StageResult, stage
from flows.retries import RETRIED
from vae_core.store import Store


@task(name="export", **RETRIED)
def export_task(model: str, store: str) -> StageResult:
    """Write the model's encoder and decoder as ONNX and check them against torch, unless they stand."""
    from vae_core.export import export as run

    source = Store(store).open("models", model)
    with stage("export", "graphs") as report:
        return report.done(run(source, report.progress), extended=True)


@flow(name="export", flow_run_name="{model}", persist_result=False)
def export(model: str, store: str = "artifacts") -> StageResult:
    """Write a model's encoder and decoder as ONNX.

    Args:
        model: a name, name@version or path.
        store: the artifact store's folder.
    """
    return export_task(model, store)
