"""Commands for one stage: they call the library, without any server."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from vae_core.cli import options
from vae_core.cli.output import describe, emit, notes, size, table

if TYPE_CHECKING:
    from vae_core.store import Artifact


@click.command()
@click.argument("source", metavar="SOURCE|CONFIG.yaml")
@options.name
@options.common
def ingest(source: str, name: str | None, store: str | None, as_json: bool) -> None:
    """Read SOURCE into a snapshot: a file, folder, glob, URL, or package:file."""
    from vae_core.ingest import ingest as stage
    from vae_core.progress import bar
    from vae_core.references import reference
    from vae_core.store import Store
    from vae_core.summary import source_notes

    config = options.source_config(source, name, store)
    assert config.name is not None
    with bar("ingest", "rows") as progress:
        snapshot = stage(config.source, config.schema_, store=Store(config.store), name=config.name, progress=progress)
    notes(source_notes(snapshot))
    _done(as_json, snapshot, f"next: vaesynth train {reference(snapshot)}")


@click.command()
@click.argument("snapshot")
@options.config_file
@options.name
@click.option("--seed", type=click.IntRange(min=0), metavar="S", help="Seed of the training.")
@options.max_minutes
@options.device
@options.common
def train(
    snapshot: str,
    config: str | None,
    name: str | None,
    seed: int | None,
    max_minutes: float | None,
    device: str | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Learn a model from SNAPSHOT: a name, name@version or a path."""
    from vae_core.config import TrainingConfig
    from vae_core.progress import bar
    from vae_core.references import reference
    from vae_core.store import Store

    home = Store(store or "artifacts")
    settings = options.section(TrainingConfig, config, "training", seed=seed, max_minutes=max_minutes, device=device)
    source = home.open("snapshots", snapshot)
    from vae_core.training import train as stage  # torch: only once the input is known to be there

    with bar("train", "steps") as progress:
        model = stage(source, settings, home, name or source.name, progress)
    _done(as_json, model, f"next: vaesynth export {reference(model)}")


@click.command()
@click.argument("model")
@options.common
def export(model: str, store: str | None, as_json: bool) -> None:
    """Write the encoder and decoder of MODEL as ONNX."""
    from vae_core.progress import bar
    from vae_core.references import reference
    from vae_core.store import Store

    source = Store(store or "artifacts").open("models", model)
    from vae_core.export import export as stage

    with bar("export", "graphs") as progress:
        exported = stage(source, progress)
    _done(as_json, exported, f"next: vaesynth evaluate {reference(exported)}")


@click.command()
@click.argument("model")
@options.config_file
@click.option("--publish/--no-publish", default=True, help="Pass the gate and become the champion, or only measure.")
@options.common
def evaluate(model: str, config: str | None, publish: bool, store: str | None, as_json: bool) -> None:
    """Measure MODEL against its snapshot, write the report, and publish it if the gate lets it pass."""
    from vae_core.config import EvaluationConfig, GateConfig
    from vae_core.progress import bar
    from vae_core.quality import evaluate as stage
    from vae_core.references import publish as let_pass
    from vae_core.references import reference, snapshot_of
    from vae_core.store import Store
    from vae_core.summary import figure_rows, figures, protection_notes

    home = Store(store or "artifacts")
    source = home.open("models", model)
    settings = options.section(EvaluationConfig, config, "evaluation")
    gate = options.section(GateConfig, config, "gate")
    with bar("evaluate", "checks") as progress:
        metrics = stage(source, snapshot_of(home, source), settings, progress, gate)
    notes(protection_notes(metrics))
    source = home.open("models", str(source.folder))
    report = source.folder / "report.html"
    if publish:
        let_pass(home, source, metrics, gate)
    data = describe(source) | {"metrics": metrics, "report": str(report), "published": publish}
    lines = [*table(figure_rows(figures(metrics, gate))), f"report  {report}"]
    if publish:
        lines += [f"{reference(source)} is the champion; next: vaesynth generate {source.name} --rows 100000"]
    emit(as_json, data, lines)


@click.command()
@click.argument("model")
@options.config_file
@click.option("--rows", type=click.IntRange(min=0), metavar="N", required=True, help="Rows to generate.")
@click.option("--seed", type=click.IntRange(min=0), metavar="S", help="Row i of a seed is always the same.")
@options.output
@options.workers
@click.option("--engine", type=click.Choice(["local", "dask"]), help="Threads, or processes through Dask.")
@click.option("--scheduler", metavar="tcp://HOST:PORT", help="Dask cluster for the engine dask; else this machine.")
@options.device
@click.option("--shards", metavar="A:B", help="Make only these shards (40:60, 40:, :60); other machines make others.")
@click.option("--partition-by", multiple=True, metavar="COLUMN", help="Folders by its values; may be given repeatedly.")
@click.option("--resume/--no-resume", default=None, help="Keep the verified shards of an interrupted run.")
@options.common
def generate(
    model: str,
    config: str | None,
    rows: int,
    seed: int | None,
    output: str | None,
    workers: int | None,
    engine: str | None,
    scheduler: str | None,
    device: str | None,
    shards: str | None,
    partition_by: tuple[str, ...],
    resume: bool | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Write N rows of MODEL as Parquet: a name (its champion), name@version or a path."""
    # Arrow's default, mimalloc, keeps what another thread let go of: 30 to 60 MB more, which come sooner or later.
    # Read when pyarrow is imported, below.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    from vae_core.config import GenerationConfig
    from vae_core.generation import generate as stage
    from vae_core.progress import bar
    from vae_core.references import published
    from vae_core.store import Store
    from vae_core.summary import stood

    settings = options.section(
        GenerationConfig,
        config,
        "generation",
        rows=rows,
        seed=seed,
        output=output,
        workers=workers,
        engine=engine,
        scheduler=scheduler,
        device=device,
        shards=shards,
        partition_by=list(partition_by) or None,
        resume=resume,
    )
    home = Store(store or "artifacts")
    source = published(home, model)
    started, clock = datetime.now(UTC), time.perf_counter()
    with bar("generate", "rows") as progress:
        dataset = stage(source, settings, home, source.name, progress)
    if missing := dataset.manifest.get("missing"):
        _done(as_json, dataset, f"unfinished: shards {missing} are missing; other runs make them")
        return
    speed = f"{rows / (time.perf_counter() - clock):,.0f} rows/s"
    _done(as_json, dataset, "it stood already" if stood(dataset, started) else speed)


def _done(as_json: bool, artifact: Artifact, *more: str) -> None:
    data = describe(artifact)
    rows = f"{data['rows']:,} rows, " if data["rows"] is not None else ""
    lines = [f"{artifact.kind}/{artifact.name}@{artifact.version}: {rows}{size(data['bytes'])}", f"in {data['path']}"]
    emit(as_json, data, [*lines, *more])
