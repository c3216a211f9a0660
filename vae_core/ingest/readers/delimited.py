"""CSV, TSV and their kin, through Arrow's reader, a block at a time and as many blocks at once as there are processors.

Arrow infers types from what it is given, so the first block gives the types and the others are parsed with them. A
block that contradicts them widens them: the rest of the source is then only looked at, and all is read once more.
"""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.types as pt

from vae_core.config import SourceConfig
from vae_core.errors import SourceError
from vae_core.ingest import dialect as dialects
from vae_core.ingest.dialect import Dialect
from vae_core.ingest.faults import one_line, reading
from vae_core.ingest.lexical import Block, Rows, clean, count_lines, take
from vae_core.ingest.profile import bounds
from vae_core.ingest.readers.base import FilesReader, MixedColumn, Rejected, Wishes
from vae_core.ingest.sources import SourceFile
from vae_core.ingest.types import TypesWidened, join, storable

BLOCK = 2 << 20  # the first and the last block are worked on alone, so they are small
_LONGEST_ROW = 64 << 20
_WORKERS = 8
_CODE = r"^[+-]?0[0-9xX]"
_MANY_DIGITS = r"^[+-]?[0-9]{16,}$"
_EXACT = 2.0**53


_Types = dict[str, pa.DataType]


@dataclass(frozen=True)
class _Place:
    """Where a block comes from: the file, how it is written, and the lines before the block."""

    file: SourceFile
    dialect: Dialect
    lines: int


@dataclass(frozen=True)
class _Parsed:
    """A block's rows, the types that hold for them, and the rows that aren't ones."""

    file: SourceFile
    table: pa.Table
    types: _Types
    rejected: list[Rejected]


class _NotUtf8(Exception):  # noqa: N818 - a signal, not an error
    """The file is in another encoding than was thought, as these bytes of it show."""

    def __init__(self, file: SourceFile, data: bytes) -> None:
        super().__init__()
        self.file = file
        self.data = data


class DelimitedReader(FilesReader):
    """Reads files of delimited text that have the same columns."""

    def __init__(self, files: list[SourceFile], config: SourceConfig, wishes: Wishes) -> None:
        super().__init__(files, config, wishes)
        self._encodings: dict[SourceFile, str] = {}
        self._types: _Types = {}

    def _tables(self) -> Iterator[pa.Table]:
        mixed: dict[str, MixedColumn] = {}
        yielded = widened = False
        self.notes.clear()
        self.rejected.clear()
        for parsed in self._parsed():
            self.rejected.extend(parsed.rejected)
            types = self._types or parsed.types
            self._types = {name: join(kind, parsed.types[name]) for name, kind in types.items()}
            if yielded and not types == self._types == parsed.types:
                widened = True
            if widened or not parsed.table.num_rows:
                continue
            for name, found in self._types.items():
                if pt.is_string(found) and name not in self._wishes.text:
                    mixed.setdefault(name, MixedColumn(name)).add(parsed.table.column(name))
            yielded = True
            yield self._whole(parsed.file, parsed.table)
        if widened:
            raise TypesWidened
        if not yielded and not self.rejected:
            raise SourceError(f"{self.label}: has a header and no rows")
        for column in mixed.values():
            column.check(self.label)

    def _parsed(self) -> Iterator[_Parsed]:
        """The blocks in order, parsed ahead when their types are known."""
        workers = min(pa.cpu_count(), _WORKERS)
        waiting: deque[Future[_Parsed]] = deque()
        try:
            with ThreadPoolExecutor(workers, "vaesynth-parse") as pool:
                for place, rows in self._blocks():
                    if not self._types:
                        yield self._parse(place, rows, {})
                        continue
                    waiting.append(pool.submit(self._parse, place, rows, self._types))
                    if len(waiting) > workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
        except _NotUtf8 as signal:
            self._change_encoding(signal)

    def _blocks(self) -> Iterator[tuple[_Place, Rows]]:
        first: Dialect | None = None
        for file in self._files:
            with reading(file.label):
                dialect = self._sniff(file, first)
                first = first or dialect
                self._names = list(first.names)
                lines = dialect.header_lines
                for rows in self._scan(file, dialect):
                    yield _Place(file, dialect, lines), rows
                    lines += count_lines(rows.bytes)

    def _sniff(self, file: SourceFile, first: Dialect | None) -> Dialect:
        """The dialect of a file; its columns must be those of the first file."""
        with file.open() as stream:
            sample = _read_full(stream, dialects.SAMPLE)
        if file not in self._encodings:
            given = self._config.encoding
            complete = len(sample) < dialects.SAMPLE
            sniffed = dialects.sniff_encoding(sample, file.label, complete=complete)
            self._encodings[file] = dialects.checked_encoding(given) if given else sniffed
        with file.open() as stream:
            text = b"".join(self._utf8(stream, file, dialects.SAMPLE, only_first=True)).decode("utf-8", "ignore")
        complete = len(sample) < dialects.SAMPLE
        dialect = dialects.sniff(
            text, self._config, file.label, complete=complete, delimiter=first.delimiter if first else None
        )
        if dialect.note and dialect.note not in self.notes:
            self.notes.append(dialect.note)
        if first and dialect.names != first.names:
            raise SourceError(
                f"{file.label}: has the columns {_listed(dialect.names)}, "
                f"{self._files[0].label} has {_listed(first.names)}; files read together need the same columns"
            )
        return dialect

    def _utf8(self, stream: BinaryIO, file: SourceFile, size: int, *, only_first: bool = False) -> Iterator[bytes]:
        """The file's content as UTF-8 without a byte order mark, in pieces of about `size` bytes."""
        encoding = codecs.lookup(self._encodings[file]).name
        if encoding in ("utf-8", "ascii", "utf-8-sig"):
            piece = _read_full(stream, size).removeprefix(codecs.BOM_UTF8)
            while piece:
                yield piece
                piece = b"" if only_first else _read_full(stream, size)
            return
        decoder = codecs.getincrementaldecoder(encoding)()
        done = 0
        while True:
            raw = _read_full(stream, size)
            try:
                text = decoder.decode(raw, not raw)
            except UnicodeDecodeError as error:
                raise SourceError(
                    f"{file.label}: isn't {encoding}: byte {done + error.start} can't be read; set source.encoding"
                ) from None
            yield text.removeprefix("\ufeff").encode("utf-8", "replace")
            done += len(raw)
            if only_first or not raw:
                return

    def _scan(self, file: SourceFile, dialect: Dialect) -> Iterator[Rows]:
        """Blocks of whole rows, the header left out."""
        with file.open() as stream:
            pieces = self._utf8(stream, file, BLOCK)
            skip = dialect.header
            rest = b""
            last = False
            while not last:
                piece = next(pieces, b"")
                last = not piece
                skipped = min(skip, len(piece))
                rest, skip = rest + piece[skipped:], skip - skipped
                if not rest:
                    continue
                rows = take(rest, dialect.delimiter, last=last)
                if rows is not None:
                    rest = rest[rows.used :]
                    yield rows
                elif last or len(rest) > _LONGEST_ROW:
                    start = rest[:60].decode("utf-8", "replace").splitlines()[0]
                    raise SourceError(f"{file.label}: a quote isn't closed, or a row is endless, from {start!r} on")

    def _parse(self, place: _Place, rows: Rows, types: _Types) -> _Parsed:
        """The block's rows with the types known before, or wider ones where they contradict these."""
        block = clean(rows, place.dialect.delimiter)
        try:
            table, invalid = self._arrow(place, block, types)
            found = {field.name: storable(field.type) for field in table.schema}
        except pa.ArrowInvalid as error:
            if "invalid UTF8" in str(error):
                raise _NotUtf8(place.file, rows.bytes.tobytes()) from None
            if "conversion error" not in str(error):
                raise SourceError(f"{place.file.label}: {one_line(error)}") from None
            table, invalid = self._arrow(place, block, {})
            found = {name: join(kind, storable(table.schema.field(name).type)) for name, kind in types.items()}
        if any(pt.is_binary(kind) for kind in found.values()):
            raise _NotUtf8(place.file, rows.bytes.tobytes())
        found |= dict.fromkeys(self._not_numbers(place, block, table, found), pa.string())
        table = self._retyped(place, block, table, found)
        return _Parsed(place.file, table, found, list(_located(place, block, invalid)))

    def _retyped(self, place: _Place, block: Block, table: pa.Table, types: _Types) -> pa.Table:
        """The rows with these types; what isn't merely kept in a finer unit is parsed again."""
        changed = {field.name: types[field.name] for field in table.schema if field.type != types[field.name]}
        parsed = {name: kind for name, kind in changed.items() if kind != storable(table.schema.field(name).type)}
        again = self._arrow(place, block, parsed)[0] if parsed else None
        for name, kind in changed.items():
            column = again.column(name) if again is not None and name in parsed else table.column(name).cast(kind)
            table = table.set_column(table.schema.get_field_index(name), name, column)
        return table

    def _not_numbers(self, place: _Place, block: Block, table: pa.Table, types: _Types) -> Iterator[str]:
        """Columns that look like numbers but are codes: leading zeros, or more digits than a number keeps."""
        suspects = {}
        if block.leading_zeros and block.leading_zeros != _leading_zeros_elsewhere(table, place.dialect.delimiter):
            suspects = {name: _CODE for name, kind in types.items() if pt.is_integer(kind) or pt.is_floating(kind)}
        for name, kind in types.items():
            if pt.is_floating(kind) and name not in suspects:
                column = table.column(name)
                if pt.is_floating(column.type) and max(map(abs, bounds(column) or (0,))) >= _EXACT:
                    suspects[name] = _MANY_DIGITS
        if suspects:
            text, _ = self._arrow(place, block, dict.fromkeys(suspects, pa.string()))
            for name, pattern in suspects.items():
                if pc.any(pc.match_substring_regex(text.column(name), pattern)).as_py():
                    yield name

    def _change_encoding(self, found: _NotUtf8) -> None:
        """The file isn't UTF-8 after all: guess from the bytes that show it, and start again."""
        if self._config.encoding:
            raise SourceError(f"{found.file.label}: isn't {self._config.encoding}; set source.encoding to what it is")
        if self._encodings[found.file] not in ("utf-8", "utf-8-sig"):
            raise SourceError(f"{found.file.label}: the encoding can't be told; set source.encoding")
        self._encodings[found.file] = dialects.guess_encoding(found.data)
        self._types = {}
        raise TypesWidened

    def _arrow(self, place: _Place, block: Block, types: _Types) -> tuple[pa.Table, list[Any]]:
        """Parse a block, in one piece: the columns of `types` with these types, or all columns with inferred ones.

        Returns:
            The rows, and the malformed ones in order.
        """
        names = place.dialect.names
        invalid: list[Any] = []

        def set_aside(row: Any) -> str:
            invalid.append(row)
            return "skip"

        table = pacsv.read_csv(
            pa.BufferReader(pa.py_buffer(block.data)),
            pacsv.ReadOptions(column_names=names, block_size=len(block.data) + 1, use_threads=False),
            pacsv.ParseOptions(
                delimiter=place.dialect.delimiter, newlines_in_values=True, invalid_row_handler=set_aside
            ),
            pacsv.ConvertOptions(
                include_columns=list(types or (name for name in names if name not in self._wishes.dropped)),
                column_types=types or None,
                null_values=self._config.null_values,
                strings_can_be_null=True,
                true_values=["true", "True", "TRUE"],
                false_values=["false", "False", "FALSE"],
                decimal_point=place.dialect.decimal_point,
            ),
        )
        return table, invalid


def _located(place: _Place, block: Block, invalid: list[Any]) -> Iterator[Rejected]:
    """The block's malformed rows, with their lines in the file."""
    data = block.data.tobytes() if invalid else b""
    position = counted = 0
    line = place.lines + 1
    for row in invalid:
        text = row.text.encode()
        start = data.find(text, position)
        while start > 0 and data[start - 1 : start] not in (b"\n", b"\r"):
            start = data.find(text, start + 1)
        line += data.count(b"\n", counted, start)
        fault = f"{row.actual_columns} fields where {row.expected_columns} are expected"
        yield Rejected(place.file.label, line, fault, row.text)
        position, counted = start + len(text), start


def _leading_zeros_elsewhere(table: pa.Table, delimiter: str) -> int:
    """The `Block.leading_zeros` of text and of times of day, which aren't taken for numbers; never too many."""
    found = 0
    going_on = rf"^0[^\x00-/\x{ord(delimiter):02x}]"
    for column in table.columns:
        if pt.is_string(column.type):
            zeros = column.filter(pc.starts_with(column, "0"))
            found += pc.sum(pc.match_substring_regex(zeros, going_on)).as_py() or 0
        elif pt.is_time(column.type):
            found += pc.sum(pc.less(pc.hour(column), 10)).as_py() or 0
    return found


def _read_full(stream: BinaryIO, size: int) -> bytes:
    """`size` bytes, fewer only at the end: streams that unpack may give less at a time."""
    pieces = []
    while size > 0 and (piece := stream.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
