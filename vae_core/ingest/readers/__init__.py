"""One reader a kind of source. A new format is one class and one line in `READERS`."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from vae_core.config import SchemaConfig, SourceConfig
from vae_core.ingest.folders import Scratch
from vae_core.ingest.readers.base import FilesReader, Reader, Rejected, Wishes
from vae_core.ingest.readers.columnar import ArrowReader, ParquetReader
from vae_core.ingest.readers.delimited import DelimitedReader
from vae_core.ingest.readers.jsonl import JsonLinesReader
from vae_core.ingest.readers.memory import ArrowStream, frame_reader, stream_reader
from vae_core.ingest.readers.sql import SqlReader
from vae_core.ingest.sources import SourceFile, find_files
from vae_core.progress import Progress, silent
from vae_core.schema import Kind

READERS: dict[str, Callable[[list[SourceFile], SourceConfig, Wishes], Reader]] = {
    "csv": DelimitedReader,
    "tsv": DelimitedReader,
    "parquet": ParquetReader,
    "arrow": ArrowReader,
    "jsonl": JsonLinesReader,
}

__all__ = ["READERS", "ArrowStream", "FilesReader", "Reader", "Rejected", "Wishes", "open_reader"]


def open_reader(
    source: SourceConfig | pd.DataFrame | ArrowStream,
    schema: SchemaConfig,
    scratch: Scratch,
    progress: Progress = silent,
) -> Reader:
    """The reader for a source; `progress` gets notes of what is fetched.

    Raises:
        SourceError: the source isn't there, or is of no format that is known.
    """
    wishes = Wishes(
        frozenset(name for name, column in schema.columns.items() if column.drop),
        frozenset(
            name
            for name, column in schema.columns.items()
            if column.kind in (Kind.CATEGORICAL, Kind.TEXT, Kind.IDENTIFIER)
        ),
    )
    if isinstance(source, pd.DataFrame):
        return frame_reader(source, wishes)
    if not isinstance(source, SourceConfig):
        return stream_reader(source)
    if source.query is not None:
        return SqlReader(source, wishes, scratch)
    files = find_files(source, scratch, progress)
    if files[0].format == "tsv" and source.delimiter is None:
        source = source.model_copy(update={"format": "tsv"})
    return READERS[files[0].format](files, source, wishes)
