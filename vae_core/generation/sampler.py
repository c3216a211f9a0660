"""The model as a library uses it: latent space in, rows out, on onnxruntime alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vae_core.codec import Codec, RareRows
from vae_core.codec.rare_rows import FILE as RARE_ROWS
from vae_core.config import Device
from vae_core.errors import ArtifactError, InputError
from vae_core.generation.discriminator import FILE as DISCRIMINATOR
from vae_core.generation.discriminator import Discriminator
from vae_core.generation.draws import Draws, Redrawn, pieces
from vae_core.generation.noise import BLOCK, Noise
from vae_core.generation.session import Graph
from vae_core.store import Artifact

_Floats = npt.NDArray[np.float32]
CHUNK = 4 * BLOCK  # rows that are made at once


class Sampler:
    """A trained model, ready to generate. Threads may share one; several at full speed need one each.

    Rows that are like rare ones of the source (see `RareRows`), or that the discriminator doesn't keep, are drawn again
    (see `Draws`).

    Attributes:
        model: the artifact that it was loaded from.
        codec: of the model.
        decoder: p(x|z) with the sampling inside.
        rare: the rows that are drawn again; `None` where the model has no such file.
        discriminator: says which rows are kept; `None` where all are.
    """

    def __init__(
        self,
        model: Artifact | str | Path,
        *,
        device: Device = "auto",
        threads: int = 1,
        batch_size: int | None = None,
        reject: bool = True,
    ) -> None:
        """Load and check a model.

        Args:
            model: the artifact, or its folder.
            device: `cuda` never falls back to the CPU.
            threads: of the decoder.
            batch_size: rows of one run of the decoder; what fits its width when not given.
            reject: whether rows like rare ones are drawn again; without, they can be counted.

        Raises:
            ArtifactError: a file is missing, was changed, or belongs to another model.
            ConfigError: `device` is cuda and CUDA doesn't load.
            MissingDependencyError: onnxruntime isn't installed.
        """
        self.model = model if isinstance(model, Artifact) else Artifact.load(Path(model))
        self._options = {"device": device, "threads": threads}
        self.codec = _codec(self.model)
        self.decoder = Graph(self.model, "decoder.onnx", device=device, threads=threads, batch=batch_size)
        self.decoder.check_codec(self.codec)
        self.rare = _rare_rows(self.model)
        self._rejects = self.rare if reject else None
        asked = DISCRIMINATOR in self.model.manifest["files"]
        self.discriminator = Discriminator(self.model, self.codec, threads) if asked else None
        self._draws = Draws(self.codec, self.decoder, self.discriminator)

    @cached_property
    def _encoder(self) -> Graph:
        graph = Graph(self.model, "encoder.onnx", batch=self.decoder.batch, **self._options)  # type: ignore[arg-type]
        graph.check_codec(self.codec)
        return graph

    @property
    def schema(self) -> pa.Schema:
        """Of every table that this makes: the source's."""
        return self.codec.schema.arrow

    def sample(self, rows: int, seed: int = 0, first_row: int = 0) -> pa.Table:
        """Generate rows `first_row` … `first_row + rows - 1` of seed `seed`: the same ones that a dataset has there."""
        return self._table(*self._draws.codes(rows, seed, first_row, self._rejects), first_row, seed)

    def encoded(self, rows: int, seed: int = 0, first_row: int = 0) -> pa.Table:
        """Generate the same rows as `sample`, with text as dictionaries: what Parquet is written from.

        In chunks of a few blocks, so that what is computed on the way to a row group stays small and in the cache.
        """
        chunks = []
        for start in range(first_row, first_row + max(rows, 1), CHUNK):
            drawn = self._draws.codes(min(CHUNK, first_row + rows - start), seed, start, self._rejects)
            chunks.append(self.columns(*drawn, start, seed))
        return pa.concat_tables(chunks)

    def columns(self, codes: npt.NDArray[np.int32], position: _Floats, first_row: int, seed: int) -> pa.Table:
        """Turn codes int32 [n, S] and positions float32 [n, P] into columns, with text as dictionaries."""
        if len(codes) == 0:
            return self.schema.empty_table()
        fields, arrays = [], []
        for field, column in zip(self.schema, self.codec.decode_columns(codes, position, first_row, seed), strict=True):
            kept = column.type == field.type or pa.types.is_dictionary(column.type)
            arrays.append(column if kept else column.cast(field.type))
            fields.append(field.with_type(arrays[-1].type))
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))

    def batches(self, rows: int, seed: int = 0, first_row: int = 0) -> Iterator[pa.RecordBatch]:
        """Generate the same rows as `sample` in pieces of at most BLOCK rows, in bounded memory."""
        for start, stop in pieces(first_row, first_row + rows):
            yield from self.sample(stop - start, seed, start).to_batches()

    def encode(self, table: pa.Table) -> tuple[_Floats, _Floats]:
        """Find the posterior q(z|x) = N(mu, diag exp(log_var)) of every row.

        Args:
            table: rows with the columns of the source.

        Returns:
            mu and log_var, each float32 [rows, latent].
        """
        return self._encoder.encode(self.codec.encode(table).codes)

    def decode(
        self, z: npt.ArrayLike, u: npt.ArrayLike | None = None, seed: int = 0, eps: npt.ArrayLike | None = None
    ) -> pa.Table:
        """Draw x from p(x|z) for every row of `z`, also where it is like a rare row of the source.

        Args:
            z: [rows, latent].
            u: [rows, S] in [0, 1), one number a sub-column; one row serves all. Drawn from `seed` when not given.
            seed: of `u` and `eps`.
            eps: [rows, G] standard normal, one number a Gaussian column. Drawn from `seed` when not given.

        Raises:
            InputError: a shape or a value doesn't fit.
        """
        z = self._checked("z", z, self.decoder.latent_dim)
        drawn = self.noise(len(z), seed)
        u = drawn.u if u is None else self._checked("u", u, drawn.u.shape[1], len(z))
        eps = drawn.eps if eps is None else self._checked("eps", eps, drawn.eps.shape[1], len(z))
        if len(u) and not (u.min() >= 0 and u.max() < 1):
            raise InputError("u must lie in [0, 1)")
        return self._table(*self.decoder.decode(z, u, eps), 0, seed)

    def interpolate(
        self,
        row_a: pa.Table | Mapping[str, object],
        row_b: pa.Table | Mapping[str, object],
        steps: int = 10,
        seed: int = 0,
        *,
        spherical: bool = False,
    ) -> pa.Table:
        """Walk through the latent space from one row to another, also over rows like rare ones of the source.

        All steps share the same uniform numbers, so that rows change only where z makes them change.

        Args:
            row_a: one row, as a table or as a mapping from column to value.
            row_b: likewise.
            steps: rows of the result, with both ends; at least 2.
            seed: of the shared uniform numbers.
            spherical: go along the great circle (Shoemake 1985), at the norms where N(0, I) has its mass.

        Raises:
            InputError: `steps` is below 2, or an argument isn't one row.
        """
        if steps < 2:
            raise InputError(f"steps is {steps}: use at least 2, the two ends")
        (a, _), (b, _) = (self.encode(self._row(row)) for row in (row_a, row_b))
        t = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
        z = _slerp(a[0], b[0], t) if spherical else (1 - t) * a[0] + t * b[0]
        drawn = self.noise(1, seed)
        return self.decode(z, np.repeat(drawn.u, steps, 0), seed, np.repeat(drawn.eps, steps, 0))

    def _row(self, row: pa.Table | Mapping[str, object]) -> pa.Table:
        table = row if isinstance(row, pa.Table) else pa.Table.from_pylist([dict(row)], schema=self.schema)
        if table.num_rows != 1:
            raise InputError(f"expected one row, got {table.num_rows}")
        return table

    def _checked(self, name: str, value: npt.ArrayLike, width: int, rows: int | None = None) -> _Floats:
        array = np.atleast_2d(np.asarray(value, np.float32))
        if rows is not None and len(array) == 1:
            array = np.repeat(array, rows, 0)
        if array.ndim != 2 or array.shape[1] != width or (rows is not None and len(array) != rows):
            raise InputError(f"{name} has shape {array.shape}: expected [{rows or 'rows'}, {width}]")
        if not np.isfinite(array).all():
            raise InputError(f"{name} has values that are not finite")
        return array

    def noise(self, rows: int, seed: int, first_row: int = 0) -> Noise:
        """Noise of rows `first_row` … `first_row + rows - 1`, as they are first drawn."""
        return self._draws.noise(rows, seed, first_row)

    def redrawn(self, rows: int, seed: int = 0) -> Redrawn:
        """Count which rows `sample` draws again as they are like rare ones, and how many draws all of them take."""
        return self._draws.count(rows, seed, self.rare)

    def _table(self, codes: npt.NDArray[np.int32], position: _Floats, first_row: int, seed: int) -> pa.Table:
        if len(codes) == 0:
            return self.schema.empty_table()
        return pa.Table.from_batches([self.codec.decode(codes, position, first_row, seed)], self.schema)


def _codec(model: Artifact) -> Codec:
    model.check("codec.json")
    try:
        return Codec.from_dict(json.loads((model.folder / "codec.json").read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{model.folder}: codec.json is not one of this version ({error})") from None


def _rare_rows(model: Artifact) -> RareRows | None:
    if RARE_ROWS not in model.manifest["files"]:
        return None
    model.check(RARE_ROWS)
    try:
        return RareRows.load(model.folder / RARE_ROWS)
    except (ValueError, KeyError, pa.ArrowException) as error:
        raise ArtifactError(f"{model.folder}: {RARE_ROWS} is not one of this version ({error})") from None


def _slerp(a: _Floats, b: _Floats, t: _Floats) -> _Floats:
    """Points on the arc from `a` to `b`; the norm goes linearly. A straight line where the arc isn't defined."""
    norms = np.linalg.norm(a), np.linalg.norm(b)
    cosine = float(np.clip(a @ b / max(float(norms[0] * norms[1]), 1e-12), -1, 1))
    angle = np.arccos(cosine)
    if np.sin(angle) < 1e-4:
        return np.asarray((1 - t) * a + t * b, np.float32)
    direction = (np.sin((1 - t) * angle) * a / norms[0] + np.sin(t * angle) * b / norms[1]) / np.sin(angle)
    return np.asarray(direction * ((1 - t) * norms[0] + t * norms[1]), np.float32)
