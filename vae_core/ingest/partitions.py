"""Columns whose values are in folders' names: `year=2024/part-0.parquet`, as Hive, Spark and pyarrow write them."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from urllib.parse import unquote

import pyarrow as pa

from vae_core.errors import SourceError
from vae_core.ingest.sources import SourceFile

_MISSING = "__HIVE_DEFAULT_PARTITION__"
_WHOLE = re.compile(r"-?(0|[1-9]\d{0,17})")  # leading zeros mean a code


class Partitions:
    """The values that the folders of some files give to their rows.

    Attributes:
        types: of each column, in the folders' order: int64 where all values are whole numbers, else string.
    """

    def __init__(self, files: Sequence[SourceFile]) -> None:
        """Read the folders' names.

        Raises:
            SourceError: some files have other columns in their folders' names than the first one.
        """
        self._values = {file: _values(file.folders) for file in files}
        first = files[0]
        for file in files:
            if list(self._values[file]) != list(self._values[first]):
                raise SourceError(
                    f"{file.label}: its folders name {_listed(self._values[file])}, those of {first.label} "
                    f"{_listed(self._values[first])}; files read together need the same columns"
                )
        given = {name: [values[name] for values in self._values.values()] for name in self._values[first]}
        self.types: dict[str, pa.DataType] = {
            name: pa.int64() if all(v is None or _WHOLE.fullmatch(v) for v in values) and any(values) else pa.string()
            for name, values in given.items()
        }

    def content(self) -> list[list[str | None]]:
        """What a digest of the source has to tell apart: the values, file by file; empty without such folders."""
        return [list(values.values()) for values in self._values.values()] if self.types else []

    def add(self, file: SourceFile, table: pa.Table, dropped: Collection[str]) -> pa.Table:
        """`table` of `file` with the folders' columns behind its own; one that it has itself is left as it is."""
        for name, kind in self.types.items():
            if name in dropped or name in table.column_names:
                continue
            value = self._values[file][name]
            given = pa.scalar(value if value is None or kind != pa.int64() else int(value), kind)
            table = table.append_column(name, pa.repeat(given, len(table)))
        return table


def _values(folders: Sequence[str]) -> dict[str, str | None]:
    found = [folder.partition("=") for folder in folders]
    return {
        unquote(name): None if value == _MISSING else unquote(value) for name, sign, value in found if name and sign
    }


def _listed(names: Collection[str]) -> str:
    return ", ".join(repr(name) for name in names) or "no column"
