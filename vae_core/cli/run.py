"""The command `run`: the whole pipeline, through Prefect."""

from __future__ import annotations

import importlib
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vae_core.cli import options
from vae_core.cli.output import emit, notes, table

if TYPE_CHECKING:
    from flows.pipeline import RunSummary
    from vae_core.config import PipelineConfig, SourceConfig


@click.command()
@click.argument("source", metavar="SOURCE|CONFIG.yaml")
@options.name
@options.rows
@click.option("--seed", type=click.IntRange(min=0), metavar="S", help="Seed of the generated rows.")
@options.max_minutes
@options.output
@options.workers
@options.device
@options.common
@click.pass_context
def run(
    context: click.Context,
    source: str,
    name: str | None,
    rows: int | None,
    seed: int | None,
    max_minutes: float | None,
    output: str | None,
    workers: int | None,
    device: str | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Learn SOURCE and write synthetic rows: ingest, train, export, evaluate, generate.

    SOURCE is a file, folder, glob, URL, or package:file; CONFIG.yaml says more.
    What an earlier run finished is skipped.
    """
    config = options.source_config(
        source,
        name,
        store,
        training={"max_minutes": max_minutes, "device": device},
        generation={"rows": rows, "seed": seed, "output": output, "workers": workers, "device": device},
    )
    from flows.server import quiet, temporary_server

    quiet(logs=context.find_root().obj["debug"])
    with temporary_server(partial(_prepare, config.source)):
        from flows.pipeline import pipeline
        from flows.reporting import bars

        bars.set(True)
        summary = pipeline(_without_credentials(config))
    notes(summary.notes)
    emit(as_json, summary.model_dump(mode="json"), _lines(summary))


def _prepare(source: SourceConfig) -> None:
    """Look for the source's files, then import what the stages need, while the server starts."""
    if source.path is not None and "://" not in source.path:
        from vae_core.ingest.sources import find_files

        find_files(source, Path)
    for module in ("flows.pipeline", "vae_core.training", "vae_core.export", "vae_core.quality"):
        importlib.import_module(module)


def _without_credentials(config: PipelineConfig) -> PipelineConfig:
    """`config` as Prefect may keep it: an address with a password is handed over in the environment."""
    from vae_core.store import redact

    hidden = {}
    for field in ("path", "url"):
        address = getattr(config.source, field)
        if address is not None and redact(address) != address:
            variable = f"VAESYNTH_SOURCE_{field.upper()}"
            os.environ[variable] = address
            hidden[field] = f"${{{variable}}}"
    return config.model_copy(update={"source": config.source.model_copy(update=hidden)})


def _lines(summary: RunSummary) -> list[str]:
    from vae_core.summary import figure_rows

    speed = f", {summary.rows_per_second:,.0f} rows/s" if summary.rows_per_second else ""
    times = [f"{stage.stage} " + ("skipped" if stage.skipped else f"{stage.seconds:.1f} s") for stage in summary.stages]
    return [
        f"rows     {summary.rows:,} in {summary.dataset}{speed}",
        f"model    {summary.model}",
        f"report   {summary.report}",
        f"time     {' · '.join(times)}",
        *([f"removed  {len(summary.removed)} artifacts of earlier runs"] if summary.removed else []),
        "quality",
        *table(figure_rows(summary.quality)),
    ]
