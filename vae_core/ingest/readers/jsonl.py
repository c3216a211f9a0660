"""JSON lines: one object a line, through Arrow's reader, a block of whole lines at a time.

As for delimited text, the types of the first block hold until a block contradicts them, and then all is read again.
Lines that are no objects, and columns with strings among numbers, are beyond Arrow's reader: such blocks take the slow
way through Python's, which sets the lines aside and makes strings of the columns.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.json as pajson
import pyarrow.types as pt

from vae_core.config import SourceConfig
from vae_core.errors import SourceError
from vae_core.ingest.faults import one_line, reading
from vae_core.ingest.readers.base import FilesReader, MixedColumn, Rejected, Wishes
from vae_core.ingest.sources import SourceFile
from vae_core.ingest.types import TypesWidened, join, storable

_BLOCK = 4 << 20
_LONGEST_ROW = 64 << 20


class JsonLinesReader(FilesReader):
    """Reads files of JSON lines."""

    def __init__(self, files: list[SourceFile], config: SourceConfig, wishes: Wishes) -> None:
        super().__init__(files, config, wishes)
        self._types: dict[str, pa.DataType] = {}
        self._as_text: set[str] = set()

    def _tables(self) -> Iterator[pa.Table]:
        self.rejected.clear()
        mixed = {name: MixedColumn(name) for name in self._as_text if name not in self._wishes.text}
        yielded = widened = False
        for file in self._files:
            with reading(file.label):
                for block, lines in _blocks(file):
                    before = dict(self._types)
                    table = self._parse(block, file, lines)
                    widened |= yielded and self._types != before
                    if widened or table is None:
                        continue
                    for name in mixed.keys() & set(table.column_names):
                        mixed[name].add(table.column(name))
                    yielded = True
                    yield self._whole(file, table)
        if widened or not self._as_text <= mixed.keys() | self._wishes.text:
            raise TypesWidened
        for column in mixed.values():
            column.check(self.label)

    def _parse(self, block: bytes, file: SourceFile, lines: int) -> pa.Table | None:
        """The rows of a block with the types known so far, which it may widen."""
        try:
            if self._as_text:
                raise pa.ArrowInvalid("columns to make strings of")
            table = self._arrow(block)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            block = self._repaired(block, file, lines)
            if not block:
                return None
            try:
                table = self._arrow(block)
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise SourceError(f"{file.label}: lines from {lines + 1} on: {one_line(error)}") from None
        self._names = list(self._types)
        names = [name for name in table.column_names if name not in self._wishes.dropped]
        return table.select(names)

    def _arrow(self, block: bytes) -> pa.Table:
        known = pa.schema(self._types.items())
        try:
            table = _read(block, known)
        except pa.ArrowInvalid:
            if not self._types:
                raise
            table = _read(block, None)
        for field in table.schema:
            self._types[field.name] = join(self._types.get(field.name, pa.null()), storable(field.type))
        schema = pa.schema(self._types.items())
        return table if table.schema.equals(schema) else _read(block, schema)

    def _repaired(self, block: bytes, file: SourceFile, lines: int) -> bytes:
        """The block without lines that are no objects; columns that hold strings and others hold only strings."""
        rows: list[dict[str, Any]] = []
        kinds: defaultdict[str, set[bool]] = defaultdict(set)  # whether values are strings
        for number, line in enumerate(block.split(b"\n"), lines + 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                fault = "" if isinstance(row, dict) else "not an object"
            except (ValueError, RecursionError) as error:
                fault = f"not JSON ({one_line(error)})"
            if fault:
                self.rejected.append(Rejected(file.label, number, fault, line.decode("utf-8", "replace").strip()))
                continue
            rows.append(row)
            for name, value in row.items():
                if value is not None and not isinstance(value, dict | list):
                    kinds[name].add(isinstance(value, str))
        for name, found in kinds.items():
            known = self._types.get(name, pa.null())
            if not pt.is_null(known):
                found.add(pt.is_string(known) or pt.is_temporal(known))
            if len(found) == 2:
                self._as_text.add(name)
        for name in self._as_text:
            self._types[name] = pa.string()
            for row in rows:
                if (value := row.get(name)) is not None and not isinstance(value, str):
                    row[name] = json.dumps(value)
        return b"\n".join(json.dumps(row).encode() for row in rows)


def _read(block: bytes, schema: pa.Schema | None) -> pa.Table:
    return pajson.read_json(
        pa.BufferReader(block),
        pajson.ReadOptions(block_size=max(len(block), 1)),
        pajson.ParseOptions(explicit_schema=schema, unexpected_field_behavior="infer"),
    )


def _blocks(file: SourceFile) -> Iterator[tuple[bytes, int]]:
    """Whole lines, and how many lines came before them."""
    lines = 0
    with file.open() as stream:
        rest = b""
        start = True
        while True:
            piece = stream.read(_BLOCK)
            if start:
                piece = piece.removeprefix(b"\xef\xbb\xbf")
                if piece.lstrip().startswith(b"["):
                    raise SourceError(f"{file.label}: is a JSON array; write one object a line (JSON lines)")
                if b"\0" in piece:
                    raise SourceError(f"{file.label}: is a binary file, not text")
                start = False
            buffer = rest + piece
            end = buffer.rfind(b"\n") + 1 if piece else len(buffer)
            if end:
                block, rest = buffer[:end], buffer[end:]
                yield block, lines
                lines += block.count(b"\n")
            elif len(buffer) > _LONGEST_ROW:
                raise SourceError(f"{file.label}: line {lines + 1} is longer than {_LONGEST_ROW >> 20} MB")
            else:
                rest = buffer
            if not piece:
                return
