"""The library for notebooks: `fit` a table, `load` a model, and a `Model` to sample, encode, decode and measure.

import vae_core as vs

model = vs.fit(df, name="flights", max_minutes=2)
model.sample(10_000)
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vae_core.config import (
    Device,
    EvaluationConfig,
    GateConfig,
    GenerationConfig,
    SchemaConfig,
    SourceConfig,
    TrainingConfig,
    parse,
    valid_name,
)
from vae_core.errors import InputError
from vae_core.progress import bar
from vae_core.references import default_name, publish, reference, snapshot_of
from vae_core.store import Artifact, LocalPlace, Store
from vae_core.summary import source_notes

_logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    import pandas as pd

    from vae_core.generation import Sampler
    from vae_core.ingest.readers import ArrowStream

Floats = npt.NDArray[np.float32]


class Model:
    """A trained and exported model.

    Attributes:
        artifact: its folder and manifest in the store.
        store: where datasets go.
        progress: whether long steps show a bar on stderr.
    """

    def __init__(self, artifact: Artifact, store: Store, *, device: Device = "auto", progress: bool = True) -> None:
        self.artifact = artifact
        self.store = store
        self.progress = progress
        self._device = device

    def __repr__(self) -> str:
        return f"<vaesynth model {reference(self.artifact)}, {len(self.schema)} columns>"

    @cached_property
    def _sampler(self) -> Sampler:
        from vae_core.generation import Sampler
        from vae_core.generation.generate import cores

        return Sampler(self.artifact, device=self._device, threads=cores(None))

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema of the source, which every table of this model has."""
        return self._sampler.schema

    @cached_property
    def training(self) -> dict[str, Any]:
        """What training recorded: curves, use of the latent, how it stopped."""
        record: dict[str, Any] = json.loads(self.artifact.file("training.json").read_text(encoding="utf-8"))
        return record

    def sample(self, rows: int, seed: int = 0) -> pd.DataFrame:
        """Generate rows: the first `rows` of the dataset that `generate` writes for this seed.

        Args:
            rows: how many, all in memory.
            seed: of the noise.
        """
        parts: list[pa.RecordBatch] = []
        with bar("sample", "rows", shown=self.progress and rows > 100_000) as progress:
            for batch in self._sampler.batches(rows, seed):
                parts.append(batch)
                progress(sum(len(part) for part in parts), rows)
        return _frame(pa.Table.from_batches(parts, self.schema))

    def encode(self, rows: pd.DataFrame | ArrowStream) -> tuple[Floats, Floats]:
        """Find where rows lie in the latent space: the posterior q(z|x) = N(mu, diag exp(log_var)).

        Args:
            rows: with the columns of the source, in any order.

        Returns:
            mu and log_var, each float32 [rows, latent].

        Raises:
            InputError: a column is missing or has values of another type.
        """
        return self._sampler.encode(self._table(rows))

    def decode(self, z: npt.ArrayLike, u: npt.ArrayLike | None = None, seed: int = 0) -> pd.DataFrame:
        """Draw a row from p(x|z) for each row of `z`.

        Args:
            z: [rows, latent].
            u: uniform numbers in [0, 1), [rows, sub-columns] or one row of them for all; drawn when not given.
            seed: of what is drawn.
        """
        return _frame(self._sampler.decode(z, u, seed))

    def interpolate(
        self,
        row_a: pd.DataFrame | ArrowStream | pd.Series[Any] | Mapping[str, object],
        row_b: pd.DataFrame | ArrowStream | pd.Series[Any] | Mapping[str, object],
        steps: int = 10,
        seed: int = 0,
    ) -> pd.DataFrame:
        """Walk through the latent space from one row to another.

        Args:
            row_a: a table of one row, `df.iloc[i]`, or a mapping from column to value.
            row_b: likewise.
            steps: rows of the result, both ends with them.
            seed: of the uniform numbers that all steps share.
        """
        return _frame(self._sampler.interpolate(self._row(row_a), self._row(row_b), steps, seed))

    def evaluate(self, gate: GateConfig | Mapping[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        """Measure generated rows against the real ones and write the report; measured before, it is read.

        Args:
            gate: the thresholds whose verdict the report shows.
            options: of `EvaluationConfig`: rows, seed, target.
        """
        from vae_core.quality import evaluate

        config = parse(EvaluationConfig, options, "evaluate")
        with bar("evaluate", "checks", shown=self.progress) as progress:
            metrics = evaluate(self.artifact, snapshot_of(self.store, self.artifact), config, progress, _gate(gate))
        self.artifact = Artifact.load(self.artifact.folder)
        return metrics

    @property
    def report(self) -> Path:
        """The quality report, a self-contained HTML file; made when it isn't there yet."""
        if "report.html" not in self.artifact.manifest["files"]:
            self.evaluate()
        return self.artifact.file("report.html")

    def publish(self, gate: GateConfig | Mapping[str, Any] | None = None) -> None:
        """Become the champion, the model that `vaesynth generate NAME` uses, if the gate lets it pass.

        Raises:
            GateRefusedError: a metric is beyond its threshold.
        """
        publish(self.store, self.artifact, self.evaluate(gate), _gate(gate))

    def generate(self, rows: int, seed: int = 0, output: str | Path | None = None, **options: Any) -> Path | str:
        """Write rows to Parquet, however many, in bounded memory.

        Args:
            rows: how many.
            seed: of the noise; row i of a seed is always the same.
            output: folder or s3:// address; inside the store when not given.
            options: more of `GenerationConfig`, such as workers or compression.

        Returns:
            The folder of the Parquet files, or their address.
        """
        from vae_core.generation import generate

        where = {"rows": rows, "seed": seed, "output": None if output is None else str(output)}
        config = parse(GenerationConfig, {"device": self._device} | options | where, "generate")
        with bar("generate", "rows", shown=self.progress) as progress:
            place = generate(self.artifact, config, self.store, self.artifact.name, progress).place
        return place.path if isinstance(place, LocalPlace) else str(place)

    def _table(self, rows: pd.DataFrame | ArrowStream) -> pa.Table:
        """`rows` with the source's schema."""
        import pandas as pd

        try:
            table = rows if isinstance(rows, pd.DataFrame) else pa.table(rows)
        except (TypeError, ValueError):
            raise InputError(f"the rows are no table but a {type(rows).__name__}") from None
        names = list(map(str, table.columns) if isinstance(table, pd.DataFrame) else table.column_names)
        if missing := [name for name in self.schema.names if name not in names]:
            raise InputError(
                f"the rows have no column {missing[0]!r}; the model learned {', '.join(self.schema.names)}"
            )
        try:
            if isinstance(table, pd.DataFrame):
                return pa.Table.from_pandas(table, schema=self.schema, preserve_index=False)
            return table.select(self.schema.names).cast(self.schema)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            raise InputError(f"the rows don't have the source's types: {' '.join(str(error).split())}") from None

    def _row(self, row: Any) -> pa.Table | Mapping[str, object]:
        if isinstance(row, Mapping):
            return row
        if isinstance(row, pa.Table):
            return self._table(row)
        return self._table(row.to_frame().T.infer_objects() if hasattr(row, "to_frame") else row)


def fit(
    data: pd.DataFrame | ArrowStream | str | Path,
    *,
    name: str | None = None,
    store: str | Path = "artifacts",
    schema: SchemaConfig | Mapping[str, Any] | None = None,
    training: TrainingConfig | Mapping[str, Any] | None = None,
    max_minutes: float | None = None,
    seed: int | None = None,
    device: Device | None = None,
    progress: bool = True,
) -> Model:
    """Learn a model from a table: ingest, train, export. What stands in the store is not done again.

    Args:
        data: a pandas or polars DataFrame, a pyarrow Table, or what `vaesynth run` takes: a file, folder, glob, URL or
            package:file.
        name: of the artifacts; taken from the file's name, or `table`, when not given.
        store: the artifact store's folder.
        schema: overrides of the inferred schema, e.g. `{"columns": {"id": {"kind": "identifier"}}}`.
        training: a `TrainingConfig` or its fields.
        max_minutes: training stops here at the latest; goes before `training`, as do the next two.
        seed: of the training.
        device: auto, cpu or cuda.
        progress: whether bars are shown on stderr.

    Raises:
        InputError: the data or an option can't be used.
        TrainingError: training diverged.
    """
    from vae_core.export import export
    from vae_core.ingest import ingest
    from vae_core.training import train

    source = parse(SourceConfig, {"path": str(data)}, "fit") if isinstance(data, str | Path) else data
    name = valid_name(name or (default_name(source) if isinstance(source, SourceConfig) else "table"))
    overrides = schema if isinstance(schema, SchemaConfig) else parse(SchemaConfig, dict(schema or {}), "schema")
    base = training.model_dump() if isinstance(training, TrainingConfig) else dict(training or {})
    given = {"max_minutes": max_minutes, "seed": seed, "device": device}
    config = parse(TrainingConfig, base | {k: v for k, v in given.items() if v is not None}, "training")
    home = Store(store)
    with bar("ingest", "rows", shown=progress) as report:
        snapshot = ingest(source, overrides, store=home, name=name, progress=report)
    for note in source_notes(snapshot):
        _logger.warning(note)
    with bar("train", "steps", shown=progress) as report:
        model = train(snapshot, config, home, name, report)
    with bar("export", "steps", shown=progress) as report:
        model = export(model, report)
    return Model(model, home, device=device or "auto", progress=progress)


def load(
    model: str | Path, *, store: str | Path = "artifacts", device: Device = "auto", progress: bool = True
) -> Model:
    """Open a model that is in the store.

    Args:
        model: a name (its champion, the newest one where none was published), name@version, or a folder.
        store: the artifact store's folder.
        device: where to compute: auto, cpu or cuda.
        progress: whether bars are shown on stderr.

    Raises:
        ArtifactError: there is no such model.
    """
    home = Store(store)
    return Model(home.open("models", model), home, device=device, progress=progress)


def _gate(gate: GateConfig | Mapping[str, Any] | None) -> GateConfig:
    return gate if isinstance(gate, GateConfig) else parse(GateConfig, dict(gate or {}), "gate")


def _frame(table: pa.Table) -> pd.DataFrame:
    """`table` for pandas, with the dtypes of the frame it was learned from, which the Arrow schema remembers."""
    frame: pd.DataFrame = table.to_pandas()
    return frame
