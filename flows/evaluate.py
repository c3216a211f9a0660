"""Flow `evaluate`: a model gets its report, and passes the gate or is refused."""

from __future__ import annotations

import json
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.reporting import StageResult, slug, stage
from flows.retries import ONCE
from vae_core.config import EvaluationConfig, GateConfig
from vae_core.references import publish, reference, snapshot_of
from vae_core.store import Artifact, Store
from vae_core.summary import figure_rows, figures


@task(name="evaluate", **ONCE)
def evaluate_task(model: str, config: EvaluationConfig, gate: GateConfig, store: str) -> StageResult:
    """Measure the model against its snapshot, unless the report stands, and show the figures in Prefect."""
    from vae_core.quality import evaluate as run

    home = Store(store)
    source = home.open("models", model)
    with stage("evaluate", "checks") as report:
        metrics = run(source, snapshot_of(home, source), config, report.progress, gate)
        source = home.open("models", model)
        result = report.done(source, extended=True)
    _show(source, metrics, gate)
    return result


def publish_evaluated(model: str, gate: GateConfig, store: str) -> Artifact:
    """Make an evaluated model the champion of its name.

    Raises:
        GateRefusedError: its metrics are beyond the thresholds; the champion stays who it was.
    """
    home = Store(store)
    source = home.open("models", model)
    publish(home, source, read_metrics(source), gate)
    return source


def read_metrics(model: Artifact) -> dict[str, Any]:
    """What `evaluate` measured of a model."""
    metrics: dict[str, Any] = json.loads(model.file("metrics.json").read_text(encoding="utf-8"))
    return metrics


def _show(model: Artifact, metrics: dict[str, Any], gate: GateConfig) -> None:
    """Put the figures on Prefect's pages, as a table and as text."""
    head, *rows = figure_rows(figures(metrics, gate))
    head = ("figure", *head[1:-1], "gate")
    key = slug(f"{model.name}-quality")
    create_table_artifact(
        [dict(zip(head, row, strict=True)) for row in rows], key=f"{key}-figures", description=reference(model)
    )
    lines = [
        f"# Quality of {reference(model)}",
        "",
        "| " + " | ".join(head) + " |",
        "|---|---:|---:|---:|---|",
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
        "“real rows” is what other real rows score in the same place: the best that can be hoped for.",
        "",
        f"Report: `{model.file('report.html').resolve()}`",
    ]
    create_markdown_artifact("\n".join(lines), key=key, description=f"Quality of {reference(model)}")


@flow(name="evaluate", flow_run_name="{model}", persist_result=False)
def evaluate(
    model: str,
    config: EvaluationConfig = EvaluationConfig(),
    gate: GateConfig = GateConfig(),
    store: str = "artifacts",
    publish: bool = True,
) -> StageResult:
    """Measure a model, write its report, and publish it if the gate lets it pass.

    Args:
        model: a name, name@version or path.
        config: what is measured.
        gate: the thresholds.
        store: the artifact store's folder.
        publish: whether a model that passes becomes the champion of its name.
    """
    result = evaluate_task(model, config, gate, store)
    if publish:
        publish_evaluated(result.artifact, gate, store)
    return result
