"""The main flow: from a source to a published dataset."""

from __future__ import annotations

from pathlib import Path

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run
from pydantic import BaseModel

from flows.evaluate import evaluate_task, publish_evaluated, read_metrics
from flows.export import export_task
from flows.generate import generated
from flows.ingest import ingest_task
from flows.reporting import StageResult, slug
from flows.train import train_task
from vae_core.config import PipelineConfig
from vae_core.references import default_name, reference
from vae_core.store import Store, prune
from vae_core.summary import Figure, figures, protection_notes, source_notes


class RunSummary(BaseModel):
    """What a run did.

    Attributes:
        name: of the artifacts.
        model: `name@version`, the champion from now on.
        dataset: folder of the Parquet files.
        rows: of the dataset.
        rows_per_second: of generation; `None` when the dataset stood already.
        report: the quality report's file.
        quality: the figures that the gate looked at.
        notes: what the user should know of how the source was read.
        stages: in order.
        removed: artifacts of earlier runs that `keep` let go.
    """

    name: str
    model: str
    dataset: str
    rows: int
    rows_per_second: float | None
    report: str
    quality: list[Figure]
    notes: list[str]
    stages: list[StageResult]
    removed: list[str]


def _run_name() -> str:
    return _name(flow_run.parameters["config"])


@flow(name="pipeline", flow_run_name=_run_name, persist_result=False)
def pipeline(config: PipelineConfig) -> RunSummary:
    """Read a source, learn a model, export it, measure it, and generate rows if the gate lets it pass.

    A stage whose artifact stands in the store is skipped, whatever Prefect knows of earlier runs.

    Args:
        config: all of it, the same as `vaesynth run` reads from a file.
    """
    store, name = config.store, _name(config)
    snapshot = ingest_task(config.source, config.schema_, store, name)
    model = train_task(snapshot.artifact, config.training, store, name)
    exported = export_task(model.artifact, store)
    evaluated = evaluate_task(exported.artifact, config.evaluation, config.gate, store)
    champion = publish_evaluated(evaluated.artifact, config.gate, store)
    dataset = generated(evaluated.artifact, config.generation, store)
    metrics = read_metrics(champion)
    made = [snapshot, model, exported, evaluated, dataset]
    old = prune(Store(store), config.keep, name, [stage.digest for stage in made]) if config.keep else []
    summary = RunSummary(
        name=name,
        model=model.artifact,
        dataset=dataset.path,
        rows=dataset.rows or 0,
        rows_per_second=None if dataset.skipped else round((dataset.rows or 0) / max(dataset.seconds, 1e-3)),
        report=str(champion.file("report.html")),
        quality=figures(metrics, config.gate),
        notes=source_notes(Store(store).open("snapshots", snapshot.artifact)) + protection_notes(metrics),
        stages=made,
        removed=[reference(artifact) for artifact in old],
    )
    _show(summary)
    return summary


def _name(config: PipelineConfig) -> str:
    return config.name or default_name(config.source)


def _show(summary: RunSummary) -> None:
    """Put where the dataset is, and the time of each stage, on Prefect's pages."""
    speed = f" at {summary.rows_per_second:,.0f} rows/s" if summary.rows_per_second else ""
    lines = [
        f"# {summary.rows:,} rows of {summary.name}",
        "",
        f"Parquet in `{Path(summary.dataset).resolve()}`{speed}",
        "",
        f"Model `{summary.model}`, report `{Path(summary.report).resolve()}`",
        "",
        "| stage | artifact | seconds |",
        "|---|---|---:|",
        *(f"| {s.stage} | `{s.artifact}` | {'skipped' if s.skipped else s.seconds} |" for s in summary.stages),
        *(f"\n> {note}" for note in summary.notes),
        *([f"\nRemoved as older than the newest: {', '.join(summary.removed)}"] if summary.removed else []),
    ]
    create_markdown_artifact(
        "\n".join(lines), key=slug(f"{summary.name}-dataset"), description=f"{summary.rows:,} rows of {summary.name}"
    )
